//! Logs: one device's hash-linked operations in one incarnation of its store, and what is held of them.
//!
//! An honest log is a path. A device whose signing store was cloned, or that lies, signs two operations with one sequence
//! number: a **fork**. Both branches are kept, each named by the hash of its first divergent operation, so that everybody who
//! holds the same operations has the same tree of branches. The pieces of a fork (two chains from the same predecessor, each
//! with a signature) prove it to others.

pub mod fork;
pub mod frontier;
pub(crate) mod rest;
mod signed;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::crypto::Signature;
use crate::ids::{LogId, OpHash};
use crate::marks::Marks;
use crate::membership::CutId;
use crate::op::{Op, OpType};
use crate::store::OpIndex;
use signed::Unsigned;

/// The end of a branch, or any position in a log with the hash that stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Head {
    /// Sequence number.
    pub seq: u64,
    /// The operation there.
    pub hash: OpHash,
}

/// A run of sequence numbers without effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoidRange {
    /// First void sequence number.
    pub from: u64,
    /// Last void sequence number, or `u64::MAX` when everything after is void too.
    pub through: u64,
}

/// A stretch of a log without forks inside.
#[derive(Clone, Debug)]
pub struct Branch {
    /// The hash of the first divergent operation; `None` for the trunk.
    pub name: Option<OpHash>,
    /// The branch this one continues.
    pub parent: Option<usize>,
    /// Sequence number of the first operation.
    pub first_seq: u64,
    /// The operations, by position.
    pub ops: Vec<OpIndex>,
    /// The hash of the last operation of this branch, or of what it continues while it is empty.
    pub last: Option<OpHash>,
    /// Signatures kept, by sequence number: of those that were seen the last, and of the others enough to pass everything on.
    pub signatures: BTreeMap<u64, Signature>,
    /// The membership cut from each of these sequence numbers on.
    pub cuts: Vec<(u64, CutId)>,
    /// What has no effect. Kept by the replica as membership changes.
    pub void: Vec<VoidRange>,
    /// What came since the last signature, and between the last two.
    unsigned: Unsigned,
}

impl Branch {
    fn new(name: Option<OpHash>, parent: Option<usize>, first_seq: u64) -> Self {
        Self {
            name,
            parent,
            first_seq,
            ops: Vec::new(),
            last: None,
            signatures: BTreeMap::new(),
            cuts: Vec::new(),
            void: Vec::new(),
            unsigned: Unsigned::default(),
        }
    }

    fn push(&mut self, op: Appended) {
        self.ops.push(op.index);
        self.last = Some(op.hash);
        self.unsigned.push(&op);
    }

    /// Sequence number of the last operation; one less than the first when empty.
    pub fn last_seq(&self) -> u64 {
        self.first_seq + self.ops.len() as u64 - 1
    }

    /// The operation at a sequence number of this branch.
    pub fn get(&self, seq: u64) -> Option<OpIndex> {
        let at = seq.checked_sub(self.first_seq)?;
        self.ops.get(usize::try_from(at).ok()?).copied()
    }

    /// Whether an operation of this branch has no effect because of its author's membership.
    pub fn is_void(&self, seq: u64) -> bool {
        !self.void.is_empty() && self.void.iter().any(|range| (range.from..=range.through).contains(&seq))
    }

    fn cut_at(&self, seq: u64) -> Option<CutId> {
        self.cuts.iter().rev().find(|(from, _)| *from <= seq).map(|(_, cut)| *cut)
    }
}

/// One log: a tree of branches, usually a single one.
#[derive(Clone, Debug)]
pub struct Log {
    branches: Vec<Branch>,
    /// Which in order of first appearance on this device.
    number: u32,
    /// Chunks of the trunk's positions, from the first on, that the last checkpoint has and that are full.
    chunks_saved: u32,
}

impl Default for Log {
    fn default() -> Self {
        Self { branches: vec![Branch::new(None, None, 1)], number: 0, chunks_saved: 0 }
    }
}

/// An operation that is appended to a log.
#[derive(Clone, Copy, Debug)]
pub struct Appended {
    /// Where it is kept.
    pub index: OpIndex,
    /// Its hash.
    pub hash: OpHash,
    /// Bytes of its payload.
    pub bytes: u32,
    /// It names membership: a segment that has it begins with it.
    pub names_membership: bool,
}

impl Appended {
    /// A stored operation.
    pub fn of(index: OpIndex, op: &Op) -> Self {
        let names_membership = op.header.kind == OpType::Workspace || op.header.cut.is_some();
        Self { index, hash: op.hash, bytes: op.header.payload.len, names_membership }
    }
}

impl Log {
    /// The branches; the first is the trunk.
    pub fn branches(&self) -> &[Branch] {
        &self.branches
    }

    pub(crate) fn branches_mut(&mut self) -> &mut [Branch] {
        &mut self.branches
    }

    /// Whether two operations were signed for one position.
    pub fn is_forked(&self) -> bool {
        self.branches.len() > 1
    }

    /// The branches that nothing continues.
    pub fn leaves(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.branches.len()).filter(|index| !self.branches.iter().any(|branch| branch.parent == Some(*index)))
    }

    /// The greatest sequence number held.
    pub fn last_seq(&self) -> u64 {
        self.branches.iter().map(Branch::last_seq).max().unwrap_or(0)
    }

    /// The branches from the trunk to `branch`.
    pub fn path(&self, branch: usize) -> Vec<usize> {
        let mut path = vec![branch];
        let mut at = branch;
        while let Some(parent) = self.branches[at].parent {
            path.push(parent);
            at = parent;
        }
        path.reverse();
        path
    }

    /// The operation at `seq` on the way to `branch`.
    pub fn on_path(&self, branch: usize, seq: u64) -> Option<OpIndex> {
        let mut at = Some(branch);
        while let Some(index) = at {
            let branch = &self.branches[index];
            if seq >= branch.first_seq {
                return branch.get(seq);
            }
            at = branch.parent;
        }
        None
    }

    /// The branch on whose path `seq` lies, going from `branch` towards the trunk.
    pub fn branch_on_path(&self, mut branch: usize, seq: u64) -> usize {
        while seq < self.branches[branch].first_seq {
            match self.branches[branch].parent {
                Some(parent) => branch = parent,
                None => break,
            }
        }
        branch
    }

    /// The membership cut in force at a position.
    pub fn cut_at(&self, branch: usize, seq: u64) -> Option<CutId> {
        let towards_trunk = std::iter::successors(Some(branch), |index| self.branches[*index].parent);
        towards_trunk.map(|index| &self.branches[index]).find_map(|branch| branch.cut_at(seq))
    }

    /// The branch that holds the operation `hash` at `seq`; `hash_of` reads hashes of the store.
    pub fn find<E>(&self, seq: u64, hash: &OpHash, hash_of: impl Fn(OpIndex) -> Result<OpHash, E>) -> Result<Option<usize>, E> {
        for (index, branch) in self.branches.iter().enumerate() {
            if let Some(op) = branch.get(seq) {
                let found = if seq == branch.last_seq() { branch.last == Some(*hash) } else { hash_of(op)? == *hash };
                if found {
                    return Ok(Some(index));
                }
            }
        }
        Ok(None)
    }

    /// The only operation at a position, when the log has no fork there.
    pub fn only(&self, seq: u64) -> Option<OpIndex> {
        let mut found = self.branches.iter().filter_map(|branch| branch.get(seq));
        let first = found.next()?;
        found.next().is_none().then_some(first)
    }

    /// Appends an operation after position `after` of `branch`, forking when something else stands there already. Answers the
    /// branch it now is the end of. `first` is the operation that follows `after` today, with its hash, if the branch must be split.
    pub fn append(&mut self, branch: usize, after: u64, op: Appended, split: Option<Split>) -> usize {
        let continues = self.branches[branch].last_seq() == after && !self.has_children(branch);
        if continues {
            self.branches[branch].push(op);
            return branch;
        }
        if let Some(split) = split {
            self.split(branch, after, split);
        }
        let mut fresh = Branch::new(Some(op.hash), Some(branch), after + 1);
        fresh.push(op);
        self.branches.push(fresh);
        self.branches.len() - 1
    }

    fn has_children(&self, branch: usize) -> bool {
        self.branches.iter().any(|other| other.parent == Some(branch))
    }

    /// Cuts `branch` after `after`; what followed becomes a branch of its own.
    fn split(&mut self, index: usize, after: u64, split: Split) {
        let next = self.branches.len();
        for branch in &mut self.branches {
            if branch.parent == Some(index) {
                branch.parent = Some(next);
            }
        }
        let branch = &mut self.branches[index];
        let keep = usize::try_from(after + 1 - branch.first_seq).unwrap_or(usize::MAX).min(branch.ops.len());
        let ops = branch.ops.split_off(keep);
        let signatures = branch.signatures.split_off(&(after + 1));
        let (cuts, later): (Vec<_>, Vec<_>) = branch.cuts.iter().copied().partition(|(from, _)| *from <= after);
        branch.cuts = cuts;
        let last = std::mem::replace(&mut branch.last, split.last);
        let (void, unsigned) = (branch.void.clone(), std::mem::take(&mut branch.unsigned));
        let mut tail = Branch::new(Some(split.next), Some(index), after + 1);
        (tail.ops, tail.last, tail.signatures, tail.cuts, tail.void, tail.unsigned) = (ops, last, signatures, later, void, unsigned);
        self.branches.push(tail);
    }
}

/// The hashes on both sides of a cut through a branch.
#[derive(Clone, Copy, Debug)]
pub struct Split {
    /// The operation at the cut, `None` at the beginning of the log.
    pub last: Option<OpHash>,
    /// The one after it.
    pub next: OpHash,
}

/// All logs of a workspace.
#[derive(Clone, Debug, Default)]
pub struct LogTable {
    logs: BTreeMap<LogId, Log>,
    /// By number.
    ids: Vec<LogId>,
    /// Logs, by number, that the last checkpoint lacks something of.
    unsaved: Marks,
    /// The same of a checkpoint that is being saved, with the chunks that are full in it.
    saving: Vec<(u32, u32)>,
}

impl LogTable {
    /// One log.
    pub fn get(&self, log: &LogId) -> Option<&Log> {
        self.logs.get(log)
    }

    /// One log, made when it is new, to be changed.
    pub(crate) fn entry(&mut self, log: LogId) -> &mut Log {
        let entry = self.logs.entry(log).or_insert_with(|| {
            self.ids.push(log);
            Log { number: self.ids.len() as u32 - 1, ..Log::default() }
        });
        self.unsaved.mark(entry.number);
        entry
    }

    /// One log, to change what is derived of it and not kept in checkpoints.
    pub(crate) fn get_mut(&mut self, log: &LogId) -> Option<&mut Log> {
        self.logs.get_mut(log)
    }

    /// All logs, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&LogId, &Log)> {
        self.logs.iter()
    }

    /// How many logs.
    pub fn len(&self) -> usize {
        self.logs.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }
}
