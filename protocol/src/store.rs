//! What a replica needs from storage: an append-only sequence of operations, and a place for checkpoints of derived state.
//!
//! Operations are the truth; everything else is a fold of them and may be thrown away. A store keeps operations in order of
//! arrival and names each by its index in that order. `append` may buffer; what was appended is durable only after `sync` has
//! returned. Two implementations exist or are to come: memory (here) and the device's journal. [`conformance`] is what both must pass.

pub mod conformance;
mod memory;

use std::ops::ControlFlow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use memory::MemoryStore;

use crate::crypto::Signature;
use crate::ids::{LogId, NodeId, OpHash};
use crate::op::Op;

/// An operation's place in order of arrival on this device. Local: it never travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OpIndex(pub u32);

/// What a store keeps, in order.
#[derive(Clone, Debug)]
pub enum Record {
    /// An operation; gets the next [`OpIndex`].
    Op(Arc<Op>),
    /// A signature over the operation `hash` at `seq` of `log`.
    Signature {
        /// Whose log.
        log: LogId,
        /// Position.
        seq: u64,
        /// The operation there.
        hash: OpHash,
        /// By the log's device.
        signature: Signature,
    },
}

/// Names one part of a checkpoint. Stores keep parts ascending by it and do not look inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartKey(pub u64);

/// Derived state as of a point in the sequence of records: what changed since the checkpoint before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// How many records it includes.
    pub records: u64,
    /// It stands alone: nodes and parts of earlier checkpoints that it does not name are gone.
    pub whole: bool,
    /// Nodes that changed, ascending; the others stay as they were.
    pub nodes: Vec<(NodeId, Arc<[u8]>)>,
    /// Parts that changed of what is not one node's, ascending; the others stay as they were.
    pub parts: Vec<(PartKey, Vec<u8>)>,
}

/// Why a store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An index that was never given out.
    #[error("operation {0:?} is not in the store")]
    NoSuchOp(OpIndex),
    /// Stored bytes are not what was written. Stop and repair; do not go on.
    #[error("the store is damaged at {place}: {what}")]
    Corrupt {
        /// Where.
        place: String,
        /// What was found.
        what: String,
    },
    /// The environment failed (disk full, permission). Nothing of the failed call is visible; after a failed `sync` the store must
    /// be opened anew.
    #[error("storage failed while {doing}")]
    Environment {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Storage for one workspace.
pub trait Store {
    /// Appends a group of records: after a crash all of them are there or none. A segment's operations and the signature that proves them
    /// are one group: an operation that cannot be proved to others could never be passed on. Buffered until [`Store::sync`].
    ///
    /// # Errors
    /// When the environment fails; nothing was appended then.
    fn append(&mut self, group: Vec<Record>) -> Result<(), StoreError>;

    /// Makes everything appended so far durable.
    ///
    /// # Errors
    /// When it cannot promise that. The store must not be used further.
    fn sync(&mut self) -> Result<(), StoreError>;

    /// How many operations there are, durable or not. The next one gets this index.
    fn op_count(&self) -> u32;

    /// How many records there are, durable or not.
    fn record_count(&self) -> u64;

    /// An operation.
    ///
    /// # Errors
    /// When the index was never given out, or the store is damaged there.
    fn op(&self, index: OpIndex) -> Result<Arc<Op>, StoreError>;

    /// The index of an operation by hash.
    ///
    /// # Errors
    /// When the environment fails.
    fn find(&self, hash: &OpHash) -> Result<Option<OpIndex>, StoreError>;

    /// Calls `each` with the records from `from` on, in order, until it breaks. Long histories are read in batches, so this should
    /// find its place without reading what lies before.
    ///
    /// # Errors
    /// When the store is damaged; `each` has seen what lies before the damage.
    fn replay(&self, from: u64, each: &mut dyn FnMut(Record) -> ControlFlow<()>) -> Result<(), StoreError>;

    /// What keeps checkpoints. It may be used in another thread while this store goes on, and may outlive it.
    fn saver(&self) -> Box<dyn Saver>;

    /// How many records the last checkpoint includes.
    ///
    /// # Errors
    /// When the checkpoint is damaged: open without one, by replaying everything.
    fn checkpoint(&self) -> Result<Option<u64>, StoreError>;

    /// Calls `each` with the parts of the last checkpoint, ascending.
    ///
    /// # Errors
    /// When the checkpoint is damaged.
    fn parts(&self, each: &mut dyn FnMut(PartKey, &[u8])) -> Result<(), StoreError>;

    /// A node as of the last checkpoint. Asked for every node that is not in memory, so it should take microseconds.
    ///
    /// # Errors
    /// When the environment fails, or the checkpoint is damaged.
    fn node(&self, id: &NodeId) -> Result<Option<Vec<u8>>, StoreError>;
}

/// Keeps the checkpoints of one store.
pub trait Saver: Send {
    /// Keeps a checkpoint: all of it or nothing, durable when this returns. What it includes has been made durable before
    /// ([`Store::sync`]).
    ///
    /// # Errors
    /// When the environment fails; the checkpoint before holds then.
    fn save(&mut self, checkpoint: Checkpoint) -> Result<(), StoreError>;
}
