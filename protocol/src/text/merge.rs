//! The merged text of a graph of edits, kept up to date as events arrive.
//!
//! Events are merged in sections between boundaries (see `bounds`). A section of one event follows everything before it and goes
//! straight through. A longer one is replayed in a tracker that stands on the boundary before it; the tracker stays for the next
//! events, and is built anew from the events when it is missing or does not reach back far enough.

use std::collections::BTreeSet;

use super::bounds::{Boundary, Bounds};
use super::emit::{Effects, Emitter, Silent};
use super::events::{Events, PushError, length_after};
use super::order::visit_order;
use super::tracker::Tracker;
use super::{EventIndex, TextPatch, TextSink};

/// A tracker that has not been needed for this many events, and for as many as it has replayed, is dropped: replaying it again
/// then costs no more than what has passed since.
const TRACKER_IDLE_EVENTS_MAX: u32 = 256;

/// The events of one text since a base, and the merged text they make.
///
/// The base's content need not be known, only its length. The contract is: [`push`](Self::push) events, parents first;
/// [`merge`](Self::merge) hands the edits they make to a sink that holds the text as the previous `merge` left it (the base before
/// the first). Events may be pushed in any order that has parents first, and merged in any batches: the text is the same.
///
/// An event that follows all others costs its own size. One that does not costs what is concurrent to it: the events between its
/// version and the one merged last are taken back and in again. So two long branches should be merged in batches rather than event
/// by event in turns; within a batch each branch is visited once.
///
/// Keys order concurrent inserts at one place. They must be distinct for concurrent events, else their order is unspecified.
#[derive(Debug)]
pub struct TextMerge<K> {
    pub(super) base_len: u32,
    pub(super) events: Events<K>,
    /// Events that are nobody's parent, ascending.
    heads: Vec<u32>,
    pub(super) state: State,
}

/// What merging has made of the events so far.
#[derive(Debug)]
pub(super) struct State {
    bounds: Bounds,
    /// How many events are merged. They are the first ones.
    merged: u32,
    len: u32,
    void: BTreeSet<u32>,
    tracker: Option<Tracked>,
}

/// A tracker and how far it has come.
#[derive(Debug)]
struct Tracked {
    tracker: Tracker,
    /// It holds the events before this one.
    through: u32,
}

impl<K: Ord + Clone> TextMerge<K> {
    /// No events on a base of `base_len` characters.
    #[must_use]
    pub fn new(base_len: u32) -> Self {
        let state = State { bounds: Bounds::new(base_len), merged: 0, len: base_len, void: BTreeSet::new(), tracker: None };
        Self { base_len, events: Events::new(), heads: Vec::new(), state }
    }

    /// Queues an event. No parents mean the base; no patches make a vertex that changes nothing. Costs no more than copying it.
    ///
    /// # Errors
    /// When a parent is unknown, or the text would become too large; nothing is queued then.
    pub fn push(&mut self, parents: &[EventIndex], key: K, patches: &[TextPatch]) -> Result<EventIndex, PushError> {
        let event = self.events.len();
        if let Some(unknown) = parents.iter().find(|parent| parent.0 >= event) {
            return Err(PushError::UnknownParent { parent: *unknown, events: event });
        }
        let mut sorted: smallvec::SmallVec<[u32; 4]> = parents.iter().map(|parent| parent.0).collect();
        sorted.sort_unstable();
        sorted.dedup();
        self.events.push(self.base_len, &sorted, key, patches)?;
        self.state.bounds.push(&self.events, &self.heads);
        self.take_heads(&sorted);
        self.heads.push(event);
        Ok(EventIndex(event))
    }

    /// Removes from the heads what is now somebody's parent.
    fn take_heads(&mut self, parents: &[u32]) {
        if self.heads == parents {
            self.heads.clear();
        } else if let [only] = parents {
            // Apart, because there may be thousands of heads and events that follow one of them.
            if let Ok(at) = self.heads.binary_search(only) {
                self.heads.remove(at);
            }
        } else if !parents.is_empty() {
            self.heads.retain(|head| parents.binary_search(head).is_err());
        }
    }

    /// Merges all queued events and passes what they change to `sink`. Neighbouring edits may arrive joined.
    pub fn merge(&mut self, sink: &mut impl TextSink) {
        let mut emitter = Emitter::new(self.events.text(), sink);
        self.state.merge(&self.events, &mut emitter);
        emitter.flush();
    }

    /// Drops what only makes the next concurrent event cheaper. It is built again when needed.
    pub fn evict(&mut self) {
        self.state.tracker = None;
    }

    /// An estimate of the memory held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let tracker = self.state.tracker.as_ref().map_or(0, |tracked| tracked.tracker.memory_bytes());
        let small = self.heads.capacity() * size_of::<u32>() + self.state.void.len() * 2 * size_of::<u32>();
        size_of::<Self>() + self.events.memory_bytes() + self.state.bounds.memory_bytes() + small + tracker
    }
}

impl<K> TextMerge<K> {
    /// The length of the merged text in characters, queued events not counted.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.state.len
    }

    /// Whether the merged text has no character.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.state.len == 0
    }

    /// How many events were pushed.
    #[must_use]
    pub fn event_count(&self) -> u32 {
        self.events.len()
    }

    /// Whether a merged event's edits did not fit the text at its parents, so that it changes nothing.
    #[must_use]
    pub fn is_void(&self, event: EventIndex) -> bool {
        self.state.void.contains(&event.0)
    }

    /// The events that are nobody's parent, queued ones included.
    pub fn heads(&self) -> impl Iterator<Item = EventIndex> + '_ {
        self.heads.iter().map(|head| EventIndex(*head))
    }

    /// Whether one version holds everything: at most one head.
    #[must_use]
    pub fn is_single_head(&self) -> bool {
        self.heads.len() <= 1
    }
}

impl State {
    fn merge<K: Ord>(&mut self, events: &Events<K>, effects: &mut impl Effects) {
        let total = events.len();
        let mut floor = self.bounds.floor(self.merged);
        while self.merged < total {
            let (start, end) = (self.bounds.at(floor), self.bounds.at(floor + 1));
            if start.events == self.merged && end.events == start.events + 1 {
                self.pass(events, start.events, effects);
            } else {
                self.replay(events, start, end.events, effects);
            }
            self.merged = end.events;
            floor += 1;
            self.bounds.set_len(floor, self.len);
        }
        self.drop_idle_tracker();
    }

    /// An event that follows everything: its positions are those of the merged text.
    fn pass<K>(&mut self, events: &Events<K>, event: u32, effects: &mut impl Effects) {
        let patches = events.patches(event);
        let Some(len) = length_after(patches, self.len) else {
            self.void.insert(event);
            return;
        };
        for patch in patches {
            if patch.delete > 0 {
                effects.delete(patch.position, patch.delete);
            }
            if patch.chars > 0 {
                effects.insert(patch.position, patch);
            }
        }
        self.len = len;
    }

    /// The queued events before `end`, on top of those since the boundary `start`.
    fn replay<K: Ord>(&mut self, events: &Events<K>, start: Boundary, end: u32, effects: &mut impl Effects) {
        let mut tracked = self.tracked_from(events, start);
        for event in visit_order(events, self.merged, end, |_| true) {
            if !tracked.tracker.apply(events, event, effects) {
                self.void.insert(event);
            }
        }
        tracked.through = end;
        self.len = tracked.tracker.merged_len();
        self.tracker = Some(tracked);
    }

    /// A tracker on or before the boundary `start` that holds all merged events.
    fn tracked_from<K: Ord>(&mut self, events: &Events<K>, start: Boundary) -> Tracked {
        let kept = self.tracker.take().filter(|kept| kept.tracker.base() <= start.events && start.events < kept.through);
        let mut tracked = kept.unwrap_or_else(|| Tracked { tracker: Tracker::new(events, start.events, start.len), through: start.events });
        for event in visit_order(events, tracked.through, self.merged, |_| true) {
            tracked.tracker.apply(events, event, &mut Silent);
        }
        tracked
    }

    fn drop_idle_tracker(&mut self) {
        let merged = self.merged;
        self.tracker.take_if(|tracked| merged - tracked.through > TRACKER_IDLE_EVENTS_MAX.max(tracked.through - tracked.tracker.base()));
    }

    /// The newest merged boundary that holds no event after or at `event`.
    pub(super) fn boundary_before(&self, event: u32) -> Boundary {
        self.bounds.at(self.bounds.floor(event.min(self.merged)))
    }
}
