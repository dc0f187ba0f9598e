//! The protocol's store, over the log in PostgreSQL.
//!
//! An operation's index is its version less one: both count arrivals, without gaps. What a turn appends is kept here until its transaction has
//! been committed; what was used lately stays in a cache; the rest is read when it is asked for. The replica runs in a thread that may wait,
//! so reading waits for the database. A question for each operation would take longer than all of folding, so what a page of operations
//! builds on is read with it, in one question.
//!
//! Checkpoints of the replica are in this instance's data folder, when it has one for them: see [`crate::checkpoints`].

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use foldhash::fast::RandomState;
use nodespace_protocol::ids::{NodeId, OpHash};
use nodespace_protocol::op::{Op, ParentRef};
use nodespace_protocol::store::{Checkpoint, OpIndex, PartKey, Record, Saver, Store, StoreError};
use tokio::runtime::Handle;

use crate::checkpoints::{CheckpointFile, Place};
use crate::metrics::Metrics;
use crate::store::{self, Database, FoundRow, LogRow, PageBounds, operations};

/// Bytes of operations kept in memory for one workspace; the oldest leave first and are read again when they are needed.
const CACHE_BYTES_MAX: usize = 1 << 20;
/// The same while it is opened: what is read is folded some thousand records later.
const OPENING_CACHE_BYTES_MAX: usize = 4 << 20;
/// Operations read with one that is asked for while a workspace is opened: those of its membership lie together.
const READ_AHEAD: u64 = 64;
/// Bytes of them, with the last one beyond.
const READ_AHEAD_BYTES: u64 = 1 << 20;
/// What an operation takes beside its payload, about.
const OP_BYTES: usize = 512;
/// Operations read at once when a log is replayed, and bytes of them.
const REPLAY_PAGE: u64 = 1_024;
const REPLAY_PAGE_BYTES: u64 = 2 << 20;
/// After so many bytes a replay ends early: who replays folds what it has then, and asks for the rest.
const REPLAY_BYTES_MAX: usize = 8 << 20;
/// What is read at once of what other instances added. A segment that is longer is read whole.
const CATCH_UP_PAGE: PageBounds = PageBounds { operations: 4_096, bytes: 8 << 20 };
/// Hashes looked for by one question.
const HASHES_AT_ONCE: usize = 4_096;
/// Hashes remembered as being of no operation here.
const ABSENT_MAX: usize = 1 << 16;

/// The log of one workspace as the protocol's store.
#[derive(Clone, Debug)]
pub(crate) struct LogStore {
    reader: LogReader,
    inner: Arc<Mutex<Inner>>,
    checkpoints: Option<Arc<CheckpointFile>>,
}

#[derive(Clone, Debug)]
struct LogReader {
    database: Database,
    number: i64,
    runtime: Handle,
    metrics: Metrics,
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
    pending_by_hash: HashMap<OpHash, usize, RandomState>,
    /// Hashes that were looked for in vain. None of them is an operation's up to `committed`, and none can become one there: what is added
    /// comes through here.
    absent: HashSet<OpHash, RandomState>,
    /// Whether what is appended comes from the database: then it is not to be written again.
    following: bool,
    cache: OpCache,
    /// Where the last replay broke off.
    replayed: ReplayedTo,
    /// How many records the checkpoint includes that the replica is opened from.
    checkpoint: Option<u64>,
    /// It was not used after all.
    refused: bool,
    /// Where the next checkpoint ends.
    place: Option<Place>,
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
    pub(crate) fn open(database: Database, number: i64, committed: u64, runtime: Handle, metrics: Metrics) -> Self {
        let inner = Inner { committed, cache: OpCache::bounded(OPENING_CACHE_BYTES_MAX), ..Inner::default() };
        Self { reader: LogReader { database, number, runtime, metrics }, inner: Arc::new(Mutex::new(inner)), checkpoints: None }
    }

    /// With a file for checkpoints; `found` is the one to open the replica from: how many records it includes, and its version.
    pub(crate) fn with_checkpoints(mut self, file: CheckpointFile, found: Option<(u64, u64)>) -> Self {
        if let Some((records, version)) = found {
            let mut inner = self.lock();
            inner.checkpoint = Some(records);
            inner.records = records;
            // A checkpoint ends with a segment, so the next record is the operation of the next row.
            inner.replayed = ReplayedTo { record: records, version: version + 1, at_signature: false };
        }
        self.checkpoints = Some(Arc::new(file));
        self
    }

    /// The replica has been opened. Answers whether from the checkpoint that was found, `None` when there was none.
    pub(crate) fn opened(&self) -> Option<bool> {
        let mut inner = self.lock();
        inner.cache.bound(CACHE_BYTES_MAX);
        inner.checkpoint.map(|_| !inner.refused)
    }

    /// The file for checkpoints, if there is one.
    pub(crate) fn checkpoints(&self) -> Option<&CheckpointFile> {
        self.checkpoints.as_deref()
    }

    /// Says where the checkpoint ends that is made next.
    pub(crate) fn end_checkpoint_at(&self, place: Place) {
        self.lock().place = Some(place);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here panics half-way through a change.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operations in the database that the replica knows.
    pub(crate) fn committed(&self) -> u64 {
        self.lock().committed
    }

    /// Reads what another instance added after what is known here, up to a version at which a segment ends: some whole segments.
    pub(crate) fn read_on(&self, through: u64) -> Result<Vec<LogRow>, StoreError> {
        let after = self.committed();
        let page = through.min(after + u64::from(CATCH_UP_PAGE.operations));
        let mut rows = self.reader.range_within(after + 1, page, CATCH_UP_PAGE.bytes.into())?;
        let whole = rows.iter().rposition(|row| row.signature.is_some()).map_or(0, |last| last + 1);
        rows.truncate(whole);
        if rows.is_empty() {
            rows = self.reader.range(after + 1, self.reader.page_end(after)?)?;
        }
        let before = rows.iter().flat_map(|row| builds_on(&row.op)).collect();
        self.preload(before)?;
        Ok(rows)
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
        inner.absent.clear();
        for op in std::mem::take(&mut inner.pending_ops) {
            inner.committed += 1;
            let index = OpIndex(inner.committed as u32 - 1);
            inner.cache.insert(index, op);
        }
    }

    /// Reads operations by hash ahead of their being asked for, thousands by one question: as many as stay at hand, and of the others
    /// whether they are here.
    pub(crate) fn preload(&self, mut hashes: Vec<OpHash>) -> Result<(), StoreError> {
        let bytes = {
            let inner = self.lock();
            hashes.retain(|hash| !inner.tells_of(hash));
            inner.cache.bytes_max as u64
        };
        hashes.sort_unstable();
        hashes.dedup();
        for hashes in hashes.chunks(HASHES_AT_ONCE) {
            let found = self.reader.by_hash(hashes, bytes)?;
            self.keep_found(hashes, &found);
        }
        Ok(())
    }

    fn keep(&self, rows: &[LogRow]) {
        let mut inner = self.lock();
        let committed = inner.committed;
        for row in rows.iter().filter(|row| row.version <= committed) {
            inner.cache.insert(OpIndex(row.version as u32 - 1), Arc::clone(&row.op));
        }
    }

    /// Keeps what was found of some hashes, and which of them were not. What another instance added since is not ours yet.
    fn keep_found(&self, hashes: &[OpHash], found: &[FoundRow]) {
        let mut inner = self.lock();
        let committed = inner.committed;
        let mut absent: HashSet<OpHash, RandomState> = hashes.iter().copied().collect();
        for found in found.iter().filter(|found| found.version <= committed) {
            absent.remove(&found.hash);
            if let Some(row) = &found.row {
                inner.cache.insert(OpIndex(found.version as u32 - 1), Arc::clone(&row.op));
            }
        }
        if inner.absent.len() + absent.len() > ABSENT_MAX {
            inner.absent.clear();
        }
        inner.absent.extend(absent);
    }

    /// Reads a page of what is replayed, with what it builds on.
    fn read_page(&self, first: u64, last: u64) -> Result<Vec<LogRow>, StoreError> {
        let rows = self.reader.range_within(first, last, REPLAY_PAGE_BYTES)?;
        if rows.first().is_none_or(|row| row.version != first) {
            return Err(StoreError::Corrupt { place: format!("operation {first}"), what: "it is missing".into() });
        }
        self.keep(&rows);
        self.preload(rows.iter().flat_map(|row| builds_on(&row.op)).collect())?;
        Ok(rows)
    }

    /// The log is read from before the checkpoint's end: the replica could not use it.
    fn note_refused(&self, from: u64) {
        let mut inner = self.lock();
        inner.refused |= inner.checkpoint.is_some_and(|records| from < records);
    }
}

/// What folding an operation looks at: the one before it in its log, and its parents in other logs.
fn builds_on(op: &Op) -> impl Iterator<Item = OpHash> {
    let parents = op.header.parents.iter().filter_map(|parent| match parent {
        ParentRef::Other(hash) => Some(*hash),
        ParentRef::Own(_) => None,
    });
    op.header.previous.into_iter().chain(parents)
}

impl LogReader {
    fn wait<T>(&self, question: impl Future<Output = Result<T, store::StoreError>> + Send) -> Result<T, StoreError> {
        self.runtime.block_on(self.database.within(question)).map_err(|error| match error {
            store::StoreError::Corrupt { place, what } => StoreError::Corrupt { place, what },
            other => StoreError::Environment { doing: "reading the log", source: Box::new(other) },
        })
    }

    fn range(&self, first: u64, last: u64) -> Result<Vec<LogRow>, StoreError> {
        let rows = self.wait(operations::range(self.database.read(), self.number, first, last))?;
        self.metrics.log_read(rows.len());
        Ok(rows)
    }

    /// The first of some rows, until they have so many bytes.
    fn range_within(&self, first: u64, last: u64, bytes: u64) -> Result<Vec<LogRow>, StoreError> {
        let rows = self.wait(operations::range_within(self.database.read(), self.number, first..=last, bytes))?;
        self.metrics.log_read(rows.len());
        Ok(rows)
    }

    /// Where the first segment after a version ends, or one after it.
    fn page_end(&self, after: u64) -> Result<u64, StoreError> {
        let unsigned = || StoreError::Corrupt { place: format!("operations after {after}"), what: "they end without a signature".into() };
        let page = self.wait(operations::page_end(self.database.read(), self.number, after, CATCH_UP_PAGE))?;
        page.map(|page| page.version).ok_or_else(unsigned)
    }

    fn by_hash(&self, hashes: &[OpHash], bytes: u64) -> Result<Vec<FoundRow>, StoreError> {
        let found = self.wait(operations::by_hash(self.database.read(), self.number, hashes, bytes))?;
        self.metrics.log_read(found.iter().filter(|found| found.row.is_some()).count());
        Ok(found)
    }
}

impl Store for LogStore {
    fn append(&mut self, group: Vec<Record>) -> Result<(), StoreError> {
        let mut inner = self.lock();
        for record in group {
            match &record {
                Record::Op(op) if inner.following => {
                    inner.absent.remove(&op.hash);
                    inner.committed += 1;
                    let index = OpIndex(inner.committed as u32 - 1);
                    inner.cache.insert(index, Arc::clone(op));
                }
                Record::Op(op) => {
                    inner.absent.remove(&op.hash);
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
        let last = {
            let inner = self.lock();
            if let Some(at) = version.checked_sub(inner.committed + 1) {
                return inner.pending_ops.get(at as usize).cloned().ok_or(StoreError::NoSuchOp(index));
            }
            if let Some(op) = inner.cache.get(index) {
                return Ok(op);
            }
            if inner.is_opening() { inner.committed.min(version + READ_AHEAD - 1) } else { version }
        };
        let rows = self.reader.range_within(version, last, READ_AHEAD_BYTES)?;
        let op = rows.first().filter(|row| row.version == version).map(|row| Arc::clone(&row.op));
        self.keep(&rows);
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
            if inner.absent.contains(hash) {
                return Ok(None);
            }
        }
        let found = self.reader.by_hash(&[*hash], u64::MAX)?;
        self.keep_found(&[*hash], &found);
        let committed = self.committed();
        Ok(found.first().filter(|found| found.version <= committed).map(|found| OpIndex(found.version as u32 - 1)))
    }

    /// It may end early, with some records at least, and is asked again then: opening holds what it is given until it folds it.
    fn replay(&self, from: u64, each: &mut dyn FnMut(Record) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.note_refused(from);
        let mut at = Some(self.lock().replayed).filter(|at| at.record <= from).unwrap_or_default();
        let committed = self.committed();
        let mut bytes = 0;
        while at.version <= committed && bytes < REPLAY_BYTES_MAX {
            for row in self.read_page(at.version, committed.min(at.version + REPLAY_PAGE - 1))? {
                while at.version == row.version {
                    let (record, next) = at.step(&row);
                    let given = at.record >= from;
                    at = next;
                    if let Some(record) = record.filter(|_| given) {
                        bytes += row.op.payload.len();
                        if each(record).is_break() {
                            self.note_replayed(at);
                            return Ok(());
                        }
                    }
                }
            }
        }
        self.note_replayed(at);
        Ok(())
    }

    fn saver(&self) -> Box<dyn Saver> {
        let inner = self.lock();
        Box::new(LogSaver { file: self.checkpoints.clone(), place: inner.place.map(|place| (inner.records, place)) })
    }

    fn checkpoint(&self) -> Result<Option<u64>, StoreError> {
        Ok(self.lock().checkpoint)
    }

    fn parts(&self, each: &mut dyn FnMut(PartKey, &[u8])) -> Result<(), StoreError> {
        self.checkpoints.as_ref().map_or(Ok(()), |file| file.parts(each).map_err(unreadable))
    }

    fn node(&self, id: &NodeId) -> Result<Option<Vec<u8>>, StoreError> {
        self.checkpoints.as_ref().map_or(Ok(None), |file| file.node(id).map_err(unreadable))
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

/// A checkpoint that cannot be read, for whatever reason, is as good as a damaged one: the log has everything.
fn unreadable(error: StoreError) -> StoreError {
    match error {
        StoreError::Environment { .. } => StoreError::Corrupt { place: "a checkpoint".into(), what: store::chain(&error) },
        other => other,
    }
}

/// Keeps checkpoints, in whichever thread; the file stays lent until it is gone.
struct LogSaver {
    file: Option<Arc<CheckpointFile>>,
    /// How many records there were where the checkpoint ends.
    place: Option<(u64, Place)>,
}

impl Saver for LogSaver {
    fn save(&mut self, checkpoint: Checkpoint) -> Result<(), StoreError> {
        let refused = |why: &'static str| StoreError::Environment { doing: "saving a checkpoint", source: why.into() };
        let file = self.file.as_ref().ok_or_else(|| refused("there is no place for checkpoints"))?;
        let (records, place) = self.place.as_ref().ok_or_else(|| refused("where it ends was not said"))?;
        // What is not committed could still be taken back, and another operation get its version.
        if checkpoint.records != *records {
            return Err(refused("it includes more than is committed"));
        }
        file.save(checkpoint, place)
    }
}

/// Operations that were used lately, by index and by hash.
#[derive(Debug, Default)]
struct OpCache {
    by_index: HashMap<u32, Arc<Op>, RandomState>,
    by_hash: HashMap<OpHash, u32, RandomState>,
    order: VecDeque<u32>,
    bytes: usize,
    bytes_max: usize,
}

impl OpCache {
    fn bounded(bytes_max: usize) -> Self {
        Self { bytes_max, ..Self::default() }
    }

    fn bound(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
        self.evict();
        self.by_index.shrink_to(2 * self.order.len());
        self.by_hash.shrink_to(2 * self.order.len());
    }

    fn insert(&mut self, index: OpIndex, op: Arc<Op>) {
        let bytes = OP_BYTES + op.payload.len();
        self.by_hash.insert(op.hash, index.0);
        if self.by_index.insert(index.0, op).is_some() {
            return;
        }
        self.order.push_back(index.0);
        self.bytes += bytes;
        self.evict();
    }

    fn evict(&mut self) {
        while self.bytes > self.bytes_max {
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

impl Inner {
    /// Whether it is known without a question whether a hash is an operation's here.
    fn tells_of(&self, hash: &OpHash) -> bool {
        self.pending_by_hash.contains_key(hash) || self.cache.find(hash).is_some() || self.absent.contains(hash)
    }

    fn is_opening(&self) -> bool {
        self.cache.bytes_max == OPENING_CACHE_BYTES_MAX
    }
}
