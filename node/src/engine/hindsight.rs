//! What had its effect keeps it, whatever the clock says at the next start.
//!
//! Operations of others that are dated too far ahead of this machine's clock are held back (`docs/PROTOCOL.md`, section 3), and opening a
//! workspace judges again what came after the last checkpoint. By a clock that was set back meanwhile (a dead battery says 1970) it would
//! hold back what was shown yesterday. So the device remembers the latest clock it had, and opens by that.
//!
//! It also remembers how many operations were held back: those whose time came while the device did not run take effect when it opens,
//! and no operation of its own tells the table or a client's cursor about it.

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::store::StoreError;
use nodespace_store::DiskStore;

/// Where it is kept: two numbers of eight bytes, little-endian.
const KEY: &str = "engine/hindsight";

/// The clock is noted so far ahead, in milliseconds, that it need not be noted with each write. Operations dated up to this much further
/// ahead than usual take effect at a restart; the bound is there for clocks that are wrong by hours.
const AHEAD_MS: u64 = 120_000;

/// What is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hindsight {
    /// No operation was judged by a later clock, in Unix milliseconds.
    latest_ms: u64,
    /// Operations that were held back.
    held: u64,
}

impl Hindsight {
    /// Reads what was remembered; nothing when nothing was, or it cannot be read.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn read(store: &DiskStore) -> Result<Self, StoreError> {
        let bytes = store.value(KEY)?.and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        Ok(bytes.map(Self::decode).unwrap_or_default())
    }

    /// The clock to open by.
    pub(super) fn opening(&self, now: Timestamp) -> Timestamp {
        now.max(Timestamp::from_ms(self.latest_ms))
    }

    /// Whether operations have taken effect since, when so many are held back now.
    pub(super) const fn was_released(&self, held: u64) -> bool {
        held < self.held
    }

    /// Remembers what a group of writes was judged by, and what it left held back.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) fn note(&mut self, store: &DiskStore, now: Timestamp, held: u64) -> Result<(), StoreError> {
        if now.ms() <= self.latest_ms && held == self.held {
            return Ok(());
        }
        let latest_ms = if now.ms() > self.latest_ms { now.ms().saturating_add(AHEAD_MS) } else { self.latest_ms };
        *self = Self { latest_ms, held };
        store.put_value(KEY, &self.encode())
    }

    fn encode(self) -> [u8; 16] {
        (u128::from(self.latest_ms) | u128::from(self.held) << 64).to_le_bytes()
    }

    fn decode(bytes: [u8; 16]) -> Self {
        let both = u128::from_le_bytes(bytes);
        Self { latest_ms: both as u64, held: (both >> 64) as u64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_numbers_come_back() {
        let hindsight = Hindsight { latest_ms: 1_700_000_000_123, held: 7 };
        assert_eq!(Hindsight::decode(hindsight.encode()), hindsight);
    }

    #[test]
    fn a_clock_that_was_set_back_opens_by_the_later_one() {
        let hindsight = Hindsight { latest_ms: 5_000, held: 0 };
        assert_eq!(hindsight.opening(Timestamp::from_ms(1_000)), Timestamp::from_ms(5_000));
        assert_eq!(hindsight.opening(Timestamp::from_ms(9_000)), Timestamp::from_ms(9_000));
    }
}
