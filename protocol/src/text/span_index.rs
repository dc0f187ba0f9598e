//! Which leaf of the span tree holds a character.
//!
//! Inserted characters are many, dense and mostly new: a plain array. The base may be large and is touched in a few places only:
//! a map by the start of each piece.

use std::collections::BTreeMap;

use super::events::index;
use super::span::{BASE_CHAR, Span};

#[derive(Debug)]
pub(super) struct SpanIndex {
    /// The inserted character the array starts at.
    first: u32,
    leaves: Vec<u32>,
    /// Pieces of the base by their first character.
    base: BTreeMap<u32, u32>,
}

impl SpanIndex {
    pub(super) const fn new(first: u32) -> Self {
        Self { first, leaves: Vec::new(), base: BTreeMap::new() }
    }

    /// Takes note that `span` lies in `leaf`.
    pub(super) fn set(&mut self, span: &Span, leaf: u32) {
        if span.is_base() {
            self.base.insert(span.first, leaf);
            return;
        }
        let start = index(span.first - self.first);
        let end = start + index(span.len);
        if end > self.leaves.len() {
            self.leaves.resize(end, 0);
        }
        self.leaves[start..end].fill(leaf);
    }

    /// Takes note that a span was cut and `rest` lies in the same leaf.
    pub(super) fn cut(&mut self, rest: &Span, leaf: u32) {
        if rest.is_base() {
            self.base.insert(rest.first, leaf);
        }
    }

    /// Takes note that `rest` was joined to the span before it, in the same leaf.
    pub(super) fn join(&mut self, rest: &Span) {
        if rest.is_base() {
            self.base.remove(&rest.first);
        }
    }

    pub(super) fn leaf(&self, char: u32) -> u32 {
        if char & BASE_CHAR == 0 {
            self.leaves[index(char - self.first)]
        } else {
            self.base.range(..=char).next_back().map_or(0, |(_, leaf)| *leaf)
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        // A B-tree's nodes are between half full and full, plus links.
        self.leaves.capacity() * size_of::<u32>() + self.base.len() * 4 * size_of::<u32>()
    }
}
