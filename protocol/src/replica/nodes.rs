//! The nodes of a replica: a directory of all of them, and the states that are in memory.
//!
//! Of every node the directory keeps the id and the few facts that questions about all nodes need ([`Facts`]); its state is read from the
//! last checkpoint when it is asked for. States that the checkpoint has are dropped when they take more than a budget, the least
//! used first (the clock algorithm: each state that was used since the hand last passed it is passed once more). States that changed since
//! stay until a checkpoint has them. So memory holds the directory, what is in use, and what is not saved yet.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::conflict::{Policy, ResolutionStrategy};
use crate::fold::{NodeState, record};
use crate::ids::NodeId;
use crate::marks::Marks;
use crate::store::{Store, StoreError};
use crate::wire::DecodeError;

/// How many bytes of unchanged node states are kept in memory unless the driver says otherwise. Beyond it the least used are dropped, and
/// read from the store when they are needed again.
pub const CACHE_BYTES_DEFAULT: usize = 16 << 20;

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

    /// Whether conflicts were recorded where histories met.
    pub(crate) const fn has_conflicts(self) -> bool {
        self.0 & Self::CONFLICTS != 0
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
    /// What it counts against the budget; zero while it is not counted.
    counted: usize,
    used: bool,
    on_ring: bool,
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
    /// About how many bytes they take: each as it was when it first changed.
    unsaved_bytes: usize,
    /// Of these, how many are being saved.
    saving_bytes: usize,
    /// Chunks of the directory that the last checkpoint lacks.
    chunks: Marks,
    /// Nodes in memory that the clock's hand passes; some may have changed since.
    ring: Vec<u32>,
    hand: usize,
    /// Bytes of states that could be dropped.
    clean_bytes: usize,
    budget: usize,
    /// The store has a checkpoint of this table. Until it has, what the store may have of nodes is of another one, and not read.
    has_checkpoint: bool,
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
            saving_bytes: 0,
            chunks: Marks::default(),
            ring: Vec::new(),
            hand: 0,
            clean_bytes: 0,
            budget: CACHE_BYTES_DEFAULT,
            has_checkpoint: false,
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
        self.iter().filter(|(_, _, facts)| facts.exists()).count()
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
        let entry = &self.slots[slot as usize];
        match &entry.resident {
            Some(resident) => Ok(Arc::clone(&resident.state)),
            None => Ok(self.load(store, &entry.id)?.state),
        }
    }

    /// Takes a node's state out, to be changed: until [`NodeTable::put`] the directory speaks for it.
    pub(crate) fn take<S: Store>(&mut self, store: &S, slot: u32) -> Result<Box<Resident>, StoreError> {
        match self.slots[slot as usize].resident.take() {
            Some(resident) => Ok(resident),
            None => self.load(store, self.id(slot)).map(Box::new),
        }
    }

    /// A node's state from the last checkpoint; one that it does not have is a node of which nothing has been folded.
    fn load<S: Store>(&self, store: &S, id: &NodeId) -> Result<Resident, StoreError> {
        let bytes = if self.has_checkpoint { store.node(id)? } else { None };
        let Some(bytes) = bytes else { return Ok(Resident::default()) };
        let corrupt = |error: DecodeError| StoreError::Corrupt { place: format!("the state of node {id}"), what: error.to_string() };
        let (state, digest) = record::decode(&bytes).map_err(corrupt)?;
        Ok(Resident { state: Arc::new(state), digest, ..Resident::default() })
    }

    /// Puts a state back that was not changed.
    pub(crate) fn put_back(&mut self, slot: u32, mut resident: Box<Resident>) {
        resident.used = true;
        let fresh = resident.counted == 0 && !self.unsaved.is_marked(slot);
        self.slots[slot as usize].resident = Some(resident);
        if fresh {
            self.count(slot);
            self.evict();
        }
    }

    /// Puts a state back that was changed: marks it for the digest, the next checkpoint and whoever watches.
    pub(crate) fn put(&mut self, slot: u32, mut resident: Box<Resident>) {
        self.clean_bytes -= std::mem::take(&mut resident.counted);
        resident.used = true;
        if self.unsaved.mark(slot) {
            self.unsaved_bytes += resident.weight();
        }
        self.slots[slot as usize].resident = Some(resident);
        self.digest_dirty.mark(slot);
        self.changed.mark(slot);
    }

    /// Nodes whose digest is not up to date, with what is in memory of each. All of them are: the last checkpoint lacks them.
    pub(crate) fn take_digest_dirty(&mut self) -> Vec<u32> {
        self.digest_dirty.take()
    }

    /// A node in memory.
    pub(crate) fn resident(&self, slot: u32) -> Option<&Resident> {
        self.slots[slot as usize].resident.as_deref()
    }

    pub(crate) fn set_digest(&mut self, slot: u32, digest: [u8; 32]) -> Option<[u8; 32]> {
        self.slots[slot as usize].resident.as_mut()?.digest.replace(digest)
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

    /// Counts an unchanged state against the budget and puts it before the clock's hand.
    fn count(&mut self, slot: u32) {
        let Some(resident) = self.slots[slot as usize].resident.as_deref_mut() else { return };
        let bytes = resident.weight();
        self.clean_bytes = self.clean_bytes - resident.counted + bytes;
        resident.counted = bytes;
        if !std::mem::replace(&mut resident.on_ring, true) {
            self.ring.push(slot);
        }
    }

    /// Drops unchanged states until they take an eighth less than the budget, so that the hand need not move for each one loaded.
    fn evict(&mut self) {
        if self.clean_bytes <= self.budget {
            return;
        }
        let goal = self.budget - self.budget / 8;
        while self.clean_bytes > goal && !self.ring.is_empty() {
            self.hand %= self.ring.len();
            let entry = &mut self.slots[self.ring[self.hand] as usize];
            match entry.resident.as_deref_mut() {
                Some(resident) if resident.counted > 0 && resident.used => {
                    resident.used = false;
                    self.hand += 1;
                    continue;
                }
                Some(resident) if resident.counted > 0 => {
                    self.clean_bytes -= resident.counted;
                    entry.facts = Facts::of(&resident.state);
                    entry.resident = None;
                }
                // It changed since: no business of the hand until a checkpoint has it.
                Some(resident) => resident.on_ring = false,
                None => {}
            }
            self.ring.swap_remove(self.hand);
        }
    }
}

// ---- checkpoints

/// A node as a checkpoint takes it up.
pub(crate) type Unsaved = (NodeId, Arc<NodeState>, Option<[u8; 32]>);

impl NodeTable {
    /// What the last checkpoint lacks: states, and the numbers of chunks of the directory.
    pub(crate) fn begin_save(&mut self) -> (Vec<Unsaved>, Vec<u32>) {
        self.saving_bytes = self.unsaved_bytes;
        let Self { slots, unsaved, chunks, .. } = self;
        let mut nodes = Vec::with_capacity(unsaved.len());
        for slot in unsaved.begin().iter().copied() {
            let entry = &mut slots[slot as usize];
            let Some(resident) = entry.resident.as_deref() else { continue };
            let facts = Facts::of(&resident.state);
            if std::mem::replace(&mut entry.facts, facts) != facts {
                chunks.mark(slot / DIRECTORY_CHUNK as u32);
            }
            nodes.push((entry.id.clone(), Arc::clone(&resident.state), resident.digest));
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
        self.has_checkpoint
    }

    /// The table was read from the store's checkpoint.
    pub(crate) fn set_loaded(&mut self) {
        self.has_checkpoint = true;
    }

    /// A checkpoint was kept, or was not.
    pub(crate) fn finish_save(&mut self, saved: bool) {
        self.has_checkpoint |= saved;
        self.chunks.finish(saved);
        let taken = std::mem::take(&mut self.saving_bytes);
        self.unsaved_bytes -= if saved { taken } else { 0 };
        for slot in self.unsaved.finish(saved) {
            if saved && !self.unsaved.is_marked(slot) {
                self.count(slot);
            }
        }
        self.evict();
    }
}
