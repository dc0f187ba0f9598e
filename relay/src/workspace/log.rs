//! The protocol's store, over the log in PostgreSQL.
//!
//! An operation's index is its version less one: both count arrivals, without gaps. What a turn appends is kept here until its transaction has
//! been committed; what was used lately stays in a cache; the rest is read when it is asked for. The replica runs in a thread that may wait,
//! so reading waits for the database.

use std::collections::{HashMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nodespace_protocol::ids::{NodeId, OpHash};
use nodespace_protocol::op::Op;
use nodespace_protocol::store::{Checkpoint, OpIndex, PartKey, Record, Saver, Store, StoreError};
use sqlx::PgPool;
use tokio::runtime::Handle;

use crate::store::{self, LogRow, PageBounds};

/// Bytes of operations kept in memory for one workspace; the oldest leave first and are read again when they are needed.
const CACHE_BYTES_MAX: usize = 2 << 20;
/// What an operation takes beside its payload, about.
const OP_BYTES: usize = 512;
/// Operations read at once when a log is replayed.
const REPLAY_PAGE: u64 = 1_024;
/// What is read at once of what other instances added.
const CATCH_UP_PAGE: PageBounds = PageBounds { operations: 4_096, bytes: 8 << 20 };

/// The log of one workspace as the protocol's store.
#[derive(Clone, Debug)]
pub(crate) struct LogStore {
    reader: LogReader,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Clone, Debug)]
struct LogReader {
    pool: PgPool,
    number: i64,
    runtime: Handle,
}

#[derive(Debug, Default)]
struct Inner {
    /// Operations in the database that the replica knows or is about to.
    committed: u64,
    /// Records of these: operations and signatures.
    records: u64,
    /// What this turn adds.
    pending: Vec<Record>,
    pending_ops: Vec<Arc<Op>>,
    pending_by_hash: HashMap<OpHash, usize>,
    /// Whether what is appended comes from the database: then it is not to be written again.
    following: bool,
    cache: OpCache,
    /// Where the last replay broke off.
    replayed: ReplayedTo,
}

/// A place among the records: after so many, in a row of the table.
#[derive(Clone, Copy, Debug)]
struct ReplayedTo {
    record: u64,
    version: u64,
    /// The row's operation has been given, its signature has not.
    at_signature: bool,
}

impl Default for ReplayedTo {
    fn default() -> Self {
        Self { record: 0, version: 1, at_signature: false }
    }
}

impl LogStore {
    /// The log with this number, of which `committed` operations are in the database.
    pub(crate) fn open(pool: PgPool, number: i64, committed: u64, runtime: Handle) -> Self {
        let inner = Inner { committed, ..Inner::default() };
        Self { reader: LogReader { pool, number, runtime }, inner: Arc::new(Mutex::new(inner)) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operations in the database that the replica knows.
    pub(crate) fn committed(&self) -> u64 {
        self.lock().committed
    }

    /// Reads what another instance added after what is known here, up to a version: some whole segments.
    pub(crate) fn read_on(&self, through: u64) -> Result<Vec<LogRow>, StoreError> {
        let LogReader { pool, number, .. } = &self.reader;
        let after = self.committed();
        let end = self.reader.wait(store::operations::page_end(pool, *number, after, CATCH_UP_PAGE))?;
        let end = end.filter(|end| end.version <= through).ok_or_else(|| StoreError::Corrupt {
            place: format!("operations after {after}"),
            what: "they end without a signature".into(),
        })?;
        self.reader.range(after + 1, end.version)
    }

    /// Says whether what is appended from now on comes from the database.
    pub(crate) fn follow(&self, following: bool) {
        self.lock().following = following;
    }

    /// What this turn adds, in order.
    pub(crate) fn pending(&self) -> Vec<Record> {
        self.lock().pending.clone()
    }

    /// The transaction was committed: what was added is in the database.
    pub(crate) fn settle(&self) {
        let mut inner = self.lock();
        inner.records += inner.pending.len() as u64;
        inner.pending.clear();
        inner.pending_by_hash.clear();
        for op in std::mem::take(&mut inner.pending_ops) {
            inner.committed += 1;
            let index = OpIndex(inner.committed as u32 - 1);
            inner.cache.insert(index, op);
        }
    }

    /// Reads operations by hash ahead of their being asked for, in one question.
    pub(crate) fn preload(&self, hashes: &[OpHash]) -> Result<(), StoreError> {
        let missing: Vec<OpHash> = {
            let inner = self.lock();
            hashes.iter().filter(|hash| inner.cache.find(hash).is_none()).copied().collect()
        };
        if !missing.is_empty() {
            let rows = self.reader.wait(store::operations_by_hash(&self.reader.pool, self.reader.number, &missing))?;
            self.keep(rows);
        }
        Ok(())
    }

    fn keep(&self, rows: Vec<LogRow>) {
        let mut inner = self.lock();
        for row in rows.into_iter().filter(|row| row.version <= inner.committed).collect::<Vec<_>>() {
            inner.cache.insert(OpIndex(row.version as u32 - 1), row.op);
        }
    }
}

impl LogReader {
    fn wait<T>(&self, question: impl Future<Output = Result<T, store::StoreError>>) -> Result<T, StoreError> {
        self.runtime.block_on(question).map_err(|error| match error {
            store::StoreError::Corrupt { place, what } => StoreError::Corrupt { place, what },
            other => StoreError::Environment { doing: "reading the log", source: Box::new(other) },
        })
    }

    fn range(&self, first: u64, last: u64) -> Result<Vec<LogRow>, StoreError> {
        self.wait(store::operations_in(&self.pool, self.number, first, last))
    }
}

impl Store for LogStore {
    fn append(&mut self, group: Vec<Record>) -> Result<(), StoreError> {
        let mut inner = self.lock();
        for record in group {
            match &record {
                Record::Op(op) if inner.following => {
                    inner.committed += 1;
                    let index = OpIndex(inner.committed as u32 - 1);
                    inner.cache.insert(index, Arc::clone(op));
                }
                Record::Op(op) => {
                    let at = inner.pending_ops.len();
                    inner.pending_by_hash.insert(op.hash, at);
                    inner.pending_ops.push(Arc::clone(op));
                }
                Record::Signature { .. } => {}
            }
            if inner.following {
                inner.records += 1;
            } else {
                inner.pending.push(record);
            }
        }
        Ok(())
    }

    /// Durable is what the transaction commits; the turn sees to that.
    fn sync(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    fn op_count(&self) -> u32 {
        let inner = self.lock();
        u32::try_from(inner.committed + inner.pending_ops.len() as u64).unwrap_or(u32::MAX)
    }

    fn record_count(&self) -> u64 {
        let inner = self.lock();
        inner.records + inner.pending.len() as u64
    }

    fn op(&self, index: OpIndex) -> Result<Arc<Op>, StoreError> {
        let version = u64::from(index.0) + 1;
        {
            let inner = self.lock();
            if let Some(at) = version.checked_sub(inner.committed + 1) {
                return inner.pending_ops.get(at as usize).cloned().ok_or(StoreError::NoSuchOp(index));
            }
            if let Some(op) = inner.cache.get(index) {
                return Ok(op);
            }
        }
        let rows = self.reader.range(version, version)?;
        let op = rows.first().map(|row| Arc::clone(&row.op));
        self.keep(rows);
        op.ok_or_else(|| StoreError::Corrupt { place: format!("operation {version}"), what: "it is missing".into() })
    }

    fn find(&self, hash: &OpHash) -> Result<Option<OpIndex>, StoreError> {
        {
            let inner = self.lock();
            if let Some(at) = inner.pending_by_hash.get(hash) {
                return Ok(Some(OpIndex((inner.committed as usize + at) as u32)));
            }
            if let Some(index) = inner.cache.find(hash) {
                return Ok(Some(index));
            }
        }
        let rows = self.reader.wait(store::operations_by_hash(&self.reader.pool, self.reader.number, &[*hash]))?;
        // What another instance added since is not ours yet.
        let committed = self.committed();
        let found = rows.first().filter(|row| row.version <= committed).map(|row| OpIndex(row.version as u32 - 1));
        self.keep(rows);
        Ok(found)
    }

    fn replay(&self, from: u64, each: &mut dyn FnMut(Record) -> ControlFlow<()>) -> Result<(), StoreError> {
        let mut at = Some(self.lock().replayed).filter(|at| at.record <= from).unwrap_or_default();
        let committed = self.committed();
        while at.version <= committed {
            let rows = self.reader.range(at.version, committed.min(at.version + REPLAY_PAGE - 1))?;
            if rows.first().is_none_or(|row| row.version != at.version) {
                return Err(StoreError::Corrupt { place: format!("operation {}", at.version), what: "it is missing".into() });
            }
            for row in rows {
                while at.version == row.version {
                    let (record, next) = at.step(&row);
                    let given = at.record >= from;
                    at = next;
                    if let Some(record) = record.filter(|_| given)
                        && each(record).is_break()
                    {
                        self.note_replayed(at);
                        return Ok(());
                    }
                }
            }
        }
        self.note_replayed(at);
        Ok(())
    }

    fn saver(&self) -> Box<dyn Saver> {
        Box::new(NoSaver)
    }

    fn checkpoint(&self) -> Result<Option<u64>, StoreError> {
        Ok(None)
    }

    fn parts(&self, _each: &mut dyn FnMut(PartKey, &[u8])) -> Result<(), StoreError> {
        Ok(())
    }

    fn node(&self, _id: &NodeId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(None)
    }
}

impl LogStore {
    fn note_replayed(&self, at: ReplayedTo) {
        let mut inner = self.lock();
        inner.replayed = at;
        inner.records = inner.records.max(at.record);
    }
}

impl ReplayedTo {
    /// The record at this place of a row, and the place after it.
    fn step(self, row: &LogRow) -> (Option<Record>, Self) {
        let next_row = |record| Self { record, version: self.version + 1, at_signature: false };
        if !self.at_signature {
            let next = if row.signature.is_some() {
                Self { record: self.record + 1, at_signature: true, ..self }
            } else {
                next_row(self.record + 1)
            };
            return (Some(Record::Op(Arc::clone(&row.op))), next);
        }
        let record = row.signature.map(|signature| {
            let header = &row.op.header;
            Record::Signature { log: header.log, seq: header.seq, hash: row.op.hash, signature }
        });
        (record, next_row(self.record + 1))
    }
}

/// Replicas of the relay are opened from their logs: there is nowhere to keep a checkpoint.
struct NoSaver;

impl Saver for NoSaver {
    fn save(&mut self, _checkpoint: Checkpoint) -> Result<(), StoreError> {
        Err(StoreError::Environment { doing: "saving a checkpoint", source: "a relay keeps none".into() })
    }
}

/// Operations that were used lately, by index and by hash.
#[derive(Debug, Default)]
struct OpCache {
    by_index: HashMap<u32, Arc<Op>>,
    by_hash: HashMap<OpHash, u32>,
    order: VecDeque<u32>,
    bytes: usize,
}

impl OpCache {
    fn insert(&mut self, index: OpIndex, op: Arc<Op>) {
        let bytes = OP_BYTES + op.payload.len();
        self.by_hash.insert(op.hash, index.0);
        if self.by_index.insert(index.0, op).is_some() {
            return;
        }
        self.order.push_back(index.0);
        self.bytes += bytes;
        while self.bytes > CACHE_BYTES_MAX {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(op) = self.by_index.remove(&oldest) {
                self.by_hash.remove(&op.hash);
                self.bytes -= OP_BYTES + op.payload.len();
            }
        }
    }

    fn get(&self, index: OpIndex) -> Option<Arc<Op>> {
        self.by_index.get(&index.0).cloned()
    }

    fn find(&self, hash: &OpHash) -> Option<OpIndex> {
        self.by_hash.get(hash).copied().map(OpIndex)
    }
}
