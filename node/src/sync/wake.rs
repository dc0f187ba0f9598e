//! Whether the machine has slept: meanwhile the monotonic clock stands still, and the wall clock goes on.

/// A wall clock that went ahead of the monotonic one by more than this, in milliseconds, tells that the machine slept.
pub const WAKE_JUMP_MS: u64 = 10_000;

/// Holds one clock against the other, whenever it is told what both say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WakeWatch {
    /// By how much the wall clock was ahead.
    ahead: Option<u64>,
}

impl WakeWatch {
    /// Whether the machine has slept since this was asked last.
    pub fn woke(&mut self, wall_ms: u64, now: u64) -> bool {
        // What is kept is the difference of the two clocks, so that a slow drift never adds up to a jump.
        let ahead = wall_ms.wrapping_sub(now);
        let grown = self.ahead.replace(ahead).map_or(0, |before| ahead.wrapping_sub(before).cast_signed());
        grown > WAKE_JUMP_MS.cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_ahead_is_a_sleep_and_nothing_else_is() {
        let mut watch = WakeWatch::default();
        assert!(!watch.woke(1_000_000, 0), "there is nothing to compare with");
        let (mut wall_ms, mut now) = (1_000_000, 0);
        for _ in 0..100 {
            (wall_ms, now) = (wall_ms + 1_000 + WAKE_JUMP_MS, now + 1_000);
            assert!(!watch.woke(wall_ms, now), "a clock that runs too fast");
        }
        assert!(!watch.woke(0, now), "nor is one set back");
        assert!(!watch.woke(60_000, now + 60_000));
        assert!(watch.woke(3_600_000, now + 60_001));
        assert!(!watch.woke(3_600_001, now + 60_002), "it is told of once");
    }
}
