//! The wall clock: the only place where the engine reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use nodespace_protocol::clock::Timestamp;

/// The system's clock, or one that is ahead of or behind it: so that a test can show what a wrong clock does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    ahead_ms: i64,
}

impl Clock {
    /// A clock that is so many milliseconds ahead of the system's; behind when negative.
    pub const fn ahead_by_ms(ahead_ms: i64) -> Self {
        Self { ahead_ms }
    }

    /// Now, in Unix milliseconds. A clock before 1970 counts as 1970: the protocol's own clocks go on from what they have seen.
    pub fn now_ms(self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX).saturating_add_signed(self.ahead_ms)
    }

    /// Now, as operations say it.
    pub fn now(self) -> Timestamp {
        Timestamp::from_ms(self.now_ms())
    }
}

/// What the system's clock says, in Unix milliseconds.
pub(crate) fn wall_ms() -> u64 {
    Clock::default().now_ms()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_can_be_wrong() {
        let right = Clock::default().now_ms();
        assert!(Clock::ahead_by_ms(3_600_000).now_ms() >= right + 3_600_000);
        assert!(Clock::ahead_by_ms(-3_600_000).now_ms() < right);
        assert_eq!(Clock::ahead_by_ms(i64::MIN).now_ms(), 0, "before 1970 is 1970");
    }
}
