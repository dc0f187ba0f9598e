//! Workspaces, and who belongs to them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ErrorBody;

/// A workspace to be founded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWorkspace {
    /// Its name, for people: 1 to 256 bytes, no control characters.
    pub name: String,
    /// Whether it becomes the one that is meant when none is named. The first one becomes it in any case.
    #[serde(default)]
    pub default: bool,
}

/// What of a workspace is to change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateWorkspace {
    /// A new name, for all members.
    #[serde(default)]
    pub name: Option<String>,
    /// `true` makes it the one that is meant when none is named, on this device.
    #[serde(default)]
    pub default: Option<bool>,
}

/// How far this device belongs to a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorkspaceState {
    /// It is a member's.
    Member,
    /// A join is under way: membership has not arrived, or this device's part in it is not written yet.
    Joining,
    /// It holds a copy and is no member's (any more): it can read and export.
    Reader,
    /// Nothing of it can be read, as after a fault, until the daemon is started again.
    Failed,
}

impl WorkspaceState {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Joining => "joining",
            Self::Reader => "reader",
            Self::Failed => "failed",
        }
    }
}

/// A workspace of this device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceSummary {
    /// Its id.
    pub workspace: String,
    /// Its name; empty before its genesis has arrived, and when it cannot be read.
    pub name: String,
    /// Whether it is the one that is meant when none is named.
    pub default: bool,
    /// How far this device belongs to it.
    pub state: WorkspaceState,
    /// The role of this device's user; `null` when not a member.
    pub role: Option<String>,
    /// How many members it has.
    pub members: usize,
    /// Operations held.
    pub ops: u64,
    /// How sync stands, in a line.
    pub sync: String,
}

/// The workspaces of this device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceList {
    /// The workspaces, by id.
    pub workspaces: Vec<WorkspaceSummary>,
}

/// An invitation to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateInvite {
    /// What joiners become: `owner`, `editor` or `viewer`.
    #[serde(default = "default_role")]
    pub role: String,
    /// For how many seconds the ticket can be used.
    #[serde(default = "default_expires_s")]
    pub expires_s: u64,
    /// How many may join with it (1 to 100,000).
    #[serde(default = "default_uses")]
    pub uses: u32,
}

/// What joiners become unless it is said.
pub const INVITE_ROLE_DEFAULT: &str = "editor";

/// For how long a ticket can be used unless it is said: a week, in seconds.
pub const INVITE_EXPIRES_S_DEFAULT: u64 = 7 * 24 * 60 * 60;

/// For how long a ticket can be used at most, in seconds: ten years. A longer one is refused; it is more likely a slip than meant.
pub const INVITE_EXPIRES_S_MAX: u64 = 10 * 365 * 24 * 60 * 60;

fn default_role() -> String {
    INVITE_ROLE_DEFAULT.to_owned()
}

const fn default_expires_s() -> u64 {
    INVITE_EXPIRES_S_DEFAULT
}

const fn default_uses() -> u32 {
    1
}

impl Default for CreateInvite {
    fn default() -> Self {
        Self { role: default_role(), expires_s: default_expires_s(), uses: default_uses() }
    }
}

/// An invitation that was written, with the ticket to hand over.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Invitation {
    /// The ticket. Whoever has it can join: it is shown once and kept nowhere on this device.
    pub ticket: String,
    /// The invite's operation, by which it is listed and revoked.
    pub invite: String,
    /// What joiners become.
    pub role: String,
    /// When it ends.
    pub expires: String,
    /// How many may join.
    pub uses: u32,
    /// How many addresses the ticket carries; 0 = it only names this device, which the joiner finds in its own network by multicast, or by the
    /// relay.
    pub addresses: usize,
    /// The relay that the ticket names, if any: with one the joiner needs nobody to be online.
    #[serde(default)]
    pub relay: Option<String>,
}

impl std::fmt::Debug for Invitation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invitation").field("invite", &self.invite).field("role", &self.role).finish_non_exhaustive()
    }
}

/// An invite that can still be used. Its secret is not kept, so the ticket cannot be shown again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InviteEntry {
    /// Its operation.
    pub invite: String,
    /// What joiners become.
    pub role: String,
    /// When it ends.
    pub expires: String,
    /// How many may still join.
    pub uses_left: u32,
}

/// The invites that can still be used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct InviteList {
    /// The invites, oldest first.
    pub invites: Vec<InviteEntry>,
}

/// A ticket to join with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JoinRequest {
    /// The ticket's text: `nodespace-...` from a member, `nsdevice-...` from the user's other device.
    pub ticket: String,
}

impl std::fmt::Debug for JoinRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JoinRequest(secret redacted)")
    }
}

/// A workspace that was joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Joined {
    /// The workspace.
    pub workspace: String,
    /// Its name.
    pub name: String,
    /// What this device's user is there.
    pub role: String,
    /// Operations that have arrived so far.
    pub ops: u64,
    /// Whether a member has confirmed that it holds exactly what is held here, the join included. If not, the rest follows while a daemon
    /// runs.
    pub confirmed: bool,
}

/// What a ticket led to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinReport {
    /// The workspaces that were joined: one by an invite, all of the user's by a device ticket.
    pub joined: Vec<Joined>,
    /// Those of a device ticket that were not, while others were.
    pub failed: Vec<JoinFailure>,
}

/// A workspace that was not joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinFailure {
    /// The workspace.
    pub workspace: String,
    /// Why.
    pub error: ErrorBody,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberEntry {
    /// The user.
    pub user: String,
    /// What they may do: `owner`, `editor`, `viewer`.
    pub role: String,
    /// Their devices.
    pub devices: Vec<String>,
    /// Whether this device is theirs.
    pub own: bool,
}

/// The members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberList {
    /// The members: the own user first, then by user.
    pub members: Vec<MemberEntry>,
}

/// A user to be made a member without a ticket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddMember {
    /// The user's key: 64 hex digits.
    pub user: String,
    /// What they become.
    pub role: String,
}

/// A member's new role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetRole {
    /// What they become.
    pub role: String,
}

/// A change of the membership that was made, and is durable here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MembershipChange {
    /// The operation.
    pub op: String,
    /// What it means, for people.
    pub note: String,
}

/// A device of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceEntry {
    /// Its key.
    pub device: String,
    /// Whose it is.
    pub user: String,
    /// What they may do.
    pub role: String,
    /// Whether it is this one.
    pub this: bool,
    /// Whether it is of the same user as this one.
    pub own: bool,
}

/// The devices of all members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceList {
    /// The devices: this one first, then the own user's, then by user.
    pub devices: Vec<DeviceEntry>,
}

/// Another device of the same user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddDevice {
    /// Its key, as `nodespace device request` shows it there: 64 hex digits.
    pub device: String,
    /// The workspaces it gets; all that this user is a member of when absent.
    #[serde(default)]
    pub workspaces: Option<Vec<String>>,
}

/// A device that was certified and added, with the ticket to hand over.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceInvitation {
    /// The ticket. It is of use to that one device only, and holds the secrets of the workspaces: hand it over in private.
    pub ticket: String,
    /// The device.
    pub device: String,
    /// The user it now is of.
    pub user: String,
    /// The workspaces it was added to.
    pub workspaces: Vec<String>,
    /// How many addresses the ticket carries; 0 = it only names this device, which the new one finds in its own network by multicast.
    pub addresses: usize,
}

impl std::fmt::Debug for DeviceInvitation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceInvitation").field("device", &self.device).field("workspaces", &self.workspaces).finish_non_exhaustive()
    }
}

/// Who this device is: what another device of the user needs to know to add it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceIdentity {
    /// This device's key.
    pub device: String,
    /// The user it is of.
    pub user: String,
    /// Whether the user's key is here, so that further devices can be added from here.
    pub holds_user_key: bool,
}
