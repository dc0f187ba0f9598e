//! New operations on their way to the relay, a batch at a time. The document's `BatchSync`.
//!
//! A batch goes off when fifty operations wait or five seconds have passed since the first. One is under way at a time, so that they
//! arrive in order; one that fails goes back to the front, in order. What waits is kept as *references*: positions in this device's log
//! of arrivals, where the operations themselves are safe. So the queue can be bounded without losing anything: when it is full it stops
//! taking references, remembers from which position on it knows nothing, and asks to have the log read from there once there is room.
//!
//! ```text
//!    log of arrivals   ....|======= in flight =======|===== queue =====|- - - behind: only the range is known - - -|
//!                          ^ cursor (durable)                          ^ after                                     ^ through
//! ```
//!
//! The *cursor* is the position through which the relay has everything. It only advances on an acknowledgement, and starting from it
//! again after a crash sends at most what was sent already; the relay stores an operation once.
//!
//! Document section "Batch Synchronization"; DESIGN section 13.

mod queue;
mod refill;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use nodespace_protocol::ids::OpHash;
use serde::{Deserialize, Serialize};

use self::queue::Queue;
use self::refill::Reading;
pub use self::refill::{Behind, RefillError};
use super::backoff::Backoff;

/// How many operations make a batch go off at once: the document's 50.
pub const BATCH_SIZE: usize = 50;
/// How long the first operation of a batch waits for others, in milliseconds: the document's 5 s.
pub const BATCH_WAIT_MS: u64 = 5_000;
/// The most operations in one batch. More than [`BATCH_SIZE`] wait only after a time without the relay or in an import; then fewer, larger
/// batches are what catches up. The rest waits for the next.
pub const BATCH_OPERATIONS_MAX: usize = 1_000;
/// The most references that are held, those in flight included. Further ones are not taken: their positions are remembered and read from
/// the log later.
pub const QUEUE_MAX: usize = 4_096;
/// How long a batch may be under way, in milliseconds. After that it is given up and goes back to the front.
pub const ANSWER_MS_MAX: u64 = 60_000;
/// How long reading the log may take, in milliseconds. After that it is asked for again.
pub const READ_MS_MAX: u64 = 30_000;
/// The delay after the first failure, in milliseconds; doubled with each up to sixteen times, with jitter.
pub const RETRY_MS: u64 = 1_000;

/// An operation, by where it stands in this device's log of arrivals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OpRef {
    /// Its position, from 1. Position 0 stands for "before everything".
    pub position: u64,
    /// Which it is: the relay's answer names operations.
    pub hash: OpHash,
}

/// One batch. Unique within a run of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BatchId(pub u64);

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BatchOutput {
    /// Send these, in this order, and report [`BatchSync::acknowledge`] or [`BatchSync::fail`].
    Send {
        /// The batch's name.
        batch: BatchId,
        /// Its operations: at least one.
        operations: Vec<OpRef>,
    },
    /// Stop sending it: nothing was heard for [`ANSWER_MS_MAX`]. Its operations are sent again.
    Abort(BatchId),
    /// Keep this durably: the relay has everything through this position. It only grows.
    Advance {
        /// The position.
        cursor: u64,
    },
    /// Read references from the log, and report [`BatchSync::refill`] or [`BatchSync::refill_failed`].
    Read {
        /// Those after this position,
        after: u64,
        /// in order, and at most so many.
        limit: usize,
    },
}

/// What became of a reference that was handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a full queue is where a writer may slow down"]
pub enum Queued {
    /// It is held.
    Held,
    /// There is no room, or others before it were not taken: it will be read from the log. Nothing is lost, but the relay lags.
    ReadLater,
    /// Its position is not after those handed in before, so it is here, there, or on its way.
    Known,
}

/// How much waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressure {
    /// References held, those in flight included.
    pub held: usize,
    /// The most that can be held.
    pub capacity: usize,
    /// The positions that will be read from the log, when there are any.
    pub behind: Option<Behind>,
}

/// A batch that is under way.
#[derive(Debug)]
struct InFlight {
    batch: BatchId,
    operations: Vec<OpRef>,
    deadline: u64,
}

/// Collects operations for the relay and sends them in batches.
///
/// Contract: positions are handed in ascending; a position that is left out needs no sending (its operation came from the relay: [`BatchSync::pass`]).
/// [`BatchOutput::Advance`] is kept durably, and handed to [`BatchSync::resume`] at the next start with the end of the log.
#[derive(Debug)]
pub struct BatchSync {
    now: u64,
    queue: Queue,
    in_flight: Option<InFlight>,
    behind: Option<Behind>,
    reading: Option<Reading>,
    /// The last position that was handed in or is known to lie in the log.
    seen: u64,
    cursor: u64,
    batches: u64,
    backoff: Backoff,
    /// After a failure, nothing is sent before.
    send_after: u64,
    /// After a failure, nothing is read before.
    read_after: u64,
    parked: bool,
    outputs: VecDeque<BatchOutput>,
}

impl BatchSync {
    /// Starts where the last run ended: the relay has everything through `cursor`, the log ends at `through`. What lies between is read.
    pub fn resume(cursor: u64, through: u64, seed: u64, now: u64) -> Self {
        let behind = (through > cursor).then_some(Behind { after: cursor, through });
        let mut machine = Self {
            now,
            queue: Queue::default(),
            in_flight: None,
            behind,
            reading: None,
            seen: through.max(cursor),
            cursor,
            batches: 0,
            backoff: Backoff::new(seed),
            send_after: 0,
            read_after: 0,
            parked: false,
            outputs: VecDeque::new(),
        };
        machine.pump();
        machine
    }

    /// Takes a reference to an operation that is durable here. The document's `queueOperation`.
    pub fn queue_operation(&mut self, operation: OpRef, now: u64) -> Queued {
        self.advance(now);
        if operation.position <= self.seen {
            return Queued::Known;
        }
        let before = std::mem::replace(&mut self.seen, operation.position);
        if let Some(behind) = &mut self.behind {
            behind.through = operation.position;
            return Queued::ReadLater;
        }
        if self.held() >= QUEUE_MAX {
            self.behind = Some(Behind { after: before, through: operation.position });
            return Queued::ReadLater;
        }
        self.queue.push_back(operation, self.now.saturating_add(BATCH_WAIT_MS));
        self.pump();
        Queued::Held
    }

    /// Everything through this position that was not handed in needs no sending: it came from the relay. Keeps the cursor current,
    /// so that the next start has less to read.
    pub fn pass(&mut self, position: u64, now: u64) {
        self.advance(now);
        if position > self.seen {
            self.seen = position;
            if let Some(behind) = &mut self.behind {
                behind.through = position;
            }
            self.pump();
        }
    }

    /// The relay has stored a batch through this position; the rest of it, if there is a rest, is sent again. Answers to batches that were
    /// given up are ignored. An answer that reaches no operation of the batch counts as a failure.
    pub fn acknowledge(&mut self, batch: BatchId, through: u64, now: u64) {
        self.advance(now);
        let Some(mut in_flight) = self.take_in_flight(batch) else { return };
        let stored = in_flight.operations.partition_point(|operation| operation.position <= through);
        let rest = in_flight.operations.split_off(stored);
        self.queue.put_back(&rest, self.now);
        match in_flight.operations.last() {
            Some(last) => {
                self.backoff.reset();
                self.advance_cursor(last.position);
            }
            None => self.hold_sending(None),
        }
        self.pump();
    }

    /// A batch did not get through. It goes back to the front, in order, and is sent again after a while, or when the relay says.
    pub fn fail(&mut self, batch: BatchId, retry_after_ms: Option<u64>, now: u64) {
        self.advance(now);
        let Some(in_flight) = self.take_in_flight(batch) else { return };
        self.queue.put_back(&in_flight.operations, self.now);
        self.hold_sending(retry_after_ms);
        self.pump();
    }

    /// The answer to [`BatchOutput::Read`]: the references that lie after the position asked for, of which all are known through
    /// `through`. Where positions lie in the range and are not named, nothing needs sending.
    ///
    /// # Errors
    /// When the answer does not fit the question. It is asked again after a while.
    pub fn refill(&mut self, operations: &[OpRef], through: u64, now: u64) -> Result<(), RefillError> {
        self.advance(now);
        let reading = self.reading.take().ok_or(RefillError::NotAsked)?;
        if let Err(error) = reading.accepts(operations, through) {
            self.hold_reading();
            return Err(error);
        }
        // They have waited long enough.
        operations.iter().for_each(|operation| self.queue.push_back(*operation, self.now));
        self.seen = self.seen.max(through);
        self.behind = self.behind.filter(|behind| behind.through > through).map(|behind| Behind { after: through, ..behind });
        self.pump();
        Ok(())
    }

    /// The log could not be read. It is asked again after a while.
    pub fn refill_failed(&mut self, now: u64) {
        self.advance(now);
        if self.reading.take().is_some() {
            self.hold_reading();
        }
    }

    /// The relay has everything through this position, by whatever way: none of it is sent any more, nor a batch of it waited for.
    pub fn settle(&mut self, through: u64, now: u64) {
        self.advance(now);
        self.queue.drop_through(through);
        self.in_flight =
            self.in_flight.take().filter(|in_flight| in_flight.operations.iter().any(|operation| operation.position > through));
        // What was asked for may lie before it now; the rest is asked for again.
        self.reading = self.reading.filter(|reading| reading.after >= through);
        self.behind =
            self.behind.filter(|behind| behind.through > through).map(|behind| Behind { after: behind.after.max(through), ..behind });
        self.seen = self.seen.max(through);
        self.backoff.reset();
        self.send_after = self.now;
        self.advance_cursor(through);
        self.pump();
    }

    /// Whether a batch is waited for.
    pub fn is_under_way(&self, batch: BatchId) -> bool {
        self.in_flight.as_ref().is_some_and(|in_flight| in_flight.batch == batch)
    }

    /// Sends nothing more until [`BatchSync::unpark`]: the account has expired, or there is no relay. What is under way may still end.
    pub const fn park(&mut self) {
        self.parked = true;
    }

    /// Sends again, at once.
    pub fn unpark(&mut self, now: u64) {
        self.advance(now);
        if self.parked {
            self.parked = false;
            self.backoff.reset();
            self.send_after = self.now;
            self.pump();
        }
    }

    /// Does not wait for more: what is queued goes off as soon as nothing is under way. Does not shorten the wait after a failure.
    pub fn flush(&mut self, now: u64) {
        self.advance(now);
        self.queue.make_due(self.now);
        self.pump();
    }

    /// The next thing to do; call until `None`.
    pub fn poll_output(&mut self) -> Option<BatchOutput> {
        self.outputs.pop_front()
    }

    /// When [`BatchSync::handle_timeout`] wants to be called; `None` when nothing waits, or all that waits is parked.
    pub fn next_timeout(&self) -> Option<u64> {
        let send = match &self.in_flight {
            Some(in_flight) => Some(in_flight.deadline),
            None => self.sends_at(),
        };
        let read = match &self.reading {
            Some(reading) => Some(reading.deadline),
            None => self.wants_to_read().then_some(self.read_after),
        };
        send.into_iter().chain(read).min()
    }

    /// Sends what is due, and gives up what takes too long.
    pub fn handle_timeout(&mut self, now: u64) {
        self.advance(now);
        if let Some(in_flight) = self.in_flight.take_if(|in_flight| in_flight.deadline <= self.now) {
            self.outputs.push_back(BatchOutput::Abort(in_flight.batch));
            self.queue.put_back(&in_flight.operations, self.now);
            self.hold_sending(None);
        }
        if self.reading.take_if(|reading| reading.deadline <= self.now).is_some() {
            self.hold_reading();
        }
        self.pump();
    }

    /// The position through which the relay has everything.
    pub const fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Whether everything that was handed in has been acknowledged.
    pub fn is_idle(&self) -> bool {
        self.held() == 0 && self.behind.is_none()
    }

    /// How much waits.
    pub fn pressure(&self) -> Pressure {
        Pressure { held: self.held(), capacity: QUEUE_MAX, behind: self.behind }
    }

    fn advance(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    fn held(&self) -> usize {
        self.queue.len() + self.in_flight.as_ref().map_or(0, |in_flight| in_flight.operations.len())
    }

    fn take_in_flight(&mut self, batch: BatchId) -> Option<InFlight> {
        self.in_flight.take_if(|in_flight| in_flight.batch == batch)
    }

    fn hold_sending(&mut self, retry_after_ms: Option<u64>) {
        let delay = self.backoff.delay_ms(RETRY_MS);
        self.backoff.raise();
        self.send_after = self.now.saturating_add(delay.max(retry_after_ms.unwrap_or(0)));
    }

    fn hold_reading(&mut self) {
        self.read_after = self.now.saturating_add(RETRY_MS);
    }

    /// When the next batch goes off, were nothing under way.
    fn sends_at(&self) -> Option<u64> {
        let due = self.queue.first_due()?;
        let due = if self.queue.len() >= BATCH_SIZE { 0 } else { due };
        (!self.parked).then_some(due.max(self.send_after))
    }

    /// Whether there is something to read, and room for a batch of it.
    fn wants_to_read(&self) -> bool {
        self.behind.is_some() && self.reading.is_none() && self.held() + BATCH_OPERATIONS_MAX <= QUEUE_MAX
    }

    fn advance_cursor(&mut self, cursor: u64) {
        if cursor <= self.cursor {
            return;
        }
        self.cursor = cursor;
        // Only the last of several that nobody has taken yet is worth a write.
        if matches!(self.outputs.back(), Some(BatchOutput::Advance { .. })) {
            self.outputs.pop_back();
        }
        self.outputs.push_back(BatchOutput::Advance { cursor });
    }

    fn pump(&mut self) {
        // With nothing held, all that is known of is done.
        if self.held() == 0 {
            self.advance_cursor(self.behind.map_or(self.seen, |behind| behind.after));
        }
        if self.in_flight.is_none() && self.sends_at().is_some_and(|at| at <= self.now) {
            self.send();
        }
        if let Some(behind) = self.behind.filter(|_| self.wants_to_read() && self.read_after <= self.now) {
            let limit = BATCH_OPERATIONS_MAX;
            self.reading = Some(Reading { after: behind.after, limit, deadline: self.now.saturating_add(READ_MS_MAX) });
            self.outputs.push_back(BatchOutput::Read { after: behind.after, limit });
        }
    }

    fn send(&mut self) {
        let operations = self.queue.take(BATCH_OPERATIONS_MAX);
        self.batches += 1;
        let batch = BatchId(self.batches);
        self.in_flight = Some(InFlight { batch, operations: operations.clone(), deadline: self.now.saturating_add(ANSWER_MS_MAX) });
        self.outputs.push_back(BatchOutput::Send { batch, operations });
    }
}
