//! What the relay acknowledged and has not shown.
//!
//! An acknowledgement alone is a word that nobody signs. What an honest relay acknowledges it has committed to its log, and the log is
//! signed and followed to its end: whatever stood there before this attempt was followed is remembered, and not offered any more. So each
//! operation that is acknowledged is met, in the same answer or a later one, whether it was stored by this packet or had been brought by
//! somebody else. One that has not been met when the log ends was not kept, or is kept from this device: of it nothing is said to be there.
//!
//! Of a log that was forked very often what is remembered may have gaps: what is acknowledged of it may stand before, and is not waited for.

use std::collections::{BTreeMap, BTreeSet};

use nodespace_protocol::ids::{LogId, OpHash};
use nodespace_protocol::log::Head;

/// Operations that are waited for at one time; while there are so many nothing more is sent, and the log is followed.
const PROMISED_MAX: usize = 65_536;

/// What was acknowledged in an attempt and has not been met in the log.
#[derive(Debug, Default)]
pub(super) struct Promises {
    operations: BTreeSet<OpHash>,
    /// Where the segments lead that they are of.
    heads: Vec<(LogId, Head)>,
}

impl Promises {
    /// The operations of a segment were acknowledged.
    pub(super) fn add(&mut self, (log, head): (LogId, Head), operations: &[OpHash]) {
        self.operations.extend(operations);
        self.heads.push((log, head));
    }

    /// These were met in the log.
    pub(super) fn keep(&mut self, met: &[OpHash]) {
        for hash in met {
            self.operations.remove(hash);
        }
        // Where a segment leads is remembered elsewhere once it was met.
        self.heads.retain(|(_, head)| self.operations.contains(&head.hash));
    }

    /// Nothing that was acknowledged before counts any more.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// One that was not kept so far.
    pub(super) fn first(&self) -> Option<OpHash> {
        self.operations.first().copied()
    }

    /// Whether more may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.operations.len() < PROMISED_MAX
    }

    /// Adds what was acknowledged to what is known to be held: it need not be sent again meanwhile.
    pub(super) fn add_to(&self, held: &mut BTreeMap<LogId, Vec<Head>>) {
        for (log, head) in &self.heads {
            held.entry(*log).or_default().push(*head);
        }
    }
}

#[cfg(test)]
mod tests {
    use nodespace_protocol::ids::DeviceId;

    use super::*;

    const OWN: u8 = 1;
    const OTHER: u8 = 2;
    /// Operations of an answer.
    const PAGE: usize = 4;

    fn log(device: u8) -> LogId {
        LogId { device: DeviceId([device; 32]), epoch: 1 }
    }

    fn op(device: u8, seq: u8) -> OpHash {
        let mut hash = [device; 32];
        hash[0] = seq;
        OpHash(hash)
    }

    fn ops(device: u8, seqs: std::ops::RangeInclusive<u8>) -> Vec<OpHash> {
        seqs.map(|seq| op(device, seq)).collect()
    }

    /// A relay, and a device that follows it and sends segments.
    #[derive(Default)]
    struct Both {
        /// What the relay shows.
        shown: Vec<OpHash>,
        /// How far the device has come in it.
        cursor: usize,
        promises: Promises,
    }

    impl Both {
        /// An answer that acknowledges a segment, if one was sent, and shows a page. Answers whether there is more.
        fn answer(&mut self, sent: Option<(u8, std::ops::RangeInclusive<u8>)>) -> bool {
            if let Some((device, seqs)) = sent {
                let head = Head { seq: u64::from(*seqs.end()), hash: op(device, *seqs.end()) };
                self.promises.add((log(device), head), &ops(device, seqs));
            }
            let through = self.shown.len().min(self.cursor + PAGE);
            self.promises.keep(&self.shown[self.cursor..through]);
            self.cursor = through;
            through < self.shown.len()
        }

        /// Follows the log to its end. Answers what was not kept then.
        fn broken(&mut self) -> Option<OpHash> {
            while self.answer(None) {}
            self.promises.first()
        }
    }

    #[test]
    fn what_a_packet_brought_is_met_in_its_answer() {
        let mut both = Both { shown: ops(OWN, 1..=3), ..Both::default() };
        assert!(!both.answer(Some((OWN, 1..=3))));
        assert_eq!((both.promises.first(), both.promises.heads.len()), (None, 0));
    }

    #[test]
    fn what_stands_behind_the_operations_of_others_is_met_pages_later() {
        let mut both = Both { shown: [ops(OTHER, 1..=9), ops(OWN, 1..=3)].concat(), ..Both::default() };
        assert!(both.answer(Some((OWN, 1..=3))));
        assert!(both.promises.first().is_some());
        // It is not sent again meanwhile.
        let mut held = BTreeMap::from([(log(OWN), vec![])]);
        both.promises.add_to(&mut held);
        assert_eq!(held[&log(OWN)], [Head { seq: 3, hash: op(OWN, 3) }]);
        assert_eq!(both.broken(), None);
        both.promises.add_to(&mut held);
        assert_eq!(held[&log(OWN)].len(), 1, "from then on what was met is remembered elsewhere");
    }

    #[test]
    fn what_was_there_already_is_met_where_it_stands_whoever_brought_it() {
        // A part of it came in an attempt of which the answer was lost, the rest was brought by somebody else, both among others.
        let shown = [ops(OWN, 1..=2), ops(OTHER, 1..=5), ops(OWN, 3..=4), ops(OTHER, 6..=6)].concat();
        let mut both = Both { shown, ..Both::default() };
        assert!(both.answer(Some((OWN, 1..=4))));
        assert_eq!(both.broken(), None);
    }

    #[test]
    fn segments_that_are_acknowledged_one_after_the_other_are_met_together() {
        let mut both = Both { shown: [ops(OTHER, 1..=12), ops(OWN, 1..=6)].concat(), ..Both::default() };
        both.answer(Some((OWN, 1..=3)));
        both.answer(Some((OWN, 4..=6)));
        assert_eq!(both.promises.heads.len(), 2);
        while both.promises.heads.len() > 1 {
            assert!(both.answer(None));
        }
        assert_eq!(both.promises.first(), Some(op(OWN, 5)), "what was met is let go while the rest is waited for");
        assert_eq!(both.broken(), None);
    }

    #[test]
    fn another_epoch_makes_what_was_acknowledged_before_void() {
        let mut both = Both { shown: ops(OTHER, 1..=9), ..Both::default() };
        both.answer(Some((OWN, 1..=3)));
        // A backup from before that: it is offered again.
        both = Both { shown: [ops(OTHER, 1..=2), ops(OWN, 1..=3)].concat(), promises: both.promises, cursor: 0 };
        both.promises.forget();
        both.answer(Some((OWN, 1..=3)));
        assert_eq!(both.broken(), None);
    }

    #[test]
    fn what_is_acknowledged_and_dropped_is_missed_when_the_log_ends() {
        let mut both = Both { shown: ops(OTHER, 1..=9), ..Both::default() };
        both.answer(Some((OWN, 1..=3)));
        assert_eq!(both.broken(), Some(op(OWN, 1)));
        // Nor does it help to keep the end of a segment alone.
        let mut both = Both { shown: [ops(OTHER, 1..=9), ops(OWN, 3..=3)].concat(), ..Both::default() };
        both.answer(Some((OWN, 1..=3)));
        assert_eq!(both.broken(), Some(op(OWN, 1)));
        // Or to have shown somebody else's so often that the number fits.
        let mut both = Both { shown: [ops(OTHER, 1..=3), ops(OTHER, 1..=3)].concat(), ..Both::default() };
        both.answer(Some((OWN, 1..=3)));
        assert_eq!(both.broken(), Some(op(OWN, 1)));
    }

    #[test]
    fn nothing_more_is_sent_while_very_much_is_waited_for() {
        let mut promises = Promises::default();
        let many: Vec<OpHash> = (0..PROMISED_MAX as u64)
            .map(|number| {
                let mut hash = [0; 32];
                hash[..8].copy_from_slice(&number.to_be_bytes());
                OpHash(hash)
            })
            .collect();
        promises.add((log(OWN), Head { seq: 1, hash: many[0] }), &many);
        assert!(!promises.has_room());
        promises.keep(&many[..1]);
        assert!(promises.has_room());
    }
}
