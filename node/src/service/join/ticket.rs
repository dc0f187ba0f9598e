//! Tickets as they are given: by a member, or by the user's other device.

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::ids::DeviceId;
use nodespace_protocol::membership::{DeviceTicket, Ticket, TicketError, device_ticket};

use crate::model::{ErrorCode, ServiceError, time};

/// A ticket of either kind.
#[derive(Debug)]
pub(super) enum JoinTicket {
    /// From a member.
    Invite(Box<Ticket>),
    /// From the user's other device.
    Device(Box<DeviceTicket>),
}

impl JoinTicket {
    /// Reads a ticket. What people do to texts on the way is forgiven where nothing else can be meant: white space, also in the middle,
    /// and upper case.
    pub(super) fn parse(text: &str) -> Result<Self, ServiceError> {
        let text: String = text.split_whitespace().collect();
        let is_device = text.get(..device_ticket::PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(device_ticket::PREFIX));
        let read = if is_device {
            DeviceTicket::parse(&text).map(|ticket| Self::Device(Box::new(ticket)))
        } else {
            Ticket::parse(&text).map(|ticket| Self::Invite(Box::new(ticket)))
        };
        read.map_err(|error| ServiceError::new(ErrorCode::InvalidRequest, said(&error)))
    }

    /// Whether the ticket can be used at all, by what it says itself.
    pub(super) fn check(&self, own: DeviceId, now: Timestamp) -> Result<(), ServiceError> {
        let refuse = |message: String| Err(ServiceError::new(ErrorCode::InviteRefused, message));
        match self {
            Self::Invite(ticket) if ticket.expires < now => {
                let message = "the ticket ended at {}; ask for a new one (or set this machine's clock, which says {})";
                refuse(message.replacen("{}", &time::to_text(ticket.expires), 1).replacen("{}", &time::to_text(now), 1))
            }
            Self::Device(ticket) if ticket.certificate.device != own => refuse(format!(
                "this ticket is for device {}, and this is device {}; run `nodespace device add {own}` on the other device",
                ticket.certificate.device.short(),
                own.short()
            )),
            Self::Device(ticket) if ticket.certificate.verify().is_err() => {
                refuse("the certificate in this ticket is not by the user it names; ask for a new ticket".to_owned())
            }
            Self::Invite(_) | Self::Device(_) => Ok(()),
        }
    }

    /// Why there is nothing to be joined with it.
    pub(super) fn nothing_to_join(&self) -> String {
        match self {
            Self::Invite(ticket) => format!("this device is a member of workspace {} already", ticket.workspace.short()),
            Self::Device(_) => "this device is in all workspaces of this ticket already".to_owned(),
        }
    }

    /// The ticket as it is kept.
    pub(super) fn text(&self) -> String {
        match self {
            Self::Invite(ticket) => ticket.to_text(),
            Self::Device(ticket) => ticket.to_text(),
        }
    }
}

fn said(error: &TicketError) -> String {
    match error {
        TicketError::Prefix { .. } => {
            "this is no ticket: one from a member begins with `nodespace-`, one from your other device with `nsdevice-`".to_owned()
        }
        other => format!("this is no ticket that can be used: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use nodespace_protocol::crypto::KeyPair;
    use nodespace_protocol::ids::{OpHash, WorkspaceId};
    use nodespace_protocol::membership::{Certificate, DeviceWorkspace, Role};

    use super::*;

    fn invite() -> Ticket {
        Ticket {
            workspace: WorkspaceId([1; 32]),
            invite: OpHash([2; 32]),
            key: KeyPair::from_seed(&[3; 32]),
            secret: [4; 32],
            role: Role::Editor,
            expires: Timestamp::from_ms(1_000),
            addresses: vec!["/ip4/192.0.2.1/tcp/4001".into()],
            relay: None,
        }
    }

    fn device(own: DeviceId) -> DeviceTicket {
        let certificate = Certificate::issue(&KeyPair::from_seed(&[1; 32]), own);
        let workspaces = vec![DeviceWorkspace { workspace: WorkspaceId([1; 32]), secret: [7; 32] }];
        DeviceTicket { certificate, workspaces, addresses: Vec::new(), relay: None }
    }

    fn message(result: Result<impl std::fmt::Debug, ServiceError>) -> (ErrorCode, String) {
        let error = result.unwrap_err().0;
        (error.code, error.message)
    }

    #[test]
    fn a_ticket_that_was_wrapped_by_a_mail_program_is_read() {
        let text = invite().to_text();
        let wrapped = text.as_bytes().chunks(40).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect::<Vec<_>>().join("\r\n  ");
        assert_eq!(JoinTicket::parse(&wrapped.to_uppercase()).unwrap().text(), text);
    }

    #[test]
    fn what_is_no_ticket_is_refused_with_the_reason() {
        let text = invite().to_text();
        let (code, why) = message(JoinTicket::parse(&text[..text.len() / 2]));
        assert!(code == ErrorCode::InvalidRequest && why.contains("incomplete or mistyped"), "{why}");
        let nsdevice = device(DeviceId([5; 32])).to_text();
        let (_, why) = message(JoinTicket::parse(&nsdevice[..nsdevice.len() - 3]));
        assert!(why.contains("incomplete or mistyped"), "{why}");
        for bad in ["", "hello", "https://example.org/nodespace-abc", "nsdevice"] {
            let (_, why) = message(JoinTicket::parse(bad));
            assert!(why.contains("`nodespace-`") && why.contains("`nsdevice-`"), "{bad}: {why}");
        }
    }

    #[test]
    fn a_ticket_that_ended_or_is_for_another_device_is_refused_before_anything_is_made() {
        let own = KeyPair::from_seed(&[2; 32]).device();
        let ticket = JoinTicket::Invite(Box::new(invite()));
        assert_eq!(ticket.check(own, Timestamp::from_ms(999)), Ok(()));
        let (code, why) = message(ticket.check(own, Timestamp::from_ms(2_000)));
        assert!(code == ErrorCode::InviteRefused && why.contains("ended at 1970-01-01T00:00:01.000Z"), "{why}");
        assert_eq!(JoinTicket::Device(Box::new(device(own))).check(own, Timestamp::ZERO), Ok(()));
        let (code, why) = message(JoinTicket::Device(Box::new(device(DeviceId([9; 32])))).check(own, Timestamp::ZERO));
        assert!(code == ErrorCode::InviteRefused && why.contains("is for device 09090909"), "{why}");
        let mut forged = device(own);
        forged.certificate.user = KeyPair::from_seed(&[8; 32]).user();
        let (code, why) = message(JoinTicket::Device(Box::new(forged)).check(own, Timestamp::ZERO));
        assert!(code == ErrorCode::InviteRefused && why.contains("not by the user"), "{why}");
    }
}
