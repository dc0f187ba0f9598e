//! Whether concurrent edits touch.
//!
//! Merging always gives some text; people still want to know when two of them worked on the same words. Each event gets the set of
//! heads it is in the past of, as a bit mask; what is in the past of all heads is common. The events are replayed in a tracker, so
//! that everything they inserted or deleted lies in one sequence, tombstones included. Cut it at every piece that no event outside
//! the common past touched: the edits touch if, in one of the runs between the cuts, two events have no head in common.
//!
//! What the common past deleted neither touches nor cuts: neither side saw it. That also makes the verdict a function of the heads'
//! past alone, because a replay that starts at a later boundary does not know those characters at all.

use super::EventIndex;
use super::emit::Silent;
use super::events::{CharRange, Events, index};
use super::merge::TextMerge;
use super::order::visit_order;
use super::span_tree::SpanTree;
use super::tracker::Tracker;

/// With more heads than this, edits are said to touch: a mask has no more bits. So many people at one text at once is worth a
/// record in any case.
pub const OVERLAP_HEADS_MAX: usize = 64;

/// With more events than this outside the common past, edits are said to touch: the check compares them in pairs where they meet.
const CONCURRENT_EVENTS_MAX: usize = 16_384;

impl<K: Ord + Clone> TextMerge<K> {
    /// Whether concurrent edits in the pasts of `heads`, none of which is in another's past, touch: they insert at one place, or
    /// one deletes what the other deletes or writes into, or they lie side by side.
    ///
    /// True as well for more than [`OVERLAP_HEADS_MAX`] heads, and for a head that was not pushed. Costs a replay since the last
    /// version that all heads have in common and nobody was concurrent to.
    #[must_use]
    pub fn overlaps(&self, heads: &[EventIndex]) -> bool {
        let mut heads: Vec<u32> = heads.iter().map(|head| head.0).collect();
        heads.sort_unstable();
        heads.dedup();
        let (Some(&oldest), Some(&newest)) = (heads.first(), heads.last()) else { return false };
        if heads.len() > OVERLAP_HEADS_MAX || newest >= self.events.len() {
            return true;
        }
        let start = self.state.boundary_before(oldest);
        let masks = Masks::new(&self.events, start.events, &heads);
        if masks.partial().count() > CONCURRENT_EVENTS_MAX {
            return true;
        }
        let mut tracker = Tracker::new(&self.events, start.events, start.len);
        for event in visit_order(&self.events, start.events, newest + 1, |event| masks.of(event) != 0) {
            tracker.apply(&self.events, event, &mut Silent);
        }
        Sequence::new(&self.events, &tracker, &masks).has_contact(&self.events, &tracker, &masks)
    }
}

/// Which heads have an event in their past, for events from `start` on.
struct Masks {
    start: u32,
    masks: Vec<u64>,
    /// The mask of an event that is in every head's past.
    all: u64,
}

impl Masks {
    fn new<K>(events: &Events<K>, start: u32, heads: &[u32]) -> Self {
        let newest = heads.last().map_or(start, |head| head + 1);
        let mut masks = vec![0; index(newest - start)];
        let mut all = 0;
        for (bit, head) in heads.iter().enumerate() {
            masks[index(head - start)] = 1 << bit;
            all |= 1 << bit;
        }
        for event in (start..newest).rev() {
            let mask = masks[index(event - start)];
            for parent in events.parents(event).iter().filter(|parent| **parent >= start) {
                masks[index(parent - start)] |= mask;
            }
        }
        Self { start, masks, all }
    }

    fn of(&self, event: u32) -> u64 {
        self.masks[index(event - self.start)]
    }

    /// The events in some head's past, with their masks.
    fn included(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        (self.start..).zip(self.masks.iter().copied()).filter(|(_, mask)| *mask != 0)
    }

    /// The events in some heads' pasts but not in all.
    fn partial(&self) -> impl Iterator<Item = (u32, u64)> + '_ {
        self.included().filter(|(_, mask)| *mask != self.all)
    }
}

/// Characters that the same events touched.
struct Piece {
    first: u32,
    /// Touched by an event outside the common past.
    touched: bool,
    /// Deleted in the common past.
    gone: bool,
    /// The number of its run, if touched.
    run: usize,
}

/// All characters in their total order, cut into pieces.
struct Sequence {
    pieces: Vec<Piece>,
    /// Pieces by their first character's number.
    by_char: Vec<(u32, usize)>,
}

impl Sequence {
    fn new<K>(events: &Events<K>, tracker: &Tracker, masks: &Masks) -> Self {
        let mut cuts: Vec<u32> = masks
            .included()
            .flat_map(|(event, _)| tracker.touched_by(events, event))
            .flat_map(|range| [range.first, range.first + range.len])
            .collect();
        cuts.sort_unstable();
        cuts.dedup();
        let mut pieces = Vec::new();
        let mut place = SpanTree::START;
        while let Some(span) = tracker.tree().step(&mut place) {
            cut(span.range(), &cuts, &mut pieces);
        }
        let mut by_char: Vec<(u32, usize)> = pieces.iter().enumerate().map(|(at, piece)| (piece.first, at)).collect();
        by_char.sort_unstable();
        Self { pieces, by_char }
    }

    fn has_contact<K>(mut self, events: &Events<K>, tracker: &Tracker, masks: &Masks) -> bool {
        for (event, mask) in masks.included() {
            if mask == masks.all {
                tracker.deleted_by(event).iter().for_each(|range| self.mark(*range, |piece| piece.gone = true));
            } else {
                tracker.touched_by(events, event).for_each(|range| self.mark(range, |piece| piece.touched = true));
            }
        }
        let mut runs = vec![Run::default(); self.number_runs()];
        masks.partial().any(|(event, mask)| {
            let mut ranges = tracker.touched_by(events, event);
            ranges.any(|range| within(&self.by_char, range).any(|at| runs[self.pieces[at].run].meets(mask)))
        })
    }

    fn mark(&mut self, range: CharRange, change: impl Fn(&mut Piece)) {
        within(&self.by_char, range).for_each(|at| change(&mut self.pieces[at]));
    }

    /// Numbers the runs of touched pieces; returns how many numbers were given out.
    fn number_runs(&mut self) -> usize {
        let mut run = 0;
        for piece in &mut self.pieces {
            if piece.touched {
                piece.run = run;
            } else if !piece.gone {
                run += 1;
            }
        }
        run + 1
    }
}

/// The pieces a range of characters consists of. Ranges begin and end at cuts.
fn within(by_char: &[(u32, usize)], range: CharRange) -> impl Iterator<Item = usize> + '_ {
    let start = by_char.partition_point(|(first, _)| *first < range.first);
    by_char[start..].iter().take_while(move |(first, _)| first - range.first < range.len).map(|(_, at)| *at)
}

/// Cuts a span at all `cuts` within it.
fn cut(span: CharRange, cuts: &[u32], pieces: &mut Vec<Piece>) {
    let end = span.first + span.len;
    let mut first = span.first;
    let inner = cuts.partition_point(|cut| *cut <= first);
    for &cut in cuts[inner..].iter().take_while(|cut| **cut < end).chain([&end]) {
        pieces.push(Piece { first, touched: false, gone: false, run: 0 });
        first = cut;
    }
}

/// The events that touched one run, as the masks of which no other is a part: if any mask has no head in common with another,
/// one of these has none either.
#[derive(Debug, Clone, Default)]
struct Run {
    masks: Vec<u64>,
}

impl Run {
    /// Adds an event; true if it has no head in common with one before it.
    fn meets(&mut self, mask: u64) -> bool {
        if self.masks.iter().any(|other| other & mask == 0) {
            return true;
        }
        if !self.masks.iter().any(|other| other & mask == *other) {
            self.masks.retain(|other| other & mask != mask);
            self.masks.push(mask);
        }
        false
    }
}
