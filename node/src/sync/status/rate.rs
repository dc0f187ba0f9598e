//! How fast operations go, over the last few seconds.

use std::collections::VecDeque;

/// Over how long the rate is taken, in milliseconds: long enough not to flicker, short enough to show a stop.
const WINDOW_MS: u64 = 4_000;
/// How often the count is noted, in milliseconds; so many notes are kept as fit the window, and one before it.
const NOTE_MS: u64 = 250;

/// Counts operations over time. A count that falls is the first of another session.
#[derive(Debug, Default)]
pub(super) struct RateMeter {
    /// Times and counts, oldest first.
    notes: VecDeque<(u64, u64)>,
    /// The last time and count, noted or not.
    latest: (u64, u64),
}

impl RateMeter {
    /// So many operations altogether, at this time. Time that runs backwards is taken for time that stands still.
    pub(super) fn count(&mut self, operations: u64, now_ms: u64) {
        let (time, count) = self.latest;
        if operations < count {
            self.notes.clear();
        }
        let now_ms = now_ms.max(time);
        self.latest = (now_ms, operations);
        if self.notes.back().is_none_or(|(noted, _)| now_ms - noted >= NOTE_MS) {
            self.notes.push_back(self.latest);
        }
        // The oldest note that is kept is the last one from before the window.
        while self.notes.get(1).is_some_and(|(noted, _)| *noted + WINDOW_MS <= now_ms) {
            self.notes.pop_front();
        }
    }

    /// Operations a second since the oldest note.
    pub(super) fn per_second(&self) -> u64 {
        let Some((since, from)) = self.notes.front() else { return 0 };
        let (now, count) = self.latest;
        count.saturating_sub(*from).saturating_mul(1_000).checked_div(now - since).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_flow_has_its_rate_and_a_stop_shows_soon() {
        let mut meter = RateMeter::default();
        assert_eq!(meter.per_second(), 0);
        for step in 0..100 {
            meter.count(step * 50, step * 100);
        }
        assert_eq!(meter.per_second(), 500);
        let end = 99 * 50;
        meter.count(end, 11_900);
        assert!(meter.per_second() < 300, "two seconds later: {}", meter.per_second());
        for step in 0..20 {
            meter.count(end, 12_000 + step * 300);
        }
        assert_eq!(meter.per_second(), 0);
    }

    #[test]
    fn another_session_begins_anew_and_a_clock_that_is_set_back_harms_nobody() {
        let mut meter = RateMeter::default();
        meter.count(1_000, 10_000);
        meter.count(2_000, 11_000);
        assert_eq!(meter.per_second(), 1_000);
        meter.count(10, 11_000);
        assert_eq!(meter.per_second(), 0);
        meter.count(510, 5_000);
        assert_eq!(meter.per_second(), 0, "time stood still");
        meter.count(510, 12_000);
        assert_eq!(meter.per_second(), 500);
    }

    #[test]
    fn few_notes_are_kept() {
        let mut meter = RateMeter::default();
        (0..100_000).for_each(|step| meter.count(step, step * 7));
        assert!(meter.notes.len() as u64 <= WINDOW_MS / NOTE_MS + 2, "{}", meter.notes.len());
    }
}
