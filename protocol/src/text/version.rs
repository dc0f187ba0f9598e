//! The way from one version to another.
//!
//! A version is a set of events, none of which need be heads only; it stands for them and their pasts. Walking both versions'
//! pasts from the newest event down, whatever only one side reaches is the difference.

use std::collections::BinaryHeap;

use super::events::Events;

const FROM: u64 = 1;
const TO: u64 = 2;
const BOTH: u64 = FROM | TO;

/// The difference between two versions, with its working memory.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// Events (upper bits) still to visit, each with the sides it was reached from (lower two bits).
    queue: BinaryHeap<u64>,
    /// Events to take back, newest first.
    pub(super) retreat: Vec<u32>,
    /// Events to take in, newest first.
    pub(super) advance: Vec<u32>,
}

impl Difference {
    /// Fills `retreat` and `advance` with the way between two versions. Events before `base` are in both.
    pub(super) fn compute<K>(&mut self, events: &Events<K>, base: u32, from: &[u32], to: &[u32]) {
        self.queue.clear();
        self.retreat.clear();
        self.advance.clear();
        // Entries reached from one side only; when none is left the rest is common past.
        let mut open = self.enqueue(base, from, FROM) + self.enqueue(base, to, TO);
        while open > 0
            && let Some(entry) = self.queue.pop()
        {
            let event = entry >> 2;
            let mut sides = entry & BOTH;
            open -= usize::from(sides != BOTH);
            while let Some(&again) = self.queue.peek()
                && again >> 2 == event
            {
                self.queue.pop();
                open -= usize::from(again & BOTH != BOTH);
                sides |= again & BOTH;
            }
            let event = u32::try_from(event).expect("made from a u32");
            match sides {
                FROM => self.retreat.push(event),
                TO => self.advance.push(event),
                _ => {}
            }
            open += self.enqueue(base, events.parents(event), sides);
        }
    }

    /// Queues events; says how many of them are reached from one side only so far.
    fn enqueue(&mut self, base: u32, events: &[u32], sides: u64) -> usize {
        let before = self.queue.len();
        self.queue.extend(events.iter().filter(|event| **event >= base).map(|event| u64::from(*event) << 2 | sides));
        if sides == BOTH { 0 } else { self.queue.len() - before }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.queue.capacity() * size_of::<u64>() + (self.retreat.capacity() + self.advance.capacity()) * size_of::<u32>()
    }
}
