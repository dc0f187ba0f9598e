//! The replicated tree: which node lies under which, and in what order.
//!
//! Every create or move is a [`Placement`]: put this node under that parent, beside the neighbour that *that operation* placed.
//! The tree is a pure function of the set of placements: any order of arrival and any batching give the same tree. Two ideas:
//!
//! 1. **Parents** (`moves`): all placements are replayed in stamp order. One that would close a cycle when its turn comes is a
//!    no-op, kept and reported ([`Verdict::WouldCycle`]). A late one: undo down to its turn, insert it, redo. So there is never a
//!    cycle and never a lost node, and a late operation may flip the verdict of later ones. The later of two moves that
//!    together would close a cycle is shown as undone.
//! 2. **Sibling order** (`order`): per parent a tree of *places*, one for each placement ever made there. A place is the left or
//!    right child of the place it is anchored at; the order is depth-first: left children, the place, right children; children on
//!    one side by operation hash. A node shows at its winning placement only, other places stay hidden. Anchors name operations
//!    and not nodes because the neighbour may be moved away meanwhile; runs typed concurrently at one spot do not interleave.
//!
//! An anchor holds when it is known, placed something under the same parent, and has a smaller Lamport version than the placement
//! (as everything its author had seen has: so anchors never run in circles). A placement whose anchor does not hold sorts after
//! all that are anchored, by hash, until the anchor arrives.
//!
//! Everything inside is numbered with `u32`s in flat arrays, about 150 bytes a placement; nothing recurses, so depth is bounded by
//! memory only. A placement in stamp order of a node without children costs constant time; of one with children O(depth); one
//! that is late by *n* costs *n* undos and redos.
//!
//! Kleppmann, Mulligan, Gomes, Beresford, *A highly-available move operation for replicated trees*, 2021. Weidner, Kleppmann,
//! *The Art of the Fugue*, 2023.

mod arena;
mod changed;
mod crowds;
mod followers;
mod moves;
mod order;
mod query;
mod rest;

#[cfg(test)]
mod tests;

use std::fmt;

use serde::{Deserialize, Serialize};

use self::arena::{NONE, Nodes, Operations, State, TOP};
use self::changed::Pending;
use self::crowds::Crowds;
use self::order::Work;
use crate::clock::Stamp;
use crate::ids::{NodeId, OpHash};

pub use self::changed::Changed;
pub use self::query::{PlaceError, Position};
pub(crate) use self::rest::TreeReader;

/// A create or a move: where one operation puts one node.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Placement {
    /// The operation: `stamp.hash` is its identity, the whole stamp its turn.
    pub stamp: Stamp,
    /// The node that is placed.
    pub node: NodeId,
    /// The new parent; `None` is the top level. It need not be placed itself yet.
    pub parent: Option<NodeId>,
    /// The neighbour to stand beside.
    pub anchor: Anchor,
    /// On which side of the anchor; without meaning at [`Anchor::Start`].
    pub side: Side,
}

/// What a placement stands beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Anchor {
    /// The beginning of the parent's list.
    Start,
    /// The place made by this operation, wherever the node it placed is now.
    Op(OpHash),
}

/// The side of the anchor on which a placement stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Side {
    /// Before the anchor.
    Left,
    /// After the anchor.
    #[default]
    Right,
}

/// What became of a placement when its turn came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// It took effect. A later placement may have moved the node since.
    Applied,
    /// The new parent was the node itself or lay below it: nothing moved.
    WouldCycle,
}

/// The replicated tree of one workspace. See the module's documentation for the rules.
///
/// Methods may be called in any order. Ids never seen are no error: they have no parent and no children.
#[derive(Clone)]
pub struct Tree {
    nodes: Nodes,
    operations: Operations,
    /// The placements present, in stamp order.
    log: Vec<u32>,
    crowds: Crowds,
    pending: Pending,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tree").field("placements", &self.log.len()).field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

impl Tree {
    /// The tree without placements.
    pub fn new() -> Self {
        Self {
            nodes: Nodes::new(),
            operations: Operations::default(),
            log: Vec::new(),
            crowds: Crowds::default(),
            pending: Pending::default(),
        }
    }

    /// Takes in one placement; does nothing when an operation of this hash is held already.
    pub fn insert(&mut self, placement: Placement) {
        let mut work = Work::default();
        let Some(place) = self.admit(&placement, &mut work) else { return };
        self.operations.places[place as usize].anchor = self.intern_anchor(placement.anchor);
        self.link(place, &mut work);
        self.settle(&work);
        self.replay(&[place]);
    }

    /// Takes in many placements: the same result as one by one, with one undo and redo in all.
    pub fn insert_batch(&mut self, placements: Vec<Placement>) {
        let mut work = Work::default();
        self.operations.reserve(placements.len());
        self.log.reserve(placements.len());
        let mut admitted = Vec::with_capacity(placements.len());
        for placement in &placements {
            admitted.extend(self.admit(placement, &mut work).map(|place| (place, placement.anchor)));
        }
        // Anchors are numbered after all operations, so that one naming a later member of the batch is not taken for unknown.
        let mut fresh: Vec<u32> = Vec::with_capacity(admitted.len());
        for (place, anchor) in admitted {
            self.operations.places[place as usize].anchor = self.intern_anchor(anchor);
            fresh.push(place);
        }
        fresh.sort_by_key(|&place| self.operations.stamps[place as usize].version);
        for &place in &fresh {
            self.link(place, &mut work);
        }
        self.settle(&work);
        fresh.sort_by(|&a, &b| self.operations.stamp(a).cmp(self.operations.stamp(b)));
        self.replay(&fresh);
    }

    /// Takes a placement out as if it had never been: its operation became void. It may be inserted again later.
    pub fn remove(&mut self, operation: &OpHash) {
        self.remove_batch(std::slice::from_ref(operation));
    }

    /// Takes many placements out, with one undo and redo in all. Operations that are not held are passed over.
    pub fn remove_batch(&mut self, operations: &[OpHash]) {
        let mut gone: Vec<u32> = operations.iter().filter_map(|hash| self.operations.present(hash)).collect();
        gone.sort_by(|&a, &b| self.operations.stamp(a).cmp(self.operations.stamp(b)));
        gone.dedup();
        self.replay_without(&gone);
        let mut work = Work::default();
        for &place in &gone {
            self.unlink(place, &mut work);
        }
        self.settle(&work);
    }

    /// What may have changed since the last call. What is never taken is kept, at most a few words for each node and placement.
    pub fn take_changed(&mut self) -> Changed {
        let mut pending = std::mem::take(&mut self.pending);
        self.note_followers(&mut pending);
        pending.into_changed(&self.nodes, &self.operations)
    }

    /// Numbers a placement and stores all of it but the anchor; `None` when it is held already.
    fn admit(&mut self, placement: &Placement, work: &mut Work) -> Option<u32> {
        let (number, mentioned) = self.operations.intern(placement.stamp.hash);
        if self.operations.places[number as usize].state != State::Absent {
            return None;
        }
        let node = self.nodes.intern(&placement.node);
        let parent = placement.parent.as_ref().map_or(TOP, |parent| self.nodes.intern(parent));
        self.operations.mark(number);
        self.operations.stamps[number as usize] = placement.stamp;
        let place = &mut self.operations.places[number as usize];
        (place.node, place.parent, place.side, place.state) = (node, parent, placement.side, State::Fresh);
        if mentioned {
            // Others may wait for this anchor at the end of the list; they move to where they belong.
            work.rebuild(parent);
        }
        Some(number)
    }

    fn intern_anchor(&mut self, anchor: Anchor) -> u32 {
        match anchor {
            Anchor::Start => NONE,
            Anchor::Op(hash) => self.operations.intern(hash).0,
        }
    }

    /// A placement as it came in.
    fn placement(&self, number: u32) -> Placement {
        let place = &self.operations.places[number as usize];
        let anchor = match place.anchor {
            NONE => Anchor::Start,
            anchor => Anchor::Op(self.operations.stamp(anchor).hash),
        };
        Placement {
            stamp: *self.operations.stamp(number),
            node: self.nodes.id(place.node),
            parent: (place.parent != TOP).then(|| self.nodes.id(place.parent)),
            anchor,
            side: place.side,
        }
    }
}
