//! From a causally closed set of workspace operations to who is a member: a pure function of the set.
//!
//! 1. Removals, in the order (version, hash): each is accepted if its author had the right in the removal's own past, judged
//!    without what removals accepted before it void. Accepted removals stand, even against each other.
//! 2. All other operations in the same order: void if an accepted removal of its author does not cover it and was not known to
//!    it; otherwise accepted if its author had the right in the operation's own past, counting accepted operations only.

use std::collections::BTreeSet;

use super::action::WorkspaceAction;
use super::bits::Bits;
use super::{Entry, Frontier, Membership, OnPath, OpenInvite, Role, Unauthorised};
use crate::clock::Timestamp;
use crate::conflict::Policy;
use crate::ids::{DeviceId, OpHash, UserId};

/// Which operations of a set have an effect.
#[derive(Clone, Debug)]
pub(crate) struct Verdicts {
    /// Accepted operations in the order (version, hash), removals included.
    pub(super) accepted: Vec<usize>,
    /// The same as a set.
    set: Bits,
    /// Accepted removals, in order.
    pub(super) removals: Vec<usize>,
}

impl Verdicts {
    pub(super) const NONE: Self = Self { accepted: Vec::new(), set: Bits::empty(), removals: Vec::new() };

    pub(super) fn is_accepted(&self, index: usize) -> bool {
        self.set.contains(index)
    }
}

pub(super) fn evaluate(entries: &[Entry], set: &Bits, on_path: &OnPath<'_>) -> Verdicts {
    let mut order: Vec<usize> = set.iter().filter(|index| *index < entries.len()).collect();
    order.sort_unstable_by_key(|index| (entries[*index].stamp.version, entries[*index].stamp.hash));
    let mut removals = Vec::new();
    for index in order.iter().copied().filter(|index| entries[*index].action.is_removal()) {
        let entry = &entries[index];
        let before: Vec<usize> = order.iter().copied().filter(|other| entry.past.contains(*other)).collect();
        let verdicts = accept(entries, &before, &removals, on_path);
        if authorise(entries, entry, &verdicts).is_ok() {
            removals.push(index);
        }
    }
    accept(entries, &order, &removals, on_path)
}

/// Step 2, over operations in order.
fn accept(entries: &[Entry], order: &[usize], removals: &[usize], on_path: &OnPath<'_>) -> Verdicts {
    let mut verdicts = Verdicts::NONE;
    verdicts.removals = removals.to_vec();
    for index in order.iter().copied() {
        let entry = &entries[index];
        let accepted = if entry.action.is_removal() {
            removals.contains(&index)
        } else {
            authorise(entries, entry, &verdicts).is_ok()
                && !removals.iter().any(|removal| is_voided(entries, index, *removal, &verdicts, on_path))
        };
        if accepted {
            verdicts.accepted.push(index);
            verdicts.set.insert(index);
        }
    }
    // A removal outside the set voids, but takes no one's membership away within it.
    verdicts.removals.retain(|removal| verdicts.set.contains(*removal));
    verdicts
}

/// Whether a removal that the operation's author did not know of ends its right to make it.
fn is_voided(entries: &[Entry], index: usize, removal: usize, verdicts: &Verdicts, on_path: &OnPath<'_>) -> bool {
    let entry = &entries[index];
    if entry.past.contains(removal) {
        return false;
    }
    let device = entry.log.device;
    let seen = match &entries[removal].action {
        WorkspaceAction::RemoveDevice { device: removed, seen } if *removed == device => seen,
        WorkspaceAction::RemoveMember { user, seen } if author(entries, entry, verdicts) == Some(*user) => seen,
        _ => return false,
    };
    !covers(seen, entry, on_path)
}

/// The user an operation speaks for: by its past, or by the certificate it brings itself.
fn author(entries: &[Entry], entry: &Entry, verdicts: &Verdicts) -> Option<UserId> {
    let brought = match &entry.action {
        WorkspaceAction::Join { certificate, .. } | WorkspaceAction::AddDevice { certificate } => Some(certificate),
        _ => None,
    };
    let brought = brought.filter(|certificate| certificate.device == entry.log.device).map(|certificate| certificate.user);
    brought.or_else(|| user_of(entries, &entry.log.device, &entry.past, verdicts))
}

fn covers(seen: &Frontier, entry: &Entry, on_path: &OnPath<'_>) -> bool {
    seen.iter().any(|(log, head)| *log == entry.log && entry.seq <= head.seq && on_path(*log, entry.seq, &entry.stamp.hash, head))
}

/// Whether an addition still counts: every removal of the same subject that is in view lies in the addition's past.
fn outlives(entries: &[Entry], addition: usize, past: &Bits, verdicts: &Verdicts, removes: impl Fn(&WorkspaceAction) -> bool) -> bool {
    verdicts
        .removals
        .iter()
        .filter(|removal| past.contains(**removal) && removes(&entries[**removal].action))
        .all(|removal| entries[addition].past.contains(*removal))
}

/// Accepted operations within a past, latest first.
fn latest<'a>(past: &'a Bits, verdicts: &'a Verdicts) -> impl Iterator<Item = usize> + 'a {
    verdicts.accepted.iter().rev().copied().filter(|index| past.contains(*index))
}

/// Whose a device is: by the latest certificate that counts.
pub(super) fn user_of(entries: &[Entry], device: &DeviceId, past: &Bits, verdicts: &Verdicts) -> Option<UserId> {
    latest(past, verdicts).find_map(|index| {
        let (WorkspaceAction::Genesis { certificate, .. }
        | WorkspaceAction::AddDevice { certificate }
        | WorkspaceAction::Join { certificate, .. }) = &entries[index].action
        else {
            return None;
        };
        let removes = |action: &WorkspaceAction| matches!(action, WorkspaceAction::RemoveDevice { device: d, .. } if d == device);
        (certificate.device == *device && outlives(entries, index, past, verdicts, removes)).then_some(certificate.user)
    })
}

/// What a user is within a past.
pub(super) fn role_of_user(entries: &[Entry], user: &UserId, past: &Bits, verdicts: &Verdicts) -> Option<Role> {
    let removes = |action: &WorkspaceAction| matches!(action, WorkspaceAction::RemoveMember { user: u, .. } if u == user);
    let counts = |index: usize| outlives(entries, index, past, verdicts, removes);
    // A join gives its invite's role only to somebody who was no member: it neither promotes nor demotes.
    let mut joined = None;
    let mut changed = None;
    for index in latest(past, verdicts) {
        match &entries[index].action {
            WorkspaceAction::Genesis { certificate, .. } if certificate.user == *user && counts(index) => {
                return Some(changed.unwrap_or(Role::Owner));
            }
            WorkspaceAction::AddMember { user: added, role } if added == user && counts(index) => return Some(changed.unwrap_or(*role)),
            WorkspaceAction::SetRole { user: set, role } if set == user && counts(index) => changed = changed.or(Some(*role)),
            WorkspaceAction::Join { invite, certificate, .. } if certificate.user == *user && counts(index) => {
                joined = invite_of(entries, invite).map(|(_, role, ..)| role).or(joined);
            }
            _ => {}
        }
    }
    joined.map(|role| changed.unwrap_or(role))
}

/// What a device is within a past.
pub(super) fn role_of(entries: &[Entry], device: &DeviceId, past: &Bits, verdicts: &Verdicts) -> Option<Role> {
    role_of_user(entries, &user_of(entries, device, past, verdicts)?, past, verdicts)
}

type Invite<'a> = (&'a [u8; 32], Role, Timestamp, u32);

fn invite_of<'a>(entries: &'a [Entry], invite: &OpHash) -> Option<Invite<'a>> {
    entries.iter().find(|entry| entry.stamp.hash == *invite).and_then(|entry| match &entry.action {
        WorkspaceAction::Invite { key, role, expires, uses } => Some((key, *role, *expires, *uses)),
        _ => None,
    })
}

/// Whether the author of `entry` may do what it does, by its own past, counting operations that `verdicts` accepts.
fn authorise(entries: &[Entry], entry: &Entry, verdicts: &Verdicts) -> Result<(), Unauthorised> {
    let device = entry.log.device;
    if let WorkspaceAction::Genesis { .. } = entry.action {
        return Ok(());
    }
    if let WorkspaceAction::Join { invite, .. } = &entry.action {
        return authorise_join(entries, entry, invite, verdicts);
    }
    if let WorkspaceAction::AddDevice { certificate } = &entry.action {
        let speaks = certificate.device == device || user_of(entries, &device, &entry.past, verdicts) == Some(certificate.user);
        let member = role_of_user(entries, &certificate.user, &entry.past, verdicts).is_some();
        return if speaks && member { Ok(()) } else { Err(Unauthorised::NotMember(device)) };
    }
    let user = user_of(entries, &device, &entry.past, verdicts).ok_or(Unauthorised::NotMember(device))?;
    let role = role_of_user(entries, &user, &entry.past, verdicts).ok_or(Unauthorised::NotMember(device))?;
    let own = match &entry.action {
        WorkspaceAction::RemoveMember { user: removed, .. } => *removed == user,
        WorkspaceAction::RemoveDevice { device: removed, .. } => user_of(entries, removed, &entry.past, verdicts) == Some(user),
        _ => false,
    };
    if role == Role::Owner || own { Ok(()) } else { Err(Unauthorised::Role { device, role, what: "changing the workspace" }) }
}

fn authorise_join(entries: &[Entry], entry: &Entry, invite: &OpHash, verdicts: &Verdicts) -> Result<(), Unauthorised> {
    let accepted = |index: &usize| verdicts.is_accepted(*index);
    let known = entries.iter().position(|other| other.stamp.hash == *invite).filter(|index| entry.past.contains(*index));
    known.filter(accepted).ok_or(Unauthorised::Invite("it does not come from an owner"))?;
    let (_, _, expires, uses) = invite_of(entries, invite).ok_or(Unauthorised::Invite("it is not an invite"))?;
    if entry.stamp.timestamp > expires {
        return Err(Unauthorised::Invite("it had ended"));
    }
    let revoked = verdicts.accepted.iter().any(|index| {
        entry.past.contains(*index)
            && matches!(&entries[*index].action, WorkspaceAction::RevokeInvite { invite: revoked } if revoked == invite)
    });
    if revoked {
        return Err(Unauthorised::Invite("it had been revoked"));
    }
    let used = verdicts.accepted.iter().filter(|index| joins_by(&entries[**index].action, invite)).count();
    if used as u64 >= u64::from(uses) { Err(Unauthorised::Invite("it was used up")) } else { Ok(()) }
}

fn joins_by(action: &WorkspaceAction, invite: &OpHash) -> bool {
    matches!(action, WorkspaceAction::Join { invite: by, .. } if by == invite)
}

pub(super) fn policy(entries: &[Entry], verdicts: &Verdicts) -> Policy {
    let latest = verdicts.accepted.iter().rev().find_map(|index| match &entries[*index].action {
        WorkspaceAction::Genesis { policy, .. } | WorkspaceAction::SetPolicy { policy } => Some(*policy),
        _ => None,
    });
    latest.unwrap_or_default()
}

pub(super) fn devices(entries: &[Entry], verdicts: &Verdicts) -> BTreeSet<DeviceId> {
    let named = verdicts.accepted.iter().filter_map(|index| match &entries[*index].action {
        WorkspaceAction::Genesis { certificate, .. }
        | WorkspaceAction::AddDevice { certificate }
        | WorkspaceAction::Join { certificate, .. } => Some(certificate.device),
        _ => None,
    });
    named.collect()
}

pub(super) fn users(entries: &[Entry], verdicts: &Verdicts) -> BTreeSet<UserId> {
    let named = verdicts.accepted.iter().filter_map(|index| match &entries[*index].action {
        WorkspaceAction::Genesis { certificate, .. } | WorkspaceAction::Join { certificate, .. } => Some(certificate.user),
        WorkspaceAction::AddMember { user, .. } => Some(*user),
        _ => None,
    });
    named.collect()
}

pub(super) fn invites(entries: &[Entry], verdicts: &Verdicts, now: Timestamp) -> Vec<OpenInvite> {
    let revoked = |invite: &OpHash| {
        verdicts
            .accepted
            .iter()
            .any(|index| matches!(&entries[*index].action, WorkspaceAction::RevokeInvite { invite: revoked } if revoked == invite))
    };
    let open = verdicts.accepted.iter().filter_map(|index| {
        let WorkspaceAction::Invite { role, expires, uses, .. } = &entries[*index].action else { return None };
        let invite = entries[*index].stamp.hash;
        let used = verdicts.accepted.iter().filter(|index| joins_by(&entries[**index].action, &invite)).count();
        let uses_left = uses.saturating_sub(u32::try_from(used).unwrap_or(u32::MAX));
        (uses_left > 0 && *expires >= now && !revoked(&invite)).then_some(OpenInvite { invite, role: *role, expires: *expires, uses_left })
    });
    open.collect()
}

impl Membership {
    /// Checks an operation that is to enter the graph by its own past: signatures inside it, and its author's right.
    pub(super) fn check_new(&self, entry: &Entry, on_path: &OnPath<'_>) -> Result<(), Unauthorised> {
        use super::certificate::verify_join;
        let founded = !self.entries.is_empty();
        match &entry.action {
            WorkspaceAction::Genesis { certificate, .. } => {
                if founded || entry.stamp.hash.0 != self.workspace.0 {
                    return Err(Unauthorised::Action("a genesis founds the workspace whose id is its hash, once"));
                }
                if certificate.device != entry.log.device {
                    return Err(Unauthorised::Action("a genesis is written by the device it certifies"));
                }
                return certificate.verify().map_err(|_| Unauthorised::Certificate);
            }
            _ if !founded => return Err(Unauthorised::Action("a workspace starts with its genesis")),
            WorkspaceAction::AddDevice { certificate } => certificate.verify().map_err(|_| Unauthorised::Certificate)?,
            WorkspaceAction::Join { invite, certificate, proof } => {
                if certificate.device != entry.log.device {
                    return Err(Unauthorised::Action("a join is written by the device it certifies"));
                }
                let (key, ..) = invite_of(&self.entries, invite).ok_or(Unauthorised::Invite("it is not an invite"))?;
                verify_join(key, &self.workspace, certificate, proof).map_err(|_| Unauthorised::Certificate)?;
            }
            _ => {}
        }
        let verdicts = evaluate(&self.entries, &entry.past, on_path);
        authorise(&self.entries, entry, &verdicts)
    }
}
