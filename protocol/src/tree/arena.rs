//! Numbers for node ids and operations, and the flat arrays behind them.
//!
//! An id is met once and then is a `u32`; tables from id to number are only ever looked up in, never walked, so their order shows
//! nowhere. Their hash has a fixed seed: the same on every device.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use uuid::Uuid;

use super::Side;
use super::rest::CHUNK;
use crate::clock::{Stamp, Timestamp};
use crate::ids::{NodeId, OpHash};
use crate::marks::Marks;

/// The number that stands for nothing: no place, no anchor, never placed.
pub(super) const NONE: u32 = u32::MAX;

/// The top level, as if it were a node.
pub(super) const TOP: u32 = 0;

/// At this many children a node's counter stays where it is, and the node counts as having children ever after.
const CHILDREN_COUNTED_MAX: u8 = u8::MAX;

const HASHER: FixedState = FixedState::with_seed(0x7265_6564);

fn hash_of<T: Hash + ?Sized>(value: &T) -> u64 {
    HASHER.hash_one(value)
}

/// An operation's hash is uniform already: folding it keeps that and costs less than hashing 32 bytes.
fn hash_of_operation(operation: &OpHash) -> u64 {
    let lanes = operation.0.as_chunks::<8>().0;
    hash_of(&lanes.iter().fold(0, |folded, &lane| folded ^ u64::from_le_bytes(lane)))
}

/// The number of the next element of an array.
fn number(len: usize) -> u32 {
    u32::try_from(len).ok().filter(|&number| number != NONE).expect("four billion placements would take 600 GB of memory")
}

/// What the tree knows of a node.
#[derive(Debug, Clone, Copy)]
pub(super) struct NodeState {
    /// The placement at which the node shows: the latest that was applied.
    pub(super) winner: u32,
    /// The first of all places under this node, in sibling order. The places form a ring.
    pub(super) first: u32,
    /// The first place under this node that is anchored at no other: those at the start, then those whose anchor does not hold.
    pub(super) roots: u32,
}

/// Node ids and what is known of each node. Number 0 is the top level.
#[derive(Debug, Clone)]
pub(super) struct Nodes {
    numbers: HashTable<u32>,
    /// UUIDs take 16 bytes here where a [`NodeId`] takes 24; a textual id has the nil UUID here and its text in `texts`.
    uuids: Vec<Uuid>,
    texts: BTreeMap<u32, Arc<str>>,
    pub(super) states: Vec<NodeState>,
    /// The parent at the winning placement, or [`NONE`]. Apart from `states` because every look up the tree reads only this.
    parents: Vec<u32>,
    /// How many children a node has now; [`CHILDREN_COUNTED_MAX`] and more are no longer counted.
    children: Vec<u8>,
    /// Chunks of ids that the last checkpoint lacks.
    pub(super) unsaved: Marks,
}

impl Nodes {
    pub(super) fn new() -> Self {
        let top = NodeState { winner: NONE, first: NONE, roots: NONE };
        Self {
            numbers: HashTable::new(),
            uuids: vec![Uuid::nil()],
            texts: BTreeMap::new(),
            states: vec![top],
            parents: vec![NONE],
            children: vec![CHILDREN_COUNTED_MAX],
            unsaved: Marks::default(),
        }
    }

    /// How many ids were ever met.
    pub(super) fn len(&self) -> usize {
        self.states.len() - 1
    }

    pub(super) fn reserve(&mut self, additional: usize) {
        let (uuids, texts) = (&self.uuids, &self.texts);
        self.numbers.reserve(additional, |&node| hash_of(&id_at(uuids, texts, node)));
        self.uuids.reserve_exact(additional);
        self.states.reserve_exact(additional);
        self.parents.reserve_exact(additional);
        self.children.reserve_exact(additional);
    }

    pub(super) fn find(&self, id: &NodeId) -> Option<u32> {
        self.numbers.find(hash_of(id), |&node| self.is(node, id)).copied()
    }

    pub(super) fn intern(&mut self, id: &NodeId) -> u32 {
        let hash = hash_of(id);
        if let Some(&node) = self.numbers.find(hash, |&node| self.is(node, id)) {
            return node;
        }
        let node = number(self.states.len());
        match id {
            NodeId::Uuid(uuid) => self.uuids.push(*uuid),
            NodeId::Text(text) => {
                self.uuids.push(Uuid::nil());
                self.texts.insert(node, Arc::clone(text));
            }
        }
        self.unsaved.mark((node - 1) / CHUNK as u32);
        self.states.push(NodeState { winner: NONE, first: NONE, roots: NONE });
        self.parents.push(NONE);
        self.children.push(0);
        let (uuids, texts) = (&self.uuids, &self.texts);
        self.numbers.insert_unique(hash, node, |&node| hash_of(&id_at(uuids, texts, node)));
        node
    }

    pub(super) fn id(&self, node: u32) -> NodeId {
        id_at(&self.uuids, &self.texts, node)
    }

    /// The parent at the winning placement, or [`NONE`].
    pub(super) fn parent(&self, node: u32) -> u32 {
        self.parents[node as usize]
    }

    /// Every parent, by node.
    pub(super) fn parents(&self) -> impl Iterator<Item = u32> {
        self.parents.iter().copied()
    }

    pub(super) fn set_parent(&mut self, node: u32, parent: u32) {
        let old = std::mem::replace(&mut self.parents[node as usize], parent);
        if let Some(children) = self.children.get_mut(old as usize).filter(|children| **children < CHILDREN_COUNTED_MAX) {
            *children -= 1;
        }
        if let Some(children) = self.children.get_mut(parent as usize) {
            *children = children.saturating_add(1);
        }
    }

    /// Whether any node may have this parent now. Most moves are of nodes without children and need not ask about cycles.
    pub(super) fn may_have_children(&self, node: u32) -> bool {
        self.children[node as usize] > 0
    }

    fn is(&self, node: u32, id: &NodeId) -> bool {
        match id {
            NodeId::Uuid(uuid) => self.uuids[node as usize] == *uuid && !(uuid.is_nil() && self.texts.contains_key(&node)),
            NodeId::Text(text) => self.uuids[node as usize].is_nil() && self.texts.get(&node) == Some(text),
        }
    }
}

fn id_at(uuids: &[Uuid], texts: &BTreeMap<u32, Arc<str>>, node: u32) -> NodeId {
    let uuid = uuids[node as usize];
    match texts.get(&node) {
        Some(text) if uuid.is_nil() => NodeId::Text(Arc::clone(text)),
        _ => NodeId::Uuid(uuid),
    }
}

/// Whether an operation is here and what became of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum State {
    /// Only mentioned as an anchor, or removed.
    #[default]
    Absent,
    /// Here; its turn has not come yet.
    Fresh,
    /// Took effect at its turn.
    Applied,
    /// Would have closed a cycle at its turn.
    Skipped,
}

/// A placement, and its place among the siblings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) node: u32,
    pub(super) parent: u32,
    /// The operation anchored at, here or not; [`NONE`] for the start.
    pub(super) anchor: u32,
    /// The node's winner before this one took effect: what undoing it restores. Only of use while applied.
    pub(super) previous: u32,
    /// The neighbours in the ring of all places of the parent.
    pub(super) before: u32,
    pub(super) after: u32,
    /// The first place anchored here, and the next one anchored at the same place: rank 0 before rank 1, then by hash.
    pub(super) child: u32,
    pub(super) sibling: u32,
    pub(super) side: Side,
    /// Among the children of a place: 0 left, 1 right. Among a parent's roots: 0 at the start, 1 whose anchor does not hold.
    pub(super) rank: u8,
    pub(super) state: State,
}

const ABSENT: Place = Place {
    node: NONE,
    parent: NONE,
    anchor: NONE,
    previous: NONE,
    before: NONE,
    after: NONE,
    child: NONE,
    sibling: NONE,
    side: Side::Right,
    rank: 0,
    state: State::Absent,
};

/// Operations by number: those held and those only mentioned as anchors.
#[derive(Debug, Clone, Default)]
pub(super) struct Operations {
    numbers: HashTable<u32>,
    /// Apart from `places` because replaying reads those far oftener.
    pub(super) stamps: Vec<Stamp>,
    pub(super) places: Vec<Place>,
    /// Chunks of operations that the last checkpoint lacks.
    pub(super) unsaved: Marks,
}

impl Operations {
    pub(super) fn reserve(&mut self, additional: usize) {
        let stamps = &self.stamps;
        self.numbers.reserve(additional, |&number| hash_of_operation(&stamps[number as usize].hash));
        self.stamps.reserve(additional);
        self.places.reserve(additional);
    }

    /// The number of an operation, and whether it had one already.
    pub(super) fn intern(&mut self, operation: OpHash) -> (u32, bool) {
        let hash = hash_of_operation(&operation);
        let stamps = &self.stamps;
        if let Some(&known) = self.numbers.find(hash, |&number| stamps[number as usize].hash == operation) {
            return (known, true);
        }
        let fresh = number(self.stamps.len());
        self.numbers.insert_unique(hash, fresh, |&number| hash_of_operation(&stamps[number as usize].hash));
        self.stamps.push(Stamp { timestamp: Timestamp::ZERO, version: 0, hash: operation });
        self.places.push(ABSENT);
        self.mark(fresh);
        (fresh, false)
    }

    /// Notes a change for the next checkpoint.
    pub(super) fn mark(&mut self, operation: u32) {
        self.unsaved.mark(operation / CHUNK as u32);
    }

    /// The number of an operation that is held.
    pub(super) fn present(&self, operation: &OpHash) -> Option<u32> {
        let found = self.numbers.find(hash_of_operation(operation), |&number| self.stamps[number as usize].hash == *operation).copied();
        found.filter(|&number| self.places[number as usize].state != State::Absent)
    }

    /// Makes an operation one that is not held; its number stays, others may be anchored at it.
    pub(super) fn forget(&mut self, operation: u32) {
        self.mark(operation);
        self.places[operation as usize] = ABSENT;
    }

    pub(super) fn stamp(&self, operation: u32) -> &Stamp {
        &self.stamps[operation as usize]
    }
}
