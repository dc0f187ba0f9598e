//! The sequence of all spans, as a B+-tree that counts characters in two versions at once.
//!
//! Leaves hold spans, branches hold the sums of what is below them, so a position in one version is found, and its counterpart in
//! the other summed up, in one descent. Nodes live in two vectors and name each other by number. Nothing is ever taken out except
//! where two spans of a leaf are joined, so a leaf never runs empty.

use super::events::index;
use super::span::{NO_CHAR, Span, Sums};
use super::span_index::SpanIndex;

/// Spans in a leaf: at 28 bytes each, a search through a leaf stays within some ten cache lines.
const LEAF_SPANS: usize = 32;

/// Children of a branch: four levels hold a million spans even when nodes are half full.
const BRANCH_CHILDREN: usize = 16;

pub(super) const NO_NODE: u32 = u32::MAX;

/// A place in the sequence: before the span at `index` of a leaf, or after the leaf's last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) leaf: u32,
    pub(super) index: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) spans: [Span; LEAF_SPANS],
    pub(super) len: usize,
    pub(super) parent: u32,
    pub(super) next: u32,
}

#[derive(Debug, Clone)]
pub(super) struct Branch {
    pub(super) children: [u32; BRANCH_CHILDREN],
    pub(super) sums: [Sums; BRANCH_CHILDREN],
    pub(super) len: usize,
    pub(super) parent: u32,
}

#[derive(Debug)]
pub(super) struct SpanTree {
    pub(super) leaves: Vec<Leaf>,
    pub(super) branches: Vec<Branch>,
    /// A leaf if `height` is 0, else a branch.
    pub(super) root: u32,
    pub(super) height: usize,
    total: Sums,
    /// A leaf whose change the sums above it do not have yet.
    owed: Option<(u32, Sums)>,
    index: SpanIndex,
}

impl SpanTree {
    /// A base of some length; inserted characters will have numbers from `first_char` on.
    pub(super) fn new(base_len: u32, first_char: u32) -> Self {
        let leaf = Leaf { spans: [Span::EMPTY; LEAF_SPANS], len: 0, parent: NO_NODE, next: NO_NODE };
        let index = SpanIndex::new(first_char);
        let mut tree = Self { leaves: vec![leaf], branches: Vec::new(), root: 0, height: 0, total: Sums::default(), owed: None, index };
        if base_len > 0 {
            tree.insert(Self::START, Span::base(base_len));
        }
        tree
    }

    /// The start of the sequence: splits make new leaves to the right, so the first stays the first.
    pub(super) const START: Place = Place { leaf: 0, index: 0 };

    pub(super) const fn total(&self) -> Sums {
        self.total
    }

    pub(super) fn span(&self, place: Place) -> &Span {
        &self.leaves[index(place.leaf)].spans[place.index]
    }

    /// The span a character is in, and how far into it.
    pub(super) fn locate(&self, char: u32) -> (Place, u32) {
        let leaf = self.index.leaf(char);
        let node = &self.leaves[index(leaf)];
        let at = node.spans[..node.len].iter().position(|span| span.contains(char)).expect("the index names the character's leaf");
        (Place { leaf, index: at }, char - node.spans[at].first)
    }

    /// Changes the fate of a span in place.
    pub(super) fn update(&mut self, place: Place, change: impl FnOnce(&mut Span)) {
        self.update_later(place, change);
        self.settle();
    }

    /// Like [`SpanTree::update`], but positions cannot be looked up until [`SpanTree::settle`]: changes of neighbours are then
    /// summed up once. Leaves may split meanwhile, since what a split moves is counted from the spans themselves.
    pub(super) fn update_later(&mut self, place: Place, change: impl FnOnce(&mut Span)) {
        let span = &mut self.leaves[index(place.leaf)].spans[place.index];
        let before = span.sums();
        change(span);
        let difference = span.sums().minus(before);
        match &mut self.owed {
            Some((leaf, owed)) if *leaf == place.leaf => *owed = owed.plus(difference),
            owed => {
                if let Some((leaf, difference)) = owed.replace((place.leaf, difference)) {
                    self.add(leaf, difference);
                }
            }
        }
    }

    /// Brings all sums up to date.
    pub(super) fn settle(&mut self) {
        if let Some((leaf, difference)) = self.owed.take() {
            self.add(leaf, difference);
        }
    }

    /// Puts a span at a place.
    pub(super) fn insert(&mut self, place: Place, span: Span) {
        let place = self.make_room(place, 1);
        self.leaves[index(place.leaf)].insert(place.index, span);
        self.index.set(&span, place.leaf);
        self.add(place.leaf, span.sums());
    }

    /// Appends `range` to the span that ends at `place`, if it is a visible one in the same leaf that the range continues.
    pub(super) fn extend(&mut self, place: Place, range: Span) -> bool {
        let leaf = &mut self.leaves[index(place.leaf)];
        let Some(span) = place.index.checked_sub(1).map(|at| &mut leaf.spans[at]) else { return false };
        if !span.continues_with(&range) {
            return false;
        }
        span.len += range.len;
        self.index.set(&range, place.leaf);
        self.add(place.leaf, range.sums());
        true
    }

    /// Cuts the span at `place` so that the characters `offset..offset + len` of it are a span of their own; returns its place.
    pub(super) fn isolate(&mut self, place: Place, offset: u32, len: u32) -> Place {
        let span = self.span(place);
        if offset == 0 && len == span.len {
            return place;
        }
        let mut place = self.make_room(place, 2);
        if offset > 0 {
            place = self.cut(place, offset);
        }
        if len < self.span(place).len {
            self.cut(place, len);
        }
        place
    }

    /// Cuts the span at `place` in two; returns the place of the second.
    pub(super) fn split(&mut self, place: Place, offset: u32) -> Place {
        let place = self.make_room(place, 1);
        self.cut(place, offset)
    }

    fn cut(&mut self, place: Place, offset: u32) -> Place {
        let leaf = &mut self.leaves[index(place.leaf)];
        let rest = leaf.spans[place.index].split_off(offset);
        leaf.insert(place.index + 1, rest);
        self.index.cut(&rest, place.leaf);
        Place { index: place.index + 1, ..place }
    }

    /// Joins the span at `place` with its neighbours where a cut has lost its reason. Places after it are no longer valid.
    pub(super) fn join(&mut self, place: Place) {
        let leaf = &mut self.leaves[index(place.leaf)];
        for at in [place.index + 1, place.index] {
            if at == 0 || at >= leaf.len || !leaf.spans[at - 1].continues_with(&leaf.spans[at]) {
                continue;
            }
            self.index.join(&leaf.spans[at]);
            leaf.spans[at - 1].len += leaf.spans[at].len;
            leaf.spans.copy_within(at + 1..leaf.len, at);
            leaf.len -= 1;
        }
    }

    /// Adds a difference to all sums above a leaf.
    fn add(&mut self, leaf: u32, difference: Sums) {
        self.total = self.total.plus(difference);
        let mut child = leaf;
        let mut parent = self.leaves[index(leaf)].parent;
        while parent != NO_NODE {
            let branch = &mut self.branches[index(parent)];
            let at = branch.position(child);
            branch.sums[at] = branch.sums[at].plus(difference);
            (child, parent) = (parent, branch.parent);
        }
    }

    /// Makes sure `count` spans can be added to the leaf at `place`; returns where the place is after that.
    fn make_room(&mut self, place: Place, count: usize) -> Place {
        let len = self.leaves[index(place.leaf)].len;
        if len + count <= LEAF_SPANS {
            return place;
        }
        let right = self.split_leaf(place.leaf);
        let kept = self.leaves[index(place.leaf)].len;
        if place.index < kept { place } else { Place { leaf: right, index: place.index - kept } }
    }

    /// Moves the upper half of a leaf to a new one right of it.
    fn split_leaf(&mut self, left: u32) -> u32 {
        let right = u32::try_from(self.leaves.len()).expect("fewer leaves than characters");
        let node = &mut self.leaves[index(left)];
        let kept = node.len / 2;
        let mut new = Leaf { spans: [Span::EMPTY; LEAF_SPANS], len: node.len - kept, parent: node.parent, next: node.next };
        new.spans[..new.len].copy_from_slice(&node.spans[kept..node.len]);
        (node.len, node.next) = (kept, right);
        let mut sums = Sums::default();
        for span in &new.spans[..new.len] {
            sums = sums.plus(span.sums());
            self.index.set(span, right);
        }
        let parent = node.parent;
        self.leaves.push(new);
        self.insert_child(parent, 0, left, right, sums);
        right
    }

    /// Hangs the node `right`, which took `sums` from its sibling `left`, under `parent`. `level` is that of the siblings.
    fn insert_child(&mut self, parent: u32, level: usize, left: u32, right: u32, sums: Sums) {
        if parent == NO_NODE {
            self.grow(level, left, right, sums);
            return;
        }
        let mut parent = parent;
        if self.branches[index(parent)].len == BRANCH_CHILDREN {
            let split = self.split_branch(parent, level + 1);
            if self.branches[index(split)].has(left) {
                parent = split;
            }
        }
        let branch = &mut self.branches[index(parent)];
        let at = branch.position(left);
        branch.sums[at] = branch.sums[at].minus(sums);
        branch.insert(at + 1, right, sums);
        self.set_parent(right, level, parent);
    }

    /// Puts a new root above two nodes of a level.
    fn grow(&mut self, level: usize, left: u32, right: u32, sums: Sums) {
        let mut branch = Branch::new(NO_NODE);
        branch.insert(0, left, self.total.minus(sums));
        branch.insert(1, right, sums);
        let root = u32::try_from(self.branches.len()).expect("fewer branches than characters");
        self.branches.push(branch);
        self.set_parent(left, level, root);
        self.set_parent(right, level, root);
        (self.root, self.height) = (root, self.height + 1);
    }

    /// Moves the upper half of a full branch at `level` to a new one right of it.
    fn split_branch(&mut self, left: u32, level: usize) -> u32 {
        const KEPT: usize = BRANCH_CHILDREN / 2;
        let right = u32::try_from(self.branches.len()).expect("fewer branches than characters");
        let node = &mut self.branches[index(left)];
        let mut new = Branch::new(node.parent);
        let mut sums = Sums::default();
        for at in KEPT..BRANCH_CHILDREN {
            new.insert(at - KEPT, node.children[at], node.sums[at]);
            sums = sums.plus(node.sums[at]);
        }
        node.len = KEPT;
        let (parent, children, len) = (node.parent, new.children, new.len);
        self.branches.push(new);
        for child in &children[..len] {
            self.set_parent(*child, level - 1, right);
        }
        self.insert_child(parent, level, left, right, sums);
        right
    }

    fn set_parent(&mut self, node: u32, level: usize, parent: u32) {
        if level == 0 {
            self.leaves[index(node)].parent = parent;
        } else {
            self.branches[index(node)].parent = parent;
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.leaves.capacity() * size_of::<Leaf>() + self.branches.capacity() * size_of::<Branch>() + self.index.memory_bytes()
    }
}

impl Leaf {
    /// Puts a span at `at`; there must be room.
    fn insert(&mut self, at: usize, span: Span) {
        self.spans.copy_within(at..self.len, at + 1);
        self.spans[at] = span;
        self.len += 1;
    }
}

impl Branch {
    const fn new(parent: u32) -> Self {
        Self { children: [NO_CHAR; BRANCH_CHILDREN], sums: [Sums { current: 0, known: 0, merged: 0 }; BRANCH_CHILDREN], len: 0, parent }
    }

    fn has(&self, child: u32) -> bool {
        self.children[..self.len].contains(&child)
    }

    pub(super) fn position(&self, child: u32) -> usize {
        self.children[..self.len].iter().position(|other| *other == child).expect("a child is among its parent's children")
    }

    /// Puts a child at `at`; there must be room.
    fn insert(&mut self, at: usize, child: u32, sums: Sums) {
        self.children.copy_within(at..self.len, at + 1);
        self.sums.copy_within(at..self.len, at + 1);
        self.children[at] = child;
        self.sums[at] = sums;
        self.len += 1;
    }
}
