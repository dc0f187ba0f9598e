//! What the book knows of one device.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use libp2p::Multiaddr;

use super::{ADDRESSES_OF_ONE_MAX, DIAL_RETRY_MS};
use crate::net::address::Source;
use crate::sync::backoff::MULTIPLIER_MAX;

/// Addresses of one dial, all tried before it counts as failed: the best one, and others in turn.
pub(super) const ADDRESSES_A_DIAL_MAX: usize = 8;

/// Addresses of one device that are set by hand: as many as somebody has patience for.
pub(super) const BY_HAND_MAX: usize = 2 * ADDRESSES_OF_ONE_MAX;

/// So many failures are followed by short waits.
const PATIENT_FAILURES: u32 = 7;

/// A connection that ended sooner counts as a dial that failed: who refuses us closes it at once. One that a poor line cuts after a second
/// or two was worth having, and is made again at once; so is one over which operations went, however soon it ended.
const SHORT_MS: u64 = 1_000;
/// So many short connections in a row are made again at once because operations went over them. A line as poor as that longer is left in peace
/// like one that is refused; and nobody has us dial several times a second for ever by taking an operation each time.
const CUTS_MAX: u32 = 20;

#[derive(Clone, Debug)]
struct Known {
    address: Multiaddr,
    source: Source,
    /// When it led to a connection last, in Unix milliseconds; 0 = not that we know.
    worked_ms: u64,
    /// When it was learnt, heard again, or worked.
    heard: u64,
    /// The last dial that tried it; 0 = none.
    tried: u64,
    /// Dials that tried it and failed since it worked.
    failures: u32,
}

impl Known {
    /// What it is worth by where it is from: what has worked comes right after what was set by hand.
    fn class(&self) -> Source {
        if self.worked_ms > 0 { self.source.min(Source::LastGood) } else { self.source }
    }

    /// Less is better: of one class what worked or was heard last.
    fn rank(&self) -> (Source, Reverse<u64>, Reverse<u64>) {
        (self.class(), Reverse(self.worked_ms), Reverse(self.heard))
    }

    /// More goes first.
    fn age(&self) -> (u32, Reverse<u64>, Reverse<u64>) {
        (self.failures, Reverse(self.heard), Reverse(self.worked_ms))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Away; to be dialled at this time.
    #[default]
    New,
    Waiting(u64),
    Dialling,
    Connected {
        /// Since this time.
        since: u64,
        /// Operations went over it.
        useful: bool,
    },
}

#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Best first.
    known: Vec<Known>,
    phase: Phase,
    failures: u32,
    /// Short connections in a row over which operations went.
    cuts: u32,
    /// Dials so far: the number of the last one.
    dials: u64,
    /// Dials in a row that were made earlier because something new was heard.
    hearsay: u32,
}

impl Entry {
    /// Takes an address. Answers whether it was new: then it is kept, and another one goes when there is no room.
    pub(super) fn learn(&mut self, address: &Multiaddr, source: Source, now: u64) -> bool {
        if let Some(known) = self.known.iter_mut().find(|known| known.address == *address) {
            (known.source, known.heard) = (known.source.min(source), now);
            self.known.sort_by_key(Known::rank);
            return false;
        }
        let by_hand = self.known.iter().filter(|known| known.source == Source::Explicit).count();
        if source == Source::Explicit && by_hand >= BY_HAND_MAX {
            return false;
        }
        while self.known.len() >= ADDRESSES_OF_ONE_MAX {
            let Some(goes) = self.dispensable() else { break };
            self.known.remove(goes);
        }
        self.known.push(Known { address: address.clone(), source, worked_ms: 0, heard: now, tried: 0, failures: 0 });
        self.known.sort_by_key(Known::rank);
        true
    }

    /// The address that goes when there is no room; never one that was set by hand. The source that said most gives up its own that failed
    /// most often, of those the stalest: so what is new always gets in, and no flood from one source drives out what another one said.
    fn dispensable(&self) -> Option<usize> {
        let may_go = || self.known.iter().enumerate().filter(|(_, known)| known.source != Source::Explicit);
        let mut said: BTreeMap<Source, usize> = BTreeMap::new();
        may_go().for_each(|(_, known)| *said.entry(known.class()).or_default() += 1);
        may_go().max_by_key(|(_, known)| (said[&known.class()], known.class(), known.age())).map(|(at, _)| at)
    }

    pub(super) fn forget(&mut self, address: &Multiaddr) -> bool {
        let before = self.known.len();
        self.known.retain(|known| known.address != *address);
        self.known.len() < before
    }

    pub(super) fn worked(&mut self, address: &Multiaddr, now: u64, wall_ms: u64) {
        if let Some(known) = self.known.iter_mut().find(|known| known.address == *address) {
            known.worked_ms = known.worked_ms.max(wall_ms.max(1));
            (known.heard, known.failures) = (now, 0);
            self.known.sort_by_key(Known::rank);
        }
    }

    pub(super) const fn connected(&mut self, now: u64) {
        self.hearsay = 0;
        self.phase = Phase::Connected { since: now, useful: false };
    }

    /// Operations went over the connection.
    pub(super) const fn useful(&mut self) {
        if let Phase::Connected { useful, .. } = &mut self.phase {
            *useful = true;
        }
    }

    /// The connection is gone, and is dialled again at once as good as. But a peer that refuses us lets a connection be made and closes it:
    /// short ones that follow each other count as failures, or it would be dialled several times a second for ever. `spread` adds jitter.
    pub(super) fn disconnected(&mut self, now: u64, spread: impl FnOnce(u64) -> u64) {
        let Phase::Connected { since, useful } = self.phase else { return };
        let short = now.saturating_sub(since) < SHORT_MS;
        self.cuts = if short && useful { self.cuts.saturating_add(1) } else { 0 };
        let in_vain = short && (!useful || self.cuts > CUTS_MAX);
        self.failures = if in_vain { self.failures.saturating_add(1) } else { 0 };
        let pause_ms = match self.failures {
            0 | 1 => DIAL_RETRY_MS / 8,
            _ => DIAL_RETRY_MS.saturating_mul(multiplier(self.failures - 2)),
        };
        self.phase = Phase::Waiting(now.saturating_add(spread(pause_ms)));
    }

    pub(super) const fn restarted(&mut self, again_at: u64) {
        self.phase = Phase::Waiting(again_at);
    }

    pub(super) fn failed(&mut self, again_at: u64) {
        if self.phase == Phase::Dialling {
            self.failures = self.failures.saturating_add(1);
            self.phase = Phase::Waiting(again_at);
            let dial = self.dials;
            for known in self.known.iter_mut().filter(|known| known.tried == dial) {
                known.failures = known.failures.saturating_add(1);
            }
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

    /// Something new was heard: worth a try before the old ones' time. Not at once, and later each time it leads nowhere, so that nobody
    /// can keep us busy by saying something new again and again.
    pub(super) fn heard_news(&mut self, now: u64) {
        let at = match self.phase {
            Phase::New => now,
            _ => now.saturating_add(DIAL_RETRY_MS.saturating_mul(multiplier(self.hearsay))),
        };
        if matches!(self.phase, Phase::Waiting(due) if at < due) {
            self.hearsay = self.hearsay.saturating_add(1);
        }
        self.bring_forward(at);
    }

    fn bring_forward(&mut self, at: u64) {
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
            Phase::Dialling | Phase::Connected { .. } => None,
        }
    }

    pub(super) fn is_dialling(&self) -> bool {
        self.phase == Phase::Dialling
    }

    /// Whether one of its addresses was set by hand.
    pub(super) fn is_by_hand(&self) -> bool {
        self.known.iter().any(|known| known.source == Source::Explicit)
    }

    pub(super) fn may_be_forgotten(&self) -> bool {
        !matches!(self.phase, Phase::Connected { .. } | Phase::Dialling) && !self.is_by_hand()
    }

    /// The addresses of the next dial, best first.
    pub(super) fn dial(&mut self) -> Vec<Multiaddr> {
        self.phase = Phase::Dialling;
        self.dials = self.dials.saturating_add(1);
        let window = self.window();
        for at in &window {
            self.known[*at].tried = self.dials;
        }
        window.iter().map(|at| self.known[*at].address.clone()).collect()
    }

    /// Which are tried next: the best one each time, and the others in turn. Each source gives the one that waits longest, then each its
    /// next: so all are tried within a few dials, and no flood from one source keeps those of another waiting.
    fn window(&self) -> Vec<usize> {
        let mut waiting: Vec<(usize, &Known)> = self.known.iter().enumerate().skip(1).collect();
        // The sort is stable: of those that were never tried, or last in the same dial, the better one comes first.
        waiting.sort_by_key(|(_, known)| known.tried);
        let mut turns: BTreeMap<Source, usize> = BTreeMap::new();
        let mut queue: Vec<(usize, Source, usize)> = Vec::new();
        for (at, known) in waiting {
            let turn = turns.entry(known.class()).or_default();
            queue.push((*turn, known.class(), at));
            *turn += 1;
        }
        queue.sort_unstable();
        let best = (0..self.known.len()).take(1);
        let mut window: Vec<usize> = best.chain(queue.into_iter().map(|(.., at)| at)).take(ADDRESSES_A_DIAL_MAX).collect();
        window.sort_unstable();
        window
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
