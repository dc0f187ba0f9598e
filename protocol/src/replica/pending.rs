//! Segments that arrived before what they build on.
//!
//! They are not verified yet (that needs the hash before them), so what a peer may leave here is bounded by count, bytes and age, per
//! peer. What falls out is not lost: nobody was told it arrived, and the next reconciliation brings it again.

use std::collections::{BTreeMap, VecDeque};

use super::{IngestError, Ingested, Missing, Refusal, Replica};
use crate::clock::Timestamp;
use crate::ids::DeviceId;
use crate::op::Segment;
use crate::store::{Store, StoreError};

/// The most segments kept for one peer; the oldest goes first.
pub const PENDING_SEGMENTS_MAX: usize = 256;
/// The most bytes of content kept for one peer; the oldest goes first.
pub const PENDING_BYTES_MAX: usize = 8 * 1024 * 1024;
/// The longest a segment is kept, in milliseconds.
pub const PENDING_AGE_MS_MAX: u64 = 120_000;

#[derive(Debug)]
struct Pending {
    segment: Segment,
    bytes: usize,
    since: Timestamp,
}

/// Segments in waiting, by the peer that sent them.
#[derive(Debug, Default)]
pub struct PendingBuffer {
    peers: BTreeMap<DeviceId, VecDeque<Pending>>,
}

/// What came of a segment and of those that waited for it.
#[derive(Debug, Default)]
pub struct Received {
    /// What was taken, in order.
    pub ingested: Vec<Ingested>,
    /// What was refused.
    pub refused: Vec<Refusal>,
    /// What the segment itself waits for.
    pub missing: Option<Missing>,
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
        if let Some((missing, segment)) = offer(replica, segment, now, &mut received)? {
            received.missing = Some(missing);
            self.keep(from, segment, now);
        }
        while received.missing.is_none() && self.retry(replica, now, &mut received)? {}
        Ok(received)
    }

    /// Segments kept.
    pub fn len(&self) -> usize {
        self.peers.values().map(VecDeque::len).sum()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.peers.values().all(VecDeque::is_empty)
    }

    /// Drops what a peer left here, when it is gone.
    pub fn forget(&mut self, peer: &DeviceId) {
        self.peers.remove(peer);
    }

    fn keep(&mut self, from: DeviceId, segment: Segment, now: Timestamp) {
        let queue = self.peers.entry(from).or_default();
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
        let peers: Vec<DeviceId> = self.peers.keys().copied().collect();
        for peer in peers {
            let Some(queue) = self.peers.remove(&peer) else { continue };
            let mut kept = VecDeque::new();
            for pending in queue {
                if let Some((_, segment)) = offer(replica, pending.segment, now, received)? {
                    kept.push_back(Pending { segment, ..pending });
                }
            }
            if !kept.is_empty() {
                self.peers.insert(peer, kept);
            }
        }
        Ok(received.ingested.len() > before && !self.is_empty())
    }
}

/// Ingests a segment; gives it back when it must wait.
fn offer<S: Store>(
    replica: &mut Replica<S>,
    segment: Segment,
    now: Timestamp,
    received: &mut Received,
) -> Result<Option<(Missing, Segment)>, StoreError> {
    match replica.ingest(&segment, now) {
        Ok(ingested) => received.ingested.push(ingested),
        Err(IngestError::Refused(refusal)) => received.refused.push(refusal),
        Err(IngestError::Missing(missing)) => return Ok(Some((missing, segment))),
        Err(IngestError::Store(error)) => return Err(error),
    }
    Ok(None)
}
