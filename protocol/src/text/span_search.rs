//! Finding one's way in the sequence of spans: by position, in order, and past many spans at once.

use super::events::index;
use super::span::Span;
use super::span_tree::{NO_NODE, Place, SpanTree};

/// A character found by its position in the current version.
#[derive(Debug, Clone, Copy)]
pub(super) struct Found {
    /// Its span.
    pub(super) place: Place,
    /// How far into the span.
    pub(super) offset: u32,
    /// How much of the merged text lies before the span.
    pub(super) merged: u32,
}

impl SpanTree {
    /// The place of the next span at or after `place`, if there is one.
    pub(super) fn at_or_after(&self, place: Place) -> Option<Place> {
        let leaf = &self.leaves[index(place.leaf)];
        if place.index < leaf.len {
            Some(place)
        } else if leaf.next == NO_NODE {
            None
        } else {
            // No leaf but the only one of an empty tree is empty.
            Some(Place { leaf: leaf.next, index: 0 })
        }
    }

    /// Like [`SpanTree::at_or_after`], with the span, and `place` stepped over it.
    pub(super) fn step(&self, place: &mut Place) -> Option<&Span> {
        let at = self.at_or_after(*place)?;
        *place = Place { index: at.index + 1, ..at };
        Some(self.span(at))
    }

    /// The character at a position of the current version, which must be less than its length.
    pub(super) fn find_current(&self, position: u32) -> Found {
        let (mut node, mut rest, mut merged) = (self.root, position, 0);
        for _ in 0..self.height {
            let branch = &self.branches[index(node)];
            let mut at = 0;
            while rest >= branch.sums[at].current {
                rest -= branch.sums[at].current;
                merged += branch.sums[at].merged;
                at += 1;
            }
            node = branch.children[at];
        }
        let leaf = &self.leaves[index(node)];
        let mut at = 0;
        loop {
            let sums = leaf.spans[at].sums();
            if rest < sums.current {
                return Found { place: Place { leaf: node, index: at }, offset: rest, merged };
            }
            rest -= sums.current;
            merged += sums.merged;
            at += 1;
        }
    }

    /// Whether one place is before another.
    pub(super) fn is_before(&self, a: Place, b: Place) -> bool {
        if a.leaf == b.leaf {
            return a.index < b.index;
        }
        let (mut left, mut right) = (a.leaf, b.leaf);
        let (mut left_parent, mut right_parent) = (self.leaves[index(left)].parent, self.leaves[index(right)].parent);
        // Leaves are all at one depth, so both sides reach their common branch in the same step.
        while left_parent != right_parent {
            (left, right) = (left_parent, right_parent);
            (left_parent, right_parent) = (self.branches[index(left)].parent, self.branches[index(right)].parent);
        }
        let branch = &self.branches[index(left_parent)];
        branch.position(left) < branch.position(right)
    }

    /// The first span at or after `place` that the current version knows, visible or deleted.
    pub(super) fn next_known(&self, place: Place) -> Option<&Span> {
        let leaf = &self.leaves[index(place.leaf)];
        if let Some(span) = leaf.spans[place.index..leaf.len].iter().find(|span| span.is_known()) {
            return Some(span);
        }
        let (mut node, mut level) = (place.leaf, 0);
        loop {
            let branch = &self.branches[index(self.parent(node, level)?)];
            let right = branch.position(node) + 1;
            if let Some(at) = (right..branch.len).find(|at| branch.sums[*at].known > 0) {
                node = branch.children[at];
                break;
            }
            (node, level) = (self.parent(node, level)?, level + 1);
        }
        while level > 0 {
            let branch = &self.branches[index(node)];
            let at = (0..branch.len).find(|at| branch.sums[*at].known > 0)?;
            (node, level) = (branch.children[at], level - 1);
        }
        let leaf = &self.leaves[index(node)];
        leaf.spans[..leaf.len].iter().find(|span| span.is_known())
    }

    /// From the start of a leaf, passes over whole nodes for as long as each ends in a span that may be passed. Returns where that
    /// leads, and how much of the merged text was passed.
    pub(super) fn pass_nodes(&self, leaf: u32, may_pass: impl Fn(&Span) -> bool) -> (Place, u32) {
        let mut passed = 0;
        if self.height == 0 || !may_pass(self.last_span(leaf, 0)) {
            return (Place { leaf, index: 0 }, passed);
        }
        // Upwards while everything to the right within a branch can be passed.
        let (mut node, mut level, mut first) = (leaf, 0, 0);
        loop {
            let Some(parent) = self.parent(node, level) else { return (self.end(), passed) };
            let branch = &self.branches[index(parent)];
            let start = branch.position(node) + first;
            let end = (start..branch.len).find(|at| !may_pass(self.last_span(branch.children[*at], level))).unwrap_or(branch.len);
            passed = branch.sums[start..end].iter().fold(passed, |sum, sums| sum.wrapping_add(sums.merged));
            if end < branch.len {
                node = branch.children[end];
                break;
            }
            (node, level, first) = (parent, level + 1, 1);
        }
        // Downwards into the first node that cannot be passed whole: its last child cannot either.
        while level > 0 {
            let branch = &self.branches[index(node)];
            let end = (0..branch.len - 1).find(|at| !may_pass(self.last_span(branch.children[*at], level - 1))).unwrap_or(branch.len - 1);
            passed = branch.sums[..end].iter().fold(passed, |sum, sums| sum.wrapping_add(sums.merged));
            (node, level) = (branch.children[end], level - 1);
        }
        (Place { leaf: node, index: 0 }, passed)
    }

    /// The branch above a node of a level.
    fn parent(&self, node: u32, level: usize) -> Option<u32> {
        let parent = if level == 0 { self.leaves[index(node)].parent } else { self.branches[index(node)].parent };
        Some(parent).filter(|parent| *parent != NO_NODE)
    }

    /// The last leaf at or below a node of a level.
    fn last_leaf(&self, node: u32, level: usize) -> u32 {
        (0..level).fold(node, |node, _| {
            let branch = &self.branches[index(node)];
            branch.children[branch.len - 1]
        })
    }

    fn last_span(&self, node: u32, level: usize) -> &Span {
        let leaf = &self.leaves[index(self.last_leaf(node, level))];
        // Only the leaf of an empty tree is empty, and there is nothing to pass there.
        &leaf.spans[leaf.len.saturating_sub(1)]
    }

    /// The place after the last span.
    fn end(&self) -> Place {
        let leaf = self.last_leaf(self.root, self.height);
        Place { leaf, index: self.leaves[index(leaf)].len }
    }
}
