//! Tickets: an invite as text, to be sent or shown as a QR code.

use super::certificate::decode_role;
use super::{Role, armour};
use crate::clock::Timestamp;
use crate::crypto::KeyPair;
use crate::ids::{OpHash, WorkspaceId};
use crate::wire::{self, DecodeError, EncodeResult, Encoder};

/// What a ticket's text begins with.
pub const PREFIX: &str = "nodespace-";
/// The most addresses a ticket carries.
pub const ADDRESSES_MAX: usize = 16;
/// The longest address in bytes.
pub const ADDRESS_BYTES_MAX: usize = 256;

/// Everything a joiner needs to find a member and prove the invitation.
#[derive(Clone)]
pub struct Ticket {
    /// Which workspace.
    pub workspace: WorkspaceId,
    /// The operation that made the invite.
    pub invite: OpHash,
    /// The secret half of the invite's one-time key.
    pub key: KeyPair,
    /// The workspace secret's seed, by which members know each other on the first stream.
    pub secret: [u8; 32],
    /// What the joiner becomes.
    pub role: Role,
    /// When the invite ends.
    pub expires: Timestamp,
    /// Addresses of members, as multiaddresses with the peer id at the end; a peer id alone (`/p2p/..`) names a member whose address is to be
    /// found out, such as by multicast.
    pub addresses: Vec<String>,
    /// A relay's URL.
    pub relay: Option<String>,
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket")
            .field("workspace", &self.workspace)
            .field("role", &self.role)
            .field("expires", &self.expires)
            .field("addresses", &self.addresses)
            .field("relay", &self.relay)
            .finish_non_exhaustive()
    }
}

/// Why a text is no ticket.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TicketError {
    /// It does not begin like one.
    #[error("a ticket of this kind begins with `{wanted}`")]
    Prefix {
        /// What it begins with.
        wanted: &'static str,
    },
    /// Characters that a ticket does not have, or far too many.
    #[error("a ticket has only the letters a to z and the digits 2 to 7, and at most {max} of them", max = armour::TEXT_BYTES_MAX)]
    Alphabet,
    /// Cut off or mistyped.
    #[error("the ticket is incomplete or mistyped: its check does not fit; copy it again in full")]
    Check,
    /// A form this program does not know.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl Ticket {
    /// The ticket as text.
    pub fn to_text(&self) -> String {
        let bytes = wire::encode_with(|e| {
            e.array(9)?.u8(1)?.bytes(&self.workspace.0)?.bytes(&self.invite.0)?.bytes(&self.key.seed())?.bytes(&self.secret)?;
            e.u8(self.role as u8)?.u64(self.expires.0)?;
            encode_reach(e, &self.addresses, self.relay.as_deref())
        });
        armour::to_text(PREFIX, bytes)
    }

    /// Reads a ticket; white space around it and upper case are forgiven.
    ///
    /// # Errors
    /// When the text is no ticket, or was cut or mistyped.
    pub fn parse(text: &str) -> Result<Self, TicketError> {
        Ok(Self::decode(&armour::from_text(PREFIX, text)?)?)
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "a ticket";
        let cbor = DecodeError::cbor(WHAT);
        let d = &mut minicbor::Decoder::new(bytes);
        wire::expect_array(d, 9, WHAT)?;
        let version = d.u8().map_err(&cbor)?;
        if version != 1 {
            return Err(DecodeError::UnknownVersion(version.into()));
        }
        let workspace = WorkspaceId(wire::decode_array(d, WHAT)?);
        let invite = OpHash(wire::decode_array(d, WHAT)?);
        let key = KeyPair::from_seed(&wire::decode_array(d, WHAT)?);
        let secret = wire::decode_array(d, WHAT)?;
        let role = decode_role(d)?;
        let expires = Timestamp(d.u64().map_err(&cbor)?);
        let (addresses, relay) = decode_reach(d)?;
        wire::finish(d)?;
        wire::shortest(bytes)?;
        Ok(Self { workspace, invite, key, secret, role, expires, addresses, relay })
    }
}

/// Writes where members are reached: a list of addresses, and a relay or `null`.
pub(super) fn encode_reach(e: &mut Encoder<'_>, addresses: &[String], relay: Option<&str>) -> EncodeResult {
    e.array(addresses.len() as u64)?;
    addresses.iter().try_for_each(|address| e.str(address).map(drop))?;
    match relay {
        Some(relay) => e.str(relay)?,
        None => e.null()?,
    };
    Ok(())
}

/// Reads what [`encode_reach`] wrote.
pub(super) fn decode_reach(d: &mut minicbor::Decoder<'_>) -> Result<(Vec<String>, Option<String>), DecodeError> {
    let count = wire::bounded_array(d, ADDRESSES_MAX as u64, "addresses in a ticket")?;
    let addresses = (0..count).map(|_| decode_address(d)).collect::<Result<_, _>>()?;
    Ok((addresses, wire::nullable(d, "a ticket", decode_address)?))
}

fn decode_address(d: &mut minicbor::Decoder<'_>) -> Result<String, DecodeError> {
    let address = d.str().map_err(DecodeError::cbor("an address"))?;
    if address.len() > ADDRESS_BYTES_MAX || address.chars().any(char::is_control) {
        return Err(DecodeError::Invalid("an address has at most 256 bytes and no control characters"));
    }
    Ok(address.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket() -> Ticket {
        Ticket {
            workspace: WorkspaceId([1; 32]),
            invite: OpHash([2; 32]),
            key: KeyPair::from_seed(&[3; 32]),
            secret: [4; 32],
            role: Role::Editor,
            expires: Timestamp::from_ms(99),
            addresses: vec!["/ip4/192.0.2.1/tcp/4001".into()],
            relay: None,
        }
    }

    #[test]
    fn a_ticket_survives_text() {
        let text = ticket().to_text();
        let read = Ticket::parse(&format!("  {}\n", text.to_uppercase())).unwrap();
        assert_eq!(read.to_text(), text);
    }

    #[test]
    fn a_cut_or_mistyped_ticket_is_named_as_such() {
        let text = ticket().to_text();
        assert_eq!(Ticket::parse(&text[..text.len() / 2]).unwrap_err(), TicketError::Check);
        assert_eq!(Ticket::parse("hello").unwrap_err(), TicketError::Prefix { wanted: PREFIX });
        assert_eq!(Ticket::parse("nodespace-01").unwrap_err(), TicketError::Alphabet);
        let mistyped = text.replacen('q', "r", 1);
        assert!(mistyped == text || Ticket::parse(&mistyped).unwrap_err() == TicketError::Check);
    }
}
