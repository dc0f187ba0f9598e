//! A replica: one device's copy of a workspace, as a pure machine.
//!
//! Bytes come in as segments ([`Replica::ingest`]), changes by the application's hand ([`Replica::create`] and its like), and the
//! state is at every moment the fold of the operations held. Nothing here reads a clock, a socket or a disk: time is an argument,
//! storage a [`Store`].
//!
//! The driver's contract:
//!
//! 1. After writing or ingesting call [`Replica::commit`]; only then acknowledge, and only then do operations leave the device.
//! 2. Time passed in is the wall clock; it may jump, and need not be monotonic.
//! 3. Call [`Replica::tick`] now and then, so that operations held back for being ahead of our clock take effect.
//! 4. After an error of the store, drop the replica and open it again; after [`StoreError::Corrupt`], by [`Replica::open_anew`].
//! 5. Make a checkpoint now and then: the nodes that changed since the last one stay in memory, and opening folds what came since.

pub(crate) mod audit;
pub(crate) mod browse;
pub(crate) mod checkpoint;
pub(crate) mod digest;
pub(crate) mod export;
pub(crate) mod fold_op;
pub(crate) mod ingest;
pub(crate) mod nodes;
pub(crate) mod own_log;
pub(crate) mod pending;
pub(crate) mod query;
pub(crate) mod resolve;
pub(crate) mod restore;
pub(crate) mod standing;
pub(crate) mod update;
pub(crate) mod workspace;
pub(crate) mod write;

use std::collections::{BTreeMap, BTreeSet};

pub use audit::{Audit, AuditStep, Doubt};
pub use checkpoint::PreparedCheckpoint;
pub use export::{Ladder, LogRange};
pub use ingest::{IngestError, Ingested, Missing, Refusal};
pub use nodes::CACHE_BYTES_DEFAULT;
pub use own_log::LogClaim;
pub use pending::{PENDING_AGE_MS_MAX, PENDING_BYTES_MAX, PENDING_REFUSALS_MAX, PENDING_SEGMENTS_MAX, PendingBuffer, Received, Refused};
pub use query::{HistoryEntry, NodeView};
pub use resolve::Choice;
pub use update::{NodeUpdate, TextUpdate};
pub use workspace::Founding;
pub use write::{NewEmbedding, NewNode, WriteError};

use crate::clock::{Clocks, Timestamp};
use crate::conflict::ResolutionStrategy;
use crate::crypto::KeyPair;
use crate::fold::TextLens;
use crate::fold::text::OpenText;
use crate::ids::{DeviceId, LogId, NodeId, OpHash, WorkspaceId};
use crate::log::LogTable;
use crate::membership::Membership;
use crate::mutant::{self, Mutant};
use crate::store::{OpIndex, Store, StoreError};
use crate::tree::{Placement, Tree};
use digest::{Orders, Sum};
use nodes::NodeTable;

/// The most merges in progress that are kept between batches; beyond it all are dropped and loaded again on need.
pub(crate) const OPEN_TEXTS_MAX: usize = 1024;

/// Who writes, when this replica may write: a device and the epoch of its log.
#[derive(Clone, Debug)]
pub struct Author {
    /// The device's key.
    pub key: KeyPair,
    /// The log's epoch: random, non-zero, kept outside every backup.
    pub epoch: u32,
}

impl Author {
    /// The log written to.
    pub fn log(&self) -> LogId {
        LogId { device: self.key.device(), epoch: self.epoch }
    }
}

/// One device's copy of a workspace.
#[derive(Debug)]
pub struct Replica<S> {
    pub(crate) workspace: WorkspaceId,
    pub(crate) store: S,
    pub(crate) author: Option<Author>,
    pub(crate) clocks: Clocks,
    pub(crate) membership: Membership,
    pub(crate) logs: LogTable,
    pub(crate) tree: Tree,
    pub(crate) nodes: NodeTable,
    pub(crate) text_lens: TextLens,
    /// The strategy for text, when the workspace has only ever had one.
    pub(crate) text_strategy: Option<ResolutionStrategy>,
    /// The strategy by which texts that are apart now are shown.
    pub(crate) live_text_strategy: ResolutionStrategy,
    pub(crate) open_texts: BTreeMap<u32, Box<OpenText>>,
    pub(crate) texts_pending: BTreeSet<u32>,
    pub(crate) placements: Vec<Placement>,
    /// Operations of the store below this index have been offered to the fold. Those from it on are in the store already, but must not
    /// pass for parents that have been folded.
    pub(crate) offered: u32,
    /// Stored operations without effect yet: parents missing, or ahead of our clock.
    pub(crate) unfolded: BTreeSet<OpIndex>,
    /// Those that wait for a parent, by what is missing.
    pub(crate) waiting: BTreeMap<OpHash, Vec<OpIndex>>,
    /// Those that wait for their time.
    pub(crate) held: BTreeSet<(Timestamp, OpIndex)>,
    /// Operations that are durable.
    pub(crate) durable: u32,
    pub(crate) node_sum: Sum,
    pub(crate) orders: Orders,
    /// Parents whose children changed since the digest was computed.
    pub(crate) order_dirty: BTreeSet<Option<NodeId>>,
    /// How far this device has written its own log, as peers have proved.
    pub(crate) own_log_seen: u64,
    /// A checkpoint has been prepared, and whether it was kept is not known yet.
    pub(crate) is_saving: bool,
}

/// What a replica holds, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Operations stored.
    pub ops: u64,
    /// Of these, waiting for a parent that has not arrived.
    pub waiting: u64,
    /// Of these, held back because they are ahead of our clock.
    pub held: u64,
    /// Logs.
    pub logs: u64,
    /// Nodes that exist, deleted ones included.
    pub nodes: u64,
}

impl<S: Store> Replica<S> {
    /// Opens a replica over a store, from the last checkpoint and what came after, or from the operations alone.
    ///
    /// # Errors
    /// When the store fails or is damaged.
    pub fn open(workspace: WorkspaceId, store: S, author: Option<Author>, now: Timestamp) -> Result<Self, StoreError> {
        let mut replica = Self::empty(workspace, store, author);
        replica.restore(now)?;
        Ok(replica)
    }

    /// Opens a replica from the operations alone, and has the next checkpoint replace the one that is there: after
    /// [`StoreError::Corrupt`] of a node's state, or when in doubt.
    ///
    /// # Errors
    /// When the store fails or is damaged.
    pub fn open_anew(workspace: WorkspaceId, store: S, author: Option<Author>, now: Timestamp) -> Result<Self, StoreError> {
        let mut replica = Self::empty(workspace, store, author);
        replica.replay_from(0, now)?;
        Ok(replica)
    }

    fn empty(workspace: WorkspaceId, store: S, author: Option<Author>) -> Self {
        Self {
            workspace,
            store,
            author,
            clocks: Clocks::default(),
            membership: Membership::new(workspace),
            logs: LogTable::default(),
            tree: Tree::new(),
            nodes: NodeTable::default(),
            text_lens: TextLens::default(),
            text_strategy: Some(ResolutionStrategy::OperationalTransform),
            live_text_strategy: ResolutionStrategy::OperationalTransform,
            open_texts: BTreeMap::new(),
            texts_pending: BTreeSet::new(),
            placements: Vec::new(),
            offered: 0,
            unfolded: BTreeSet::new(),
            waiting: BTreeMap::new(),
            held: BTreeSet::new(),
            durable: 0,
            node_sum: Sum::default(),
            orders: Orders::default(),
            order_dirty: BTreeSet::new(),
            own_log_seen: 0,
            is_saving: false,
        }
    }

    /// The workspace.
    pub const fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    /// Who belongs to it.
    pub const fn membership(&self) -> &Membership {
        &self.membership
    }

    /// The logs held.
    pub const fn logs(&self) -> &LogTable {
        &self.logs
    }

    /// The tree of nodes.
    pub const fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The store.
    pub const fn store(&self) -> &S {
        &self.store
    }

    /// The store, for the driver's own purposes (crashing it in a simulation, say).
    pub fn into_store(self) -> S {
        self.store
    }

    /// The device that writes here, if any.
    pub fn device(&self) -> Option<DeviceId> {
        self.author.as_ref().map(|author| author.key.device())
    }

    /// The log that is written here, if any.
    pub fn own_log(&self) -> Option<LogId> {
        self.author.as_ref().map(Author::log)
    }

    /// Makes everything written and ingested so far durable. Acknowledge only after this.
    ///
    /// # Errors
    /// When the store cannot promise it.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        if !mutant::is(Mutant::NoSync) {
            self.store.sync()?;
        }
        self.durable = self.store.op_count();
        Ok(())
    }

    /// Lets operations whose time has come take effect.
    ///
    /// # Errors
    /// When the store fails.
    pub fn tick(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.release_held(now)?;
        self.settle()
    }

    /// When the next operation that is held back takes effect.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        let (timestamp, _) = self.held.first()?;
        Some(Timestamp(timestamp.0.saturating_sub(crate::clock::AHEAD_MS_MAX << 16)))
    }

    /// How many bytes of node states to keep in memory to work with ([`CACHE_BYTES_DEFAULT`] unless set). More makes a flood of
    /// operations on many nodes quicker, less makes the device smaller.
    pub fn set_cache_bytes(&mut self, bytes: usize) {
        self.nodes.set_budget(bytes);
    }

    /// Nodes that changed since the last checkpoint: their states stay in memory until the next one, the least used of them packed.
    pub const fn dirty_nodes(&self) -> usize {
        self.nodes.unsaved()
    }

    /// About how many bytes of memory these take. A driver that bounds its memory makes a checkpoint when they exceed a budget.
    pub const fn dirty_bytes(&self) -> usize {
        self.nodes.unsaved_bytes()
    }

    /// Nodes that any operation names, whether they exist or not.
    pub fn known_nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Operations that are stored and wait for a parent.
    pub fn waiting_ops(&self) -> u64 {
        (self.unfolded.len() - self.held.len()) as u64
    }

    /// Operations that are stored and held back until their time comes.
    pub fn held_ops(&self) -> u64 {
        self.held.len() as u64
    }

    /// What is held, in numbers. Looks at every node: for people, not for each step of something.
    pub fn counts(&self) -> Counts {
        Counts {
            ops: self.store.op_count().into(),
            waiting: self.waiting_ops(),
            held: self.held_ops(),
            logs: self.logs.len() as u64,
            nodes: self.nodes.existing() as u64,
        }
    }

    pub(crate) fn hash_of(&self, index: OpIndex) -> OpHash {
        self.store.op(index).map_or(OpHash([0; 32]), |op| op.hash)
    }
}

#[cfg(test)]
mod tests;
