//! Invites: written, listed, revoked.

use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::{DeviceId, OpHash};
use nodespace_protocol::membership::action::INVITE_USES_MAX;
use nodespace_protocol::membership::ticket::{ADDRESS_BYTES_MAX, ADDRESSES_MAX};
use nodespace_protocol::membership::{OpenInvite, WorkspaceAction};

use super::parse;
use crate::engine::{TicketAddresses, Workspace};
use crate::model::membership::INVITE_EXPIRES_S_MAX;
use crate::model::{CreateInvite, ErrorCode, Invitation, InviteEntry, InviteList, MembershipChange, ServiceError, time};
use crate::net::{address, peer_id};

impl Workspace {
    /// Invites: writes the invite, and answers with the ticket, which is kept nowhere.
    ///
    /// # Errors
    /// When a value is not allowed, or this device's user is no owner.
    pub async fn invite(&self, client: Option<String>, request: CreateInvite, reach: TicketAddresses) -> Result<Invitation, ServiceError> {
        let role = parse::role(&request.role)?;
        let refuse = |message: String| ServiceError::new(ErrorCode::InvalidValue, message);
        let CreateInvite { expires_s, uses, .. } = request;
        if expires_s == 0 || expires_s > INVITE_EXPIRES_S_MAX {
            return Err(refuse(format!("`expires_s` is from 1 to {INVITE_EXPIRES_S_MAX} (ten years), and not {expires_s}")));
        }
        if uses == 0 || uses > INVITE_USES_MAX {
            return Err(refuse(format!("`uses` is from 1 to {INVITE_USES_MAX}, and not {uses}")));
        }
        let mut seed = [0; 32];
        let no_random = |error: getrandom::Error| ServiceError::new(ErrorCode::Internal, format!("no random numbers: {error}"));
        getrandom::fill(&mut seed).map_err(no_random)?;
        let written = self.write(client, move |replica, now| {
            let expires = now.plus_ms(expires_s.saturating_mul(1_000));
            let ticket = replica.invite(now, &KeyPair::from_seed(&seed), role, expires, uses)?;
            Ok((ticket, replica.device()))
        });
        let (mut ticket, device) = written.await?;
        let Lead { addresses, dialled, relay } = lead(reach, device);
        (ticket.addresses, ticket.relay) = (addresses, relay);
        Ok(Invitation {
            relay: ticket.relay.clone(),
            invite: ticket.invite.to_string(),
            role: parse::role_name(role).to_owned(),
            expires: time::to_text(ticket.expires),
            uses,
            addresses: dialled,
            ticket: ticket.to_text(),
        })
    }

    /// The invites that can still be used.
    ///
    /// # Errors
    /// When the device is stopping.
    pub async fn invites(&self) -> Result<InviteList, ServiceError> {
        let invites = self.open_invites().await?;
        Ok(InviteList { invites: invites.into_iter().map(entry).collect() })
    }

    /// Ends an invite, named by its operation or an unambiguous beginning of it.
    ///
    /// # Errors
    /// When no such invite is open, or this device's user is no owner.
    pub async fn revoke_invite(&self, client: Option<String>, invite: &str) -> Result<MembershipChange, ServiceError> {
        let open = self.open_invites().await?.into_iter().map(|open| open.invite);
        let invite = parse::by_prefix("open invite", invite, open, |hash: OpHash| hash.to_string())?;
        let op =
            self.write(client, move |replica, now| Ok(replica.change_workspace(now, WorkspaceAction::RevokeInvite { invite })?)).await?;
        let note = "nobody who hears of this can be admitted by it any more; who joined with it before stays a member";
        Ok(MembershipChange { op: op.to_string(), note: note.to_owned() })
    }

    async fn open_invites(&self) -> Result<Vec<OpenInvite>, ServiceError> {
        self.write(None, |replica, now| Ok(replica.membership().invites(now))).await
    }
}

fn entry(open: OpenInvite) -> InviteEntry {
    InviteEntry {
        invite: open.invite.to_string(),
        role: parse::role_name(open.role).to_owned(),
        expires: time::to_text(open.expires),
        uses_left: open.uses_left,
    }
}

/// Where a ticket leads.
#[derive(Debug)]
pub(super) struct Lead {
    /// What goes into it as addresses.
    pub(super) addresses: Vec<String>,
    /// How many of them can be dialled: all, or none when all that there is is a name.
    pub(super) dialled: usize,
    /// The relay's URL.
    pub(super) relay: Option<String>,
}

/// Where a ticket of this device leads: to as many of its addresses as a ticket takes, each with the device's name at the end, for nobody is
/// dialled of whom it is not known who it is. Without an address the name stands alone: by it the joiner finds the device in the local
/// network. What a reader of the ticket would refuse is left out.
pub(super) fn lead(reach: TicketAddresses, device: Option<DeviceId>) -> Lead {
    let fits = |text: &String| text.len() <= ADDRESS_BYTES_MAX && !text.chars().any(char::is_control);
    let peer = device.as_ref().and_then(peer_id).map(|peer| peer.to_string());
    let named = |text: String| match &peer {
        Some(peer) => address::named(&text, peer),
        None => text,
    };
    let mut addresses: Vec<String> = reach.addresses.into_iter().map(named).filter(fits).take(ADDRESSES_MAX).collect();
    let dialled = addresses.len();
    if addresses.is_empty() {
        addresses.extend(peer.map(|peer| address::named("", &peer)));
    }
    Lead { addresses, dialled, relay: reach.relays.into_iter().find(fits) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_says_who_is_there_with_and_without_an_address() {
        let device = KeyPair::from_seed(&[7; 32]).device();
        let name = format!("/p2p/{}", peer_id(&device).unwrap());
        let of = |addresses: &[&str]| {
            let reach = TicketAddresses { addresses: addresses.iter().map(|text| (*text).to_owned()).collect(), relays: Vec::new() };
            let Lead { addresses, dialled, .. } = lead(reach, Some(device));
            (addresses, dialled)
        };
        assert_eq!(of(&[]), (vec![name.clone()], 0), "the name alone is no address");
        let whole = format!("/ip4/192.0.2.1/tcp/4100{name}");
        assert_eq!(of(&["/ip4/192.0.2.1/tcp/4100"]), (vec![whole.clone()], 1));
        assert_eq!(of(&[whole.as_str()]), (vec![whole.clone()], 1), "it is said once");
        let too_long = format!("/dns4/{}/tcp/4100", "x".repeat(ADDRESS_BYTES_MAX - 20));
        assert_eq!(of(&[too_long.as_str(), "a\u{7}b"]), (vec![name], 0), "with its name it has to fit");
    }
}
