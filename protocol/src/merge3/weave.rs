//! Weaving the changes of two sides into one text.

use std::ops::Range;

use super::compact::{Change, changes};
use super::tokens::Tokens;
use super::{EDIT_COST_MAX, Hunk, Merge3, myers};

/// One side: its tokens and what it changed.
struct Changed<'a, 't> {
    tokens: &'a Tokens<'t>,
    changes: Vec<Change>,
    /// The first change that is not woven yet.
    next: usize,
    /// How far the unchanged tokens after the woven changes are shifted against the base: old index + shift = new index.
    shift: isize,
}

impl<'a, 't> Changed<'a, 't> {
    fn new(base: &Tokens<'_>, tokens: &'a Tokens<'t>) -> Self {
        let marks = myers::marks(&base.ids, &tokens.ids, EDIT_COST_MAX);
        Self { tokens, changes: changes(&base.ids, &tokens.ids, &marks), next: 0, shift: 0 }
    }

    /// The base range of the next change.
    fn upcoming(&self) -> Option<&Range<usize>> {
        self.changes.get(self.next).map(|change| &change.old)
    }

    /// Takes the next change if it begins inside a region of the base or touches its end, and widens the region to hold it.
    fn take_into(&mut self, region: &mut Range<usize>) -> bool {
        let Some(change) = self.changes.get(self.next).filter(|change| change.old.start <= region.end) else { return false };
        region.end = region.end.max(change.old.end);
        self.shift = change.new.end as isize - change.old.end as isize;
        self.next += 1;
        true
    }

    /// What this side has in place of a region of the base: `shift` tokens further on, where the region starts, than in the base.
    fn range(&self, region: &Range<usize>, shift: isize) -> Range<usize> {
        (region.start as isize + shift) as usize..(region.end as isize + self.shift) as usize
    }
}

/// Appends the merge of two sides to `merge`.
pub(super) fn weave(base: &Tokens<'_>, left: &Tokens<'_>, right: &Tokens<'_>, merge: &mut Merge3) {
    let mut left = Changed::new(base, left);
    let mut right = Changed::new(base, right);
    let mut done = 0;
    loop {
        let start = match (left.upcoming(), right.upcoming()) {
            (None, None) => break,
            (Some(one), None) | (None, Some(one)) => one.start,
            (Some(one), Some(other)) => one.start.min(other.start),
        };
        merge.clean(base.text(done..start));
        done = region(start, base, &mut left, &mut right, merge);
    }
    merge.clean(base.text(done..base.len()));
}

/// Weaves the changes that touch each other from `start` on; returns where in the base they end.
fn region(start: usize, base: &Tokens<'_>, left: &mut Changed<'_, '_>, right: &mut Changed<'_, '_>, merge: &mut Merge3) -> usize {
    let mut region = start..start;
    let (left_shift, right_shift) = (left.shift, right.shift);
    let (mut left_changes, mut right_changes) = (false, false);
    loop {
        if left.take_into(&mut region) {
            left_changes = true;
        } else if right.take_into(&mut region) {
            right_changes = true;
        } else {
            break;
        }
    }
    let left_text = left.tokens.text(left.range(&region, left_shift));
    let right_text = right.tokens.text(right.range(&region, right_shift));
    if !right_changes || left_text == right_text {
        merge.clean(left_text);
    } else if !left_changes {
        merge.clean(right_text);
    } else {
        let [base, left, right] = [base.text(region.clone()), left_text, right_text].map(str::to_owned);
        merge.hunks.push(Hunk::Conflict { base, left, right });
    }
    region.end
}
