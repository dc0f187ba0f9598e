//! The log as it is read: where the history of each node ends, and the tree.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Extent;
use crate::fold::Context;
use crate::graph::Graph;
use crate::ids::NodeId;
use crate::op::Op;
use crate::replica::Replica;
use crate::replica::fold_op::context;
use crate::store::{OpIndex, Store, StoreError};
use crate::tree::{Placement, Tree};

/// What was read so far, in order of arrival.
#[derive(Debug, Default)]
pub(super) struct Reading {
    ops: u32,
    /// Operations that nothing read so far comes after, and their nodes.
    ends: BTreeMap<OpIndex, NodeId>,
    /// Operations that others came after before they were read: those others had arrived first, and waited for them.
    passed: BTreeSet<OpIndex>,
    /// Put into a tree at once: in order of arrival each stretch could undo those before it.
    placements: Vec<Placement>,
}

impl Reading {
    /// How many operations were read.
    pub(super) const fn ops(&self) -> u32 {
        self.ops
    }

    /// Reads so many more, as far as they belong.
    pub(super) fn read<S: Store>(&mut self, replica: &Replica<S>, extent: &Extent, count: u32) -> Result<(), StoreError> {
        let until = self.ops.saturating_add(count).min(extent.ops);
        for index in (self.ops..until).map(OpIndex).filter(|index| extent.has(*index)) {
            let op = replica.store.op(index)?;
            let placement = self.note(replica, index, &op)?;
            self.placements.extend(placement);
        }
        self.ops = until;
        Ok(())
    }

    /// Takes note of an operation; answers where it puts its node, if it does.
    fn note<S: Store>(&mut self, replica: &Replica<S>, index: OpIndex, op: &Arc<Op>) -> Result<Option<Placement>, StoreError> {
        let Some(node) = &op.header.node else { return Ok(None) };
        let context = context!(replica);
        for parent in context.graph.parents(index, op)? {
            if self.ends.remove(&parent).is_none() && parent > index {
                self.passed.insert(parent);
            }
        }
        if !self.passed.remove(&index) {
            self.ends.insert(index, node.clone());
        }
        let place = context.payload_of(index, op)?.and_then(|payload| payload.place);
        Ok(place.map(|place| replica.placement(index, op, node.clone(), &place)))
    }

    /// The nodes, each with the last operations of its history, ascending.
    pub(super) fn take_nodes(&mut self) -> BTreeMap<NodeId, Vec<OpIndex>> {
        let mut nodes: BTreeMap<NodeId, Vec<OpIndex>> = BTreeMap::new();
        for (index, node) in std::mem::take(&mut self.ends) {
            nodes.entry(node).or_default().push(index);
        }
        nodes
    }

    /// The tree. Takes long where there is much.
    pub(super) fn into_tree(self) -> Tree {
        let mut tree = Tree::new();
        tree.insert_batch(self.placements);
        tree
    }
}
