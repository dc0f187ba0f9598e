//! A node's operation graph, walked from its heads.
//!
//! Operations name their parents, so a node's history is a walk and needs no index. Walks go from greater to lesser version:
//! since an operation's version exceeds its parents', all descendants of an operation are seen before it. Their length is what
//! is concurrent, not the node's history.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::ids::OpHash;
use crate::log::LogTable;
use crate::op::{Op, PARENTS_MAX, ParentRef};
use crate::store::{OpIndex, Store, StoreError};

/// The parents of an operation that is in the store.
pub(crate) type Parents = SmallVec<[OpIndex; 2]>;

/// What walks need.
#[derive(Debug)]
pub(crate) struct Graph<'a, S> {
    pub(crate) store: &'a S,
    pub(crate) logs: &'a LogTable,
}

impl<S> Clone for Graph<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Graph<'_, S> {}

/// An operation waiting in a walk, greatest version first, then greatest hash.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Next {
    version: u64,
    hash: OpHash,
    index: OpIndex,
}

/// One operation of a [`Window`].
#[derive(Debug, Clone)]
pub(crate) struct WindowOp {
    pub(crate) index: OpIndex,
    pub(crate) op: Arc<Op>,
    /// Parents within the window, by place in it; a parent that is the base is left out.
    pub(crate) parents: SmallVec<[usize; 2]>,
}

/// All operations of a node since a version that every one of them descends from.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    /// The heads of that version; empty when the walk reached the beginning.
    pub(crate) base: Parents,
    /// In the order (version, hash): parents first.
    pub(crate) ops: Vec<WindowOp>,
}

impl Window {
    /// The operations that have no parent within the window: they stand right on the base.
    pub(crate) fn bottoms(&self) -> impl Iterator<Item = &WindowOp> {
        self.ops.iter().filter(|entry| entry.parents.is_empty())
    }

    /// The places in the window of operations given by index; the base is left out.
    pub(crate) fn places(&self, indices: &[OpIndex]) -> Vec<usize> {
        let by_index: BTreeMap<OpIndex, usize> = self.ops.iter().enumerate().map(|(place, op)| (op.index, place)).collect();
        indices.iter().filter_map(|index| by_index.get(index).copied()).collect()
    }
}

impl<'a, S: Store> Graph<'a, S> {
    pub(crate) fn op(&self, index: OpIndex) -> Result<Arc<Op>, StoreError> {
        self.store.op(index)
    }

    /// The parents of a folded operation: those of the same node that are in the store.
    pub(crate) fn parents(&self, index: OpIndex, op: &Op) -> Result<Parents, StoreError> {
        let mut parents = Parents::new();
        for parent in &op.header.parents {
            let found = match parent {
                ParentRef::Own(distance) => self.own(index, op, *distance),
                ParentRef::Other(hash) => self.store.find(hash)?,
            };
            if let Some(parent) = found
                && (op.header.parents.len() == 1 || !parents.contains(&parent))
                && self.store.op(parent)?.header.node == op.header.node
            {
                parents.push(parent);
            }
        }
        Ok(parents)
    }

    /// The operation `distance` before `op` in its own log.
    pub(crate) fn own(&self, index: OpIndex, op: &Op, distance: u64) -> Option<OpIndex> {
        let log = self.logs.get(&op.header.log)?;
        let seq = op.header.seq.checked_sub(distance)?;
        if !log.is_forked() {
            return log.branches()[0].get(seq);
        }
        let branch = log.branches().iter().position(|branch| branch.get(op.header.seq) == Some(index))?;
        log.on_path(branch, seq)
    }

    fn next(&self, index: OpIndex) -> Result<Next, StoreError> {
        let op = self.store.op(index)?;
        Ok(Next { version: op.header.version, hash: op.hash, index })
    }

    /// Operations that are before-or-equal `heads` but not before-or-equal `parents`: what is concurrent with an operation that
    /// has those parents.
    pub(crate) fn concurrent(&self, heads: &[OpIndex], parents: &[OpIndex]) -> Result<BTreeSet<OpIndex>, StoreError> {
        let mut queue = BinaryHeap::new();
        // Whether an operation is in the parents' past; those that are only in the heads' are the answer.
        let mut in_past: BTreeMap<OpIndex, bool> = BTreeMap::new();
        let mut open = 0_usize;
        for (indices, past) in [(parents, true), (heads, false)] {
            for index in indices.iter().copied() {
                if let Entry::Vacant(entry) = in_past.entry(index) {
                    entry.insert(past);
                    open += usize::from(!past);
                    queue.push(self.next(index)?);
                }
            }
        }
        let mut concurrent = BTreeSet::new();
        while open > 0 {
            let Some(next) = queue.pop() else { break };
            let past = in_past[&next.index];
            if !past {
                open -= 1;
                concurrent.insert(next.index);
            }
            let op = self.store.op(next.index)?;
            for parent in self.parents(next.index, &op)? {
                match in_past.get_mut(&parent) {
                    None => {
                        in_past.insert(parent, past);
                        open += usize::from(!past);
                        queue.push(self.next(parent)?);
                    }
                    Some(known) if past && !*known => {
                        *known = true;
                        open -= 1;
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(concurrent)
    }

    /// The hashes of the latest operations at or below `heads`, at most `count`.
    pub(crate) fn recent(&self, heads: &[OpIndex], count: usize) -> Result<Vec<OpHash>, StoreError> {
        let mut queue = BinaryHeap::new();
        let mut queued: BTreeSet<OpIndex> = heads.iter().copied().collect();
        for head in heads {
            queue.push(self.next(*head)?);
        }
        let mut recent = Vec::new();
        while let Some(next) = queue.pop().filter(|_| recent.len() < count) {
            recent.push(next.hash);
            let op = self.store.op(next.index)?;
            for parent in self.parents(next.index, &op)? {
                if queued.insert(parent) {
                    queue.push(self.next(parent)?);
                }
            }
        }
        Ok(recent)
    }

    /// The window below `heads`, down to an operation through which every path goes and that `is_base` accepts.
    pub(crate) fn window(&self, heads: &[OpIndex], is_base: impl Fn(&Op) -> bool) -> Result<Window, StoreError> {
        let mut queue = BinaryHeap::new();
        let mut queued: BTreeSet<OpIndex> = BTreeSet::new();
        for head in heads {
            if queued.insert(*head) {
                queue.push(self.next(*head)?);
            }
        }
        let mut found: Vec<(OpIndex, Arc<Op>, Parents)> = Vec::new();
        let mut base = Parents::new();
        let mut rooted = false;
        while let Some(next) = queue.pop() {
            let op = self.store.op(next.index)?;
            if queue.is_empty() && !rooted && is_base(&op) {
                base.push(next.index);
                break;
            }
            let parents = self.parents(next.index, &op)?;
            rooted |= parents.is_empty();
            for parent in &parents {
                if queued.insert(*parent) {
                    queue.push(self.next(*parent)?);
                }
            }
            found.push((next.index, op, parents));
        }
        Ok(Window::new(base, found))
    }

    /// The window above the latest version that lies in the past of every side; a side is given by its heads. What all sides share
    /// further down is not looked at: the walk is as long as what is concurrent.
    ///
    /// The version is found when what is still queued is among the parents of every operation passed that has no passed parent:
    /// then everything passed descends from all of it (a critical version in Eg-walker's words).
    pub(crate) fn window_above(&self, tips: &[OpIndex], sides: &[&[OpIndex]]) -> Result<Window, StoreError> {
        let mut queue = BinaryHeap::new();
        let mut queued: BTreeSet<OpIndex> = BTreeSet::new();
        let mut waiting: BTreeSet<OpIndex> = BTreeSet::new();
        let mut bottoms = Bottoms::default();
        for side in sides {
            bottoms.push(side);
        }
        for tip in tips.iter().chain(sides.iter().copied().flatten()) {
            if queued.insert(*tip) {
                waiting.insert(*tip);
                queue.push(self.next(*tip)?);
            }
        }
        let mut found: Vec<(OpIndex, Arc<Op>, Parents)> = Vec::new();
        while !(waiting.len() <= PARENTS_MAX && bottoms.all_rest_on(&waiting)) {
            let Some(next) = queue.pop() else { break };
            waiting.remove(&next.index);
            bottoms.pass(next.index);
            let op = self.store.op(next.index)?;
            let parents = self.parents(next.index, &op)?;
            bottoms.push(&parents);
            for parent in &parents {
                if queued.insert(*parent) {
                    waiting.insert(*parent);
                    queue.push(self.next(*parent)?);
                }
            }
            found.push((next.index, op, parents));
        }
        Ok(Window::new(waiting.into_iter().collect(), found))
    }
}

/// Operations that were passed and none of whose parents was.
#[derive(Default)]
struct Bottoms {
    parents: BTreeMap<usize, Parents>,
    children: BTreeMap<OpIndex, Vec<usize>>,
    pushed: usize,
}

impl Bottoms {
    fn push(&mut self, parents: &[OpIndex]) {
        for parent in parents {
            self.children.entry(*parent).or_default().push(self.pushed);
        }
        self.parents.insert(self.pushed, parents.into());
        self.pushed += 1;
    }

    /// An operation is passed: its children rest on it now.
    fn pass(&mut self, index: OpIndex) {
        for child in self.children.remove(&index).unwrap_or_default() {
            self.parents.remove(&child);
        }
    }

    fn all_rest_on(&self, waiting: &BTreeSet<OpIndex>) -> bool {
        self.parents.values().all(|parents| waiting.iter().all(|index| parents.contains(index)))
    }
}

impl Window {
    /// From operations in the order they were passed.
    fn new(base: Parents, mut found: Vec<(OpIndex, Arc<Op>, Parents)>) -> Self {
        found.reverse();
        let places: BTreeMap<OpIndex, usize> = found.iter().enumerate().map(|(place, (index, ..))| (*index, place)).collect();
        let ops = found.into_iter().map(|(index, op, parents)| WindowOp {
            index,
            op,
            parents: parents.iter().filter_map(|parent| places.get(parent).copied()).collect(),
        });
        Self { base, ops: ops.collect() }
    }
}
