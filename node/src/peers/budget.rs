//! How much a peer may say that brings nothing.
//!
//! Frames that bring operations, or acknowledge ours, pay for themselves. All others (comparisons, digests, operations we have) are needed
//! now and then and cost us work, so each peer has a budget of them that refills over time. A peer that overdraws it is not in earnest.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Frames that may come at once without bringing anything.
const FRAMES_MAX: u64 = 2_000;
/// Frames that are added in a second.
const REFILL_PER_S: u64 = 50;

/// A peer's budget.
#[derive(Clone, Copy, Debug)]
struct Budget {
    /// In thousandths of a frame.
    left: u64,
    since_ms: u64,
}

/// The budget of one peer, whatever sessions it has: one that begins anew does not get another. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct SharedBudget {
    budget: Arc<Mutex<Budget>>,
    began: Instant,
}

impl SharedBudget {
    pub(super) fn new() -> Self {
        Self { budget: Arc::new(Mutex::new(Budget::new(0))), began: Instant::now() }
    }

    /// A frame came that brought nothing.
    pub(super) fn spend(&self) -> Result<(), Overdrawn> {
        let now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).spend(now_ms)
    }

    /// Whether no session uses it.
    pub(super) fn is_unused(&self) -> bool {
        Arc::strong_count(&self.budget) == 1
    }
}

/// The budget is overdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overdrawn;

impl Budget {
    const fn new(now_ms: u64) -> Self {
        Self { left: FRAMES_MAX * 1_000, since_ms: now_ms }
    }

    /// A frame came that brought nothing.
    fn spend(&mut self, now_ms: u64) -> Result<(), Overdrawn> {
        let elapsed = now_ms.saturating_sub(self.since_ms);
        self.since_ms = self.since_ms.max(now_ms);
        self.left = self.left.saturating_add(elapsed.saturating_mul(REFILL_PER_S)).min(FRAMES_MAX * 1_000);
        self.left = self.left.checked_sub(1_000).ok_or(Overdrawn)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_a_flood_is_not() {
        let mut budget = Budget::new(0);
        for _ in 0..FRAMES_MAX {
            assert_eq!(budget.spend(0), Ok(()));
        }
        assert_eq!(budget.spend(0), Err(Overdrawn));
        assert_eq!(budget.spend(1_000), Ok(()), "it refills");
    }

    #[test]
    fn a_steady_chatter_never_overdraws() {
        let mut budget = Budget::new(0);
        for frame in 0..10 * FRAMES_MAX {
            assert_eq!(budget.spend(frame * 1_000 / REFILL_PER_S), Ok(()));
        }
    }
}
