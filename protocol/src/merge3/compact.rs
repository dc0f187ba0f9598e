//! From marks to changes: sliding each group of marked tokens to where it reads best.
//!
//! A run of inserted or deleted tokens can often be moved without changing what the script does: when `b` is inserted twice into
//! `a b c`, any two of the three `b` in `a b b b c` may be called new. Where a group stands decides what it touches, and so what
//! conflicts. The rule, which is also git's: as far down as it goes, joining any group it meets on the way; but if on the way it
//! can stand where the other side has a change too, it stands at the last such place, so that a replacement stays one change.
//!
//! Unmarked tokens pair up between the two sequences, so both have equally many *slots* between them (most are empty). Sliding a
//! group moves it to the neighbouring slot.

use std::ops::Range;

use super::myers::Marks;

/// A range of the old sequence that became a range of the new one. One of them may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) old: Range<usize>,
    pub(super) new: Range<usize>,
}

/// The changes of a script, ascending; any two have at least one unchanged token between them.
pub(super) fn changes(old: &[u32], new: &[u32], marks: &Marks) -> Vec<Change> {
    let mut old_slots = Slots::of(old, &marks.old);
    let mut new_slots = Slots::of(new, &marks.new);
    old_slots.slide(&new_slots);
    new_slots.slide(&old_slots);
    let pairs = old_slots.slots.into_iter().zip(new_slots.slots);
    pairs.filter(|(old, new)| !old.is_empty() || !new.is_empty()).map(|(old, new)| Change { old, new }).collect()
}

struct Slots<'a> {
    tokens: &'a [u32],
    /// What stands before the first, between any two, and after the last unmarked token.
    slots: Vec<Range<usize>>,
}

impl<'a> Slots<'a> {
    fn of(tokens: &'a [u32], marks: &[bool]) -> Self {
        let mut slots = Vec::new();
        let mut start = 0;
        for (at, _) in marks.iter().enumerate().filter(|(_, marked)| !**marked) {
            slots.push(start..at);
            start = at + 1;
        }
        slots.push(start..tokens.len());
        Self { tokens, slots }
    }

    fn slide(&mut self, other: &Slots<'_>) {
        let mut slot = 0;
        while slot < self.slots.len() {
            if !self.slots[slot].is_empty() {
                slot = self.slide_group(slot, other);
            }
            slot += 1;
        }
    }

    /// Slides one group; returns the slot where it ends up.
    fn slide_group(&mut self, mut slot: usize, other: &Slots<'_>) -> usize {
        loop {
            let length = self.slots[slot].len();
            while self.up(slot) {
                slot -= 1;
            }
            let mut beside = other.occupied(slot).then_some(slot);
            while self.down(slot) {
                slot += 1;
                if other.occupied(slot) {
                    beside = Some(slot);
                }
            }
            // A group that has met another one is a longer group, with a longer way.
            if self.slots[slot].len() > length {
                continue;
            }
            while beside.is_some_and(|beside| beside < slot) && self.up(slot) {
                slot -= 1;
            }
            return slot;
        }
    }

    fn occupied(&self, slot: usize) -> bool {
        !self.slots[slot].is_empty()
    }

    /// Moves a group over the unmarked token before it, when that equals the group's last one. It joins what stands there.
    fn up(&mut self, slot: usize) -> bool {
        let Range { start, end } = self.slots[slot];
        if slot == 0 || self.tokens[start - 1] != self.tokens[end - 1] {
            return false;
        }
        self.slots[slot - 1].end = end - 1;
        self.slots[slot] = end..end;
        true
    }

    /// Moves a group over the unmarked token after it, when that equals the group's first one. It joins what stands there.
    fn down(&mut self, slot: usize) -> bool {
        let Range { start, end } = self.slots[slot];
        if slot + 1 == self.slots.len() || self.tokens[start] != self.tokens[end] {
            return false;
        }
        self.slots[slot] = start..start;
        self.slots[slot + 1].start = start + 1;
        true
    }
}
