//! The slow, obvious model: the Fugue tree, character by character.
//!
//! Every character is a node with a parent and a side. A new one becomes the right child of its left neighbour, unless that has a
//! right child already; then it becomes the left child of its right neighbour. Neighbours include deleted characters. Siblings on
//! one side are ordered by key. Each version is computed from nothing by walking the whole tree.

use std::collections::BTreeSet;

use super::super::TextPatch;

/// A set of events.
pub(super) type Version = BTreeSet<usize>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Side {
    Left,
    Right,
}

#[derive(Debug)]
struct Node {
    c: char,
    /// `None` hangs under the root.
    parent: Option<usize>,
    side: Side,
    /// `None` is the base.
    event: Option<usize>,
    deleted_by: BTreeSet<usize>,
    left: Vec<usize>,
    right: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Event {
    pub(super) parents: Vec<usize>,
    pub(super) key: u64,
    pub(super) patches: Vec<TextPatch>,
    /// Everything before it.
    pub(super) past: Version,
    pub(super) void: bool,
}

#[derive(Debug, Default)]
pub(super) struct Model {
    nodes: Vec<Node>,
    roots: Vec<usize>,
    pub(super) events: Vec<Event>,
}

impl Model {
    pub(super) fn new(base: &str) -> Self {
        let mut model = Self::default();
        for (at, c) in base.chars().enumerate() {
            model.hang(c, at.checked_sub(1), Side::Right, None);
        }
        model
    }

    /// The closure of some events.
    pub(super) fn version(&self, heads: &[usize]) -> Version {
        heads.iter().flat_map(|head| self.events[*head].past.iter().copied().chain([*head])).collect()
    }

    pub(super) fn push(&mut self, parents: Vec<usize>, key: u64, patches: Vec<TextPatch>) {
        let past = self.version(&parents);
        let mut len = self.text(&past).chars().count() as u64;
        let mut void = false;
        for patch in &patches {
            void |= u64::from(patch.position) + u64::from(patch.delete) > len;
            len = (len + patch.insert.chars().count() as u64).saturating_sub(patch.delete.into());
        }
        let event = self.events.len();
        let mut now = past.clone();
        now.insert(event);
        self.events.push(Event { parents, key, patches: patches.clone(), past, void });
        for patch in patches.iter().filter(|_| !void) {
            for _ in 0..patch.delete {
                let victim = self.visible(&now)[patch.position as usize];
                self.nodes[victim].deleted_by.insert(event);
            }
            for (at, c) in patch.insert.chars().enumerate() {
                self.insert(patch.position as usize + at, c, event, &now);
            }
        }
    }

    fn insert(&mut self, position: usize, c: char, event: usize, now: &Version) {
        let left = position.checked_sub(1).map(|before| self.visible(now)[before]);
        let known = self.known(now);
        let next = left.map_or(0, |left| known.iter().position(|node| *node == left).unwrap() + 1);
        let has_right_child = match left {
            Some(left) => self.nodes[left].right.iter().any(|child| known.contains(child)),
            None => !known.is_empty(),
        };
        if has_right_child {
            self.hang(c, Some(known[next]), Side::Left, Some(event));
        } else {
            self.hang(c, left, Side::Right, Some(event));
        }
    }

    fn hang(&mut self, c: char, parent: Option<usize>, side: Side, event: Option<usize>) {
        let node = self.nodes.len();
        self.nodes.push(Node { c, parent, side, event, deleted_by: BTreeSet::new(), left: Vec::new(), right: Vec::new() });
        let key = |node: &usize| self.nodes[*node].event.map(|event| self.events[event].key);
        let mut siblings = match (parent, side) {
            (None, _) => self.roots.clone(),
            (Some(parent), Side::Left) => self.nodes[parent].left.clone(),
            (Some(parent), Side::Right) => self.nodes[parent].right.clone(),
        };
        siblings.push(node);
        siblings.sort_by_key(key);
        match (self.nodes[node].parent, self.nodes[node].side) {
            (None, _) => self.roots = siblings,
            (Some(parent), Side::Left) => self.nodes[parent].left = siblings,
            (Some(parent), Side::Right) => self.nodes[parent].right = siblings,
        }
    }

    /// All characters in their order.
    fn walk(&self, siblings: &[usize], out: &mut Vec<usize>) {
        for &node in siblings {
            self.walk(&self.nodes[node].left, out);
            out.push(node);
            self.walk(&self.nodes[node].right, out);
        }
    }

    fn known(&self, version: &Version) -> Vec<usize> {
        let mut all = Vec::new();
        self.walk(&self.roots, &mut all);
        all.retain(|node| self.nodes[*node].event.is_none_or(|event| version.contains(&event)));
        all
    }

    fn visible(&self, version: &Version) -> Vec<usize> {
        let mut known = self.known(version);
        known.retain(|node| self.nodes[*node].deleted_by.is_disjoint(version));
        known
    }

    pub(super) fn text(&self, version: &Version) -> String {
        self.visible(version).iter().map(|node| self.nodes[*node].c).collect()
    }

    /// The overlap rule, read off its definition.
    pub(super) fn overlaps(&self, heads: &[usize]) -> bool {
        let version = self.version(heads);
        let pasts: Vec<Version> = heads.iter().map(|head| self.version(&[*head])).collect();
        let mask = |event: usize| pasts.iter().map(|past| past.contains(&event)).collect::<Vec<_>>();
        let is_common = |event: &usize| pasts.iter().all(|past| past.contains(event));
        let mut run: Vec<Vec<bool>> = Vec::new();
        for node in self.known(&version) {
            let node = &self.nodes[node];
            let deleters: Vec<usize> = node.deleted_by.intersection(&version).copied().collect();
            let touched: Vec<usize> = node.event.into_iter().chain(deleters.clone()).filter(|event| !is_common(event)).collect();
            if touched.is_empty() && !deleters.iter().any(is_common) {
                run.clear();
            }
            run.extend(touched.into_iter().map(mask));
            run.sort();
            run.dedup();
            if run.iter().any(|a| run.iter().any(|b| a.iter().zip(b).all(|(a, b)| !(a & b)))) {
                return true;
            }
        }
        false
    }
}
