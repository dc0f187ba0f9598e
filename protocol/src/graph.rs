//! A node's operation graph, walked from its heads.
//!
//! Operations name their parents, so a node's history is a walk and needs no index. Walks go from greater to lesser version:
//! since an operation's version exceeds its parents', all descendants of an operation are seen before it. Their length is what
//! is concurrent, not the node's history.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::ids::OpHash;
use crate::log::LogTable;
use crate::op::{Op, ParentRef};
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

/// All operations of a node since one that everything after descends from.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    /// The operation below the window; `None` when the walk reached the beginning.
    pub(crate) base: Option<(OpIndex, Arc<Op>)>,
    /// In the order (version, hash): parents first.
    pub(crate) ops: Vec<WindowOp>,
}

impl Window {
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
                if !in_past.contains_key(&index) {
                    in_past.insert(index, past);
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
        let mut base = None;
        let mut rooted = false;
        while let Some(next) = queue.pop() {
            let op = self.store.op(next.index)?;
            if queue.is_empty() && !rooted && is_base(&op) {
                base = Some((next.index, op));
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
        found.reverse();
        let places: BTreeMap<OpIndex, usize> = found.iter().enumerate().map(|(place, (index, ..))| (*index, place)).collect();
        let ops = found.into_iter().map(|(index, op, parents)| WindowOp {
            index,
            op,
            parents: parents.iter().filter_map(|parent| places.get(parent).copied()).collect(),
        });
        Ok(Window { base, ops: ops.collect() })
    }
}
