//! Comparing frontiers: only what differs travels.
//!
//! Logs are ordered by id. A range of them is compared by a fingerprint; where fingerprints differ it is split in 16, or, when few logs
//! are left, spelt out (range-based set reconciliation: Meyer, *Range-Based Set Reconciliation*, 2023). A workspace of a few dozen
//! devices is spelt out at once: one message there, one back.

use super::message::{FRONTIER_ITEMS_MAX, HEADS_MAX, Range, RangeContent};
use super::{Message, Session, SessionError};
use crate::crypto::Domain;
use crate::ids::{DeviceId, LogId};
use crate::log::Head;
use crate::log::frontier::FrontierEntry;
use crate::replica::{Ladder, Replica};
use crate::store::Store;

/// Up to this many logs a range is spelt out.
const ENTRIES_MAX: usize = 64;
/// Into how many parts a range is split.
const PARTS: usize = 16;

const FIRST: LogId = LogId { device: DeviceId([0; 32]), epoch: 0 };

/// The entries within a range.
fn within<'a>(frontier: &'a [FrontierEntry], from: &LogId, to: Option<&LogId>) -> &'a [FrontierEntry] {
    let start = frontier.partition_point(|entry| entry.log < *from);
    let end = to.map_or(frontier.len(), |to| frontier.partition_point(|entry| entry.log < *to));
    frontier.get(start..end).unwrap_or_default()
}

fn fingerprint(entries: &[FrontierEntry]) -> [u8; 16] {
    let mut hasher = Domain::Fingerprint.hasher();
    entries.iter().for_each(|entry| {
        hasher.update(&entry.fingerprint());
    });
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    short
}

/// A range as we say it: spelt out, or as fingerprints of its parts.
fn describe(entries: &[FrontierEntry], from: LogId, to: Option<LogId>, out: &mut Vec<Range>) {
    if entries.len() <= ENTRIES_MAX {
        let entries = entries.iter().map(bounded).collect();
        out.push(Range { from, to, content: RangeContent::Entries(entries) });
        return;
    }
    let size = entries.len().div_ceil(PARTS);
    let chunks: Vec<&[FrontierEntry]> = entries.chunks(size).collect();
    for (at, chunk) in chunks.iter().enumerate() {
        let from = if at == 0 { from } else { chunk[0].log };
        let to = chunks.get(at + 1).map(|next| next[0].log).or(to);
        out.push(Range { from, to, content: RangeContent::Fingerprint(fingerprint(chunk), chunk.len() as u64) });
    }
}

/// An entry with no more heads than may travel.
fn bounded(entry: &FrontierEntry) -> FrontierEntry {
    let heads = entry.heads.iter().rev().take(HEADS_MAX as usize).rev().copied().collect();
    FrontierEntry { log: entry.log, heads }
}

impl Session {
    /// Tells the peer how far we hold each log.
    pub(super) fn start_comparing<S: Store>(&mut self, replica: &Replica<S>) {
        if self.comparing {
            return;
        }
        let mut ranges = Vec::new();
        describe(&replica.frontier(), FIRST, None, &mut ranges);
        self.comparing = true;
        self.done_sent = false;
        self.outgoing.push_back(Message::Frontier { reply: false, ranges });
    }

    pub(super) fn on_frontier<S: Store>(&mut self, replica: &Replica<S>, reply: bool, ranges: Vec<Range>) -> Result<(), SessionError> {
        let frontier = replica.frontier();
        let mut questions = Vec::new();
        let mut answers = Vec::new();
        for range in ranges {
            if range.to.is_some_and(|to| to <= range.from) {
                return Err(SessionError::Protocol("a range of logs ends before it begins"));
            }
            let ours = within(&frontier, &range.from, range.to.as_ref());
            match range.content {
                RangeContent::Fingerprint(theirs, _) if theirs == fingerprint(ours) => {
                    self.note_held(ours);
                }
                RangeContent::Fingerprint(_, count) if count as usize <= ENTRIES_MAX || ours.len() <= ENTRIES_MAX => {
                    let entries = ours.iter().map(bounded).collect();
                    questions.push(Range { from: range.from, to: range.to, content: RangeContent::Entries(entries) });
                }
                RangeContent::Fingerprint(..) => describe(ours, range.from, range.to, &mut questions),
                RangeContent::Entries(theirs) => {
                    let differing = self.compare_entries(replica, ours, theirs, reply)?;
                    answers.push(Range { from: range.from, to: range.to, content: RangeContent::Entries(differing) });
                }
            }
        }
        if questions.len() as u64 > FRONTIER_ITEMS_MAX {
            return Err(SessionError::Protocol("too many ranges at once"));
        }
        if !reply && !answers.is_empty() {
            self.outgoing.push_back(Message::Frontier { reply: true, ranges: answers });
        }
        self.comparing = !questions.is_empty();
        if !questions.is_empty() {
            self.outgoing.push_back(Message::Frontier { reply: false, ranges: questions });
        }
        self.compared = true;
        self.announce_plan(replica);
        Ok(())
    }

    /// The peer holds these ends.
    fn note_held(&mut self, entries: &[FrontierEntry]) {
        for entry in entries {
            self.known.insert(entry.log, entry.heads.clone());
        }
    }

    /// Everything we hold, the peer holds.
    pub(super) fn note_equal<S: Store>(&mut self, replica: &Replica<S>) {
        self.note_held(&replica.frontier());
        self.compared = true;
        self.comparing = false;
    }

    /// Compares a range that the peer spelt out; answers our entries that differ, for the peer to do the same.
    fn compare_entries<S: Store>(
        &mut self,
        replica: &Replica<S>,
        ours: &[FrontierEntry],
        theirs: Vec<FrontierEntry>,
        reply: bool,
    ) -> Result<Vec<FrontierEntry>, SessionError> {
        let mut differing = Vec::new();
        for entry in &theirs {
            let own = ours.iter().find(|own| own.log == entry.log);
            if own.is_some_and(|own| own.heads == entry.heads) {
                self.known.insert(entry.log, entry.heads.clone());
                continue;
            }
            differing.push(own.map_or_else(|| FrontierEntry { log: entry.log, heads: Vec::new() }, bounded));
            self.compare_log(replica, entry.log, &entry.heads)?;
        }
        // An answer lists only what differs: what it leaves out is equal. A question lists everything: what it leaves out is not held.
        for own in ours.iter().filter(|own| !theirs.iter().any(|entry| entry.log == own.log)) {
            if reply {
                self.known.insert(own.log, own.heads.clone());
            } else {
                differing.push(bounded(own));
                self.compare_log(replica, own.log, &[])?;
            }
        }
        differing.sort_unstable_by_key(|entry| entry.log);
        Ok(differing)
    }

    /// Plans what of one log the peer lacks, given its ends.
    fn compare_log<S: Store>(&mut self, replica: &Replica<S>, log: LogId, theirs: &[Head]) -> Result<(), SessionError> {
        let (ranges, unplaced) = replica.lacking(log, theirs)?;
        self.ahead_ops = unplaced.iter().fold(self.ahead_ops, |sum, head| sum.saturating_add(head.seq));
        let ours = replica.logs().get(&log).map_or(0, crate::log::Log::last_seq);
        let mut placed: Vec<Head> = theirs.iter().filter(|head| !unplaced.contains(head)).copied().collect();
        if unplaced.iter().any(|head| head.seq <= ours) {
            // A branch we do not know, of a log we know: find where it leaves ours.
            self.known.insert(log, placed);
            self.send_ladder(replica, log, true);
            return Ok(());
        }
        if !unplaced.is_empty() && placed.is_empty() {
            // The peer is ahead of us, or on another branch: it will tell.
            self.known.insert(log, theirs.to_vec());
            return Ok(());
        }
        placed.extend(unplaced);
        self.known.insert(log, placed);
        self.queue(replica, ranges);
        Ok(())
    }

    fn send_ladder<S: Store>(&mut self, replica: &Replica<S>, log: LogId, want: bool) {
        if !self.ladders_sent.contains(&log)
            && let Some(ladder) = replica.ladder(log)
        {
            self.ladders_sent.push(log);
            self.outgoing.push_back(Message::Ladder { want, ladder });
        }
    }

    pub(super) fn on_ladder<S: Store>(&mut self, replica: &mut Replica<S>, want: bool, ladder: &Ladder) -> Result<(), SessionError> {
        if want {
            self.send_ladder(replica, ladder.log, false);
        }
        let (_, unplaced) = replica.lacking(ladder.log, &ladder.rungs)?;
        let shared: Vec<Head> = ladder.rungs.iter().filter(|rung| !unplaced.contains(rung)).copied().collect();
        let mut known = self.known.remove(&ladder.log).unwrap_or_default();
        known.extend(shared);
        known.sort_unstable();
        known.dedup();
        let (ranges, _) = replica.lacking(ladder.log, &known)?;
        self.known.insert(ladder.log, known);
        self.queue(replica, ranges);
        self.announce_plan(replica);
        Ok(())
    }
}
