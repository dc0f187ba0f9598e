//! What may have changed since it was last asked for.

use std::collections::BTreeSet;

use super::arena::{Nodes, Operations, TOP};
use crate::ids::{NodeId, OpHash};

/// What may have changed in a tree since the last [`Tree::take_changed`](super::Tree::take_changed): everything that did, and now
/// and then something that did not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changed {
    /// Parents whose list of children may differ; `None` is the top level.
    pub parents: BTreeSet<Option<NodeId>>,
    /// Nodes whose parent, winning placement or sibling immediately before them may differ.
    pub nodes: BTreeSet<NodeId>,
    /// Operations that became [`WouldCycle`](super::Verdict::WouldCycle) or ceased to be (applied now, or removed). One may have
    /// gone back and forth: ask for its verdict.
    pub verdicts: BTreeSet<OpHash>,
}

impl Changed {
    /// Whether there is nothing to report.
    pub fn is_empty(&self) -> bool {
        self.parents.is_empty() && self.nodes.is_empty() && self.verdicts.is_empty()
    }
}

/// Numbers of what changed, with repetitions.
#[derive(Debug, Clone, Default)]
pub(super) struct Pending {
    pub(super) parents: Numbers,
    pub(super) nodes: Numbers,
    pub(super) verdicts: Numbers,
    /// Places at which a node may have come or gone.
    pub(super) spots: Numbers,
    /// Parents of places that were taken out: all their children are noted.
    pub(super) reordered: Numbers,
}

impl Pending {
    pub(super) fn into_changed(self, nodes: &Nodes, operations: &Operations) -> Changed {
        Changed {
            parents: self.parents.distinct().map(|parent| (parent != TOP).then(|| nodes.id(parent))).collect(),
            nodes: self.nodes.distinct().map(|node| nodes.id(node)).collect(),
            verdicts: self.verdicts.distinct().map(|operation| operations.stamp(operation).hash).collect(),
        }
    }
}

/// A set that is written much oftener than read: an array, made distinct whenever it has doubled.
#[derive(Debug, Clone, Default)]
pub(super) struct Numbers {
    numbers: Vec<u32>,
    distinct: usize,
}

/// Below this many numbers making an array distinct is not worth it.
const NUMBERS_DISTINCT_MIN: usize = 1_024;

impl Numbers {
    pub(super) fn push(&mut self, number: u32) {
        if self.numbers.last() == Some(&number) {
            return;
        }
        if self.numbers.len() >= NUMBERS_DISTINCT_MIN.max(2 * self.distinct) {
            self.make_distinct();
        }
        self.numbers.push(number);
    }

    fn make_distinct(&mut self) {
        self.numbers.sort_unstable();
        self.numbers.dedup();
        self.distinct = self.numbers.len();
    }

    pub(super) fn distinct(mut self) -> impl Iterator<Item = u32> {
        self.make_distinct();
        self.numbers.into_iter()
    }
}
