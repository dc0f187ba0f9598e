//! The tracker: all characters since some boundary, seen from two versions at once.
//!
//! One version is movable, the *current* one: events are taken back (*retreat*) and in again (*advance*) until it is the version
//! the next event was made against. The other is the *merged* text, that of all events applied so far. Applying an event finds its
//! places in the current version, places its inserts in the one total sequence by the Fugue rule, and reads the positions in the
//! merged text off the same descent.
//!
//! The text at the boundary is one span whose content need not be known. That changes no order: at each gap between two of its
//! characters all later authors saw the same neighbours, whatever deleted characters may once have lain there.

use super::emit::Effects;
use super::events::{CharRange, Events, Patch, index, length_after};
use super::span::{NO_CHAR, Span, UNKNOWN_EVENT};
use super::span_tree::{Place, SpanTree};
use super::version::Difference;

#[derive(Debug)]
pub(super) struct Tracker {
    /// Events before this one are part of the base.
    base: u32,
    tree: SpanTree,
    /// The current version.
    version: Vec<u32>,
    /// The characters each applied event deleted, in sequence.
    deleted: Vec<CharRange>,
    /// What became of each event, by event number from `base` on.
    applied: Vec<Applied>,
    difference: Difference,
}

impl Tracker {
    /// A tracker standing at the boundary before event `base`, where the text has `base_len` characters.
    pub(super) fn new<K>(events: &Events<K>, base: u32, base_len: u32) -> Self {
        Self {
            base,
            tree: SpanTree::new(base_len, events.first_char_from(base)),
            version: Vec::new(),
            deleted: Vec::new(),
            applied: Vec::new(),
            difference: Difference::default(),
        }
    }

    pub(super) const fn base(&self) -> u32 {
        self.base
    }

    pub(super) const fn tree(&self) -> &SpanTree {
        &self.tree
    }

    /// The length of the text of all events applied so far.
    pub(super) const fn merged_len(&self) -> u32 {
        self.tree.total().merged
    }

    /// The characters an applied event deleted. Several events may have deleted the same ones.
    pub(super) fn deleted_by(&self, event: u32) -> &[CharRange] {
        self.applied.get(index(event - self.base)).map_or(&[], |applied| &self.deleted[applied.deleted_start..applied.deleted_end])
    }

    /// The characters an applied event inserted or deleted.
    pub(super) fn touched_by<'a, K>(&'a self, events: &Events<K>, event: u32) -> impl Iterator<Item = CharRange> + use<'a, K> {
        let fits = self.applied.get(index(event - self.base)).is_some_and(|applied| applied.fits);
        let inserted = Some(events.inserted(event)).filter(|range| fits && range.len > 0);
        inserted.into_iter().chain(self.deleted_by(event).iter().copied())
    }

    /// Applies an event whose parents are applied. False when it is void: its patches do not fit the text at its parents.
    pub(super) fn apply<K: Ord>(&mut self, events: &Events<K>, event: u32, effects: &mut impl Effects) -> bool {
        self.move_to(events, events.parents(event));
        self.version.clear();
        self.version.push(event);
        let start = self.deleted.len();
        let fits = length_after(events.patches(event), self.tree.total().current).is_some();
        if fits {
            for patch in events.patches(event) {
                self.delete(patch.position, patch.delete, start, effects);
                if patch.chars > 0 {
                    self.insert(events, event, patch, effects);
                }
            }
        }
        let at = index(event - self.base);
        if at >= self.applied.len() {
            self.applied.resize(at + 1, Applied::default());
        }
        self.applied[at] = Applied { fits, deleted_start: start, deleted_end: self.deleted.len() };
        fits
    }

    fn move_to<K>(&mut self, events: &Events<K>, parents: &[u32]) {
        if self.version == parents {
            return;
        }
        let mut difference = std::mem::take(&mut self.difference);
        difference.compute(events, self.base, &self.version, parents);
        self.shift(events, &difference.retreat, u32::MAX);
        self.shift(events, &difference.advance, 1);
        self.difference = difference;
    }

    /// Adds `step`, which is 1 or wraps to -1, to the state of everything the events inserted or deleted. States are counts, so
    /// the order does not matter and the characters of a run of typing or deletion can be shifted at once.
    fn shift<K>(&mut self, events: &Events<K>, shifted: &[u32], step: u32) {
        let (mut inserts, mut deletes) = (Run::default(), Run::default());
        for &event in shifted {
            let applied = self.applied[index(event - self.base)];
            for at in applied.deleted_start..applied.deleted_end {
                if let Some(run) = deletes.add(self.deleted[at]) {
                    self.shift_range(run, step);
                }
            }
            if applied.fits
                && let Some(run) = inserts.add(events.inserted(event))
            {
                self.shift_range(run, step);
            }
        }
        for run in [deletes.range, inserts.range].into_iter().flatten() {
            self.shift_range(run, step);
        }
        self.tree.settle();
    }

    /// Leaves the tree to be settled.
    fn shift_range(&mut self, range: CharRange, step: u32) {
        let CharRange { mut first, mut len } = range;
        while len > 0 {
            let (place, offset) = self.tree.locate(first);
            let count = len.min(self.tree.span(place).len - offset);
            let place = self.tree.isolate(place, offset, count);
            self.tree.update_later(place, |span| span.current = span.current.wrapping_add(step));
            self.tree.join(place);
            first += count;
            len -= count;
        }
    }

    fn delete(&mut self, position: u32, count: u32, event_start: usize, effects: &mut impl Effects) {
        let mut rest = count;
        while rest > 0 {
            let found = self.tree.find_current(position);
            let span = self.tree.span(found.place);
            let count = rest.min(span.len - found.offset);
            if !span.deleted {
                effects.delete(found.merged + found.offset, count);
            }
            let range = CharRange { first: span.first + found.offset, len: count };
            let place = self.tree.isolate(found.place, found.offset, count);
            self.tree.update(place, |span| (span.current, span.deleted) = (2, true));
            self.tree.join(place);
            self.record(range, event_start);
            rest -= count;
        }
    }

    fn record(&mut self, range: CharRange, event_start: usize) {
        if let Some(last) = self.deleted[event_start..].last_mut()
            && last.first + last.len == range.first
        {
            last.len += range.len;
        } else {
            self.deleted.push(range);
        }
    }

    fn insert<K: Ord>(&mut self, events: &Events<K>, event: u32, patch: &Patch, effects: &mut impl Effects) {
        let gap = self.gap_after(patch.position);
        let right = self.right_parent(&gap);
        let new = Span { first: patch.first, len: patch.chars, left: gap.left, right, event, current: 1, deleted: false };
        let (place, passed) = self.place_among_concurrent(events, &gap, &new);
        effects.insert(gap.merged + passed, patch);
        if !self.tree.extend(place, new) {
            self.tree.insert(place, new);
        }
    }

    /// The gap after the first `position` characters of the current version.
    fn gap_after(&mut self, position: u32) -> Gap {
        let Some(before) = position.checked_sub(1) else {
            return Gap { place: SpanTree::START, left: NO_CHAR, merged: 0 };
        };
        let found = self.tree.find_current(before);
        let span = self.tree.span(found.place);
        let offset = found.offset + 1;
        let merged = found.merged + if span.deleted { 0 } else { offset };
        let left = span.first + found.offset;
        let place =
            if offset < span.len { self.tree.split(found.place, offset) } else { Place { index: found.place.index + 1, ..found.place } };
        Gap { place, left, merged }
    }

    /// Fugue's choice of parent: the left neighbour, unless that has a child there already, namely the right neighbour or an
    /// ancestor of it; then the right one. Deleted characters count as neighbours, characters not inserted yet do not.
    fn right_parent(&self, gap: &Gap) -> u32 {
        self.tree.next_known(gap.place).filter(|span| span.left == gap.left).map_or(NO_CHAR, |span| span.first)
    }

    /// Where in the gap a new span belongs among those that concurrent events put there, and how much of the merged text it
    /// passes on the way.
    ///
    /// A sibling with a smaller key settles that the new span goes after it, and all between are descendants of such siblings: so
    /// where thousands meet, whole nodes that end in one are passed at once.
    fn place_among_concurrent<K: Ord>(&self, events: &Events<K>, gap: &Gap, new: &Span) -> (Place, u32) {
        let is_sibling = |other: &Span| !other.is_known() && other.left == gap.left && other.right == new.right;
        let goes_after = |other: &Span| is_sibling(other) && !self.is_smaller(events, new, other);
        let (mut chosen, mut chosen_passed) = (gap.place, 0);
        let (mut place, mut passed) = (gap.place, 0);
        // Set while among children of the left neighbour that end further left than the new span: the new span goes after them
        // only if it also goes after the next one that ends where it does.
        let mut scanning = false;
        while let Some(at) = self.tree.at_or_after(place) {
            if at.index == 0
                && let (next, between) = self.tree.pass_nodes(at.leaf, goes_after)
                && next != at
            {
                (place, passed, scanning) = (next, passed + between, false);
                (chosen, chosen_passed) = (place, passed);
                continue;
            }
            let other = self.tree.span(at);
            if other.is_known() {
                break;
            }
            if is_sibling(other) {
                if self.is_smaller(events, new, other) {
                    break;
                }
                scanning = false;
            } else if other.left == gap.left {
                scanning = self.is_right_before(other.right, new.right);
            } else if !self.is_after_gap_start(gap, other.left) {
                break;
            }
            passed += other.sums().merged;
            place = Place { index: at.index + 1, ..at };
            if !scanning {
                (chosen, chosen_passed) = (place, passed);
            }
        }
        (chosen, chosen_passed)
    }

    /// The order of siblings: by key, smaller first.
    fn is_smaller<K: Ord>(&self, events: &Events<K>, new: &Span, other: &Span) -> bool {
        let other = if other.event == UNKNOWN_EVENT { events.inserter(other.first) } else { other.event };
        events.key(new.event) < events.key(other)
    }

    fn is_right_before(&self, a: u32, b: u32) -> bool {
        match (a, b) {
            (NO_CHAR, _) => false,
            (_, NO_CHAR) => true,
            _ => self.char_is_before(a, b),
        }
    }

    /// Whether a left origin lies in the gap: the span it belongs to is then a descendant of one there.
    fn is_after_gap_start(&self, gap: &Gap, left: u32) -> bool {
        left != NO_CHAR && (gap.left == NO_CHAR || self.char_is_before(gap.left, left))
    }

    fn char_is_before(&self, a: u32, b: u32) -> bool {
        let ((a_place, a_offset), (b_place, b_offset)) = (self.tree.locate(a), self.tree.locate(b));
        if a_place == b_place { a_offset < b_offset } else { self.tree.is_before(a_place, b_place) }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.tree.memory_bytes()
            + self.deleted.capacity() * size_of::<CharRange>()
            + self.applied.capacity() * size_of::<Applied>()
            + self.difference.memory_bytes()
    }
}

/// What became of an event.
#[derive(Debug, Clone, Copy, Default)]
struct Applied {
    /// Whether its patches fitted. If not, its inserts are in no span.
    fits: bool,
    /// Its part of [`Tracker::deleted`].
    deleted_start: usize,
    deleted_end: usize,
}

/// A place between two characters of the current version.
#[derive(Debug, Clone, Copy)]
struct Gap {
    place: Place,
    /// The character to its left.
    left: u32,
    /// How much of the merged text lies before it.
    merged: u32,
}

/// Ranges that touch, gathered into one.
#[derive(Debug, Default)]
struct Run {
    range: Option<CharRange>,
}

impl Run {
    /// Adds a range; returns the run so far if the range does not touch it.
    fn add(&mut self, new: CharRange) -> Option<CharRange> {
        if new.len == 0 {
            return None;
        }
        match &mut self.range {
            Some(range) if range.first + range.len == new.first => range.len += new.len,
            Some(range) if new.first + new.len == range.first => (range.first, range.len) = (new.first, range.len + new.len),
            range => return range.replace(new),
        }
        None
    }
}
