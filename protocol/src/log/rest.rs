//! Logs at rest, in a checkpoint.
//!
//! A log is a head (whose it is, how long, its last hash) and chunks of positions, each with the places in the store, the signatures and the
//! membership cuts that begin there. Logs only grow, so a checkpoint writes heads, and the last chunks, of the logs that grew.
//! Places come in runs (a segment's operations are stored together), and are written so. A forked log, which is rare, is written
//! whole into its head, branch by branch; its chunks mean nothing any more.

use super::signed::Unsigned;
use super::{Branch, Log, LogTable};
use crate::crypto::Signature;
use crate::ids::{DeviceId, LogId, OpHash};
use crate::membership::CutId;
use crate::store::OpIndex;
use crate::wire::{DecodeError, Reader, put_int, put_uint};

/// Positions in one chunk.
const CHUNK: u64 = 1 << 13;

/// What a checkpoint takes up of one log.
#[derive(Debug)]
pub(crate) struct LogAtRest {
    pub(crate) number: u32,
    pub(crate) head: Vec<u8>,
    pub(crate) chunks: Vec<(u32, Vec<u8>)>,
}

impl LogTable {
    /// What the last checkpoint lacks.
    pub(crate) fn begin_save(&mut self) -> Vec<LogAtRest> {
        let Self { logs, ids, unsaved, saving } = self;
        let numbers = unsaved.begin().iter();
        let changed = numbers.filter_map(|number| ids.get(*number as usize).and_then(|id| Some((id, logs.get(id)?))));
        let at_rest = changed.inspect(|(_, log)| saving.push((log.number, log.full_chunks()))).map(|(id, log)| log.at_rest(id));
        at_rest.collect()
    }

    /// A checkpoint was kept, or was not.
    pub(crate) fn finish_save(&mut self, saved: bool) {
        self.unsaved.finish(saved);
        for (number, full) in std::mem::take(&mut self.saving).into_iter().filter(|_| saved) {
            if let Some(log) = self.ids.get(number as usize).and_then(|id| self.logs.get_mut(id)) {
                log.chunks_saved = full;
            }
        }
    }

    /// Reads a log's head; heads must be read before chunks, in order. `ops` is how many operations there are.
    pub(crate) fn read_head(&mut self, number: u32, bytes: &[u8], ops: u32) -> Result<(), DecodeError> {
        let mut reader = Reader::new(bytes);
        let id = LogId { device: DeviceId(reader.array("a log")?), epoch: u32::from_le_bytes(reader.array("a log")?) };
        if number as usize != self.ids.len() || self.logs.contains_key(&id) {
            return Err(DecodeError::Invalid("the logs of a checkpoint are not in order"));
        }
        let branches = reader.uint("a log")?;
        let mut log = Log { number, ..Log::default() };
        if branches == 1 {
            log.branches[0].last = Some(OpHash(reader.array("a log")?));
        } else {
            log.branches = (0..branches).map(|at| read_branch(&mut reader, at, ops)).collect::<Result<_, _>>()?;
            check_branches(&log.branches)?;
        }
        reader.finish()?;
        self.ids.push(id);
        self.logs.insert(id, log);
        Ok(())
    }

    /// Reads a chunk of a log's positions; chunks must be read in order.
    pub(crate) fn read_chunk(&mut self, number: u32, chunk: u32, bytes: &[u8], ops: u32) -> Result<(), DecodeError> {
        let log = self.ids.get(number as usize).and_then(|id| self.logs.get_mut(id));
        let log = log.ok_or(DecodeError::Invalid("a chunk is of no log"))?;
        if log.is_forked() {
            return Ok(());
        }
        let branch = &mut log.branches[0];
        if branch.ops.len() as u64 != u64::from(chunk) * CHUNK {
            return Err(DecodeError::Invalid("the chunks of a log are not in order"));
        }
        let mut reader = Reader::new(bytes);
        read_run(&mut reader, branch, ops)?;
        log.chunks_saved = log.full_chunks();
        reader.finish()
    }

    /// Operations in all logs.
    pub(crate) fn ops(&self) -> u64 {
        self.logs.values().flat_map(Log::branches).map(|branch| branch.ops.len() as u64).sum()
    }
}

impl Log {
    fn at_rest(&self, id: &LogId) -> LogAtRest {
        let mut head = Vec::with_capacity(80);
        head.extend_from_slice(&id.device.0);
        head.extend_from_slice(&id.epoch.to_le_bytes());
        put_uint(&mut head, self.branches.len() as u64);
        let mut chunks = Vec::new();
        if let [trunk] = self.branches.as_slice() {
            head.extend_from_slice(&trunk.last.map_or([0; 32], |hash| hash.0));
            let first = u64::from(self.chunks_saved);
            for chunk in first..(trunk.ops.len() as u64).div_ceil(CHUNK) {
                let mut bytes = Vec::new();
                put_run(&mut bytes, trunk, chunk * CHUNK + 1, (chunk + 1) * CHUNK);
                chunks.push((chunk as u32, bytes));
            }
        } else {
            self.branches.iter().for_each(|branch| put_branch(&mut head, branch));
        }
        LogAtRest { number: self.number, head, chunks }
    }

    /// Chunks of the trunk that will not change any more.
    fn full_chunks(&self) -> u32 {
        if self.is_forked() { 0 } else { (self.branches[0].ops.len() as u64 / CHUNK) as u32 }
    }
}

/// The positions of a branch from `first` to `last`, as far as it has them.
fn put_run(out: &mut Vec<u8>, branch: &Branch, first: u64, last: u64) {
    let last = last.min(branch.last_seq());
    let ops = &branch.ops[(first - branch.first_seq) as usize..(last + 1 - branch.first_seq) as usize];
    put_uint(out, ops.len() as u64);
    let mut expected = 0;
    for run in ops.chunk_by(|a, b| a.0.checked_add(1) == Some(b.0)) {
        put_int(out, i64::from(run[0].0) - expected);
        put_uint(out, run.len() as u64);
        expected = i64::from(run[0].0) + run.len() as i64;
    }
    let signatures = branch.signatures.range(first..=last.max(first));
    put_uint(out, signatures.clone().count() as u64);
    for (seq, signature) in signatures {
        put_uint(out, seq - first);
        out.extend_from_slice(&signature.0);
    }
    let cuts: Vec<_> = branch.cuts.iter().filter(|(from, _)| (first..=last).contains(from)).collect();
    put_uint(out, cuts.len() as u64);
    for (from, cut) in cuts {
        put_uint(out, from - first);
        put_uint(out, cut.number().into());
    }
}

/// Reads positions onto the end of a branch.
fn read_run(reader: &mut Reader<'_>, branch: &mut Branch, ops: u32) -> Result<(), DecodeError> {
    const WHAT: &str = "positions of a log";
    const RANGE: DecodeError = DecodeError::Invalid("a position of a log is out of range");
    let first = branch.last_seq() + 1;
    let count = reader.uint(WHAT)?;
    let (mut left, mut expected) = (count, 0_i64);
    while left > 0 {
        let start = expected.checked_add(reader.int(WHAT)?).and_then(|start| u32::try_from(start).ok()).ok_or(RANGE)?;
        let len = reader.uint(WHAT)?;
        // A run is a few bytes however long it is: it must not claim more than there is.
        let too_many = branch.ops.len() as u64 + len > ops.into() || u64::from(start).saturating_add(len) > ops.into();
        if len == 0 || len > left || too_many {
            return Err(RANGE);
        }
        branch.ops.extend((start..start + len as u32).map(OpIndex));
        (left, expected) = (left - len, i64::from(start) + len as i64);
    }
    let at = |offset: u64| first.checked_add(offset).filter(|seq| offset < count && *seq > 0).ok_or(RANGE);
    for _ in 0..reader.len(usize::MAX, WHAT)? {
        let seq = at(reader.uint(WHAT)?)?;
        branch.signatures.insert(seq, Signature(reader.array(WHAT)?));
    }
    for _ in 0..reader.len(usize::MAX, WHAT)? {
        let seq = at(reader.uint(WHAT)?)?;
        branch.cuts.push((seq, CutId::numbered(u32::try_from(reader.uint(WHAT)?).map_err(|_| RANGE)?)));
    }
    branch.unsigned = Unsigned::sealed();
    Ok(())
}

fn put_branch(out: &mut Vec<u8>, branch: &Branch) {
    put_uint(out, branch.parent.map_or(0, |parent| parent as u64 + 1));
    put_uint(out, branch.first_seq);
    for hash in [branch.name, branch.last] {
        out.extend_from_slice(&hash.map_or([0; 32], |hash| hash.0));
    }
    put_run(out, branch, branch.first_seq, u64::MAX);
}

/// The `at`-th branch.
fn read_branch(reader: &mut Reader<'_>, at: u64, ops: u32) -> Result<Branch, DecodeError> {
    const WHAT: &str = "a branch of a log";
    let parent = reader.uint(WHAT)?.checked_sub(1);
    let first_seq = reader.uint(WHAT)?;
    let hash = |bytes: [u8; 32]| (bytes != [0; 32]).then_some(OpHash(bytes));
    let (name, last) = (hash(reader.array(WHAT)?), hash(reader.array(WHAT)?));
    if first_seq == 0 || first_seq > u64::from(ops) + 1 || (at == 0) != parent.is_none() {
        return Err(DecodeError::Invalid("a branch of a log begins nowhere"));
    }
    let mut branch = Branch::new(name, parent.and_then(|parent| usize::try_from(parent).ok()), first_seq);
    read_run(reader, &mut branch, ops)?;
    branch.last = last;
    Ok(branch)
}

/// From every branch the trunk is reached.
fn check_branches(branches: &[Branch]) -> Result<(), DecodeError> {
    let parent = |at: &usize| branches.get(*at).and_then(|branch| branch.parent);
    let rooted = |at: usize| std::iter::successors(Some(at), parent).take(branches.len() + 1).last() == Some(0);
    if branches.is_empty() || !(0..branches.len()).all(rooted) {
        return Err(DecodeError::Invalid("the branches of a log are no tree"));
    }
    Ok(())
}
