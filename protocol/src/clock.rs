//! Time as operations carry it: a hybrid logical clock and a Lamport clock.
//!
//! The hybrid logical clock (Kulkarni et al., *Logical Physical Clocks*, 2014) packs 48 bits of Unix milliseconds and a 16-bit
//! counter into one `u64`, so comparing timestamps is comparing integers. It only breaks ties between concurrent
//! operations: causality lives in the operations' parents.

use std::fmt;

use chrono::{DateTime, TimeZone, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::OpHash;
use crate::mutant::{self, Mutant};

/// How far ahead of our clock an operation may be before its effect is held back, in milliseconds.
pub const AHEAD_MS_MAX: u64 = 60_000;

/// A hybrid logical timestamp: milliseconds since the Unix epoch in the upper 48 bits, a counter in the lower 16.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Before every operation.
    pub const ZERO: Self = Self(0);

    /// The first timestamp of a millisecond; milliseconds beyond 48 bits saturate.
    pub const fn from_ms(ms: u64) -> Self {
        const MS_MAX: u64 = (1 << 48) - 1;
        Self(if ms > MS_MAX { MS_MAX << 16 } else { ms << 16 })
    }

    /// Milliseconds since the Unix epoch.
    pub const fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// The counter within the millisecond.
    pub const fn counter(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The next timestamp; saturates at the end of time.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// This time moved by whole milliseconds; saturates.
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms << 16))
    }

    /// The calendar time of the view (`None` past the year 262,000).
    pub fn to_datetime(self) -> Option<DateTime<Utc>> {
        Utc.timestamp_millis_opt(i64::try_from(self.ms()).ok()?).single()
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms+{}", self.ms(), self.counter())
    }
}

/// What orders two operations totally, the same on every device: later time, then greater Lamport version, then greater hash.
///
/// Because an author's timestamp exceeds those of its parents, a causally later operation always has the greater stamp.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Stamp {
    /// Hybrid logical time.
    pub timestamp: Timestamp,
    /// Lamport version.
    pub version: u64,
    /// The operation.
    pub hash: OpHash,
}

/// A device's clocks: the hybrid one for time, the Lamport one for versions.
///
/// Neither reads a clock: the caller passes the wall time as `now`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clocks {
    last: Timestamp,
    version: u64,
}

impl Clocks {
    /// Clocks that have seen these.
    pub(crate) const fn at(last: Timestamp, version: u64) -> Self {
        Self { last, version }
    }

    /// The greatest version seen so far.
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// The greatest timestamp issued or accepted so far.
    pub const fn last(&self) -> Timestamp {
        self.last
    }

    /// Takes note of an operation. A timestamp more than [`AHEAD_MS_MAX`] ahead of `now` teaches neither time nor version.
    pub fn observe(&mut self, timestamp: Timestamp, version: u64, now: Timestamp) {
        if timestamp <= now.plus_ms(AHEAD_MS_MAX) || mutant::is(Mutant::NoClockBound) {
            self.last = self.last.max(timestamp);
            self.version = self.version.max(version);
        }
    }

    /// The (timestamp, version) of a new operation: later than anything observed, later than its parents (`after`), and not
    /// before the wall clock. `after` is the latest time and version among the parents.
    ///
    /// A version never exceeds its timestamp as a number, so versions cannot be used up before time is.
    pub fn tick(&mut self, now: Timestamp, after: (Timestamp, u64)) -> (Timestamp, u64) {
        self.version = self.version.max(after.1).saturating_add(1);
        self.last = now.max(self.last.next()).max(after.0.next()).max(Timestamp(self.version));
        (self.last, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_is_later_than_all_it_saw() {
        let mut clocks = Clocks::default();
        let now = Timestamp::from_ms(1_000);
        clocks.observe(Timestamp::from_ms(5_000), 9, now);
        let (timestamp, version) = clocks.tick(now, (Timestamp::from_ms(7_000), 4));
        assert!(timestamp > Timestamp::from_ms(7_000));
        assert_eq!(version, 10);
        assert!(clocks.tick(now, (Timestamp::ZERO, 0)).0 > timestamp);
    }

    #[test]
    fn the_far_future_does_not_drag_the_clock() {
        let mut clocks = Clocks::default();
        let now = Timestamp::from_ms(1_000);
        clocks.observe(now.plus_ms(AHEAD_MS_MAX + 1), 3, now);
        assert_eq!(clocks.last(), Timestamp::ZERO);
        assert_eq!(clocks.version(), 0, "nor does it use up versions");
    }

    #[test]
    fn a_backward_wall_clock_still_moves_forward() {
        let mut clocks = Clocks::default();
        let (first, _) = clocks.tick(Timestamp::from_ms(9_000), (Timestamp::ZERO, 0));
        let (second, _) = clocks.tick(Timestamp::from_ms(1), (Timestamp::ZERO, 0));
        assert!(second > first);
    }
}
