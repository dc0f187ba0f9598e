//! Operations for others: segments cut from logs where a signature is held.

use std::collections::BTreeMap;

use super::Replica;
use crate::crypto::{Purpose, Signature};
use crate::ids::{LogId, OpHash};
use crate::log::fork::{CHAIN_MAX, ForkProof, SignedChain};
use crate::log::{Head, Log};
use crate::op::OpType;
use crate::op::segment::{PREFIX_BYTES, Position, SEGMENT_LOGS_MAX, SEGMENT_OPS_MAX, Segment, WireOp, WireParent};
use crate::store::{Store, StoreError};

/// How many operations a segment aims at in bulk.
const SEGMENT_OPS_AIM: u64 = 512;
/// How many bytes of content a segment aims at in bulk.
const SEGMENT_BYTES_AIM: usize = 256 * 1024;

/// The most branches a ladder shows; each has at most 65 rungs, so that a ladder keeps within a message's bound. Of a log that was forked
/// more often the branches with the least names are exchanged first.
const LADDER_LEAVES_MAX: usize = 60;

/// A run of one branch of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogRange {
    /// The log.
    pub log: LogId,
    /// A leaf of its tree of branches.
    pub branch: usize,
    /// The last sequence number that is not wanted.
    pub after: u64,
    /// The last that is.
    pub through: u64,
}

/// Hashes at positions ever further back, by which a peer finds where two branches of one log part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// The log.
    pub log: LogId,
    /// Positions, descending.
    pub rungs: Vec<Head>,
}

impl<S: Store> Replica<S> {
    /// What of our logs a peer with these ends of a log lacks, and the peer's ends that we cannot place (it is ahead there, or its
    /// branch is one we do not know).
    ///
    /// # Errors
    /// When the store fails.
    pub fn lacking(&self, log: LogId, theirs: &[Head]) -> Result<(Vec<LogRange>, Vec<Head>), StoreError> {
        let Some(entry) = self.logs.get(&log) else { return Ok((Vec::new(), theirs.to_vec())) };
        let mut has: BTreeMap<usize, u64> = BTreeMap::new();
        let mut unplaced = Vec::new();
        for head in theirs {
            match entry.find(head.seq, &head.hash, |index| self.store.op(index).map(|op| op.hash))? {
                Some(branch) => mark(entry, &mut has, branch, head.seq),
                None => unplaced.push(*head),
            }
        }
        let mut ranges = Vec::new();
        for leaf in entry.leaves() {
            let path = entry.path(leaf);
            let after = path.iter().filter_map(|branch| has.get(branch)).max().copied().unwrap_or(0);
            let through = self.servable(entry, leaf, log);
            if after < through {
                ranges.push(LogRange { log, branch: leaf, after, through });
                mark(entry, &mut has, leaf, through);
            }
        }
        Ok((ranges, unplaced))
    }

    /// The last position on the way to a leaf that we can prove: durable, and followed by a signature we hold or can make.
    fn servable(&self, entry: &Log, leaf: usize, log: LogId) -> u64 {
        let path = entry.path(leaf);
        let durable = |seq: u64| entry.on_path(leaf, seq).is_some_and(|index| index.0 < self.durable);
        if self.signs(log) {
            let last_durable = |branch: &usize| {
                let branch = &entry.branches()[*branch];
                let count = branch.ops.partition_point(|index| index.0 < self.durable);
                (count > 0).then(|| branch.first_seq + count as u64 - 1)
            };
            return path.iter().rev().find_map(last_durable).unwrap_or(0);
        }
        let signed = path.iter().rev().flat_map(|branch| entry.branches()[*branch].signatures.keys().rev());
        signed.copied().find(|seq| durable(*seq)).unwrap_or(0)
    }

    /// Whether we can sign what we hold of a log: any of our own, of epochs before this one too, whose operations we kept without
    /// signatures.
    fn signs(&self, log: LogId) -> bool {
        self.device() == Some(log.device)
    }

    /// The next segment of a range: up to a position for which a signature is held, of moderate size. `known` says up to where the
    /// receiver is known to hold a log, so that parents there need not be spelt out. `None` when the range is empty.
    ///
    /// # Errors
    /// When the store fails.
    pub fn segment(&self, range: &LogRange, attachments: bool, known: &dyn Fn(&LogId) -> u64) -> Result<Option<Segment>, StoreError> {
        let Some(entry) = self.logs.get(&range.log) else { return Ok(None) };
        let Some((last, signature)) = self.next_signature(entry, range)? else { return Ok(None) };
        let mut ops = Vec::with_capacity((last - range.after) as usize);
        let mut logs: Vec<LogId> = Vec::new();
        for seq in range.after + 1..=last {
            let Some(index) = entry.on_path(range.branch, seq) else { return Ok(None) };
            let op = self.store.op(index)?;
            ops.push(WireOp::of(&op, attachments, |hash| {
                self.position_for(hash, known).filter(|position| listed(&mut logs, position.log))
            }));
        }
        let previous = match range.after {
            0 => None,
            after => entry.on_path(range.branch, after).map(|index| self.hash_of(index)),
        };
        let mut previous_prefix = [0; PREFIX_BYTES];
        if let Some(previous) = previous {
            previous_prefix.copy_from_slice(&previous.0[..PREFIX_BYTES]);
        }
        Ok(Some(Segment { log: range.log, first_seq: range.after + 1, previous_prefix, ops, signature }))
    }

    /// A single operation in the form for gossip: signed by itself, parents named by the beginning of their hashes. It is a hint: a
    /// receiver that has not the parent at hand learns of the operation by its session. `None` when no signature over it is held.
    ///
    /// # Errors
    /// When the store fails.
    pub fn gossip(&self, hash: &OpHash) -> Result<Option<Segment>, StoreError> {
        let Some(op) = self.op(hash)? else { return Ok(None) };
        let Some(entry) = self.logs.get(&op.header.log) else { return Ok(None) };
        let Some(branch) = entry.find(op.header.seq, hash, |index| self.store.op(index).map(|op| op.hash))? else { return Ok(None) };
        let own = self.author.as_ref().filter(|author| author.log() == op.header.log);
        let signature = match own {
            Some(author) => Some(author.key.sign(Purpose::Operation, &[&hash.0])),
            None => entry.branches()[branch].signatures.get(&op.header.seq).copied(),
        };
        let Some(signature) = signature else { return Ok(None) };
        let prefix = |hash: &OpHash| {
            let mut prefix = [0; PREFIX_BYTES];
            prefix.copy_from_slice(&hash.0[..PREFIX_BYTES]);
            prefix
        };
        let mut wire = WireOp::of(&op, false, |_| None);
        for parent in &mut wire.parents {
            if let WireParent::Hash(hash) = parent {
                *parent = WireParent::Prefix(prefix(hash));
            }
        }
        let previous_prefix = op.header.previous.as_ref().map_or([0; PREFIX_BYTES], prefix);
        Ok(Some(Segment { log: op.header.log, first_seq: op.header.seq, previous_prefix, ops: vec![wire], signature }))
    }

    /// The position of a parent that the receiver holds, in a log without forks.
    fn position_for(&self, hash: &OpHash, known: &dyn Fn(&LogId) -> u64) -> Option<Position> {
        let index = self.store.find(hash).ok()??;
        let header = &self.store.op(index).ok()?.header;
        let log = header.log;
        let linear = !self.logs.get(&log)?.is_forked();
        (linear && header.seq <= known(&log)).then_some(Position { log, seq: header.seq })
    }

    /// Where the next segment of a range ends, and its signature.
    fn next_signature(&self, entry: &Log, range: &LogRange) -> Result<Option<(u64, Signature)>, StoreError> {
        let mut aim = range.after;
        let mut bytes = 0;
        while aim < range.through && aim - range.after < SEGMENT_OPS_AIM && bytes < SEGMENT_BYTES_AIM {
            let Some(index) = entry.on_path(range.branch, aim + 1) else { return Ok(None) };
            let op = self.store.op(index)?;
            // What names membership begins its segment: see `Segment`.
            if aim > range.after && (op.header.kind == OpType::Workspace || op.header.cut.is_some()) {
                break;
            }
            aim += 1;
            bytes += op.payload.len();
        }
        if aim == range.after {
            return Ok(None);
        }
        if let Some(author) = self.author.as_ref().filter(|_| self.signs(range.log)) {
            let hash = entry.on_path(range.branch, aim).map(|index| self.hash_of(index)).unwrap_or(OpHash([0; 32]));
            return Ok(Some((aim, author.key.sign(Purpose::Operation, &[&hash.0]))));
        }
        let path = entry.path(range.branch);
        let within = path.iter().rev().find_map(|branch| entry.branches()[*branch].signatures.range(range.after + 1..=aim).next_back());
        let next = || path.iter().find_map(|branch| entry.branches()[*branch].signatures.range(range.after + 1..).next());
        let found = within.or_else(next).filter(|(seq, _)| **seq - range.after <= SEGMENT_OPS_MAX as u64);
        Ok(found.map(|(seq, signature)| (*seq, *signature)))
    }

    /// The version of the operation after a position: segments are sent in this order, so that parents come first.
    pub(crate) fn version_after(&self, range: &LogRange) -> u64 {
        let index = self.logs.get(&range.log).and_then(|entry| entry.on_path(range.branch, range.after + 1));
        index.and_then(|index| self.store.op(index).ok()).map_or(u64::MAX, |op| op.header.version)
    }

    /// Payload bytes of a range, estimated from a sample: for progress, not for bounds.
    pub(crate) fn bytes_of(&self, range: &LogRange) -> u64 {
        const SAMPLES: u64 = 64;
        let len = range.through - range.after;
        let step = (len / SAMPLES).max(1);
        let entry = self.logs.get(&range.log);
        let (mut bytes, mut count) = (0_u64, 0_u64);
        for seq in (range.after + 1..=range.through).step_by(usize::try_from(step).unwrap_or(usize::MAX)) {
            if let Some(op) = entry.and_then(|entry| entry.on_path(range.branch, seq)).and_then(|index| self.store.op(index).ok()) {
                bytes += op.payload.len() as u64 + 24;
                count += 1;
            }
        }
        bytes.checked_div(count).unwrap_or(0) * len
    }

    /// Rungs by which a peer finds where its branch of a log leaves ours.
    pub fn ladder(&self, log: LogId) -> Option<Ladder> {
        let entry = self.logs.get(&log)?;
        let mut rungs = Vec::new();
        let mut leaves: Vec<usize> = entry.leaves().collect();
        leaves.sort_unstable_by_key(|leaf| entry.branches()[*leaf].name);
        leaves.truncate(LADDER_LEAVES_MAX);
        for leaf in leaves {
            let last = entry.branches()[leaf].last_seq();
            let mut back = 0;
            while back < last {
                let seq = last - back;
                rungs.extend(entry.on_path(leaf, seq).map(|index| Head { seq, hash: self.hash_of(index) }));
                back = if back == 0 { 1 } else { back * 2 };
            }
            rungs.extend(entry.on_path(leaf, 1).map(|index| Head { seq: 1, hash: self.hash_of(index) }));
        }
        rungs.sort_unstable_by(|a, b| b.cmp(a));
        rungs.dedup();
        Some(Ladder { log, rungs })
    }

    /// Proofs of the forks held: for every log that is forked, one.
    ///
    /// # Errors
    /// When the store fails.
    pub fn fork_proofs(&self) -> Result<Vec<ForkProof>, StoreError> {
        let mut proofs = Vec::new();
        for (id, entry) in self.logs.iter().filter(|(_, entry)| entry.is_forked()) {
            let siblings = (0..entry.branches().len()).find_map(|parent| {
                let mut children: Vec<usize> =
                    (0..entry.branches().len()).filter(|child| entry.branches()[*child].parent == Some(parent)).collect();
                children.sort_unstable_by_key(|child| entry.branches()[*child].name);
                (children.len() > 1).then(|| [children[0], children[1]])
            });
            if let Some([a, b]) = siblings
                && let (Some(a), Some(b)) = (self.signed_chain(*id, entry, a)?, self.signed_chain(*id, entry, b)?)
            {
                proofs.push(ForkProof { log: *id, branches: [a, b] });
            }
        }
        Ok(proofs)
    }

    /// The headers from the start of a branch to the first signature that covers it.
    fn signed_chain(&self, id: LogId, entry: &Log, branch: usize) -> Result<Option<SignedChain>, StoreError> {
        let first = entry.branches()[branch].first_seq;
        let below = entry.leaves().filter(|leaf| entry.path(*leaf).contains(&branch));
        let mut best: Option<(u64, Signature, usize)> = None;
        for leaf in below {
            for index in entry.path(leaf) {
                let signature = entry.branches()[index].signatures.range(first..).next();
                if let Some((seq, signature)) = signature
                    && best.is_none_or(|(known, ..)| *seq < known)
                {
                    best = Some((*seq, *signature, leaf));
                }
            }
            if best.is_none() && self.own_log() == Some(id) {
                let hash = entry.on_path(leaf, first).map(|index| self.hash_of(index)).unwrap_or(OpHash([0; 32]));
                best = self.author.as_ref().map(|author| (first, author.key.sign(Purpose::Operation, &[&hash.0]), leaf));
            }
        }
        let Some((last, signature, leaf)) = best.filter(|(last, ..)| last - first < CHAIN_MAX as u64) else { return Ok(None) };
        let mut headers = Vec::new();
        for seq in first..=last {
            let Some(index) = entry.on_path(leaf, seq) else { return Ok(None) };
            headers.push(self.store.op(index)?.header.clone());
        }
        Ok(Some(SignedChain { headers, signature }))
    }

    /// Operations that are durable.
    pub const fn durable_ops(&self) -> u32 {
        self.durable
    }
}

/// Whether a segment may name this log by number: it lists so many and no more.
fn listed(logs: &mut Vec<LogId>, log: LogId) -> bool {
    if logs.contains(&log) {
        return true;
    }
    let room = logs.len() < SEGMENT_LOGS_MAX;
    if room {
        logs.push(log);
    }
    room
}

/// Notes that everything up to `seq` on the way to `branch` is there.
fn mark(entry: &Log, has: &mut BTreeMap<usize, u64>, branch: usize, seq: u64) {
    for index in entry.path(branch) {
        let last = entry.branches()[index].last_seq().min(seq);
        let known = has.entry(index).or_insert(0);
        *known = last.max(*known);
    }
}
