//! Tickets: an invite as text, to be sent or shown as a QR code.
//!
//! `nodespace-` and the base32 (RFC 4648, lower case, no padding) of a CBOR array and a four-byte check, so that a ticket that was
//! cut or mistyped is told from one that is merely unknown.

use super::Role;
use super::certificate::decode_role;
use crate::clock::Timestamp;
use crate::crypto::{Domain, KeyPair};
use crate::ids::{OpHash, WorkspaceId};
use crate::wire::{self, DecodeError};

const PREFIX: &str = "nodespace-";
const CHECK_BYTES: usize = 4;
/// The most addresses a ticket carries.
pub const ADDRESSES_MAX: usize = 16;
/// The longest address in bytes.
pub const ADDRESS_BYTES_MAX: usize = 256;
const TEXT_BYTES_MAX: usize = 16 * 1024;

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
    /// Addresses of members, as multiaddresses.
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
    #[error("a ticket begins with `{PREFIX}`")]
    Prefix,
    /// Characters that a ticket does not have, or far too many.
    #[error("a ticket has only the letters a to z and the digits 2 to 7, and at most {TEXT_BYTES_MAX} of them")]
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
        let mut bytes = wire::encode_with(|e| {
            e.array(9)?.u8(1)?.bytes(&self.workspace.0)?.bytes(&self.invite.0)?.bytes(&self.key.seed())?.bytes(&self.secret)?;
            e.u8(self.role as u8)?.u64(self.expires.0)?.array(self.addresses.len() as u64)?;
            for address in &self.addresses {
                e.str(address)?;
            }
            match &self.relay {
                Some(relay) => e.str(relay)?,
                None => e.null()?,
            };
            Ok(())
        });
        let check = Domain::Secret.hash(&bytes);
        bytes.extend_from_slice(&check[..CHECK_BYTES]);
        format!("{PREFIX}{}", base32(&bytes))
    }

    /// Reads a ticket; white space around it and upper case are forgiven.
    ///
    /// # Errors
    /// When the text is no ticket, or was cut or mistyped.
    pub fn parse(text: &str) -> Result<Self, TicketError> {
        let text = text.trim().to_ascii_lowercase();
        let body = text.strip_prefix(PREFIX).ok_or(TicketError::Prefix)?;
        let bytes = unbase32(body)?;
        let (bytes, check) = bytes.split_last_chunk::<CHECK_BYTES>().ok_or(TicketError::Check)?;
        if Domain::Secret.hash(bytes)[..CHECK_BYTES] != *check {
            return Err(TicketError::Check);
        }
        Ok(Self::decode(bytes)?)
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
        let count = wire::bounded_array(d, ADDRESSES_MAX as u64, "addresses in a ticket")?;
        let addresses = (0..count).map(|_| decode_address(d)).collect::<Result<_, _>>()?;
        let relay = wire::nullable(d, WHAT, decode_address)?;
        wire::finish(d)?;
        wire::shortest(bytes)?;
        Ok(Self { workspace, invite, key, secret, role, expires, addresses, relay })
    }
}

fn decode_address(d: &mut minicbor::Decoder<'_>) -> Result<String, DecodeError> {
    let address = d.str().map_err(DecodeError::cbor("an address"))?;
    if address.len() > ADDRESS_BYTES_MAX || address.chars().any(char::is_control) {
        return Err(DecodeError::Invalid("an address has at most 256 bytes and no control characters"));
    }
    Ok(address.to_owned())
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

fn base32(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
    let (mut buffer, mut bits) = (0_u32, 0);
    for byte in bytes {
        buffer = buffer << 8 | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(char::from(ALPHABET[(buffer >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        out.push(char::from(ALPHABET[(buffer << (5 - bits) & 31) as usize]));
    }
    out
}

fn unbase32(text: &str) -> Result<Vec<u8>, TicketError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(TicketError::Alphabet);
    }
    let mut out = Vec::with_capacity(text.len() * 5 / 8);
    let (mut buffer, mut bits) = (0_u32, 0);
    for c in text.bytes() {
        let digit = ALPHABET.iter().position(|a| *a == c).ok_or(TicketError::Alphabet)? as u32;
        buffer = (buffer << 5 | digit) & 0xfff;
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            out.push((buffer >> bits) as u8);
        }
    }
    // What is left over is less than a digit, and zero: bytes have one text.
    if bits < 5 && buffer & ((1 << bits) - 1) == 0 { Ok(out) } else { Err(TicketError::Check) }
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
        assert_eq!(Ticket::parse("hello").unwrap_err(), TicketError::Prefix);
        assert_eq!(Ticket::parse("nodespace-01").unwrap_err(), TicketError::Alphabet);
        let mistyped = text.replacen('q', "r", 1);
        assert!(mistyped == text || Ticket::parse(&mistyped).unwrap_err() == TicketError::Check);
    }
}
