//! When the table is tidied and checkpointed.
//!
//! Each commit leaves a small file, rows outside the indexes and a manifest; searches and upserts slow down as they pile up, and tidying
//! costs a second for each hundred thousand rows. So the work is due after so many commits or rows, or in the first quiet moment after
//! some. This is a machine without a clock: it is told what was written and when, and says what is due.
//!
//! The order is: compact, index, checkpoint, prune. Compacting first gives the indexes whole files to work on; the checkpoint comes after
//! what moves many bytes, so that pruning can let go of what only the mark before it needed.

use std::time::Duration;

/// When what is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rhythm {
    /// Tidy after this many commits at the latest.
    pub commits_max: u32,
    /// Tidy after this many rows at the latest.
    pub rows_max: u64,
    /// Tidy in a quiet moment after this many commits; fewer can wait for ever.
    pub commits_min: u32,
    /// How long nothing was written when a moment is quiet.
    pub quiet: Duration,
    /// Make a checkpoint when the oldest change outside one is this old.
    pub checkpoint_after: Duration,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self { commits_max: 64, rows_max: 50_000, commits_min: 8, quiet: Duration::from_secs(3), checkpoint_after: Duration::from_secs(30) }
    }
}

/// Something to do for the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Write small files together ([`crate::Projection::maintain`]).
    Compact,
    /// Bring the indexes up to date, and make those that the table has become large enough for ([`crate::Projection::maintain`]).
    Index,
    /// Make what was written durable ([`crate::Projection::checkpoint`]).
    Checkpoint,
    /// Remove old versions ([`crate::Projection::maintain`]).
    Prune,
}

/// Decides what is due. Times are counted from any fixed moment and do not go back; one that does counts as the latest seen.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    rhythm: Rhythm,
    commits: u32,
    rows: u64,
    written_at: Duration,
    /// When the first change since the checkpoint was written.
    unsaved_since: Option<Duration>,
    /// What is left of the round of tidying that has begun.
    round: &'static [Work],
}

/// A round of tidying.
const ROUND: &[Work] = &[Work::Compact, Work::Index, Work::Checkpoint, Work::Prune];

impl Schedule {
    pub(crate) fn new(rhythm: Rhythm) -> Self {
        Self { rhythm, commits: 0, rows: 0, written_at: Duration::ZERO, unsaved_since: None, round: &[] }
    }

    /// Changes were written.
    pub(crate) fn wrote(&mut self, commits: u32, rows: u64, now: Duration) {
        self.written_at = self.written_at.max(now);
        self.unsaved_since.get_or_insert(self.written_at);
        self.commits = self.commits.saturating_add(commits);
        self.rows = self.rows.saturating_add(rows);
    }

    /// What is to be done now, if anything.
    pub(crate) fn due(&mut self, now: Duration) -> Option<Work> {
        if self.round.is_empty() && self.wants_round(now) {
            self.round = ROUND;
            (self.commits, self.rows) = (0, 0);
        }
        if let Some(work) = self.round.first() {
            return Some(*work);
        }
        let checkpoint_at = self.unsaved_since? + self.rhythm.checkpoint_after;
        (now >= checkpoint_at).then_some(Work::Checkpoint)
    }

    /// When something becomes due if nothing more is written.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        if !self.round.is_empty() {
            return Some(Duration::ZERO);
        }
        let round = (self.commits >= self.rhythm.commits_min).then(|| self.written_at + self.rhythm.quiet);
        let checkpoint = self.unsaved_since.map(|since| since + self.rhythm.checkpoint_after);
        round.into_iter().chain(checkpoint).min()
    }

    /// A piece of work was done, or failed: what failed is due again with the next round.
    pub(crate) fn done(&mut self, work: Work) {
        if let Some(([first], rest)) = self.round.split_at_checked(1)
            && *first == work
        {
            self.round = rest;
        }
        if work == Work::Checkpoint {
            self.unsaved_since = None;
        }
    }

    /// A checkpoint failed: it is due again after a while, and the rest of the round, which needs one, is not.
    pub(crate) fn checkpoint_failed(&mut self, now: Duration) {
        self.round = &[];
        self.unsaved_since = Some(now);
    }

    fn wants_round(&self, now: Duration) -> bool {
        let full = self.commits >= self.rhythm.commits_max || self.rows >= self.rhythm.rows_max;
        let quiet = now >= self.written_at + self.rhythm.quiet;
        full || (quiet && self.commits >= self.rhythm.commits_min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Does everything that is due.
    fn run(schedule: &mut Schedule, now: Duration) -> Vec<Work> {
        let mut done = Vec::new();
        while let Some(work) = schedule.due(now) {
            done.push(work);
            schedule.done(work);
        }
        done
    }

    #[test]
    fn nothing_is_due_when_nothing_was_written() {
        let mut schedule = Schedule::new(Rhythm::default());
        assert_eq!(run(&mut schedule, at(1_000_000)), []);
        assert_eq!(schedule.next_due(), None);
    }

    #[test]
    fn many_commits_are_tidied_at_once_and_only_once() {
        let mut schedule = Schedule::new(Rhythm::default());
        for _ in 0..64 {
            assert_eq!(schedule.due(at(1)), None);
            schedule.wrote(1, 1, at(1));
        }
        assert_eq!(schedule.next_due(), Some(at(4)));
        assert_eq!(run(&mut schedule, at(1)), ROUND);
        assert_eq!(run(&mut schedule, at(1_000)), []);
    }

    #[test]
    fn some_commits_wait_for_a_quiet_moment_and_a_few_for_the_checkpoint() {
        let mut schedule = Schedule::new(Rhythm::default());
        schedule.wrote(8, 8, at(10));
        assert_eq!((schedule.due(at(12)), schedule.next_due()), (None, Some(at(13))));
        assert_eq!(run(&mut schedule, at(13)), ROUND);
        schedule.wrote(1, 1, at(20));
        assert_eq!((schedule.due(at(49)), schedule.next_due()), (None, Some(at(50))));
        assert_eq!(run(&mut schedule, at(50)), [Work::Checkpoint]);
    }

    #[test]
    fn a_bulk_of_rows_is_tidied_however_few_the_commits() {
        let mut schedule = Schedule::new(Rhythm::default());
        schedule.wrote(5, 50_000, at(0));
        assert_eq!(run(&mut schedule, at(0)), ROUND);
    }

    #[test]
    fn writes_in_the_middle_of_a_round_belong_to_the_next() {
        let mut schedule = Schedule::new(Rhythm::default());
        schedule.wrote(64, 64, at(0));
        assert_eq!(schedule.due(at(0)), Some(Work::Compact));
        schedule.wrote(64, 64, at(1));
        schedule.done(Work::Compact);
        assert_eq!(run(&mut schedule, at(1)), [&ROUND[1..], ROUND].concat());
    }

    #[test]
    fn without_a_checkpoint_nothing_is_pruned() {
        let mut schedule = Schedule::new(Rhythm::default());
        schedule.wrote(64, 64, at(0));
        schedule.due(at(0));
        schedule.done(Work::Compact);
        schedule.done(Work::Index);
        assert_eq!(schedule.due(at(5)), Some(Work::Checkpoint));
        schedule.checkpoint_failed(at(5));
        assert_eq!((schedule.due(at(6)), schedule.next_due()), (None, Some(at(35))));
        assert_eq!(run(&mut schedule, at(35)), [Work::Checkpoint]);
    }
}
