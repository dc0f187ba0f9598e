//! Who belongs to a workspace, decided alike by everybody from the same signed operations.
//!
//! Workspace operations form a graph of their own: each names the heads its author had seen as parents, back to the genesis.
//! Every other operation is made *under a cut* of that graph: the membership its author knew. Two questions follow.
//!
//! - **May the author do this, by what it knew?** Depends on the cut's past alone, so the answer never changes; a no is
//!   refused at the door ([`Membership::role_at`]).
//! - **Does a removal that the author had not seen void it?** Removal is strong: what a removed device did outside the frontier
//!   that the removal names, without knowing of the removal, is void. The answer may change when a removal arrives, and the
//!   nodes concerned are folded again ([`Membership::standing`]).
//!
//! Removals are honoured in the order (version, hash), each judged by its own past without what earlier removals voided; two
//! owners who remove each other concurrently are both removed (as in p2panda's and Keyhive's strong removal). A user who was
//! removed can be added again: an addition counts when every removal of that user lies in its past.

pub mod action;
mod armour;
pub mod bits;
pub mod certificate;
pub mod device_ticket;
mod evaluate;
pub mod ticket;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

pub use action::WorkspaceAction;
pub use certificate::Certificate;
pub use device_ticket::{DeviceTicket, DeviceWorkspace};
pub use ticket::{Ticket, TicketError};

use crate::clock::{Stamp, Timestamp};
use crate::conflict::Policy;
use crate::ids::{DeviceId, LogId, OpHash, UserId, WorkspaceId};
use crate::log::Head;
use crate::op::{Op, OpType};
use crate::session::Credential;
use bits::Bits;
use evaluate::Verdicts;

/// Positions in logs: ascending by log, then head.
pub type Frontier = Vec<(LogId, Head)>;

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Viewer,
    /// Reads and writes nodes.
    Editor,
    /// Also changes the workspace.
    Owner,
}

impl Role {
    /// All roles, in the order of their codes.
    pub const ALL: [Self; 3] = [Self::Viewer, Self::Editor, Self::Owner];

    /// Whether nodes may be written.
    pub const fn can_write(self) -> bool {
        matches!(self, Self::Editor | Self::Owner)
    }
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "viewer" => Ok(Self::Viewer),
            "editor" => Ok(Self::Editor),
            "owner" => Ok(Self::Owner),
            other => Err(format!("unknown role `{other}`: one of viewer, editor, owner")),
        }
    }
}

/// Why an operation was not taken from its author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unauthorised {
    /// By what it knew, the author was no member.
    #[error("device {} is not a member under the membership it names", .0.short())]
    NotMember(DeviceId),
    /// A member without the right.
    #[error("device {} is {role:?}, which does not allow {what}", device.short())]
    Role {
        /// The author.
        device: DeviceId,
        /// Its role then.
        role: Role,
        /// What it tried.
        what: &'static str,
    },
    /// An invite that ended, was used up, was revoked, or is none.
    #[error("the invite cannot be used: {0}")]
    Invite(&'static str),
    /// A signature inside the action is wrong.
    #[error("a certificate or proof in the action is not valid")]
    Certificate,
    /// The action cannot stand here.
    #[error("{0}")]
    Action(&'static str),
}

/// A cut that has been seen, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CutId(u32);

impl CutId {
    pub(crate) const fn numbered(number: u32) -> Self {
        Self(number)
    }

    pub(crate) const fn number(self) -> u32 {
        self.0
    }
}

/// One workspace operation, accepted into the graph.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) stamp: Stamp,
    pub(crate) log: LogId,
    pub(crate) seq: u64,
    /// Everything before it, itself excluded.
    pub(crate) past: Bits,
    pub(crate) action: WorkspaceAction,
}

/// Tells whether one log position lies on the way to another: `(log, seq, hash, head)`.
pub type OnPath<'a> = dyn Fn(LogId, u64, &OpHash, &Head) -> bool + 'a;

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Member {
    /// The user.
    pub user: UserId,
    /// What they may do.
    pub role: Role,
    /// Their devices.
    pub devices: Vec<DeviceId>,
}

/// An invite that can still be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenInvite {
    /// Its operation.
    pub invite: OpHash,
    /// What joiners become.
    pub role: Role,
    /// When it ends.
    pub expires: Timestamp,
    /// How many may still join.
    pub uses_left: u32,
}

/// How the operations of one log under one cut stand, given everything known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Whether the author may write nodes.
    pub can_write: bool,
    /// When removed by an operation it had not seen: the positions of this log up to which its operations count. Each removal
    /// names at most a few; an operation counts if every removal covers it.
    pub removals: Vec<Option<Head>>,
}

/// The membership graph of one workspace.
#[derive(Clone, Debug)]
pub struct Membership {
    workspace: WorkspaceId,
    entries: Vec<Entry>,
    by_hash: BTreeMap<OpHash, usize>,
    heads: Vec<OpHash>,
    verdicts: Verdicts,
    cut_ids: BTreeMap<Box<[OpHash]>, CutId>,
    cuts: Vec<Cut>,
}

#[derive(Clone, Debug)]
struct Cut {
    closure: Bits,
    /// What the cut's past says by itself. After a restart it is worked out when it is asked for: most cuts never are again.
    intrinsic: OnceLock<Verdicts>,
}

impl Cut {
    fn intrinsic(&self, entries: &[Entry], on_path: &OnPath<'_>) -> &Verdicts {
        self.intrinsic.get_or_init(|| evaluate::evaluate(entries, &self.closure, on_path))
    }
}

impl Membership {
    /// A graph that awaits its genesis.
    pub const fn new(workspace: WorkspaceId) -> Self {
        Self {
            workspace,
            entries: Vec::new(),
            by_hash: BTreeMap::new(),
            heads: Vec::new(),
            verdicts: Verdicts::NONE,
            cut_ids: BTreeMap::new(),
            cuts: Vec::new(),
        }
    }

    /// The workspace.
    pub const fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    /// The heads of the graph, ascending: what a new operation names as its cut.
    pub fn heads(&self) -> &[OpHash] {
        &self.heads
    }

    /// The heads of what is not later than `limit`: what a new operation names, so that somebody's fast clock does not drag others along.
    pub fn heads_within(&self, limit: Timestamp) -> Vec<OpHash> {
        if self.entries.iter().all(|entry| entry.stamp.timestamp <= limit) {
            return self.heads.clone();
        }
        let mut below = Bits::default();
        let within = || (0..self.entries.len()).filter(|index| self.entries[*index].stamp.timestamp <= limit);
        within().for_each(|index| below.union(&self.entries[index].past));
        let mut heads: Vec<OpHash> = within().filter(|index| !below.contains(*index)).map(|index| self.entries[index].stamp.hash).collect();
        heads.sort_unstable();
        heads
    }

    /// Whether this workspace operation is in the graph.
    pub fn contains(&self, hash: &OpHash) -> bool {
        self.by_hash.contains_key(hash)
    }

    /// Operations in the graph.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether even the genesis is missing.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The greatest (version, timestamp) among a cut, for authors.
    pub(crate) fn stamp_of(&self, hash: &OpHash) -> Option<Stamp> {
        self.by_hash.get(hash).map(|index| self.entries[*index].stamp)
    }

    /// Takes back a workspace operation that was in the graph when a checkpoint was made: it has been judged. The caller has
    /// everything judged anew ([`Membership::reevaluate`]) when all are back.
    pub(crate) fn readmit(&mut self, op: &Op, action: WorkspaceAction, parents: &[OpHash]) -> Option<()> {
        let past = self.closure_of(parents)?;
        self.admit(op, past, action, parents);
        Some(())
    }

    fn admit(&mut self, op: &Op, past: Bits, action: WorkspaceAction, parents: &[OpHash]) {
        self.by_hash.insert(op.hash, self.entries.len());
        self.heads.retain(|head| !parents.contains(head));
        if let Err(at) = self.heads.binary_search(&op.hash) {
            self.heads.insert(at, op.hash);
        }
        self.entries.push(Entry { stamp: op.stamp(), log: op.header.log, seq: op.header.seq, past, action });
    }

    /// Everything that is one of these operations or before one; `None` when one is not in the graph.
    fn closure_of(&self, heads: &[OpHash]) -> Option<Bits> {
        let mut closure = Bits::default();
        for head in heads {
            let index = *self.by_hash.get(head)?;
            closure.union(&self.entries[index].past);
            closure.insert(index);
        }
        Some(closure)
    }

    /// The operations in the graph, in the order they came: `(log, seq, hash)`.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (LogId, u64, OpHash)> + '_ {
        self.entries.iter().map(|entry| (entry.log, entry.seq, entry.stamp.hash))
    }

    /// The heads of every cut, by the cut's number, each as its place among [`Membership::entries`].
    pub(crate) fn cuts_at_rest(&self) -> Vec<Vec<usize>> {
        let mut cuts = vec![Vec::new(); self.cuts.len()];
        for (heads, id) in &self.cut_ids {
            if let Some(cut) = cuts.get_mut(id.0 as usize) {
                *cut = heads.iter().filter_map(|head| self.by_hash.get(head).copied()).collect();
            }
        }
        cuts
    }

    /// Takes back the next cut; `None` when it names what is not there.
    pub(crate) fn read_cut(&mut self, heads: &[usize]) -> Option<()> {
        let heads: Box<[OpHash]> = heads.iter().map(|head| self.entries.get(*head).map(|entry| entry.stamp.hash)).collect::<Option<_>>()?;
        let closure = self.closure_of(&heads)?;
        let id = CutId(u32::try_from(self.cuts.len()).ok()?);
        self.cuts.push(Cut { closure, intrinsic: OnceLock::new() });
        self.cut_ids.insert(heads, id);
        Some(())
    }

    /// Takes a workspace operation whose parents are all in the graph.
    ///
    /// # Errors
    /// When its author may not do this, by what the author knew. The operation must then not be stored.
    pub fn insert(&mut self, op: &Op, action: WorkspaceAction, parents: &[OpHash], on_path: &OnPath<'_>) -> Result<(), Unauthorised> {
        if self.contains(&op.hash) {
            return Ok(());
        }
        let past = self.closure_of(parents).ok_or(Unauthorised::Action("a parent is not in the membership graph"))?;
        let entry = Entry { stamp: op.stamp(), log: op.header.log, seq: op.header.seq, past, action };
        self.check_new(&entry, on_path)?;
        let Entry { past, action, .. } = entry;
        self.admit(op, past, action, parents);
        self.reevaluate(on_path);
        Ok(())
    }

    /// Judges all operations again; call when a log's branches changed (forks), which can change what a removal covers.
    pub fn reevaluate(&mut self, on_path: &OnPath<'_>) {
        self.verdicts = evaluate::evaluate(&self.entries, &Bits::first(self.entries.len()), on_path);
    }

    /// The number of a cut, to be used in the questions below. `Err` names a head that is not in the graph: wait for it.
    pub fn cut(&mut self, heads: &[OpHash], on_path: &OnPath<'_>) -> Result<CutId, OpHash> {
        if let Some(id) = self.cut_ids.get(heads) {
            return Ok(*id);
        }
        let mut closure = Bits::default();
        for head in heads {
            let index = *self.by_hash.get(head).ok_or(*head)?;
            closure.union(&self.entries[index].past);
            closure.insert(index);
        }
        let cut = Cut { closure, intrinsic: OnceLock::new() };
        cut.intrinsic(&self.entries, on_path);
        let id = CutId(u32::try_from(self.cuts.len()).unwrap_or(u32::MAX));
        self.cuts.push(cut);
        self.cut_ids.insert(heads.into(), id);
        Ok(id)
    }

    /// What a device was by the cut's own past. Never changes.
    pub fn role_at(&self, cut: CutId, device: &DeviceId, on_path: &OnPath<'_>) -> Option<Role> {
        let cut = self.cuts.get(cut.0 as usize)?;
        evaluate::role_of(&self.entries, device, &cut.closure, cut.intrinsic(&self.entries, on_path))
    }

    /// The policy by the cut's own past.
    pub fn policy_at(&self, cut: CutId, on_path: &OnPath<'_>) -> Policy {
        let policy = |cut: &Cut| evaluate::policy(&self.entries, cut.intrinsic(&self.entries, on_path));
        self.cuts.get(cut.0 as usize).map_or_else(Policy::default, policy)
    }

    /// How operations of `log` made under `cut` stand, given everything known now.
    pub fn standing(&self, cut: CutId, log: LogId) -> Standing {
        let Some(cut) = self.cuts.get(cut.0 as usize) else {
            return Standing { can_write: false, removals: Vec::new() };
        };
        let role = evaluate::role_of(&self.entries, &log.device, &cut.closure, &self.verdicts);
        let removals = self
            .verdicts
            .removals
            .iter()
            .filter(|removal| !cut.closure.contains(**removal))
            .filter_map(|removal| self.removal_of(*removal, &log.device, &cut.closure))
            .map(|seen| seen.iter().filter(|(seen, _)| *seen == log).map(|(_, head)| *head).max())
            .collect();
        Standing { can_write: role.is_some_and(Role::can_write), removals }
    }

    /// The frontier a removal names, if it is of this device or of its user.
    fn removal_of(&self, removal: usize, device: &DeviceId, closure: &Bits) -> Option<&Frontier> {
        match &self.entries[removal].action {
            WorkspaceAction::RemoveDevice { device: removed, seen } if removed == device => Some(seen),
            WorkspaceAction::RemoveMember { user, seen }
                if evaluate::user_of(&self.entries, device, closure, &self.verdicts) == Some(*user) =>
            {
                Some(seen)
            }
            _ => None,
        }
    }

    fn everything(&self) -> Bits {
        Bits::first(self.entries.len())
    }

    /// What a device is now. `None`: not a member, or not any more.
    pub fn role(&self, device: &DeviceId) -> Option<Role> {
        evaluate::role_of(&self.entries, device, &self.everything(), &self.verdicts)
    }

    /// Whose a member's device is.
    pub fn user(&self, device: &DeviceId) -> Option<UserId> {
        evaluate::user_of(&self.entries, device, &self.everything(), &self.verdicts)
    }

    /// The workspace's policy now.
    pub fn policy(&self) -> Policy {
        evaluate::policy(&self.entries, &self.verdicts)
    }

    /// The public key of an invite that is in the graph.
    pub fn invite_key(&self, invite: &OpHash) -> Option<[u8; 32]> {
        let entry = self.by_hash.get(invite).map(|index| &self.entries[*index])?;
        match &entry.action {
            WorkspaceAction::Invite { key, .. } => Some(*key),
            _ => None,
        }
    }

    /// What shows to somebody who has not heard of it that a device belongs: the latest operation that made it a member's.
    pub fn credential(&self, device: &DeviceId) -> Option<Credential> {
        self.entries.iter().rev().find_map(|entry| match &entry.action {
            WorkspaceAction::Join { invite, certificate, proof } if certificate.device == *device => {
                Some(Credential::Join { invite: *invite, certificate: *certificate, proof: *proof })
            }
            WorkspaceAction::AddDevice { certificate } | WorkspaceAction::Genesis { certificate, .. } if certificate.device == *device => {
                Some(Credential::Device(*certificate))
            }
            _ => None,
        })
    }

    /// A secret for one purpose, known to whoever knows the workspace's secret and the same removals: it changes with every removal, so
    /// that who was removed and hears of it from nobody cannot work it out. `None` before the genesis has arrived.
    pub fn derived_secret(&self, purpose: &[u8]) -> Option<[u8; 32]> {
        let secret = self.secret()?;
        let mut removals: Vec<OpHash> = self.verdicts.removals.iter().map(|index| self.entries[*index].stamp.hash).collect();
        removals.sort_unstable();
        let removals: Vec<u8> = removals.iter().flat_map(|hash| hash.0).collect();
        Some(crate::crypto::Domain::Secret.hash_parts(&[&secret, purpose, &removals]))
    }

    /// Every device that was ever a member's and is none now.
    pub fn removed_devices(&self) -> Vec<DeviceId> {
        let mut devices: Vec<DeviceId> = self.entries.iter().filter_map(|entry| entry.action.device()).collect();
        devices.sort_unstable();
        devices.dedup();
        devices.retain(|device| self.role(device).is_none());
        devices
    }

    /// Whether a user is a member now.
    pub fn is_member(&self, user: &UserId) -> bool {
        evaluate::role_of_user(&self.entries, user, &self.everything(), &self.verdicts).is_some()
    }

    /// Whether any workspace operation, effective or not, names this device.
    pub fn knows_device(&self, device: &DeviceId) -> bool {
        self.entries.iter().any(|entry| entry.action.device() == Some(*device))
    }

    /// The devices that workspace operations name, effective or not; ascending.
    pub fn known_devices(&self) -> BTreeSet<DeviceId> {
        let named = |entry: &Entry| match &entry.action {
            WorkspaceAction::Genesis { certificate, .. }
            | WorkspaceAction::AddDevice { certificate }
            | WorkspaceAction::Join { certificate, .. } => Some(certificate.device),
            _ => None,
        };
        self.entries.iter().filter_map(named).collect()
    }

    /// The strategy for text, when every policy that was ever set names the same one.
    pub fn only_text_strategy(&self) -> Option<crate::conflict::ResolutionStrategy> {
        let mut strategies = self.entries.iter().filter_map(|entry| match &entry.action {
            WorkspaceAction::Genesis { policy, .. } | WorkspaceAction::SetPolicy { policy } => Some(policy.concurrent_edit),
            _ => None,
        });
        let first = strategies.next().unwrap_or(crate::conflict::ResolutionStrategy::OperationalTransform);
        strategies.all(|other| other == first).then_some(first)
    }

    /// The workspace's name now.
    pub fn name(&self) -> &str {
        let named = self.verdicts.accepted.iter().rev().find_map(|index| match &self.entries[*index].action {
            WorkspaceAction::Genesis { name, .. } | WorkspaceAction::SetName { name } => Some(name.as_str()),
            _ => None,
        });
        named.unwrap_or_default()
    }

    /// The seed of the workspace secret; `None` before the genesis is here.
    pub fn secret(&self) -> Option<[u8; 32]> {
        self.entries.iter().find_map(|entry| match &entry.action {
            WorkspaceAction::Genesis { secret, .. } => Some(*secret),
            _ => None,
        })
    }

    /// The members, by user.
    pub fn members(&self) -> Vec<Member> {
        let mut members: BTreeMap<UserId, Member> = BTreeMap::new();
        for device in evaluate::devices(&self.entries, &self.verdicts) {
            if let (Some(user), Some(role)) = (self.user(&device), self.role(&device)) {
                members.entry(user).or_insert_with(|| Member { user, role, devices: Vec::new() }).devices.push(device);
            }
        }
        for user in evaluate::users(&self.entries, &self.verdicts) {
            if let Some(role) = evaluate::role_of_user(&self.entries, &user, &self.everything(), &self.verdicts) {
                members.entry(user).or_insert_with(|| Member { user, role, devices: Vec::new() });
            }
        }
        members.into_values().collect()
    }

    /// Invites that can be used at `now`.
    pub fn invites(&self, now: Timestamp) -> Vec<OpenInvite> {
        evaluate::invites(&self.entries, &self.verdicts, now)
    }

    /// A device that an invite of this workspace admits: what [`Membership::insert`] would say of its join at `now`, for the
    /// first member it meets.
    pub fn admits(&self, join: &WorkspaceAction, now: Timestamp) -> Result<Role, Unauthorised> {
        let WorkspaceAction::Join { invite, .. } = join else {
            return Err(Unauthorised::Action("not a join"));
        };
        let open = self.invites(now).into_iter().find(|open| open.invite == *invite);
        open.map(|open| open.role).ok_or(Unauthorised::Invite("it ended, was used up, was revoked, or is not known here"))
    }

    /// Whether a workspace operation in the graph has an effect, given everything known.
    pub fn is_effective(&self, hash: &OpHash) -> bool {
        self.by_hash.get(hash).is_some_and(|index| self.verdicts.is_accepted(*index))
    }

    /// The devices whose operations a removal may void: those of every effective removal.
    pub fn has_removals(&self) -> bool {
        !self.verdicts.removals.is_empty()
    }
}

/// The type that only membership uses.
pub const KIND: OpType = OpType::Workspace;
