//! Sending and taking operations, and knowing when both sides hold the same.

use super::message::FRAME_SEGMENTS_MAX;
use super::{ByeCode, Message, REFUSALS_MAX, Session, SessionError, SessionEvent};
use crate::clock::Timestamp;
use crate::ids::LogId;
use crate::log::{Head, Log};
use crate::op::Segment;
use crate::replica::{LogRange, PENDING_REFUSALS_MAX, PendingBuffer, Refusal, Replica};
use crate::store::Store;

/// Bytes of content a frame of segments aims at.
const FRAME_BYTES_AIM: usize = 512 * 1024;
/// Bytes that may be under way unacknowledged: enough for 100 ms at 20 MB/s, which is more than a device takes. What is under way when a
/// line breaks may have to be sent again.
const WINDOW_BYTES: usize = 2 * 1024 * 1024;

// What is kept of a peer's refusals is enough to end its session.
const _: () = assert!(PENDING_REFUSALS_MAX > REFUSALS_MAX as usize);

impl Session {
    /// Adds runs to what is to be sent.
    pub(super) fn queue<S: Store>(&mut self, replica: &Replica<S>, ranges: Vec<LogRange>) {
        for range in ranges {
            let queued = self.sending.iter().any(|other| other.log == range.log && other.through >= range.through);
            if queued && replica.logs().get(&range.log).is_some_and(|log| !log.is_forked()) {
                continue;
            }
            self.send_ops += range.through - range.after;
            self.send_bytes += replica.bytes_of(&range);
            self.done_sent = false;
            self.sending.push(range);
        }
    }

    /// Tells the peer how much is to come, so that its progress is honest.
    pub(super) fn announce_plan<S: Store>(&mut self, _replica: &Replica<S>) {
        if self.send_ops > self.sent_ops {
            self.outgoing.push_back(Message::Plan { ops: self.send_ops, bytes: self.send_bytes });
        }
    }

    /// Takes the peer's totals, as far as they can be true: what came already, and what it said to hold beyond what is here; never more
    /// than there are places for operations in a store.
    pub(super) fn on_plan(&mut self, ops: u64, bytes: u64) {
        let most = self.received_ops.saturating_add(self.ahead_ops).min(u32::MAX.into());
        self.receive_ops = ops.min(most);
        self.events.push_back(SessionEvent::Planned { receive_ops: self.receive_ops, receive_bytes: bytes, send_ops: self.send_ops });
    }

    /// Finds what was written or received since it was last asked for and the peer does not hold.
    pub(super) fn look_for_news<S: Store>(&mut self, replica: &mut Replica<S>) -> Result<(), SessionError> {
        if !self.compared || !self.greeting.admitted || self.looked_at == replica.durable_ops() {
            return Ok(());
        }
        self.looked_at = replica.durable_ops();
        self.recall_peer(replica);
        if !self.holding {
            return self.forward(replica, |_| true);
        }
        let own = replica.own_log();
        self.held_back = self.held_back || replica.logs().iter().any(|(id, log)| Some(*id) != own && self.may_lack(id, log));
        self.forward(replica, |log| Some(*log) == own)
    }

    /// Queues what the peer is not known to hold of the logs that `which` picks.
    pub(super) fn forward<S: Store>(&mut self, replica: &mut Replica<S>, which: impl Fn(&LogId) -> bool) -> Result<(), SessionError> {
        let lacking = |(id, log): &(&LogId, &Log)| which(id) && self.may_lack(id, log);
        let logs: Vec<LogId> = replica.logs().iter().filter(lacking).map(|(id, _)| *id).collect();
        for log in logs {
            let known = self.known.get(&log).cloned().unwrap_or_default();
            let (ranges, unplaced) = replica.lacking(log, &known)?;
            // While the peer is ahead on this log there is nothing to tell.
            if unplaced.is_empty() || known.len() > unplaced.len() {
                self.note_sent(replica, &ranges);
                self.queue(replica, ranges);
            }
        }
        Ok(())
    }

    /// A quick look whether a log may hold something the peer does not.
    fn may_lack(&self, id: &LogId, log: &Log) -> bool {
        let known = self.known.get(id);
        log.is_forked() || known.is_none_or(|heads| heads.iter().all(|head| head.seq < log.last_seq()))
    }

    /// What is queued will be held: it must not be queued again.
    fn note_sent<S: Store>(&mut self, replica: &Replica<S>, ranges: &[LogRange]) {
        for range in ranges {
            let end = replica.logs().get(&range.log).and_then(|log| log.on_path(range.branch, range.through));
            if let Some(index) = end {
                let head = Head { seq: range.through, hash: replica.hash_of(index) };
                self.note_known(range.log, head);
            }
        }
    }

    fn note_known(&mut self, log: LogId, head: Head) {
        let known = self.known.entry(log).or_default();
        if !known.contains(&head) {
            known.push(head);
        }
        // Of a log without forks the last end says it all.
        if known.len() > 8 {
            known.sort_unstable();
            known.drain(..known.len() - 8);
        }
    }

    /// The next frame of segments, or the word that all is sent.
    pub(super) fn next_transfer<S: Store>(&mut self, replica: &mut Replica<S>) -> Result<Option<Message>, SessionError> {
        if !self.greeting.admitted || self.unacknowledged.iter().sum::<usize>() >= WINDOW_BYTES {
            return Ok(None);
        }
        let mut segments: Vec<Segment> = Vec::new();
        let mut bytes = 0;
        while bytes < FRAME_BYTES_AIM && segments.len() < FRAME_SEGMENTS_MAX {
            let Some(segment) = self.next_segment(replica)? else { break };
            bytes += segment.content_bytes() + segment.ops.len() * 32;
            segments.push(segment);
        }
        if !segments.is_empty() {
            self.frames_sent += 1;
            self.unacknowledged.push_back(bytes);
            return Ok(Some(Message::Segments(segments)));
        }
        if self.compared && !self.comparing && !self.done_sent && self.unacknowledged.is_empty() {
            self.done_sent = true;
            self.told = Some(replica.frontier_digest());
            return Ok(Some(Message::Done { frontier: replica.frontier_digest() }));
        }
        Ok(None)
    }

    /// The next segment: of the run whose next operation has the least version.
    fn next_segment<S: Store>(&mut self, replica: &Replica<S>) -> Result<Option<Segment>, SessionError> {
        while !self.sending.is_empty() {
            let next = (0..self.sending.len()).min_by_key(|at| replica.version_after(&self.sending[*at])).unwrap_or(0);
            let range = self.sending[next];
            let known = |log: &LogId| self.peer_holds(log);
            match replica.segment(&range, self.peer_attachments, &known)? {
                Some(segment) => {
                    let last = segment.last_seq();
                    self.sent_ops += segment.ops.len() as u64;
                    let reached = LogRange { after: last, ..range };
                    if last >= range.through {
                        self.sending.swap_remove(next);
                    } else {
                        self.sending[next] = reached;
                    }
                    self.note_sent(replica, &[LogRange { through: last, ..range }]);
                    return Ok(Some(segment));
                }
                None => {
                    self.sending.swap_remove(next);
                }
            }
        }
        Ok(None)
    }

    /// How far the peer holds a log: what it said, and what went before on this stream.
    fn peer_holds(&self, log: &LogId) -> u64 {
        let queued = self.sending.iter().filter(|range| range.log == *log).map(|range| range.after).min();
        let known = self.known.get(log).and_then(|heads| heads.iter().map(|head| head.seq).max()).unwrap_or(0);
        queued.map_or(known, |queued| queued.min(known))
    }

    pub(super) fn on_segments<S: Store>(
        &mut self,
        replica: &mut Replica<S>,
        pending: &mut PendingBuffer,
        segments: Vec<Segment>,
        now: Timestamp,
    ) -> Result<(), SessionError> {
        let mut new = 0;
        for segment in segments {
            let log = segment.log;
            self.received_ops += segment.ops.len() as u64;
            let last = segment.last_seq();
            let received = pending.receive(replica, self.peer, segment, now)?;
            new += received.ingested.iter().map(|ingested| u64::from(ingested.stored)).sum::<u64>();
            self.events.extend(received.forked.into_iter().map(SessionEvent::ForkFound));
            if received.missing.is_none() {
                self.note_received(replica, log, last);
            }
            // What others had left waiting is theirs.
            for refused in received.refused.into_iter().filter(|refused| !refused.waited) {
                self.on_refusal(refused.why)?;
            }
            self.on_late_refusals(pending)?;
        }
        replica.commit()?;
        self.frames_received += 1;
        self.told = Some(replica.frontier_digest());
        self.outgoing.push_back(Message::Ack { frames: self.frames_received, frontier: replica.frontier_digest() });
        if new > 0 {
            self.events.push_back(SessionEvent::Received { ops: new });
        }
        Ok(())
    }

    /// The peer holds what it sent: it must not be sent back.
    fn note_received<S: Store>(&mut self, replica: &Replica<S>, log: LogId, seq: u64) {
        let Some(entry) = replica.logs().get(&log) else { return };
        if let Some(index) = entry.only(seq) {
            self.note_known(log, Head { seq, hash: replica.hash_of(index) });
        }
    }

    /// Takes what was refused of the segments that the peer had left waiting, whoever brought what they waited for.
    pub(super) fn on_late_refusals(&mut self, pending: &mut PendingBuffer) -> Result<(), SessionError> {
        pending.take_refused(&self.peer).into_iter().try_for_each(|refusal| self.on_refusal(refusal))
    }

    fn on_refusal(&mut self, refusal: Refusal) -> Result<(), SessionError> {
        let fault = matches!(refusal, Refusal::Chain(_) | Refusal::Clock { .. });
        self.events.push_back(SessionEvent::Refused(refusal));
        self.refusals += 1;
        if fault || self.refusals > REFUSALS_MAX {
            return Err(self.turn_away(ByeCode::Malformed, "operations that cannot be taken"));
        }
        Ok(())
    }

    pub(super) fn on_ack<S: Store>(&mut self, replica: &mut Replica<S>, frames: u64, frontier: [u8; 32]) -> Result<(), SessionError> {
        let under_way = self.unacknowledged.len() as u64;
        let acknowledged = self.frames_sent - under_way;
        if frames > self.frames_sent || frames < acknowledged {
            return Err(SessionError::Protocol("an acknowledgement of frames that were not sent"));
        }
        self.unacknowledged.drain(..(frames - acknowledged) as usize);
        self.note_peer_digest(replica, frontier);
        Ok(())
    }

    /// The peer said what it holds: "synced" is said only when that is exactly what we hold.
    pub(super) fn note_peer_digest<S: Store>(&mut self, replica: &Replica<S>, frontier: [u8; 32]) {
        self.peer_digest = Some(frontier);
        let held = replica.frontier_digest();
        if held != frontier {
            self.synced = None;
        }
        self.compare_with_peer(held);
    }

    /// Holds what the peer said last against what is held here by now: what it was ahead by may have come from somebody else, and it will
    /// not say the same again.
    fn recall_peer<S: Store>(&mut self, replica: &mut Replica<S>) {
        let held = replica.frontier_digest();
        self.compare_with_peer(held);
        if self.shown.is_some_and(|(frontier, ..)| frontier == held) {
            self.compare_states(replica);
        }
    }

    fn compare_with_peer(&mut self, held: [u8; 32]) {
        if self.peer_digest == Some(held) && self.synced != Some(held) && !self.diverged {
            self.synced = Some(held);
            self.events.push_back(SessionEvent::Synced { frontier: held });
        }
    }
}
