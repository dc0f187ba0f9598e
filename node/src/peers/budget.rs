//! How much a peer may say that brings nothing.
//!
//! Frames that bring operations, or acknowledge ours, pay for themselves. All others (comparisons, digests, operations we have) are needed
//! now and then and cost us work, so each peer has a budget of them that refills over time. A peer that overdraws it is not in earnest.
//! Streams are budgeted alike: those that begin a session, and those that are answered once, with addresses, a node's version or
//! attachments.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use nodespace_protocol::ids::DeviceId;

/// How much may come, of whatever it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Allowance {
    /// At once.
    at_once: u64,
    /// Added in a second.
    per_s: u64,
}

/// Frames of sessions that bring nothing. What brings something is said in `session/step`.
const FRAMES: Allowance = Allowance { at_once: 2_000, per_s: 50 };
/// Sessions that a peer begins: one a workspace when it connects, and again when one failed.
pub(super) const SESSIONS: Allowance = Allowance { at_once: 256, per_s: 4 };
/// Exchanges of addresses that a peer begins: one when it connects, and one a second at most while it has news.
pub(super) const ADDRESSES: Allowance = Allowance { at_once: 32, per_s: 1 };
/// Questions about nodes: recovery asks one for each node that is not settled, and again later.
pub(super) const QUESTIONS: Allowance = Allowance { at_once: 2_000, per_s: 50 };
/// Questions for attachments, of up to 256 each, and announcements of some: one who lacks thousands asks as fast as it is answered.
pub(super) const ATTACHMENTS: Allowance = Allowance { at_once: 64, per_s: 4 };
/// Peers whose budget is remembered; beyond it the one is forgotten that has most left. Nobody is refused for what others spent: strangers
/// have as many keys as they like, and would keep members out. A forgotten one begins with a full budget, and nearly had that.
const PEERS_MAX: usize = 1_024;

/// A peer's budget.
#[derive(Clone, Copy, Debug)]
struct Budget {
    allowance: Allowance,
    /// In thousandths.
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
        Self { budget: Arc::new(Mutex::new(Budget::new(FRAMES, 0))), began: Instant::now() }
    }

    /// A frame came that brought nothing.
    pub(super) fn spend(&self) -> Result<(), Overdrawn> {
        let now_ms = ms_since(self.began);
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).spend(now_ms)
    }

    /// Whether no session uses it.
    pub(super) fn is_unused(&self) -> bool {
        Arc::strong_count(&self.budget) == 1
    }
}

/// The budgets of all peers for one thing, whatever connections they have.
#[derive(Debug)]
pub(super) struct Budgets {
    allowance: Allowance,
    peers: BTreeMap<DeviceId, Budget>,
    began: Instant,
}

impl Budgets {
    pub(super) fn new(allowance: Allowance) -> Self {
        Self { allowance, peers: BTreeMap::new(), began: Instant::now() }
    }

    /// A peer wants one more.
    pub(super) fn spend(&mut self, peer: DeviceId) -> Result<(), Overdrawn> {
        self.spend_at(peer, ms_since(self.began))
    }

    fn spend_at(&mut self, peer: DeviceId, now_ms: u64) -> Result<(), Overdrawn> {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&peer) {
            let fullest = self.peers.iter().max_by_key(|(_, budget)| budget.left_at(now_ms)).map(|(other, _)| *other);
            if let Some(fullest) = fullest {
                self.peers.remove(&fullest);
            }
        }
        self.peers.entry(peer).or_insert_with(|| Budget::new(self.allowance, now_ms)).spend(now_ms)
    }
}

fn ms_since(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The budget is overdrawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Overdrawn;

impl Budget {
    const fn new(allowance: Allowance, now_ms: u64) -> Self {
        Self { allowance, left: allowance.at_once * 1_000, since_ms: now_ms }
    }

    /// One more came.
    fn spend(&mut self, now_ms: u64) -> Result<(), Overdrawn> {
        self.left = self.left_at(now_ms);
        self.since_ms = self.since_ms.max(now_ms);
        self.left = self.left.checked_sub(1_000).ok_or(Overdrawn)?;
        Ok(())
    }

    fn left_at(&self, now_ms: u64) -> u64 {
        let elapsed = now_ms.saturating_sub(self.since_ms);
        // A thousandth of what a second adds, each millisecond.
        self.left.saturating_add(elapsed.saturating_mul(self.allowance.per_s)).min(self.allowance.at_once * 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_a_flood_is_not() {
        let mut budget = Budget::new(FRAMES, 0);
        for _ in 0..FRAMES.at_once {
            assert_eq!(budget.spend(0), Ok(()));
        }
        assert_eq!(budget.spend(0), Err(Overdrawn));
        assert_eq!(budget.spend(1_000), Ok(()), "it refills");
    }

    #[test]
    fn a_steady_chatter_never_overdraws() {
        let mut budget = Budget::new(FRAMES, 0);
        for frame in 0..10 * FRAMES.at_once {
            assert_eq!(budget.spend(frame * 1_000 / FRAMES.per_s), Ok(()));
        }
    }

    fn peer(number: usize) -> DeviceId {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        DeviceId(key)
    }

    #[test]
    fn each_peer_has_a_budget_of_its_own() {
        let mut budgets = Budgets::new(ADDRESSES);
        for _ in 0..ADDRESSES.at_once {
            assert_eq!(budgets.spend_at(peer(1), 0), Ok(()));
        }
        assert_eq!(budgets.spend_at(peer(1), 0), Err(Overdrawn));
        assert_eq!(budgets.spend_at(peer(2), 0), Ok(()));
        assert_eq!(budgets.spend_at(peer(1), 999), Err(Overdrawn));
        assert_eq!(budgets.spend_at(peer(1), 1_000), Ok(()), "one a second");
    }

    #[test]
    fn budgets_that_are_remembered_are_bounded_and_who_spent_all_gets_no_second_one() {
        let mut budgets = Budgets::new(ADDRESSES);
        overdraw(&mut budgets, peer(0));
        // Far more than are remembered.
        for number in 1..3 * PEERS_MAX {
            assert_eq!(budgets.spend_at(peer(number), 0), Ok(()));
        }
        assert_eq!(budgets.peers.len(), PEERS_MAX);
        assert_eq!(budgets.spend_at(peer(0), 0), Err(Overdrawn));
    }

    /// Spends all that a peer may.
    fn overdraw(budgets: &mut Budgets, peer: DeviceId) {
        while budgets.spend_at(peer, 0).is_ok() {}
    }

    /// What was done: strangers came with one key after another and spent all that each may. What was seen: whoever was not remembered by then
    /// was refused, members too. What holds now: nobody is refused for what others spent.
    #[test]
    fn strangers_with_many_keys_keep_nobody_out() {
        let mut budgets = Budgets::new(SESSIONS);
        for number in 1..=PEERS_MAX {
            overdraw(&mut budgets, peer(number));
        }
        let member = peer(0);
        for number in 1..=PEERS_MAX {
            assert_eq!(budgets.spend_at(member, 0), Ok(()));
            overdraw(&mut budgets, peer(PEERS_MAX + number));
        }
        assert_eq!(budgets.peers.len(), PEERS_MAX);
    }
}
