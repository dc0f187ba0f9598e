//! What is going to happen, in order of virtual time.

use std::collections::BTreeMap;

/// Something that happens at a moment.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// Somebody at a device does something.
    Work {
        /// Where.
        device: usize,
    },
    /// A frame arrives.
    Frame {
        /// On which connection.
        connection: u64,
        /// At whom.
        to: usize,
        /// The frame.
        bytes: Vec<u8>,
    },
    /// A gossiped segment arrives.
    Gossip {
        /// From whom.
        from: usize,
        /// At whom.
        to: usize,
        /// The segment.
        bytes: Vec<u8>,
    },
    /// A connection ends.
    Cut {
        /// Which.
        connection: u64,
    },
    /// A session has held operations of others for a moment: it tells what is held, or forwards what the other end lacks.
    Release {
        /// On which connection.
        connection: u64,
        /// Whose end.
        device: usize,
        /// Whether the other end has been told already.
        told: bool,
    },
    /// A device looks at its timers and its connections.
    Tick {
        /// Which.
        device: usize,
    },
    /// A device that is down comes up.
    Restart {
        /// Which.
        device: usize,
    },
    /// Something goes wrong.
    Trouble,
    /// A partition ends.
    Heal,
    /// A hostile device acts.
    Mischief {
        /// Which.
        device: usize,
    },
    /// Faults end, writers stop.
    Quiet,
    /// Time to look whether all agree.
    Look,
}

/// Events by time; those of one moment in the order in which they were planned.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    events: BTreeMap<(u64, u64), Event>,
    planned: u64,
}

impl Queue {
    /// Plans an event.
    pub(crate) fn at(&mut self, ms: u64, event: Event) {
        self.planned += 1;
        self.events.insert((ms, self.planned), event);
    }

    /// The next event and its time.
    pub(crate) fn pop(&mut self) -> Option<(u64, Event)> {
        self.events.pop_first().map(|((ms, _), event)| (ms, event))
    }

    /// The next event that is due by then, and its time.
    pub(crate) fn pop_until(&mut self, ms: u64) -> Option<(u64, Event)> {
        let first = self.events.first_entry().filter(|entry| entry.key().0 <= ms)?;
        let ((ms, _), event) = first.remove_entry();
        Some((ms, event))
    }
}
