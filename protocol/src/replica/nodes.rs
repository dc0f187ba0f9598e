//! The nodes of a replica: a directory of all of them, and the states that are in memory.
//!
//! Of every node the directory keeps the id and the few facts that questions about all nodes need ([`Facts`]); its state is read from the
//! last checkpoint when it is asked for. When states take more than a budget the least used leave memory (the clock algorithm: each state
//! that was used since the hand last passed it is passed once more). Those that the checkpoint has are dropped. Those that changed since
//! are packed: kept as the bytes that the next checkpoint will hold, a quarter of what they take to work with. So memory holds the
//! directory, what is in use, and little of what is not saved yet.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::conflict::{Policy, ResolutionStrategy};
use crate::fold::{NodeState, record};
use crate::ids::NodeId;
use crate::lookup::LookupMap;
use crate::marks::Marks;
use crate::store::{Store, StoreError};
use crate::wire::DecodeError;

/// How many bytes of node states are kept in memory to work with unless the driver says otherwise. Beyond it the least used are dropped,
/// or packed when no checkpoint has them, and read again when they are needed.
pub const CACHE_BYTES_DEFAULT: usize = 64 << 20;

/// Nodes in one chunk of the directory at rest.
pub(crate) const DIRECTORY_CHUNK: usize = 512;

const HASHER: FixedState = FixedState::with_seed(0x6e6f_6465_7370_6163);

fn hash_of(id: &NodeId) -> u64 {
    std::hash::BuildHasher::hash_one(&HASHER, id)
}

/// What questions about all nodes ask of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts(pub(crate) u8);

impl Facts {
    const EXISTS: u8 = 1;
    const APART: u8 = 2;
    const CONFLICTS: u8 = 4;
    const DELETED: u8 = 8;
    const DELETED_LAST: u8 = 16;
    /// All of them.
    pub(crate) const ALL: u8 = 31;

    pub(crate) fn of(state: &NodeState) -> Self {
        let last_wins = Policy::default().with(crate::conflict::ConflictType::DeleteConflict, ResolutionStrategy::LastWriteWins);
        let facts = [
            (Self::EXISTS, state.exists()),
            (Self::APART, state.heads.len() > 1),
            (Self::CONFLICTS, !state.conflicts.is_empty()),
            (Self::DELETED, state.is_deleted(&Policy::default())),
            (Self::DELETED_LAST, state.is_deleted(&last_wins)),
        ];
        Self(facts.into_iter().filter(|(_, holds)| *holds).fold(0, |bits, (bit, _)| bits | bit))
    }

    /// Whether a creation has had effect.
    pub(crate) const fn exists(self) -> bool {
        self.0 & Self::EXISTS != 0
    }

    /// Whether the node has several heads.
    pub(crate) const fn is_apart(self) -> bool {
        self.0 & Self::APART != 0
    }

    /// Whether there may be conflicts: between several heads, or recorded where histories met.
    pub(crate) const fn is_contested(self) -> bool {
        self.0 & (Self::APART | Self::CONFLICTS) != 0
    }

    /// Whether the node is deleted under a policy: see [`NodeState::is_deleted`].
    pub(crate) fn is_deleted(self, policy: &Policy) -> bool {
        let last_wins = policy.delete == ResolutionStrategy::LastWriteWins;
        self.0 & if last_wins { Self::DELETED_LAST } else { Self::DELETED } != 0
    }
}

/// A node's state in memory.
#[derive(Debug, Default)]
pub(crate) struct Resident {
    /// Shared with readers and with a checkpoint that is being saved: whoever changes it while it is shared changes a copy.
    pub(crate) state: Arc<NodeState>,
    /// What the node adds to the state digest, as of the last time it was asked for.
    pub(crate) digest: Option<[u8; 32]>,
    /// What it counts against the budget; zero while it is not in the table.
    counted: usize,
    used: bool,
}

impl Resident {
    /// The state, to be changed.
    pub(crate) fn edit(&mut self) -> &mut NodeState {
        Arc::make_mut(&mut self.state)
    }

    /// About how many bytes it takes.
    fn weight(&self) -> usize {
        size_of::<Self>() + self.state.weight()
    }
}

#[derive(Debug)]
struct Slot {
    id: NodeId,
    /// The facts of the state at rest; of one in memory ask the state.
    facts: Facts,
    resident: Option<Box<Resident>>,
}

/// All nodes, by number in order of first appearance.
#[derive(Debug)]
pub(crate) struct NodeTable {
    slots: Vec<Slot>,
    by_id: HashTable<u32>,
    digest_dirty: Marks,
    changed: Marks,
    /// Nodes whose state the last checkpoint lacks.
    unsaved: Marks,
    /// About how many bytes they take, packed or not.
    unsaved_bytes: usize,
    /// Of these the least used, by number, as bytes: see [`record`].
    packed: LookupMap<u32, Arc<[u8]>>,
    /// Chunks of the directory that the last checkpoint lacks.
    chunks: Marks,
    /// Nodes in memory that the clock's hand passes, each once.
    ring: Vec<u32>,
    hand: usize,
    /// Bytes of their states.
    state_bytes: usize,
    budget: usize,
    /// How many nodes there were at the checkpoint that the store has of this table. Until it has one, what it may have of nodes is of
    /// another table, and not read.
    in_checkpoint: Option<u32>,
    /// How many there were at the one that is being saved.
    being_saved: u32,
}

impl Default for NodeTable {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            by_id: HashTable::new(),
            digest_dirty: Marks::default(),
            changed: Marks::default(),
            unsaved: Marks::default(),
            unsaved_bytes: 0,
            packed: LookupMap::default(),
            chunks: Marks::default(),
            ring: Vec::new(),
            hand: 0,
            state_bytes: 0,
            budget: CACHE_BYTES_DEFAULT,
            in_checkpoint: None,
            being_saved: 0,
        }
    }
}

// ---- the directory

impl NodeTable {
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn reserve(&mut self, nodes: usize) {
        self.slots.reserve_exact(nodes);
        let slots = &self.slots;
        self.by_id.reserve(nodes, |slot| hash_of(&slots[*slot as usize].id));
    }

    pub(crate) fn id(&self, slot: u32) -> &NodeId {
        &self.slots[slot as usize].id
    }

    pub(crate) fn find(&self, id: &NodeId) -> Option<u32> {
        self.by_id.find(hash_of(id), |slot| self.slots[*slot as usize].id == *id).copied()
    }

    pub(crate) fn find_or_insert(&mut self, id: &NodeId) -> u32 {
        self.find(id).unwrap_or_else(|| {
            let slot = self.insert(id.clone(), Facts::default());
            self.chunks.mark(slot / DIRECTORY_CHUNK as u32);
            slot
        })
    }

    /// Adds a node that is not there yet, as the directory at rest has it.
    pub(crate) fn insert(&mut self, id: NodeId, facts: Facts) -> u32 {
        let slot = self.slots.len() as u32;
        let hash = hash_of(&id);
        self.slots.push(Slot { id, facts, resident: None });
        let slots = &self.slots;
        self.by_id.insert_unique(hash, slot, |slot| hash_of(&slots[*slot as usize].id));
        slot
    }

    pub(crate) fn facts(&self, slot: u32) -> Facts {
        let entry = &self.slots[slot as usize];
        entry.resident.as_deref().map_or(entry.facts, |resident| Facts::of(&resident.state))
    }

    /// All nodes with their facts.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &NodeId, Facts)> {
        (0..self.slots.len() as u32).map(|slot| (slot, self.id(slot), self.facts(slot)))
    }

    pub(crate) fn existing(&self) -> usize {
        // Not by all facts of each: this is asked for whenever somebody looks at a device's status.
        let exists = |slot: &&Slot| slot.resident.as_deref().map_or_else(|| slot.facts.exists(), |resident| resident.state.exists());
        self.slots.iter().filter(exists).count()
    }

    /// Marks a node for whoever watches, though its own state is as it was (its place changed).
    pub(crate) fn mark_changed(&mut self, slot: u32) {
        self.changed.mark(slot);
    }

    pub(crate) fn take_changed(&mut self) -> Vec<u32> {
        self.changed.take()
    }

    /// Marks the directory's chunk that a node is in.
    pub(crate) fn mark_chunk(&mut self, slot: u32) {
        self.chunks.mark(slot / DIRECTORY_CHUNK as u32);
    }
}

// ---- states

impl NodeTable {
    /// A node's state, to be looked at.
    pub(crate) fn read<S: Store>(&self, store: &S, slot: u32) -> Result<Arc<NodeState>, StoreError> {
        Ok(self.read_with_digest(store, slot)?.0)
    }

    /// A node's state, and the digest that is kept beside it: none while that is not up to date.
    pub(crate) fn read_with_digest<S: Store>(&self, store: &S, slot: u32) -> Result<(Arc<NodeState>, Option<[u8; 32]>), StoreError> {
        let (state, digest) = match &self.slots[slot as usize].resident {
            Some(resident) => (Arc::clone(&resident.state), resident.digest),
            None => {
                let loaded = self.load(store, slot)?;
                (loaded.state, loaded.digest)
            }
        };
        Ok((state, digest.filter(|_| !self.digest_dirty.is_marked(slot))))
    }

    /// Takes a node's state out, to be changed: until [`NodeTable::put`] the directory speaks for it.
    pub(crate) fn take<S: Store>(&mut self, store: &S, slot: u32) -> Result<Box<Resident>, StoreError> {
        if let Some(resident) = self.slots[slot as usize].resident.take() {
            return Ok(resident);
        }
        let resident = self.load(store, slot).map(Box::new)?;
        if let Some(bytes) = self.packed.remove(&slot) {
            self.unsaved_bytes -= bytes.len();
        }
        self.ring.push(slot);
        Ok(resident)
    }

    /// A node's state, packed or from the last checkpoint; one that neither has is a node of which nothing has been folded.
    fn load<S: Store>(&self, store: &S, slot: u32) -> Result<Resident, StoreError> {
        let id = self.id(slot);
        let corrupt = |error: DecodeError| StoreError::Corrupt { place: format!("the state of node {id}"), what: error.to_string() };
        let (state, digest) = if let Some(bytes) = self.packed.get(&slot) {
            record::decode(bytes).map_err(corrupt)?
        } else {
            // A younger node is in no checkpoint: nothing is looked for.
            let bytes = if self.in_checkpoint.is_some_and(|nodes| slot < nodes) { store.node(id)? } else { None };
            let Some(bytes) = bytes else { return Ok(Resident::default()) };
            record::decode(&bytes).map_err(corrupt)?
        };
        Ok(Resident { state: Arc::new(state), digest, ..Resident::default() })
    }

    /// Puts a state back that was not changed.
    pub(crate) fn put_back(&mut self, slot: u32, resident: Box<Resident>) {
        self.keep(slot, resident);
    }

    /// Puts a state back that was changed: marks it for the digest, the next checkpoint and whoever watches.
    pub(crate) fn put(&mut self, slot: u32, resident: Box<Resident>) {
        if !self.unsaved.is_marked(slot) {
            // Counted as one that the checkpoint has, until now.
            self.unsaved_bytes += resident.counted;
        }
        self.unsaved.mark(slot);
        self.digest_dirty.mark(slot);
        self.changed.mark(slot);
        self.keep(slot, resident);
    }

    /// Has a state in memory, counted as it is now.
    fn keep(&mut self, slot: u32, mut resident: Box<Resident>) {
        let (before, now) = (resident.counted, resident.weight());
        self.state_bytes = self.state_bytes - before + now;
        if self.unsaved.is_marked(slot) {
            self.unsaved_bytes = self.unsaved_bytes - before + now;
        }
        (resident.counted, resident.used) = (now, true);
        self.slots[slot as usize].resident = Some(resident);
        self.evict();
    }

    /// Nodes whose digest is not up to date. All of them are in memory, packed or not: the last checkpoint lacks them.
    pub(crate) fn take_digest_dirty(&mut self) -> Vec<u32> {
        self.digest_dirty.take()
    }

    /// A node in memory to work with.
    #[cfg(test)]
    pub(crate) fn resident(&self, slot: u32) -> Option<&Resident> {
        self.slots[slot as usize].resident.as_deref()
    }

    /// The state of a node that the last checkpoint lacks.
    pub(crate) fn unsaved_state(&self, slot: u32) -> Option<Arc<NodeState>> {
        if let Some(resident) = &self.slots[slot as usize].resident {
            return Some(Arc::clone(&resident.state));
        }
        let (state, _) = record::decode(self.packed.get(&slot)?).ok()?;
        Some(Arc::new(state))
    }

    /// Sets the digest of a node that the last checkpoint lacks. Answers the one before.
    pub(crate) fn set_digest(&mut self, slot: u32, digest: [u8; 32]) -> Option<[u8; 32]> {
        if let Some(resident) = &mut self.slots[slot as usize].resident {
            return resident.digest.replace(digest);
        }
        let bytes = self.packed.get_mut(&slot)?;
        let (with, before) = record::with_digest(bytes, &digest);
        self.unsaved_bytes = self.unsaved_bytes - bytes.len() + with.len();
        *bytes = with;
        before
    }

    /// Nodes whose state the last checkpoint lacks.
    pub(crate) const fn unsaved(&self) -> usize {
        self.unsaved.len()
    }

    /// About how many bytes they take in memory.
    pub(crate) const fn unsaved_bytes(&self) -> usize {
        self.unsaved_bytes
    }

    pub(crate) fn set_budget(&mut self, bytes: usize) {
        self.budget = bytes;
        self.evict();
    }

    /// Moves states out until they take an eighth less than the budget, so that the hand need not move for each one loaded.
    fn evict(&mut self) {
        if self.state_bytes <= self.budget {
            return;
        }
        let goal = self.budget - self.budget / 8;
        // Twice around, the hand has passed each that was used and moved out each that can be.
        for _ in 0..=2 * self.ring.len() {
            if self.state_bytes <= goal || self.ring.is_empty() {
                break;
            }
            self.hand %= self.ring.len();
            let slot = self.ring[self.hand];
            match &mut self.slots[slot as usize].resident {
                Some(resident) if resident.used => {
                    resident.used = false;
                    self.hand += 1;
                }
                Some(_) => {
                    self.ring.swap_remove(self.hand);
                    self.move_out(slot);
                }
                // It is being changed, and comes back.
                None => self.hand += 1,
            }
        }
    }

    /// Drops a state that the checkpoint has, packs one that it lacks.
    fn move_out(&mut self, slot: u32) {
        let entry = &mut self.slots[slot as usize];
        let Some(resident) = entry.resident.take() else { return };
        self.state_bytes -= resident.counted;
        let facts = Facts::of(&resident.state);
        if std::mem::replace(&mut entry.facts, facts) != facts {
            self.chunks.mark(slot / DIRECTORY_CHUNK as u32);
        }
        if self.unsaved.is_marked(slot) {
            let bytes: Arc<[u8]> = record::encode(&resident.state, resident.digest.as_ref()).into();
            self.unsaved_bytes = self.unsaved_bytes - resident.counted + bytes.len();
            self.packed.insert(slot, bytes);
        }
    }
}

// ---- checkpoints

/// A node as a checkpoint takes it up.
#[derive(Debug)]
pub(crate) enum Unsaved {
    /// As it is worked with, and its digest. In a box: most are packed, and a checkpoint may have all nodes.
    State(Box<(NodeId, Arc<NodeState>, Option<[u8; 32]>)>),
    /// As the checkpoint will hold it.
    Packed(NodeId, Arc<[u8]>),
}

impl Unsaved {
    /// The node, and its state as bytes.
    pub(crate) fn pack(self) -> (NodeId, Arc<[u8]>) {
        match self {
            Self::State(node) => {
                let (id, state, digest) = *node;
                (id, record::encode(&state, digest.as_ref()).into())
            }
            Self::Packed(id, bytes) => (id, bytes),
        }
    }
}

impl NodeTable {
    /// What the last checkpoint lacks: states, and the numbers of chunks of the directory.
    pub(crate) fn begin_save(&mut self) -> (Vec<Unsaved>, Vec<u32>) {
        self.being_saved = self.slots.len() as u32;
        let Self { slots, unsaved, chunks, packed, .. } = self;
        let mut nodes = Vec::with_capacity(unsaved.len());
        for slot in unsaved.begin().iter().copied() {
            let entry = &mut slots[slot as usize];
            if let Some(resident) = entry.resident.as_deref() {
                let facts = Facts::of(&resident.state);
                if std::mem::replace(&mut entry.facts, facts) != facts {
                    chunks.mark(slot / DIRECTORY_CHUNK as u32);
                }
                nodes.push(Unsaved::State(Box::new((entry.id.clone(), Arc::clone(&resident.state), resident.digest))));
            } else if let Some(bytes) = packed.get(&slot) {
                nodes.push(Unsaved::Packed(entry.id.clone(), Arc::clone(bytes)));
            }
        }
        (nodes, self.chunks.begin().to_vec())
    }

    /// The nodes of a chunk of the directory, with their facts as the checkpoint has them.
    pub(crate) fn chunk(&self, number: u32) -> impl Iterator<Item = (&NodeId, Facts)> {
        let slots = self.slots.iter().skip(number as usize * DIRECTORY_CHUNK).take(DIRECTORY_CHUNK);
        slots.map(|slot| (&slot.id, slot.facts))
    }

    /// Whether there is a checkpoint that the next one can build on.
    pub(crate) const fn has_checkpoint(&self) -> bool {
        self.in_checkpoint.is_some()
    }

    /// The table was read from the store's checkpoint.
    pub(crate) fn set_loaded(&mut self) {
        self.in_checkpoint = Some(self.slots.len() as u32);
    }

    /// A checkpoint was kept, or was not.
    pub(crate) fn finish_save(&mut self, saved: bool) {
        if saved {
            self.in_checkpoint = Some(self.being_saved);
        }
        self.chunks.finish(saved);
        for slot in self.unsaved.finish(saved) {
            if saved && !self.unsaved.is_marked(slot) {
                let packed = self.packed.remove(&slot).map(|bytes| bytes.len());
                let counted = self.slots[slot as usize].resident.as_ref().map(|resident| resident.counted);
                self.unsaved_bytes -= packed.or(counted).unwrap_or(0);
            }
        }
    }
}
