//! Members: listed, added, given another role, removed.

use nodespace_protocol::ids::UserId;
use nodespace_protocol::membership::{Member, Membership, Role, WorkspaceAction};

use super::parse;
use crate::engine::{DeviceReplica, Workspace};
use crate::model::{AddMember, ErrorCode, MemberEntry, MemberList, MembershipChange, ServiceError, SetRole};

/// What is honest to say of a removal.
const REMOVED_NOTE: &str = "removed: what they write from now on has no effect anywhere, and members send them nothing more. They keep the copy \
                            they have; if that matters, move what is secret into a new workspace";

impl Workspace {
    /// The members.
    ///
    /// # Errors
    /// When the device is stopping.
    pub async fn members(&self) -> Result<MemberList, ServiceError> {
        self.read(|replica| {
            let own = own_user(replica);
            let mut members = replica.membership().members();
            members.sort_by_key(|member| (Some(member.user) != own, member.user));
            let entry = |member: Member| MemberEntry {
                user: member.user.to_string(),
                role: parse::role_name(member.role).to_owned(),
                devices: member.devices.iter().map(ToString::to_string).collect(),
                own: Some(member.user) == own,
            };
            MemberList { members: members.into_iter().map(entry).collect() }
        })
        .await
    }

    /// Makes a user a member without a ticket: their devices are admitted by their certificates.
    ///
    /// # Errors
    /// When the key or the role is none, the user is a member already, or this device's user is no owner.
    pub async fn add_member(&self, client: Option<String>, request: AddMember) -> Result<MembershipChange, ServiceError> {
        let user = UserId(parse::key("user", &request.user)?);
        let role = parse::role(&request.role)?;
        self.write(client, move |replica, now| {
            if replica.membership().is_member(&user) {
                let message = format!("user {} is a member already; `nodespace member role` changes what they may do", user.short());
                return Err(ServiceError::new(ErrorCode::AlreadyExists, message));
            }
            let op = replica.change_workspace(now, WorkspaceAction::AddMember { user, role })?;
            let note = "a device of this user that has the workspace's secret is admitted by its certificate";
            Ok(MembershipChange { op: op.to_string(), note: note.to_owned() })
        })
        .await
    }

    /// Gives a member, named by the key or an unambiguous beginning of it, another role.
    ///
    /// # Errors
    /// When there is no such member, the role is none or the one they have, it would leave no owner, or this device's user is no owner.
    pub async fn set_role(&self, client: Option<String>, user: &str, request: SetRole) -> Result<MembershipChange, ServiceError> {
        let (user, role) = (user.to_owned(), parse::role(&request.role)?);
        self.write(client, move |replica, now| {
            let (user, before) = member(replica.membership(), &user)?;
            if before == role {
                let message = format!("user {} is {} already", user.short(), parse::role_name(role));
                return Err(ServiceError::new(ErrorCode::AlreadyExists, message));
            }
            if before == Role::Owner && !has_other_owner(replica.membership(), user) {
                return Err(no_owner());
            }
            let op = replica.change_workspace(now, WorkspaceAction::SetRole { user, role })?;
            Ok(MembershipChange { op: op.to_string(), note: format!("{}, and was {}", parse::role_name(role), parse::role_name(before)) })
        })
        .await
    }

    /// Removes a member with all devices; who removes the own user leaves.
    ///
    /// # Errors
    /// When there is no such member, it would leave no owner while others are there, or this device's user may not.
    pub async fn remove_member(&self, client: Option<String>, user: &str) -> Result<MembershipChange, ServiceError> {
        let user = user.to_owned();
        self.write(client, move |replica, now| {
            let (user, role) = member(replica.membership(), &user)?;
            // The last member may go: nobody is left behind.
            let is_alone = replica.membership().members().len() == 1;
            if role == Role::Owner && !is_alone && !has_other_owner(replica.membership(), user) {
                return Err(no_owner());
            }
            let own = own_user(replica) == Some(user);
            let op = replica.remove_member(now, user)?;
            let note = if own { "you have left; what is here stays here to be read and exported" } else { REMOVED_NOTE };
            Ok(MembershipChange { op: op.to_string(), note: note.to_owned() })
        })
        .await
    }
}

/// Whose this device is in a workspace.
pub(super) fn own_user(replica: &DeviceReplica) -> Option<UserId> {
    replica.device().and_then(|device| replica.membership().user(&device))
}

/// A member by the key or the beginning of it, and what they may do.
fn member(membership: &Membership, text: &str) -> Result<(UserId, Role), ServiceError> {
    let members = membership.members();
    let user = parse::by_key("member", text, members.iter().map(|member| member.user), |user: UserId| user.to_string())?;
    let found = members.iter().find(|member| member.user == user);
    found.map(|member| (user, member.role)).ok_or_else(|| ServiceError::new(ErrorCode::NotFound, "there is no such member"))
}

/// A workspace without an owner could never be changed again.
fn has_other_owner(membership: &Membership, user: UserId) -> bool {
    membership.members().iter().any(|member| member.user != user && member.role == Role::Owner)
}

fn no_owner() -> ServiceError {
    let message = "this is the only owner, and without one nobody could invite, remove or change roles: make somebody else owner first";
    ServiceError::new(ErrorCode::InvalidValue, message)
}
