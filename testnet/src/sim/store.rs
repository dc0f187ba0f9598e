//! A disk that fails: the memory store with faults on demand.
//!
//! Records that were not synced may be lost in a crash, from the end; a sync may fail. The world holds a [`DiskControl`] beside the
//! store, because the replica owns the store itself.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use nodespace_protocol::ids::{NodeId, OpHash};
use nodespace_protocol::op::Op;
use nodespace_protocol::store::{MemoryStore, OpIndex, PartKey, Record, Saver, Store, StoreError};

/// What the world and a disk tell each other.
#[derive(Debug, Default)]
pub(crate) struct DiskControl {
    /// The next sync fails.
    fail_sync: Cell<bool>,
    /// A sync has failed: the device must stop.
    failed: Cell<bool>,
}

impl DiskControl {
    /// Lets the next sync fail.
    pub(crate) fn arm(&self) {
        self.fail_sync.set(true);
    }

    /// Repairs the disk.
    pub(crate) fn disarm(&self) {
        self.fail_sync.set(false);
    }

    /// Whether a sync failed since this was last asked.
    pub(crate) fn take_failed(&self) -> bool {
        self.failed.take()
    }
}

/// A store on a simulated disk.
#[derive(Clone, Debug)]
pub(crate) struct SimStore {
    inner: MemoryStore,
    control: Rc<DiskControl>,
    /// Operations that are durable.
    durable: u32,
}

impl SimStore {
    /// An empty store on a disk.
    pub(crate) fn new(control: Rc<DiskControl>) -> Self {
        Self { inner: MemoryStore::new(), control, durable: 0 }
    }

    /// A copy of this store on another disk.
    pub(crate) fn copied_to(&self, control: Rc<DiskControl>) -> Self {
        Self { inner: self.inner.clone(), control, durable: self.durable }
    }

    /// A copy as it is now, without faults: for checks.
    pub(crate) fn image(&self) -> MemoryStore {
        self.inner.clone()
    }

    /// Operations that are durable.
    pub(crate) const fn durable_ops(&self) -> u32 {
        self.durable
    }

    /// Records that a crash may lose.
    pub(crate) fn unsynced(&self) -> usize {
        self.inner.record_count() as usize - self.inner.synced()
    }

    /// Loses power: of what was not synced, about the first `kept` records stay; what was appended together stays or goes together.
    pub(crate) fn crash(&mut self, kept: usize) {
        self.inner.crash(kept);
        self.durable = self.inner.op_count();
    }

    fn check_disk(&self) -> Result<(), StoreError> {
        if self.control.fail_sync.take() {
            self.control.failed.set(true);
            let source = "the disk did not confirm".into();
            return Err(StoreError::Environment { doing: "making records durable", source });
        }
        Ok(())
    }
}

impl Store for SimStore {
    fn append(&mut self, group: Vec<Record>) -> Result<(), StoreError> {
        self.inner.append(group)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.check_disk()?;
        self.inner.sync()?;
        self.durable = self.inner.op_count();
        Ok(())
    }

    fn op_count(&self) -> u32 {
        self.inner.op_count()
    }

    fn record_count(&self) -> u64 {
        self.inner.record_count()
    }

    fn op(&self, index: OpIndex) -> Result<Arc<Op>, StoreError> {
        self.inner.op(index)
    }

    fn find(&self, hash: &OpHash) -> Result<Option<OpIndex>, StoreError> {
        self.inner.find(hash)
    }

    fn replay(&self, from: u64, each: &mut dyn FnMut(Record) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.inner.replay(from, each)
    }

    fn saver(&self) -> Box<dyn Saver> {
        self.inner.saver()
    }

    fn checkpoint(&self) -> Result<Option<u64>, StoreError> {
        self.inner.checkpoint()
    }

    fn parts(&self, each: &mut dyn FnMut(PartKey, &[u8])) -> Result<(), StoreError> {
        self.inner.parts(each)
    }

    fn node(&self, id: &NodeId) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.node(id)
    }
}
