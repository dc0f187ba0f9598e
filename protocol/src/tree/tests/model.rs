//! The slow, obvious tree: all placements sorted and replayed from the start, order by plain recursion.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{NodeId, OpHash};
use crate::tree::{Anchor, Placement, Side, Tree, Verdict};

/// A set of placements, and nothing else.
#[derive(Debug, Clone, Default)]
pub(super) struct Model(BTreeMap<OpHash, Placement>);

/// What a tree looks like from outside.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    pub(super) parents: BTreeMap<NodeId, Option<NodeId>>,
    pub(super) winners: BTreeMap<NodeId, OpHash>,
    pub(super) children: BTreeMap<Option<NodeId>, Vec<NodeId>>,
    pub(super) verdicts: BTreeMap<OpHash, Verdict>,
}

impl Model {
    pub(super) fn insert(&mut self, placement: &Placement) {
        self.0.entry(placement.stamp.hash).or_insert_with(|| placement.clone());
    }

    pub(super) fn remove(&mut self, operation: &OpHash) {
        self.0.remove(operation);
    }

    pub(super) fn view(&self) -> View {
        let mut view = View::default();
        let mut turns: Vec<&Placement> = self.0.values().collect();
        turns.sort_by_key(|placement| placement.stamp);
        for placement in turns {
            let cycle = closes_cycle(&view.parents, &placement.node, placement.parent.as_ref());
            view.verdicts.insert(placement.stamp.hash, if cycle { Verdict::WouldCycle } else { Verdict::Applied });
            if !cycle {
                view.parents.insert(placement.node.clone(), placement.parent.clone());
                view.winners.insert(placement.node.clone(), placement.stamp.hash);
            }
        }
        let parents: BTreeSet<Option<NodeId>> = self.0.values().map(|placement| placement.parent.clone()).collect();
        for parent in parents {
            let mut order = Vec::new();
            self.in_order(&parent, Above::Start, &mut order);
            self.in_order(&parent, Above::Nothing, &mut order);
            let shown = order.iter().filter(|placement| view.winners.get(&placement.node) == Some(&placement.stamp.hash));
            let shown: Vec<NodeId> = shown.map(|placement| placement.node.clone()).collect();
            if !shown.is_empty() {
                view.children.insert(parent, shown);
            }
        }
        view
    }

    /// All places under one place (or root), each with its left children before and its right children after it.
    fn in_order<'a>(&'a self, parent: &Option<NodeId>, above: Above, out: &mut Vec<&'a Placement>) {
        let children = || self.0.values().filter(move |placement| placement.parent == *parent && self.above(placement) == above);
        for placement in children() {
            let this = placement.stamp.hash;
            self.in_order(parent, Above::Place(this, Side::Left), out);
            out.push(placement);
            self.in_order(parent, Above::Place(this, Side::Right), out);
        }
    }

    fn above(&self, placement: &Placement) -> Above {
        let Anchor::Op(anchor) = placement.anchor else { return Above::Start };
        match self.0.get(&anchor) {
            Some(at) if at.parent == placement.parent && at.stamp.version < placement.stamp.version => Above::Place(anchor, placement.side),
            _ => Above::Nothing,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Above {
    Start,
    Nothing,
    Place(OpHash, Side),
}

fn closes_cycle(parents: &BTreeMap<NodeId, Option<NodeId>>, node: &NodeId, parent: Option<&NodeId>) -> bool {
    let mut up = parent.cloned();
    while let Some(ancestor) = up {
        if ancestor == *node {
            return true;
        }
        up = parents.get(&ancestor).cloned().flatten();
    }
    false
}

/// What the tree answers, asked about these nodes, the top level and these operations.
pub(super) fn view_of(tree: &Tree, nodes: &[NodeId], operations: impl IntoIterator<Item = OpHash>) -> View {
    let mut view = View::default();
    for node in nodes {
        if let Some(parent) = tree.parent(node) {
            view.parents.insert(node.clone(), parent);
            view.winners.insert(node.clone(), tree.placement_of(node).expect("a node with a parent has a placement").stamp.hash);
        }
    }
    for parent in nodes.iter().cloned().map(Some).chain([None]) {
        let children = tree.children(parent.as_ref());
        if !children.is_empty() {
            view.children.insert(parent, children);
        }
    }
    for operation in operations {
        view.verdicts.extend(tree.verdict(&operation).map(|verdict| (operation, verdict)));
    }
    view
}
