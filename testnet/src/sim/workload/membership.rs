//! Changing the workspace: inviting, adding, removing, roles, policy. What comes of it beyond the operation is a [`Deed`].

use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::{DeviceId, OpHash, UserId};
use nodespace_protocol::membership::{Certificate, Member, Role, Ticket, WorkspaceAction};
use nodespace_protocol::replica::WriteError;

use super::Desk;
use crate::sim::plan::random_policy;

/// Fewer members than this are not removed from.
const MEMBERS_MIN: usize = 3;
/// Milliseconds an invite is good for.
const INVITE_MS: u64 = 3_600_000;

/// The people around the one who acts.
pub(crate) struct Crew<'a> {
    /// The acting device's user.
    pub(crate) own: &'a KeyPair,
    /// The founder, who is never removed, so that every world ends with a member.
    pub(crate) founder: (UserId, DeviceId),
    /// Users who may be made members.
    pub(crate) users: &'a [UserId],
    /// A device that waits to come in.
    pub(crate) newcomer: Option<DeviceId>,
}

/// What follows from a change.
#[derive(Debug)]
pub(crate) enum Deed {
    /// Nothing.
    Nothing,
    /// The newcomer gets this ticket.
    Invited(Box<Ticket>),
    /// The newcomer is a device of the acting user.
    Certified(Certificate),
    /// A user was removed.
    RemovedUser(UserId),
    /// A device was removed.
    RemovedDevice(DeviceId),
}

pub(crate) fn work(desk: &mut Desk<'_>, crew: &Crew<'_>) -> Result<Deed, WriteError> {
    match desk.dice.weighted(&[6, 3, 2, 3, 1, 1, 3, 2, 1]) {
        0 => invite(desk, crew),
        1 => certify(desk, crew),
        2 => add_member(desk, crew),
        3 => set_role(desk, crew),
        4 => remove_member(desk, crew),
        5 => remove_device(desk, crew),
        6 => {
            let policy = random_policy(desk.dice);
            change(desk, WorkspaceAction::SetPolicy { policy })
        }
        7 => {
            let name = format!("workspace {}", desk.dice.below(100));
            change(desk, WorkspaceAction::SetName { name })
        }
        _ => revoke(desk),
    }
}

fn change(desk: &mut Desk<'_>, action: WorkspaceAction) -> Result<Deed, WriteError> {
    desk.replica.change_workspace(desk.now, action).map(|_| Deed::Nothing)
}

fn role(desk: &mut Desk<'_>) -> Role {
    [Role::Viewer, Role::Editor, Role::Owner][desk.dice.weighted(&[1, 4, 3])]
}

fn invite(desk: &mut Desk<'_>, crew: &Crew<'_>) -> Result<Deed, WriteError> {
    if crew.newcomer.is_none() {
        return Ok(Deed::Nothing);
    }
    let key = KeyPair::from_seed(&desk.dice.bytes());
    let (role, uses) = (role(desk), desk.dice.between(1, 2) as u32);
    let expires = desk.now.plus_ms(INVITE_MS);
    let ticket = desk.replica.invite(desk.now, &key, role, expires, uses)?;
    // The ticket travels as text, as it would between people.
    let ticket = Ticket::parse(&ticket.to_text()).map_err(|_| WriteError::Invalid("a ticket does not survive being text"))?;
    Ok(Deed::Invited(Box::new(ticket)))
}

fn certify(desk: &mut Desk<'_>, crew: &Crew<'_>) -> Result<Deed, WriteError> {
    let Some(device) = crew.newcomer else { return Ok(Deed::Nothing) };
    let certificate = Certificate::issue(crew.own, device);
    desk.replica.change_workspace(desk.now, WorkspaceAction::AddDevice { certificate })?;
    Ok(Deed::Certified(certificate))
}

fn add_member(desk: &mut Desk<'_>, crew: &Crew<'_>) -> Result<Deed, WriteError> {
    let (Some(user), role) = (desk.dice.pick(crew.users).copied(), role(desk)) else { return Ok(Deed::Nothing) };
    change(desk, WorkspaceAction::AddMember { user, role })
}

fn set_role(desk: &mut Desk<'_>, crew: &Crew<'_>) -> Result<Deed, WriteError> {
    let (Some(member), role) = (other(desk, crew), role(desk)) else { return Ok(Deed::Nothing) };
    change(desk, WorkspaceAction::SetRole { user: member.user, role })
}

/// A member who is not the founder, when there are enough.
fn other(desk: &mut Desk<'_>, crew: &Crew<'_>) -> Option<Member> {
    let mut members = desk.replica.membership().members();
    members.retain(|member| member.user != crew.founder.0);
    if members.len() < MEMBERS_MIN { None } else { desk.dice.pick(&members).cloned() }
}

fn remove_member(desk: &mut Desk<'_>, crew: &Crew<'_>) -> Result<Deed, WriteError> {
    let Some(member) = other(desk, crew) else { return Ok(Deed::Nothing) };
    desk.replica.remove_member(desk.now, member.user)?;
    Ok(Deed::RemovedUser(member.user))
}

fn remove_device(desk: &mut Desk<'_>, crew: &Crew<'_>) -> Result<Deed, WriteError> {
    let Some(member) = other(desk, crew) else { return Ok(Deed::Nothing) };
    let Some(device) = desk.dice.pick(&member.devices).copied().filter(|device| *device != crew.founder.1) else {
        return Ok(Deed::Nothing);
    };
    desk.replica.remove_device(desk.now, device)?;
    Ok(Deed::RemovedDevice(device))
}

fn revoke(desk: &mut Desk<'_>) -> Result<Deed, WriteError> {
    let invites: Vec<OpHash> = desk.replica.membership().invites(desk.now).iter().map(|open| open.invite).collect();
    match desk.dice.pick(&invites).copied() {
        Some(invite) => change(desk, WorkspaceAction::RevokeInvite { invite }),
        None => Ok(Deed::Nothing),
    }
}
