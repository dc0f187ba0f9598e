//! A store in memory: for tests, the simulator and benchmarks.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Checkpoint, OpIndex, Record, Store, StoreError};
use crate::ids::{NodeId, OpHash};
use crate::lookup::LookupMap;
use crate::op::Op;

/// Keeps everything in memory. What was synced is remembered, so that a test can crash it ([`MemoryStore::crash`]).
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    records: Vec<Stored>,
    ops: Vec<Arc<Op>>,
    by_hash: LookupMap<OpHash, OpIndex>,
    /// Where each group of records ends.
    group_ends: Vec<usize>,
    synced: usize,
    checkpoint: Option<(u64, Vec<u8>)>,
    nodes: BTreeMap<NodeId, Vec<u8>>,
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
        let checkpoint = self.checkpoint.take().filter(|(records, _)| *records <= left as u64);
        let nodes = std::mem::take(&mut self.nodes);
        *self = Self::default();
        if checkpoint.is_some() {
            (self.checkpoint, self.nodes) = (checkpoint, nodes);
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

    fn replay(&self, from: u64, each: &mut dyn FnMut(Record)) -> Result<(), StoreError> {
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(self.records.len());
        self.records[from..].iter().for_each(|stored| each(self.record(stored)));
        Ok(())
    }

    fn save_checkpoint(&mut self, checkpoint: Checkpoint) -> Result<(), StoreError> {
        self.sync()?;
        self.nodes.extend(checkpoint.nodes);
        self.checkpoint = Some((checkpoint.records, checkpoint.rest));
        Ok(())
    }

    fn checkpoint(&self) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
        Ok(self.checkpoint.clone())
    }

    fn node(&self, id: &NodeId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.nodes.get(id).cloned())
    }

    fn node_ids(&self) -> Result<Vec<NodeId>, StoreError> {
        Ok(self.nodes.keys().cloned().collect())
    }
}
