//! Segments that arrived before what they build on.
//!
//! They are not verified yet (that needs the hash before them), so what a peer may leave here is bounded by count, bytes and age, per
//! peer. What falls out is not lost: nobody was told it arrived, and the next reconciliation brings it again.
//!
//! What a peer left is judged when somebody else brings what it waited for. When it is refused then, that is held against the peer that
//! left it, if it is still here: [`PendingBuffer::take_refused`].

use std::collections::{BTreeMap, VecDeque};

use super::{IngestError, Ingested, Missing, Refusal, Replica};
use crate::clock::Timestamp;
use crate::ids::{DeviceId, LogId};
use crate::op::Segment;
use crate::store::{Store, StoreError};

/// The most segments kept for one peer; the oldest goes first.
pub const PENDING_SEGMENTS_MAX: usize = 256;
/// The most bytes of content kept for one peer; the oldest goes first.
pub const PENDING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The longest a segment is kept, in milliseconds.
pub const PENDING_AGE_MS_MAX: u64 = 120_000;
/// The most refusals of segments that had waited that are kept for one peer's session to hear of: as many as end it.
pub const PENDING_REFUSALS_MAX: usize = 65;

#[derive(Debug)]
struct Pending {
    segment: Segment,
    bytes: usize,
    since: Timestamp,
}

/// What a peer left here.
#[derive(Debug, Default)]
struct Left {
    waiting: VecDeque<Pending>,
    /// Why others of its segments were refused after they had waited, until its session hears of it.
    refused: Vec<Refusal>,
}

/// Segments in waiting, by the peer that sent them.
#[derive(Debug, Default)]
pub struct PendingBuffer {
    peers: BTreeMap<DeviceId, Left>,
}

/// A segment that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The peer that sent it.
    pub from: DeviceId,
    /// Whether it had waited: whoever brought what it waited for need not be who sent it.
    pub waited: bool,
    /// Why.
    pub why: Refusal,
}

/// What came of a segment and of those that waited for it.
#[derive(Debug, Default)]
pub struct Received {
    /// What was taken, in order.
    pub ingested: Vec<Ingested>,
    /// What was refused: the segment itself, or such as had waited, whoever sent them.
    pub refused: Vec<Refused>,
    /// What the segment itself waits for.
    pub missing: Option<Missing>,
    /// Logs that were found to be forked.
    pub forked: Vec<LogId>,
}

impl PendingBuffer {
    /// Hands a segment to the replica; keeps it when it must wait, and retries those kept when something was taken.
    ///
    /// # Errors
    /// When storage fails.
    pub fn receive<S: Store>(
        &mut self,
        replica: &mut Replica<S>,
        from: DeviceId,
        segment: Segment,
        now: Timestamp,
    ) -> Result<Received, StoreError> {
        let mut received = Received::default();
        match offer(replica, segment, now)? {
            Offered::Taken(log, ingested) => received.took(log, ingested),
            Offered::Refused(why) => received.refused.push(Refused { from, waited: false, why }),
            Offered::Waits(missing, segment) => {
                received.missing = Some(missing);
                self.keep(from, segment, now);
            }
        }
        let mut taken = !received.ingested.is_empty();
        while taken {
            taken = self.retry(replica, now, &mut received)?;
        }
        Ok(received)
    }

    /// Why segments were refused that a peer had left waiting. Each is told once.
    pub fn take_refused(&mut self, peer: &DeviceId) -> Vec<Refusal> {
        let Some(left) = self.peers.get_mut(peer) else { return Vec::new() };
        let refused = std::mem::take(&mut left.refused);
        if left.waiting.is_empty() {
            self.peers.remove(peer);
        }
        refused
    }

    /// Segments kept.
    pub fn len(&self) -> usize {
        self.peers.values().map(|left| left.waiting.len()).sum()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.peers.values().all(|left| left.waiting.is_empty())
    }

    /// Drops what a peer left here, when it is gone.
    pub fn forget(&mut self, peer: &DeviceId) {
        self.peers.remove(peer);
    }

    fn keep(&mut self, from: DeviceId, segment: Segment, now: Timestamp) {
        let queue = &mut self.peers.entry(from).or_default().waiting;
        let bytes = segment.content_bytes() + segment.ops.len() * 128;
        queue.push_back(Pending { segment, bytes, since: now });
        while queue.len() > PENDING_SEGMENTS_MAX
            || queue.iter().map(|pending| pending.bytes).sum::<usize>() > PENDING_BYTES_MAX
            || queue.front().is_some_and(|oldest| oldest.since.plus_ms(PENDING_AGE_MS_MAX) < now)
        {
            queue.pop_front();
        }
    }

    /// Tries every kept segment once; answers whether any was taken.
    fn retry<S: Store>(&mut self, replica: &mut Replica<S>, now: Timestamp, received: &mut Received) -> Result<bool, StoreError> {
        let before = received.ingested.len();
        for (peer, left) in &mut self.peers {
            for pending in std::mem::take(&mut left.waiting) {
                match offer(replica, pending.segment, now)? {
                    Offered::Taken(log, ingested) => received.took(log, ingested),
                    Offered::Refused(why) => {
                        if left.refused.len() < PENDING_REFUSALS_MAX {
                            left.refused.push(why.clone());
                        }
                        received.refused.push(Refused { from: *peer, waited: true, why });
                    }
                    Offered::Waits(_, segment) => left.waiting.push_back(Pending { segment, ..pending }),
                }
            }
        }
        self.peers.retain(|_, left| !left.waiting.is_empty() || !left.refused.is_empty());
        Ok(received.ingested.len() > before && !self.is_empty())
    }
}

impl Received {
    fn took(&mut self, log: LogId, ingested: Ingested) {
        if ingested.forked {
            self.forked.push(log);
        }
        self.ingested.push(ingested);
    }
}

/// What the replica answers to a segment.
enum Offered {
    /// It was taken; of which log it is.
    Taken(LogId, Ingested),
    Refused(Refusal),
    /// It must wait, and is given back.
    Waits(Missing, Segment),
}

fn offer<S: Store>(replica: &mut Replica<S>, segment: Segment, now: Timestamp) -> Result<Offered, StoreError> {
    match replica.ingest(&segment, now) {
        Ok(ingested) => Ok(Offered::Taken(segment.log, ingested)),
        Err(IngestError::Refused(refusal)) => Ok(Offered::Refused(refusal)),
        Err(IngestError::Missing(missing)) => Ok(Offered::Waits(missing, segment)),
        Err(IngestError::Store(error)) => Err(error),
    }
}
