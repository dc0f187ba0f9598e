//! Crowds: many places on one side of one anchor, as when many devices add to the beginning of one list.
//!
//! Their order is kept a second time, in a form that finds the neighbours of a new one in a logarithm of their number instead of by following
//! links from the first. It is made when a walk along the links turns out to be long, and thrown away with its parent's order: whoever
//! comes next makes it again.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::OpHash;

/// So many links are followed before a second form of the order is worth its memory.
pub(super) const CROWD_MIN: u32 = 64;

/// Whose child a place is in the tree of places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Above {
    /// Anchored at no place; belongs to this parent node.
    Root(u32),
    /// Anchored at this place.
    Place(u32),
}

/// A place among the children of one: by rank, then by the hash of its operation.
pub(super) type Member = (u8, OpHash, u32);

/// The crowds of a tree, by their parents.
#[derive(Clone, Debug, Default)]
pub(super) struct Crowds(BTreeMap<u32, BTreeMap<Above, BTreeSet<Member>>>);

impl Crowds {
    /// The place after which a new one belongs, when these are known as a crowd; `Some(None)` when it is the first.
    pub(super) fn before(&self, parent: u32, above: Above, new: Member) -> Option<Option<u32>> {
        let members = self.0.get(&parent)?.get(&above)?;
        Some(members.range(..new).next_back().map(|(_, _, number)| *number))
    }

    /// Takes a crowd up.
    pub(super) fn gather(&mut self, parent: u32, above: Above, members: BTreeSet<Member>) {
        self.0.entry(parent).or_default().insert(above, members);
    }

    /// A place was linked.
    pub(super) fn enter(&mut self, parent: u32, above: Above, new: Member) {
        if let Some(members) = self.0.get_mut(&parent).and_then(|crowds| crowds.get_mut(&above)) {
            members.insert(new);
        }
    }

    /// The links below a parent are made anew.
    pub(super) fn forget(&mut self, parent: u32) {
        self.0.remove(&parent);
    }
}
