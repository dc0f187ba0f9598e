//! A span: characters that were inserted one after the other and share one fate.

use super::events::CharRange;

/// No character: the start of the text as a left neighbour, or no right one.
pub(super) const NO_CHAR: u32 = u32::MAX;

/// Set in the numbers of characters of the base, whose lower bits count from its start. Inserted characters have it clear.
pub(super) const BASE_CHAR: u32 = 1 << 31;

/// The inserting event is to be looked up by character when it matters: spans are cut far more often than compared.
pub(super) const UNKNOWN_EVENT: u32 = u32::MAX;

/// How many characters a run of spans has, counted in three ways.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sums {
    /// Visible in the version the tracker stands at.
    pub(super) current: u32,
    /// Visible or deleted there, that is, inserted.
    pub(super) known: u32,
    /// Visible in the merged text.
    pub(super) merged: u32,
}

impl Sums {
    /// Wraps, so that a difference can be added whatever its sign.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            current: self.current.wrapping_add(other.current),
            known: self.known.wrapping_add(other.known),
            merged: self.merged.wrapping_add(other.merged),
        }
    }

    /// Wraps: see [`Sums::plus`].
    pub(super) const fn minus(self, other: Self) -> Self {
        Self {
            current: self.current.wrapping_sub(other.current),
            known: self.known.wrapping_sub(other.known),
            merged: self.merged.wrapping_sub(other.merged),
        }
    }
}

/// Characters with consecutive numbers, each but the first the right child of the one before it in the Fugue tree.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// The number of the first character.
    pub(super) first: u32,
    pub(super) len: u32,
    /// The left origin of the first character: what its author saw to its left.
    pub(super) left: u32,
    /// The right parent of the first character: its parent in the Fugue tree if it is a left child, else none.
    pub(super) right: u32,
    /// The event that inserted the first character, or [`UNKNOWN_EVENT`].
    pub(super) event: u32,
    /// In the version the tracker stands at: 0 not inserted yet, 1 visible, `n + 1` deleted by `n` events.
    pub(super) current: u32,
    /// Deleted by any event applied so far, that is, absent from the merged text.
    pub(super) deleted: bool,
}

impl Span {
    pub(super) const EMPTY: Self =
        Self { first: 0, len: 0, left: NO_CHAR, right: NO_CHAR, event: UNKNOWN_EVENT, current: 0, deleted: false };

    /// The whole of a base whose content need not be known.
    pub(super) const fn base(len: u32) -> Self {
        Self { first: BASE_CHAR, len, current: 1, ..Self::EMPTY }
    }

    pub(super) const fn sums(&self) -> Sums {
        Sums {
            current: if self.current == 1 { self.len } else { 0 },
            known: if self.current == 0 { 0 } else { self.len },
            merged: if self.deleted { 0 } else { self.len },
        }
    }

    pub(super) const fn is_known(&self) -> bool {
        self.current != 0
    }

    pub(super) const fn is_base(&self) -> bool {
        self.first & BASE_CHAR != 0
    }

    pub(super) const fn contains(&self, char: u32) -> bool {
        char.wrapping_sub(self.first) < self.len
    }

    pub(super) const fn range(&self) -> CharRange {
        CharRange { first: self.first, len: self.len }
    }

    /// Cuts the span after `len` characters and returns the rest.
    pub(super) const fn split_off(&mut self, len: u32) -> Self {
        let rest = Self {
            first: self.first + len,
            len: self.len - len,
            left: self.first + (len - 1),
            right: NO_CHAR,
            event: UNKNOWN_EVENT,
            ..*self
        };
        self.len = len;
        rest
    }

    /// Whether `next`, the following span of the sequence, could be part of this one.
    pub(super) const fn continues_with(&self, next: &Self) -> bool {
        next.first == self.first + self.len
            && next.left == self.first + (self.len - 1)
            && next.right == NO_CHAR
            && next.current == self.current
            && next.deleted == self.deleted
    }
}
