//! Whether what a relay gives is what it signs, from one answer to the next.
//!
//! Pure. A relay's log is followed by its running hash ([`RunningHash`]): over the operations it gives and, where they stand, over those
//! of one's own that it took. After each answer the hash must be the one the relay signs, and on the way it must be the one it signed
//! before. A difference within one epoch is no accident: an honest relay appends.

use std::fmt;

use nodespace_protocol::ids::{OpHash, RelayId, WorkspaceId, hex};
use nodespace_protocol::view::{Checkpoint, Cursor, RunningHash, SyncResponse};
use serde::{Deserialize, Serialize};

use crate::model::{RelayAlarm, RelayWord};

/// Where a relay's log has been followed to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Followed {
    /// How far.
    pub(super) cursor: Cursor,
    /// The hash over everything up to there.
    pub(super) running: RunningHash,
    /// The last word the relay gave. It may lie beyond the cursor, when the log is read again from the beginning.
    pub(super) witness: Option<Checkpoint>,
}

/// How a relay contradicted itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    /// Its log is shorter than it signed.
    RolledBack,
    /// Its log is another than it signed.
    Forked,
    /// Its log, as it signs it, does not hold an operation that it acknowledged.
    Dropped(OpHash),
}

/// A relay that contradicts itself, with the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    /// How.
    pub kind: AlarmKind,
    /// What it signed before, if it had.
    pub before: Option<Checkpoint>,
    /// What it signs now, if it signs anything.
    pub now: Option<Checkpoint>,
    /// The version up to which this device had followed it.
    pub followed: u64,
}

/// Why an answer does not follow the one before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FollowError {
    /// The relay does not sign its answer.
    #[error("the relay's answer has no checkpoint")]
    NoCheckpoint,
    /// The signature is not the relay's.
    #[error("the checkpoint in the relay's answer is not signed by the relay")]
    Signature,
    /// The checkpoint is about something else.
    #[error("the checkpoint in the relay's answer is about something else than the answer")]
    Elsewhere,
    /// There are more or fewer operations than versions.
    #[error("the relay's answer leads from version {after} to {through} with {operations} operation(s)")]
    Gap {
        /// From where.
        after: u64,
        /// To where.
        through: u64,
        /// With how many.
        operations: u64,
    },
    /// It speaks of an epoch before the one that it had begun. Of several instances one that has not heard of the new one does so for a
    /// moment.
    #[error("the relay is back in an epoch from before the one that it had begun: {0}")]
    EarlierEpoch(Box<Alarm>),
    /// It contradicts what it signed before.
    #[error("the relay contradicts itself: {0}")]
    Alarm(Box<Alarm>),
}

impl Followed {
    /// The beginning of another incarnation, or of the same one once more. The witness stays: it has to be met again.
    pub(super) fn begin(&mut self, epoch: u64) {
        (self.cursor, self.running) = (Cursor { epoch, version: 0 }, RunningHash::default());
    }

    /// Goes on over an answer whose operations, one's own included, are these, in the relay's order.
    ///
    /// # Errors
    /// When it does not follow; nothing has changed then.
    pub(super) fn follow(
        &self,
        (relay, workspace): (&RelayId, &WorkspaceId),
        answer: &SyncResponse,
        operations: &[OpHash],
    ) -> Result<Self, FollowError> {
        let checkpoint = answer.checkpoint.as_ref().ok_or(FollowError::NoCheckpoint)?;
        checkpoint.verify(relay).map_err(|_| FollowError::Signature)?;
        if checkpoint.workspace_id != *workspace || checkpoint.cursor() != answer.cursor() {
            return Err(FollowError::Elsewhere);
        }
        if answer.epoch < self.epoch() {
            return Err(FollowError::EarlierEpoch(Box::new(self.rolled_back(Some(checkpoint.clone())))));
        }
        let mut next = self.clone();
        if answer.epoch != self.cursor.epoch {
            next.begin(answer.epoch);
        }
        let after = next.cursor.version;
        let alarm = |kind| {
            let (before, now) = (self.witness.clone(), Some(checkpoint.clone()));
            FollowError::Alarm(Box::new(Alarm { kind, before, now, followed: after }))
        };
        if answer.latest_version < after {
            return Err(alarm(AlarmKind::RolledBack));
        }
        if answer.latest_version - after != operations.len() as u64 {
            let operations = operations.len() as u64;
            return Err(FollowError::Gap { after, through: answer.latest_version, operations });
        }
        for hash in operations {
            next.running = next.running.then(hash);
            next.cursor.version += 1;
            if next.contradicts_witness() {
                return Err(alarm(AlarmKind::Forked));
            }
        }
        if next.running.0 != *checkpoint.running_hash {
            return Err(alarm(AlarmKind::Forked));
        }
        // While the log is read again, what was signed before it ends is not forgotten.
        if next.witness.as_ref().is_none_or(|witness| witness.epoch != answer.epoch || witness.version <= answer.latest_version) {
            next.witness = Some(checkpoint.clone());
        }
        Ok(next)
    }

    /// A log that is followed to its end must reach what the relay signed before.
    ///
    /// # Errors
    /// When it ends before that.
    pub(super) fn check_end(&self) -> Result<(), FollowError> {
        let Some(witness) = self.witness.as_ref().filter(|witness| witness.epoch == self.cursor.epoch) else { return Ok(()) };
        if witness.version <= self.cursor.version {
            return Ok(());
        }
        let (before, now) = (Some(witness.clone()), None);
        Err(FollowError::Alarm(Box::new(Alarm { kind: AlarmKind::RolledBack, before, now, followed: self.cursor.version })))
    }

    /// The latest epoch that the relay has begun: it never goes back to one before.
    fn epoch(&self) -> u64 {
        self.witness.as_ref().map_or(0, |witness| witness.epoch).max(self.cursor.epoch)
    }

    /// The relay says that its log ends before the cursor.
    pub(super) fn rolled_back(&self, now: Option<Checkpoint>) -> Alarm {
        Alarm { kind: AlarmKind::RolledBack, before: self.witness.clone(), now, followed: self.cursor.version }
    }

    fn contradicts_witness(&self) -> bool {
        self.witness.as_ref().is_some_and(|witness| witness.cursor() == self.cursor && witness.running_hash != self.running.0)
    }
}

impl Alarm {
    /// For people.
    pub(crate) fn to_model(&self) -> RelayAlarm {
        RelayAlarm { message: self.to_string(), before: self.before.as_ref().map(word), now: self.now.as_ref().map(word) }
    }
}

fn word(checkpoint: &Checkpoint) -> RelayWord {
    let Checkpoint { epoch, version, running_hash, signature, .. } = checkpoint;
    RelayWord { epoch: *epoch, version: *version, running_hash: hex(running_hash), signature: hex(signature) }
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            AlarmKind::RolledBack => write!(f, "its log was set back to before version {}, which it had signed", self.followed.max(1)),
            AlarmKind::Forked => write!(f, "it signed two different logs"),
            AlarmKind::Dropped(operation) => {
                let (operation, followed) = (operation.short(), self.followed);
                write!(
                    f,
                    "it acknowledged operation {operation}, and the log that it signs does not hold it up to its end, version {followed}"
                )
            }
        }?;
        let told = |checkpoint: &Option<Checkpoint>| checkpoint.as_ref().map_or_else(|| "nothing".to_owned(), said);
        write!(f, " (before: {}; now: {})", told(&self.before), told(&self.now))
    }
}

fn said(checkpoint: &Checkpoint) -> String {
    let hash = hex(&checkpoint.running_hash);
    format!("epoch {}, version {}, hash {}", checkpoint.epoch, checkpoint.version, hash.get(..16).unwrap_or(&hash))
}

#[cfg(test)]
mod tests {
    use nodespace_protocol::crypto::KeyPair;

    use super::*;

    const WORKSPACE: WorkspaceId = WorkspaceId([4; 32]);

    /// A relay that may lie.
    struct Relay {
        key: KeyPair,
        epoch: u64,
        log: Vec<OpHash>,
    }

    impl Relay {
        fn new(log: &[u8]) -> Self {
            Self { key: KeyPair::from_seed(&[1; 32]), epoch: 7, log: log.iter().map(|byte| OpHash([*byte; 32])).collect() }
        }

        fn checkpoint(&self, version: usize) -> Checkpoint {
            let running = RunningHash::default().after(&self.log[..version]);
            Checkpoint::sign(&self.key, WORKSPACE, Cursor { epoch: self.epoch, version: version as u64 }, running)
        }

        /// Follows what comes after the cursor, through a version.
        fn answer(&self, followed: &Followed, through: usize) -> Result<Followed, FollowError> {
            let after = if followed.cursor.epoch == self.epoch { followed.cursor.version as usize } else { 0 };
            let cursor = Cursor { epoch: self.epoch, version: through as u64 };
            let answer = SyncResponse { checkpoint: Some(self.checkpoint(through)), ..SyncResponse::nothing_new(cursor) };
            followed.follow((&self.key.relay(), &WORKSPACE), &answer, self.log.get(after..through).unwrap_or_default())
        }
    }

    fn alarm(result: Result<Followed, FollowError>) -> Alarm {
        match result {
            Err(FollowError::Alarm(alarm)) => *alarm,
            other => panic!("no alarm: {other:?}"),
        }
    }

    #[test]
    fn an_honest_relay_is_followed_page_by_page() {
        let relay = Relay::new(&[1, 2, 3, 4, 5]);
        let mut followed = Followed::default();
        for through in [2, 2, 4, 5] {
            followed = relay.answer(&followed, through).unwrap();
            assert_eq!(followed.cursor, Cursor { epoch: 7, version: through as u64 });
            assert_eq!(followed.witness, Some(relay.checkpoint(through)));
            followed.check_end().unwrap();
        }
    }

    #[test]
    fn another_log_at_or_before_what_was_signed_raises_an_alarm() {
        let (honest, forked) = (Relay::new(&[1, 2, 3]), Relay::new(&[1, 9, 3, 4]));
        let followed = honest.answer(&Followed::default(), 3).unwrap();
        // It goes on as if nothing were: the hash it signs is of another past.
        let raised = alarm(forked.answer(&followed, 4));
        assert_eq!(raised.kind, AlarmKind::Forked);
        assert_eq!((raised.before, raised.now), (Some(honest.checkpoint(3)), Some(forked.checkpoint(4))));
        // Read again from the beginning, it is caught where both stories differ, though the pages end elsewhere.
        let mut again = followed;
        again.begin(7);
        let raised = alarm(forked.answer(&again, 4));
        assert_eq!(raised.kind, AlarmKind::Forked);
    }

    #[test]
    fn a_log_that_was_set_back_raises_an_alarm() {
        let (long, short) = (Relay::new(&[1, 2, 3]), Relay::new(&[1, 2]));
        let followed = long.answer(&Followed::default(), 3).unwrap();
        let raised = alarm(short.answer(&followed, 2));
        assert_eq!((raised.kind, raised.followed), (AlarmKind::RolledBack, 3));
        // Also when it is read from the beginning: it must reach what it signed.
        let mut again = followed;
        again.begin(7);
        let again = short.answer(&again, 2).unwrap();
        assert_eq!(again.witness, Some(long.checkpoint(3)), "what it signed is kept");
        assert!(matches!(again.check_end(), Err(FollowError::Alarm(alarm)) if alarm.kind == AlarmKind::RolledBack));
    }

    #[test]
    fn a_restored_relay_says_so_by_another_epoch_and_is_followed_from_the_beginning() {
        let long = Relay::new(&[1, 2, 3]);
        let followed = long.answer(&Followed::default(), 3).unwrap();
        let restored = Relay { epoch: 8, ..Relay::new(&[1, 2]) };
        let followed = restored.answer(&followed, 2).unwrap();
        assert_eq!(followed.cursor, Cursor { epoch: 8, version: 2 });
        followed.check_end().unwrap();
        assert_eq!(followed.witness, Some(restored.checkpoint(2)));
    }

    #[test]
    fn an_epoch_from_before_the_one_that_was_begun_is_not_followed_whatever_its_log() {
        let (old, new) = (Relay::new(&[1, 2, 3]), Relay { epoch: 8, ..Relay::new(&[1, 2]) });
        let followed = old.answer(&Followed::default(), 3).unwrap();
        let followed = new.answer(&followed, 2).unwrap();
        for back in [&old, &Relay::new(&[1, 9, 3, 4])] {
            let through = back.log.len();
            let Err(FollowError::EarlierEpoch(evidence)) = back.answer(&followed, through) else { panic!("it was followed") };
            assert_eq!((evidence.kind, evidence.followed), (AlarmKind::RolledBack, 2));
            assert_eq!((evidence.before, evidence.now), (Some(new.checkpoint(2)), Some(back.checkpoint(through))));
        }
        // Nor when its log is read again from the beginning.
        let mut again = followed;
        again.begin(0);
        assert!(matches!(old.answer(&again, 3), Err(FollowError::EarlierEpoch(_))));
        assert!(new.answer(&again, 2).is_ok());
    }

    #[test]
    fn an_alarm_names_the_operation_that_was_dropped() {
        let now = Some(Relay::new(&[1, 2]).checkpoint(2));
        let said = Alarm { kind: AlarmKind::Dropped(OpHash([0xab; 32])), before: None, now, followed: 2 }.to_string();
        assert!(said.contains("acknowledged operation abababab") && said.contains("version 2"), "{said}");
    }

    #[test]
    fn what_is_not_signed_as_it_was_given_is_not_followed() {
        let relay = Relay::new(&[1, 2, 3]);
        let names = (&relay.key.relay(), &WORKSPACE);
        let cursor = Cursor { epoch: 7, version: 2 };
        let mut answer = SyncResponse::nothing_new(cursor);
        let none = Followed::default();
        assert_eq!(none.follow(names, &answer, &relay.log[..2]), Err(FollowError::NoCheckpoint));
        answer.checkpoint = Some(relay.checkpoint(3));
        assert_eq!(none.follow(names, &answer, &relay.log[..2]), Err(FollowError::Elsewhere));
        answer.checkpoint = Some(relay.checkpoint(2));
        assert_eq!(none.follow(names, &answer, &relay.log[..1]), Err(FollowError::Gap { after: 0, through: 2, operations: 1 }));
        let stranger = KeyPair::from_seed(&[2; 32]).relay();
        assert_eq!(none.follow((&stranger, &WORKSPACE), &answer, &relay.log[..2]), Err(FollowError::Signature));
        let other = WorkspaceId([5; 32]);
        assert_eq!(none.follow((&relay.key.relay(), &other), &answer, &relay.log[..2]), Err(FollowError::Elsewhere));
        // Its operations in another order than it signed.
        let swapped = [relay.log[1], relay.log[0]];
        assert_eq!(alarm(none.follow(names, &answer, &swapped)).kind, AlarmKind::Forked);
    }
}
