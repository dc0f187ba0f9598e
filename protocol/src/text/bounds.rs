//! Boundaries: the points of the history at which nobody was concurrent.
//!
//! Number events in the order they were pushed. The first `n` of them form a *boundary* when every later event has all of them in
//! its past (the paper's critical versions). What came before a boundary can be forgotten but for the length of its text: that is
//! where replays start. A new event may destroy boundaries, the newest first, so they form a stack.

use super::events::Events;

/// A boundary after the first `events` events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Boundary {
    pub(super) events: u32,
    /// The length of the text there, once merged that far.
    pub(super) len: u32,
}

/// The boundaries of the known history, in ascending order. The first is the base, the last the end.
#[derive(Debug)]
pub(super) struct Bounds {
    stack: Vec<Boundary>,
}

impl Bounds {
    pub(super) fn new(base_len: u32) -> Self {
        Self { stack: vec![Boundary { events: 0, len: base_len }] }
    }

    /// Takes note of the newest event in `events`; `heads` are those of the history before it.
    pub(super) fn push<K>(&mut self, events: &Events<K>, heads: &[u32]) {
        let event = events.len() - 1;
        let parents = events.parents(event);
        // A boundary survives if the event has one of the events after it as a parent (whose past holds the boundary already),
        // or names all of the boundary's heads.
        let seen = parents.last().map_or(0, |parent| parent + 1);
        while let Some(top) = self.stack.last()
            && top.events > seen
        {
            self.stack.pop();
        }
        if let Some(top) = self.stack.last()
            && top.events == seen
            && seen > 0
        {
            // The heads of an inner boundary are what the event right after it names.
            let needed = if seen == event { heads } else { events.parents(seen) };
            if !is_subset(needed, parents) {
                self.stack.pop();
            }
        }
        self.stack.push(Boundary { events: event + 1, len: 0 });
    }

    /// The position in the stack of the newest boundary within the first `events` events.
    pub(super) fn floor(&self, events: u32) -> usize {
        // Mostly asked about the newest events.
        let recent = self.stack.iter().rev().take(4).position(|boundary| boundary.events <= events);
        match recent {
            Some(back) => self.stack.len() - 1 - back,
            // Never 0 before the subtraction: the base is at 0 events.
            None => self.stack.partition_point(|boundary| boundary.events <= events).saturating_sub(1),
        }
    }

    pub(super) fn at(&self, position: usize) -> Boundary {
        self.stack[position]
    }

    pub(super) fn set_len(&mut self, position: usize, len: u32) {
        self.stack[position].len = len;
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.stack.capacity() * size_of::<Boundary>()
    }
}

/// Whether all of `needed` are in `parents`; both sorted.
fn is_subset(needed: &[u32], parents: &[u32]) -> bool {
    needed.len() <= parents.len() && needed.iter().all(|head| parents.binary_search(head).is_ok())
}
