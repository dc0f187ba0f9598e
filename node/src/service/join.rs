//! Joining: from a ticket's text to a member's device.
//!
//! 1. The ticket is read and held against the clock, this device and what it belongs to already; nothing is written for a bad one.
//! 2. The workspace is adopted, empty, with the ticket kept beside it.
//! 3. The network brings the membership.
//! 4. This device's part is written: the join by an invite, or the addition of the device if that has not arrived. The ticket is forgotten.
//! 5. A member's confirmation is waited for, within reason.
//!
//! When the program stops between 2 and 4, [`Device::resume_joins`] goes on at 3. When no member can be found, the join is kept and goes on
//! by itself, until the ticket ends. When the invite is refused, the empty workspace is removed; what holds operations by then is set aside.

mod ticket;

use std::sync::Arc;
use std::time::Duration;

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::ids::WorkspaceId;
use nodespace_protocol::membership::{Certificate, Unauthorised, WorkspaceAction};
use nodespace_protocol::replica::WriteError;

use super::parse;
use crate::engine::{Device, DeviceReplica, JoinProgress, Joining, Workspace};
use crate::model::{ErrorCode, JoinFailure, JoinReport, Joined, Progress, ServiceError};
use ticket::JoinTicket;

/// How long an interrupted join waits before its second attempt; doubled with each further one.
const RESUME_WAIT_MIN: Duration = Duration::from_secs(5);

/// How long it waits at most.
const RESUME_WAIT_MAX: Duration = Duration::from_secs(300);

impl Device {
    /// Joins the workspace of a member's ticket, or all workspaces of a ticket from the user's other device.
    ///
    /// # Errors
    /// When the text is no ticket; when the ticket ended, is for another device, or leads where this device is already; when the network is
    /// off; when no member is found (then it goes on by itself) or the invite is refused.
    pub async fn join(&self, text: &str, progress: JoinProgress) -> Result<JoinReport, ServiceError> {
        let ticket = JoinTicket::parse(text)?;
        ticket.check(self.id(), self.clock().now())?;
        let joinings = self.joinings(&ticket)?;
        let mut open = Vec::new();
        for joining in joinings {
            if !self.belongs_to(joining.workspace).await? {
                open.push(joining);
            }
        }
        if open.is_empty() {
            return Err(ServiceError::new(ErrorCode::AlreadyExists, ticket.nothing_to_join()));
        }
        // Before anything is made: without a network it would only lie there.
        self.network()?;
        if let JoinTicket::Device(ticket) = &ticket {
            self.take_certificate(ticket.certificate).await?;
        }
        let mut report = JoinReport::default();
        for joining in open {
            let workspace = joining.workspace.to_string();
            match self.join_one(joining, &ticket.text(), &progress).await {
                Ok(joined) => report.joined.push(joined),
                Err(error) => report.failed.push(JoinFailure { workspace, error: error.0 }),
            }
        }
        match report.failed.first() {
            Some(failure) if report.joined.is_empty() => Err(ServiceError(failure.error.clone())),
            _ => Ok(report),
        }
    }

    /// Goes on with the joins that were under way when the program stopped.
    pub(crate) fn resume_joins(&self) {
        for workspace in self.workspaces() {
            tokio::spawn(resume(self.clone(), workspace, Duration::ZERO));
        }
    }

    fn joinings(&self, ticket: &JoinTicket) -> Result<Vec<Joining>, ServiceError> {
        match ticket {
            JoinTicket::Invite(ticket) => Ok(vec![Joining::by_invite(ticket, self.certificate())]),
            JoinTicket::Device(ticket) => {
                self.check_certificate(ticket.certificate.user)?;
                Ok(Joining::by_device(ticket))
            }
        }
    }

    /// Whether this device has its part in a workspace.
    async fn belongs_to(&self, id: WorkspaceId) -> Result<bool, ServiceError> {
        let device = self.id();
        match self.open_workspace(id) {
            Some(workspace) => workspace.read(move |replica| replica.membership().role(&device).is_some()).await,
            None => Ok(false),
        }
    }

    async fn join_one(&self, joining: Joining, ticket: &str, progress: &JoinProgress) -> Result<Joined, ServiceError> {
        let id = joining.workspace;
        let _turn = self.join_turn(id)?;
        let is_new = self.open_workspace(id).is_none();
        let workspace = self.adopt_workspace(id, ticket).await?;
        match self.attempt(&workspace, joining, progress).await {
            Ok(joined) => Ok(joined),
            Err(error) if error.code() == ErrorCode::InviteRefused => Err(self.give_up(&workspace, is_new, error).await?),
            Err(error) => {
                tokio::spawn(resume(self.clone(), workspace, RESUME_WAIT_MIN));
                let kept = "the ticket is kept, and the join goes on by itself while a daemon runs; `nodespace workspace list` shows it";
                Err(ServiceError::new(error.code(), format!("{error}; {kept}")))
            }
        }
    }

    /// Brings the membership and takes this device's part in it.
    async fn attempt(&self, workspace: &Workspace, joining: Joining, progress: &JoinProgress) -> Result<Joined, ServiceError> {
        let network = self.network()?;
        let ticket = workspace.pending_ticket().await?;
        let ticket = ticket.ok_or_else(|| ServiceError::new(ErrorCode::NotFound, "this join was given up meanwhile"))?;
        let ticket = JoinTicket::parse(&ticket)?;
        progress(step("looking for a member"));
        let fetched = network.fetch_membership(workspace.clone(), joining, progress.clone()).await;
        fetched.map_err(|error| if error.code() == ErrorCode::Forbidden { refused(&error.to_string()) } else { error })?;
        progress(step("joining"));
        let certificate = self.certificate();
        workspace.write(None, move |replica, now| take_part(replica, &ticket, certificate, now)).await?;
        workspace.forget_ticket().await?;
        self.set_first_default(workspace.id()).await?;
        progress(step("waiting for a member to confirm"));
        let confirmed = network.confirm(workspace.clone(), progress.clone()).await.unwrap_or_else(|error| {
            tracing::warn!(workspace = %workspace.id().short(), %error, "the join is not confirmed yet");
            false
        });
        self.joined(workspace, confirmed).await
    }

    async fn joined(&self, workspace: &Workspace, confirmed: bool) -> Result<Joined, ServiceError> {
        let device = self.id();
        workspace
            .read(move |replica| {
                let membership = replica.membership();
                let role = membership.role(&device).map_or("none", parse::role_name);
                let (workspace, name) = (replica.workspace().to_string(), membership.name().to_owned());
                Joined { workspace, name, role: role.to_owned(), ops: u64::from(replica.durable_ops()), confirmed }
            })
            .await
    }

    /// Ends a join that was refused, and says what became of what had arrived.
    async fn give_up(&self, workspace: &Workspace, is_new: bool, error: ServiceError) -> Result<ServiceError, ServiceError> {
        let ops = workspace.read(|replica| u64::from(replica.durable_ops())).await?;
        workspace.forget_ticket().await?;
        if ops > 0 && !is_new {
            // What was here before the join stays as it was.
            return Ok(error);
        }
        self.forget_workspace(workspace.id()).await?;
        let aside = if ops > 0 { "; what had been received is set aside in the home folder" } else { "" };
        Ok(ServiceError::new(error.code(), format!("{error}{aside}")))
    }
}

/// Whether a text is a ticket that is whole, whatever it leads to: for who wants to know before anything is made.
///
/// # Errors
/// When it is not, with the reason.
pub fn check_ticket(text: &str) -> Result<(), ServiceError> {
    JoinTicket::parse(text).map(drop)
}

/// Goes on with a join until it is done, refused, or the device closed.
async fn resume(device: Device, workspace: Workspace, wait: Duration) {
    let mut wait = wait;
    loop {
        tokio::time::sleep(wait).await;
        // No ticket any more, or a device that closes: nothing to go on with.
        let Ok(Some(text)) = workspace.pending_ticket().await else { return };
        match resume_once(&device, &workspace, &text).await {
            Ok(joined) => return tracing::info!(workspace = %joined.workspace, "joined"),
            Err(error) if is_final(error.code()) => {
                tracing::warn!(workspace = %workspace.id().short(), %error, "the join is given up");
                if let Err(error) = device.give_up(&workspace, false, error).await {
                    tracing::warn!(workspace = %workspace.id().short(), %error, "what the join left is not removed");
                }
                return;
            }
            Err(error) => tracing::info!(workspace = %workspace.id().short(), %error, "the join is tried again later"),
        }
        wait = (wait * 2).clamp(RESUME_WAIT_MIN, RESUME_WAIT_MAX);
    }
}

/// Whether waiting is in vain.
const fn is_final(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::InviteRefused | ErrorCode::InvalidRequest | ErrorCode::AlreadyExists)
}

async fn resume_once(device: &Device, workspace: &Workspace, text: &str) -> Result<Joined, ServiceError> {
    let _turn = device.join_turn(workspace.id())?;
    let ticket = JoinTicket::parse(text)?;
    ticket.check(device.id(), device.clock().now())?;
    let joining = device.joinings(&ticket)?.into_iter().find(|joining| joining.workspace == workspace.id());
    let joining = joining.ok_or_else(|| ServiceError::new(ErrorCode::InvalidRequest, "the ticket is for another workspace"))?;
    device.attempt(workspace, joining, &(Arc::new(|_| ()) as JoinProgress)).await
}

/// Writes what makes this device a member's, unless it is there already.
fn take_part(replica: &mut DeviceReplica, ticket: &JoinTicket, certificate: Certificate, now: Timestamp) -> Result<(), ServiceError> {
    let membership = replica.membership();
    if membership.role(&certificate.device).is_some() {
        return Ok(());
    }
    let written = match ticket {
        JoinTicket::Invite(ticket) => replica.join(now, ticket, certificate),
        JoinTicket::Device(ticket) if membership.is_member(&ticket.certificate.user) => {
            replica.change_workspace(now, WorkspaceAction::AddDevice { certificate: ticket.certificate })
        }
        JoinTicket::Device(_) => return Err(refused("the user of this ticket is not a member any more")),
    };
    match written {
        Ok(_) => Ok(()),
        Err(WriteError::Workspace(Unauthorised::Invite(why))) => Err(refused(&format!("the invite cannot be used: {why}"))),
        Err(WriteError::Workspace(error)) => Err(refused(&error.to_string())),
        Err(error) => Err(error.into()),
    }
}

fn refused(why: &str) -> ServiceError {
    ServiceError::new(ErrorCode::InviteRefused, format!("{why}; ask for a new ticket"))
}

fn step(what: &str) -> Progress {
    Progress { step: what.to_owned(), done: 0, total: None }
}
