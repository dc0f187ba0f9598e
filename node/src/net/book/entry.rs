//! What the book knows of one device.

use libp2p::Multiaddr;

use super::{ADDRESSES_OF_ONE_MAX, DIAL_RETRY_MS};
use crate::net::address::Source;
use crate::sync::backoff::MULTIPLIER_MAX;

/// Addresses of one dial: the best, all tried before it counts as failed.
const ADDRESSES_A_DIAL_MAX: usize = 8;

/// So many failures are followed by short waits.
const PATIENT_FAILURES: u32 = 7;

/// A connection that ended sooner counts as a dial that failed: who refuses us closes it at once. One that a poor line cuts after a second
/// or two was worth having, and is made again at once.
const SHORT_MS: u64 = 1_000;

#[derive(Clone, Debug)]
struct Known {
    address: Multiaddr,
    source: Source,
    /// When it led to a connection last, in Unix milliseconds; 0 = not that we know.
    worked_ms: u64,
}

impl Known {
    /// Less is better.
    fn rank(&self) -> (Source, std::cmp::Reverse<u64>) {
        // What has worked comes right after what was set by hand.
        let source = if self.worked_ms > 0 { self.source.min(Source::LastGood) } else { self.source };
        (source, std::cmp::Reverse(self.worked_ms))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Away; to be dialled at this time.
    #[default]
    New,
    Waiting(u64),
    Dialling,
    /// Since this time.
    Connected(u64),
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    known: Vec<Known>,
    phase: Phase,
    failures: u32,
}

impl Entry {
    pub(super) fn learn(&mut self, address: &Multiaddr, source: Source) -> bool {
        if let Some(known) = self.known.iter_mut().find(|known| known.address == *address) {
            known.source = known.source.min(source);
            return false;
        }
        self.known.push(Known { address: address.clone(), source, worked_ms: 0 });
        self.known.sort_by_key(Known::rank);
        while self.known.len() > ADDRESSES_OF_ONE_MAX {
            let Some(worst) = self.known.iter().rposition(|known| known.source != Source::Explicit) else { break };
            let removed = self.known.remove(worst);
            if removed.address == *address {
                return false;
            }
        }
        // By hand there may be as many as somebody has patience for, up to twice the bound.
        self.known.truncate(2 * ADDRESSES_OF_ONE_MAX);
        true
    }

    pub(super) fn forget(&mut self, address: &Multiaddr) -> bool {
        let before = self.known.len();
        self.known.retain(|known| known.address != *address);
        self.known.len() < before
    }

    pub(super) fn worked(&mut self, address: &Multiaddr, wall_ms: u64) {
        if let Some(known) = self.known.iter_mut().find(|known| known.address == *address) {
            known.worked_ms = known.worked_ms.max(wall_ms.max(1));
            self.known.sort_by_key(Known::rank);
        }
    }

    pub(super) const fn connected(&mut self, now: u64) {
        self.phase = Phase::Connected(now);
    }

    /// The connection is gone. A peer that refuses us lets a connection be made and closes it: that counts as a failure, or it would be
    /// dialled several times a second for ever.
    pub(super) const fn disconnected(&mut self, now: u64) {
        if let Phase::Connected(since) = self.phase {
            self.failures = if now.saturating_sub(since) < SHORT_MS { self.failures.saturating_add(1) } else { 0 };
            self.phase = Phase::Waiting(now);
        }
    }

    /// How long the next dial waits after the last connection was lost: at once as good as, unless short connections follow each other.
    pub(super) fn pause_ms(&self) -> u64 {
        match self.failures {
            0 | 1 => DIAL_RETRY_MS / 8,
            _ => DIAL_RETRY_MS.saturating_mul(multiplier(self.failures - 2)),
        }
    }

    /// Not before this time.
    pub(super) fn wait_until(&mut self, at: u64) {
        if let Phase::Waiting(due) = &mut self.phase {
            *due = at.max(*due);
        }
    }

    pub(super) const fn restarted(&mut self, again_at: u64) {
        self.phase = Phase::Waiting(again_at);
    }

    pub(super) fn failed(&mut self, again_at: u64) {
        if self.phase == Phase::Dialling {
            self.failures = self.failures.saturating_add(1);
            self.phase = Phase::Waiting(again_at);
        }
    }

    /// By which the next wait is longer.
    pub(super) fn multiplier(&self) -> u64 {
        multiplier(self.failures)
    }

    /// To be dialled at this time at the latest; earlier failures count no more.
    pub(super) fn hurry(&mut self, at: u64) {
        self.failures = 0;
        self.bring_forward(at);
    }

    pub(super) fn bring_forward(&mut self, at: u64) {
        self.phase = match self.phase {
            Phase::New => Phase::Waiting(at),
            Phase::Waiting(due) => Phase::Waiting(due.min(at)),
            other => other,
        };
    }

    /// When it is to be dialled; `None` while it is, or is connected, or no address is known.
    pub(super) const fn due(&self) -> Option<u64> {
        if self.known.is_empty() {
            return None;
        }
        match self.phase {
            Phase::New => Some(0),
            Phase::Waiting(at) => Some(at),
            Phase::Dialling | Phase::Connected(_) => None,
        }
    }

    /// Whether it was never dialled.
    pub(super) fn is_fresh(&self) -> bool {
        self.phase == Phase::New
    }

    pub(super) fn is_dialling(&self) -> bool {
        self.phase == Phase::Dialling
    }

    pub(super) fn may_be_forgotten(&self) -> bool {
        !matches!(self.phase, Phase::Connected(_) | Phase::Dialling) && self.known.iter().all(|known| known.source != Source::Explicit)
    }

    pub(super) fn dial(&mut self) -> Vec<Multiaddr> {
        self.phase = Phase::Dialling;
        self.known.iter().take(ADDRESSES_A_DIAL_MAX).map(|known| known.address.clone()).collect()
    }

    pub(super) fn addresses(&self) -> Vec<Multiaddr> {
        self.known.iter().map(|known| known.address.clone()).collect()
    }

    /// Addresses that worked, best first, and when the last of them did.
    pub(super) fn worked_addresses(&self) -> (Vec<Multiaddr>, u64) {
        let worked = || self.known.iter().filter(|known| known.worked_ms > 0);
        (worked().map(|known| known.address.clone()).collect(), worked().map(|known| known.worked_ms).max().unwrap_or(0))
    }
}

/// 1, then 2 for the first half minute or so, since most who are away are back soon; then twice as much each time, up to sixteen.
fn multiplier(failures: u32) -> u64 {
    let doublings = failures.min(1).max(failures.saturating_sub(PATIENT_FAILURES));
    u64::from(1_u32.checked_shl(doublings).unwrap_or(MULTIPLIER_MAX).min(MULTIPLIER_MAX))
}
