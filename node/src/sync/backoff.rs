//! How long to wait: the document's backoff, doubled after each failure up to sixteenfold, and jitter.
//!
//! Jitter spreads devices that started together (a power cut, a relay that came back) over a quarter of the time. It comes from
//! SplitMix64 (Steele, Lea, Flood: *Fast Splittable Pseudorandom Number Generators*, 2014): a seed replays it, and nothing secret
//! hangs on it.

/// The greatest multiplier. The document's 16: at 30 s, a target that fails for hours is asked every eight minutes.
pub const MULTIPLIER_MAX: u32 = 16;
/// Jitter is less than or equal to a delay divided by this.
pub const JITTER_DIVISOR: u64 = 4;

/// A reproducible source of small differences. Not for secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jitter {
    state: u64,
}

impl Jitter {
    /// The source of a seed.
    pub const fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.state ^ (self.state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Anything from 0 through `most`.
    pub const fn up_to(&mut self, most: u64) -> u64 {
        let bits = self.bits();
        if most == u64::MAX { bits } else { bits % (most + 1) }
    }

    /// A delay and up to a quarter more; saturates.
    pub const fn spread(&mut self, delay_ms: u64) -> u64 {
        delay_ms.saturating_add(self.up_to(delay_ms / JITTER_DIVISOR))
    }
}

/// A multiplier that doubles with each failure and falls back to one at a success, and the jitter of what it is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    multiplier: u32,
    jitter: Jitter,
}

impl Backoff {
    /// At one.
    pub const fn new(seed: u64) -> Self {
        Self { multiplier: 1, jitter: Jitter::new(seed) }
    }

    /// 1, 2, 4, 8 or 16.
    pub const fn multiplier(&self) -> u32 {
        self.multiplier
    }

    /// After a failure.
    pub const fn raise(&mut self) {
        let doubled = self.multiplier.saturating_mul(2);
        self.multiplier = if doubled > MULTIPLIER_MAX { MULTIPLIER_MAX } else { doubled };
    }

    /// After a success.
    pub const fn reset(&mut self) {
        self.multiplier = 1;
    }

    /// How long to wait: from `base_ms` times the multiplier to a quarter more.
    pub const fn delay_ms(&mut self, base_ms: u64) -> u64 {
        self.jitter.spread(base_ms.saturating_mul(self.multiplier as u64))
    }

    /// Anything from 0 through `most`.
    pub const fn up_to(&mut self, most: u64) -> u64 {
        self.jitter.up_to(most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn delays_keep_within_their_bounds(seed: u64, base_ms in 0u64..=1 << 40, events: Vec<bool>) {
            let mut backoff = Backoff::new(seed);
            let mut expected = 1u64;
            for failed in events {
                if failed {
                    backoff.raise();
                    expected = (expected * 2).min(16);
                } else {
                    backoff.reset();
                    expected = 1;
                }
                let delay = backoff.delay_ms(base_ms);
                let least = base_ms * expected;
                prop_assert!((least..=least + least / 4).contains(&delay), "seed {seed}: {delay} for {base_ms} x {expected}");
            }
        }

        #[test]
        fn no_number_is_too_large(seed: u64, base_ms: u64, most: u64) {
            let mut backoff = Backoff::new(seed);
            for _ in 0..6 {
                backoff.raise();
                prop_assert!(backoff.delay_ms(base_ms) >= base_ms);
                prop_assert!(backoff.up_to(most) <= most);
            }
        }
    }

    #[test]
    fn two_seeds_do_not_go_in_step() {
        let delays = |seed| {
            let mut backoff = Backoff::new(seed);
            (0..8).map(|_| backoff.delay_ms(30_000)).collect::<Vec<_>>()
        };
        assert_ne!(delays(1), delays(2));
        assert_eq!(delays(3), delays(3));
    }
}
