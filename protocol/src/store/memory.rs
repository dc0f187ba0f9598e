//! A store in memory: for tests, the simulator and benchmarks.
#![expect(clippy::disallowed_types, reason = "a store is no state machine: its savers may work in another thread")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Checkpoint, OpIndex, PartKey, Record, Saver, Store, StoreError};
use crate::ids::{NodeId, OpHash};
use crate::lookup::LookupMap;
use crate::op::Op;

/// Keeps everything in memory. What was synced is remembered, so that a test can crash it ([`MemoryStore::crash`]).
/// A clone is a copy: what is written to one does not show in the other.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    records: Vec<Stored>,
    ops: Vec<Arc<Op>>,
    by_hash: LookupMap<OpHash, OpIndex>,
    /// Where each group of records ends.
    group_ends: Vec<usize>,
    synced: usize,
    saved: Shelf,
}

/// The last checkpoint; shared with the store's savers.
#[derive(Debug, Default)]
struct Shelf(Arc<Mutex<Saved>>);

#[derive(Clone, Debug, Default)]
struct Saved {
    records: Option<u64>,
    nodes: BTreeMap<NodeId, Arc<[u8]>>,
    parts: BTreeMap<PartKey, Vec<u8>>,
}

impl Clone for Shelf {
    fn clone(&self) -> Self {
        Self(Arc::new(Mutex::new(self.lock().clone())))
    }
}

impl Shelf {
    /// A saver changes it in one go, so that what a panicking one left is whole.
    fn lock(&self) -> MutexGuard<'_, Saved> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Saver for Shelf {
    fn save(&mut self, checkpoint: Checkpoint) -> Result<(), StoreError> {
        let mut saved = self.lock();
        if checkpoint.whole {
            *saved = Saved::default();
        }
        saved.records = Some(checkpoint.records);
        saved.nodes.extend(checkpoint.nodes);
        saved.parts.extend(checkpoint.parts);
        Ok(())
    }
}

/// A record without a second copy of the operation.
#[derive(Clone, Debug)]
enum Stored {
    Op(OpIndex),
    Other(Box<Record>),
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Records that are durable.
    pub const fn synced(&self) -> usize {
        self.synced
    }

    /// What a disk may look like after a power cut: everything synced, and of the records that were not the first `kept`, less what would
    /// cut a group.
    pub fn crash(&mut self, kept: usize) {
        let left = self.records.len().min(self.synced.saturating_add(kept));
        let whole = self.group_ends.iter().rev().copied().find(|end| *end <= left).unwrap_or(0);
        let left = whole.max(self.synced);
        let group_ends = self.group_ends.iter().copied().filter(|end| *end <= left).collect();
        let records: Vec<Record> = self.records[..left].iter().map(|stored| self.record(stored)).collect();
        let saved = std::mem::take(&mut self.saved);
        *self = Self::default();
        if saved.lock().records.is_some_and(|records| records <= left as u64) {
            self.saved = saved.clone();
        }
        for record in records {
            self.push(record);
        }
        self.synced = left;
        self.group_ends = group_ends;
    }

    fn record(&self, stored: &Stored) -> Record {
        match stored {
            Stored::Op(index) => Record::Op(Arc::clone(&self.ops[index.0 as usize])),
            Stored::Other(record) => (**record).clone(),
        }
    }

    fn push(&mut self, record: Record) {
        match record {
            Record::Op(op) => {
                let index = OpIndex(self.op_count());
                self.by_hash.insert(op.hash, index);
                self.ops.push(op);
                self.records.push(Stored::Op(index));
            }
            other => self.records.push(Stored::Other(Box::new(other))),
        }
    }
}

impl Store for MemoryStore {
    fn append(&mut self, group: Vec<Record>) -> Result<(), StoreError> {
        group.into_iter().for_each(|record| self.push(record));
        self.group_ends.push(self.records.len());
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        self.synced = self.records.len();
        Ok(())
    }

    fn op_count(&self) -> u32 {
        u32::try_from(self.ops.len()).unwrap_or(u32::MAX)
    }

    fn record_count(&self) -> u64 {
        self.records.len() as u64
    }

    fn op(&self, index: OpIndex) -> Result<Arc<Op>, StoreError> {
        self.ops.get(index.0 as usize).map(Arc::clone).ok_or(StoreError::NoSuchOp(index))
    }

    fn find(&self, hash: &OpHash) -> Result<Option<OpIndex>, StoreError> {
        Ok(self.by_hash.get(hash).copied())
    }

    fn replay(&self, from: u64, each: &mut dyn FnMut(Record) -> ControlFlow<()>) -> Result<(), StoreError> {
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.records.len());
        let (ControlFlow::Continue(()) | ControlFlow::Break(())) =
            self.records[from..].iter().try_for_each(|stored| each(self.record(stored)));
        Ok(())
    }

    fn saver(&self) -> Box<dyn Saver> {
        Box::new(Shelf(Arc::clone(&self.saved.0)))
    }

    fn checkpoint(&self) -> Result<Option<u64>, StoreError> {
        Ok(self.saved.lock().records)
    }

    fn parts(&self, each: &mut dyn FnMut(PartKey, &[u8])) -> Result<(), StoreError> {
        self.saved.lock().parts.iter().for_each(|(key, bytes)| each(*key, bytes));
        Ok(())
    }

    fn node(&self, id: &NodeId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.saved.lock().nodes.get(id).map(|bytes| bytes.to_vec()))
    }
}
