//! The protocol's suite for stores, on real files and across power cuts of a simulated disk.

use std::ops::ControlFlow;
use std::sync::Arc;

use nodespace_protocol::ids::{NodeId, OpHash, WorkspaceId};
use nodespace_protocol::op::Op;
use nodespace_protocol::store::conformance::{self, Crashable};
use nodespace_protocol::store::{OpIndex, PartKey, Record, Saver, Store, StoreError};
use nodespace_store::disk::SimulatedDisk;
use nodespace_store::disk::simulated::Choice;
use nodespace_store::{DiskStore, StoreOptions};

const WORKSPACE: WorkspaceId = WorkspaceId([7; 32]);

/// Small segments, so that the suite crosses many of them; no caches, so that what is read was written.
const SMALL: StoreOptions = StoreOptions { segment_bytes: 4096, op_cache_bytes: 0, block_cache_bytes: 0 };

#[test]
fn a_store_in_files_conforms() {
    for options in [StoreOptions::default(), SMALL] {
        let mut folders = Vec::new();
        conformance::run(&mut || {
            let folder = tempfile::tempdir().unwrap();
            let disk = nodespace_store::disk::RealDisk::new(folder.path()).unwrap();
            folders.push(folder);
            DiskStore::open_on(Arc::new(disk), WORKSPACE, &options).unwrap()
        });
    }
}

#[test]
fn a_store_that_loses_power_conforms() {
    for options in [StoreOptions::default(), SMALL] {
        conformance::run_crashable(&mut || Simulated::open(SimulatedDisk::new(), options));
    }
}

/// A store whose disk can be cut.
struct Simulated {
    disk: SimulatedDisk,
    options: StoreOptions,
    store: DiskStore,
}

impl Simulated {
    fn open(disk: SimulatedDisk, options: StoreOptions) -> Self {
        let store = DiskStore::open_on(Arc::new(disk.clone()), WORKSPACE, &options).unwrap();
        Self { disk, options, store }
    }
}

impl Crashable for Simulated {
    /// Of what no sync has covered, the first events are kept.
    fn crash(self, keep_unsynced: usize) -> Self {
        let mut crashes = self.disk.crashes();
        while crashes.advance() {}
        let kept: Vec<(usize, Choice)> = (0..crashes.pending().min(keep_unsynced)).map(|which| (which, Choice::Kept)).collect();
        Self::open(crashes.image(&kept), self.options)
    }
}

impl Store for Simulated {
    fn append(&mut self, group: Vec<Record>) -> Result<(), StoreError> {
        self.store.append(group)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.store.sync()
    }

    fn op_count(&self) -> u32 {
        self.store.op_count()
    }

    fn record_count(&self) -> u64 {
        self.store.record_count()
    }

    fn op(&self, index: OpIndex) -> Result<Arc<Op>, StoreError> {
        self.store.op(index)
    }

    fn find(&self, hash: &OpHash) -> Result<Option<OpIndex>, StoreError> {
        self.store.find(hash)
    }

    fn replay(&self, from: u64, each: &mut dyn FnMut(Record) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.store.replay(from, each)
    }

    fn saver(&self) -> Box<dyn Saver> {
        self.store.saver()
    }

    fn checkpoint(&self) -> Result<Option<u64>, StoreError> {
        self.store.checkpoint()
    }

    fn parts(&self, each: &mut dyn FnMut(PartKey, &[u8])) -> Result<(), StoreError> {
        self.store.parts(each)
    }

    fn node(&self, id: &NodeId) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.node(id)
    }
}
