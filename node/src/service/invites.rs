//! Invites: written, listed, revoked.

use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::OpHash;
use nodespace_protocol::membership::action::INVITE_USES_MAX;
use nodespace_protocol::membership::ticket::{ADDRESS_BYTES_MAX, ADDRESSES_MAX};
use nodespace_protocol::membership::{OpenInvite, WorkspaceAction};

use super::parse;
use crate::engine::{TicketAddresses, Workspace};
use crate::model::membership::INVITE_EXPIRES_S_MAX;
use crate::model::{CreateInvite, ErrorCode, Invitation, InviteEntry, InviteList, MembershipChange, ServiceError, time};

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
        let (addresses, relay) = fitting(reach);
        let written = self.write(client, move |replica, now| {
            let expires = now.plus_ms(expires_s.saturating_mul(1_000));
            Ok(replica.invite(now, &KeyPair::from_seed(&seed), role, expires, uses)?)
        });
        let mut ticket = written.await?;
        (ticket.addresses, ticket.relay) = (addresses, relay);
        Ok(Invitation {
            relay: ticket.relay.clone(),
            invite: ticket.invite.to_string(),
            role: parse::role_name(role).to_owned(),
            expires: time::to_text(ticket.expires),
            uses,
            addresses: ticket.addresses.len(),
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

/// As many of the addresses as a ticket takes; what a reader of the ticket would refuse is left out.
pub(super) fn fitting(reach: TicketAddresses) -> (Vec<String>, Option<String>) {
    let fits = |text: &String| text.len() <= ADDRESS_BYTES_MAX && !text.chars().any(char::is_control);
    let addresses = reach.addresses.into_iter().filter(fits).take(ADDRESSES_MAX).collect();
    (addresses, reach.relays.into_iter().find(fits))
}
