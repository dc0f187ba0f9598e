//! Device tickets: what a user's device hands to the user's next one, as text.
//!
//! Nothing in it makes the bearer a member: the user's other device has added the new one already, by an operation. It carries what the new
//! device cannot know: whose it is (the certificate), which workspaces there are, their secrets, and where a member is reached. It is of
//! use to the device it names only, but whoever reads it learns the secrets, so it is to be handed over in private all the same.

use super::ticket::{TicketError, decode_reach, encode_reach};
use super::{Certificate, armour};
use crate::ids::WorkspaceId;
use crate::wire::{self, DecodeError};

/// What a device ticket's text begins with.
pub const PREFIX: &str = "nsdevice-";
/// The most workspaces of one ticket; who has more makes several tickets.
pub const WORKSPACES_MAX: usize = 32;

/// A workspace that the new device gets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DeviceWorkspace {
    /// Which.
    pub workspace: WorkspaceId,
    /// The workspace secret's seed, by which members know each other on the first stream.
    pub secret: [u8; 32],
}

impl std::fmt::Debug for DeviceWorkspace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceWorkspace").field("workspace", &self.workspace).finish_non_exhaustive()
    }
}

/// Everything a user's next device needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceTicket {
    /// The user's word that the device is theirs. Not verified by reading: see [`Certificate::verify`].
    pub certificate: Certificate,
    /// The workspaces, ascending by id, at least one.
    pub workspaces: Vec<DeviceWorkspace>,
    /// Addresses of members, as multiaddresses.
    pub addresses: Vec<String>,
    /// A relay's URL.
    pub relay: Option<String>,
}

impl DeviceTicket {
    /// The ticket as text.
    pub fn to_text(&self) -> String {
        let bytes = wire::encode_with(|e| {
            e.array(5)?.u8(1)?;
            self.certificate.encode(e)?;
            e.array(self.workspaces.len() as u64)?;
            for entry in &self.workspaces {
                e.array(2)?.bytes(&entry.workspace.0)?.bytes(&entry.secret)?;
            }
            encode_reach(e, &self.addresses, self.relay.as_deref())
        });
        armour::to_text(PREFIX, bytes)
    }

    /// Reads a device ticket; white space around it and upper case are forgiven.
    ///
    /// # Errors
    /// When the text is no device ticket, or was cut or mistyped.
    pub fn parse(text: &str) -> Result<Self, TicketError> {
        Ok(Self::decode(&armour::from_text(PREFIX, text)?)?)
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        const WHAT: &str = "a device ticket";
        let d = &mut minicbor::Decoder::new(bytes);
        wire::expect_array(d, 5, WHAT)?;
        let version = d.u8().map_err(DecodeError::cbor(WHAT))?;
        if version != 1 {
            return Err(DecodeError::UnknownVersion(version.into()));
        }
        let certificate = Certificate::decode(d)?;
        let count = wire::bounded_array(d, WORKSPACES_MAX as u64, "workspaces in a device ticket")?;
        let workspaces = (0..count).map(|_| decode_workspace(d)).collect::<Result<Vec<_>, _>>()?;
        if workspaces.is_empty() || workspaces.windows(2).any(|pair| pair[0].workspace >= pair[1].workspace) {
            return Err(DecodeError::Invalid("the workspaces of a device ticket are strictly ascending, and at least one"));
        }
        let (addresses, relay) = decode_reach(d)?;
        wire::finish(d)?;
        wire::shortest(bytes)?;
        Ok(Self { certificate, workspaces, addresses, relay })
    }
}

fn decode_workspace(d: &mut minicbor::Decoder<'_>) -> Result<DeviceWorkspace, DecodeError> {
    const WHAT: &str = "a workspace in a device ticket";
    wire::expect_array(d, 2, WHAT)?;
    Ok(DeviceWorkspace { workspace: WorkspaceId(wire::decode_array(d, WHAT)?), secret: wire::decode_array(d, WHAT)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::KeyPair;

    fn ticket(workspaces: usize) -> DeviceTicket {
        let (user, device) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]).device());
        let of = |index: usize| DeviceWorkspace { workspace: WorkspaceId([index as u8; 32]), secret: [7; 32] };
        DeviceTicket {
            certificate: Certificate::issue(&user, device),
            workspaces: (0..workspaces).map(of).collect(),
            addresses: vec!["/ip4/192.0.2.1/udp/4001/quic-v1".into()],
            relay: Some("https://relay.example".into()),
        }
    }

    #[test]
    fn a_device_ticket_survives_text() {
        for workspaces in [1, 2, WORKSPACES_MAX] {
            let ticket = ticket(workspaces);
            let text = ticket.to_text();
            let read = DeviceTicket::parse(&format!("\t{}\n", text.to_uppercase())).unwrap();
            assert_eq!(read, ticket);
            assert_eq!(read.to_text(), text);
            assert_eq!(read.certificate.verify(), Ok(()));
        }
    }

    #[test]
    fn what_is_no_device_ticket_is_named_as_such() {
        let text = ticket(2).to_text();
        assert_eq!(DeviceTicket::parse(&text[..text.len() / 2]), Err(TicketError::Check));
        assert_eq!(DeviceTicket::parse(&text.replacen(PREFIX, "nodespace-", 1)), Err(TicketError::Prefix { wanted: PREFIX }));
        assert_eq!(DeviceTicket::parse("nsdevice-0"), Err(TicketError::Alphabet));
        assert_eq!(DeviceTicket::parse(PREFIX), Err(TicketError::Check));
        assert_eq!(DeviceTicket::parse(&format!("{PREFIX}{}", "a".repeat(1 << 20))), Err(TicketError::Alphabet));
    }

    #[test]
    fn workspaces_are_bounded_and_in_order() {
        assert!(matches!(DeviceTicket::parse(&ticket(0).to_text()), Err(TicketError::Decode(DecodeError::Invalid(_)))));
        let many = DeviceTicket::parse(&ticket(WORKSPACES_MAX + 1).to_text());
        assert!(matches!(many, Err(TicketError::Decode(DecodeError::TooLarge { found: 33, max: 32, .. }))), "{many:?}");
        let mut turned = ticket(2);
        turned.workspaces.reverse();
        assert!(DeviceTicket::parse(&turned.to_text()).is_err());
        turned.workspaces = vec![turned.workspaces[0]; 2];
        assert!(DeviceTicket::parse(&turned.to_text()).is_err(), "the same one twice");
    }
}
