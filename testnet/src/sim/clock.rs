//! A device's wall clock: wrong by an offset, running fast or slow, jumping now and then.

use nodespace_protocol::clock::Timestamp;

/// Unix milliseconds at which every world begins.
const BEGINNING_MS: u64 = 1_750_000_000_000;

/// A clock that may be wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WallClock {
    /// How far off, in milliseconds.
    pub(crate) offset_ms: i64,
    /// How fast, in millionths.
    pub(crate) drift_ppm: i64,
    /// The greatest time it has shown.
    latest_ms: u64,
}

impl WallClock {
    /// What it shows when the true time is `now_ms` after the beginning.
    pub(crate) fn read(&mut self, now_ms: u64) -> Timestamp {
        let drifted = now_ms as i64 * self.drift_ppm / 1_000_000;
        let ms = (BEGINNING_MS + now_ms).saturating_add_signed(self.offset_ms + drifted);
        self.latest_ms = self.latest_ms.max(ms);
        Timestamp::from_ms(ms)
    }

    /// The greatest time it has shown.
    pub(crate) const fn latest(&self) -> Timestamp {
        Timestamp::from_ms(self.latest_ms)
    }

    /// Sets it right.
    pub(crate) const fn heal(&mut self) {
        self.offset_ms = 0;
        self.drift_ppm = 0;
    }
}

/// The true time.
pub(crate) const fn true_time(now_ms: u64) -> Timestamp {
    Timestamp::from_ms(BEGINNING_MS + now_ms)
}
