//! Whom to dial, where, and when. Pure: no swarm, no clock.
//!
//! The book keeps for each device that is wanted (a member, the host of a ticket) the addresses at which it may be found, best first: what
//! was set by hand, what worked last, what the device says of itself, what others say; of each kind the freshest first. Devices roam: what
//! is new always gets in, and the source that said most gives an old one up for it.
//!
//! A dial tries several addresses at once: the best one always, the others in turn, so that all are tried within a few dials. One that
//! fails is tried again after 1, then 2 times [`DIAL_RETRY_MS`], later 4, 8, at most 16 times, with jitter, and at once when the network
//! changes or somebody asks. Nothing is ever dialled for a device that is not wanted: multicast and gossip yield candidates, membership
//! decides.

mod entry;
mod saved;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use libp2p::Multiaddr;
use nodespace_protocol::ids::DeviceId;

use self::entry::Entry;
pub use self::saved::{SavedPeer, SavedPeers};
use super::address::{Source, is_worth_dialling};
use crate::sync::backoff::Jitter;

/// How long after a failure a device is dialled again, in milliseconds; up to sixteen times as much after many failures, with jitter.
pub const DIAL_RETRY_MS: u64 = 2_000;
/// Dials at one time. Further devices wait for a place.
pub const DIALS_AT_ONCE_MAX: usize = 16;
/// Addresses kept of one device; when there are more, one goes, never one that was set by hand. Of those there may be up to twice as many,
/// and then there is room for one that is not.
pub const ADDRESSES_OF_ONE_MAX: usize = 16;
/// Devices kept; those that are not wanted are forgotten first, then what is learnt of further ones is dropped.
pub const DEVICES_MAX: usize = 1_024;
/// After the network changed all devices are dialled within this time, in milliseconds, not all at once.
pub const CHANGE_SPREAD_MS: u64 = 500;

/// A dial to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dial {
    /// Whom.
    pub device: DeviceId,
    /// Where: best first.
    pub addresses: Vec<Multiaddr>,
}

/// The address book and dial policy of one device.
///
/// Contract: each [`Dial`] from [`PeerBook::poll_dial`] is answered by [`PeerBook::connected`] or [`PeerBook::failed`].
#[derive(Debug)]
pub struct PeerBook {
    explicit_only: bool,
    jitter: Jitter,
    wanted: BTreeSet<DeviceId>,
    entries: BTreeMap<DeviceId, Entry>,
}

impl PeerBook {
    /// Knows nobody. With `explicit_only` addresses are taken by hand and from tickets, from nowhere else.
    pub const fn new(seed: u64, explicit_only: bool) -> Self {
        Self { explicit_only, jitter: Jitter::new(seed), wanted: BTreeSet::new(), entries: BTreeMap::new() }
    }

    /// Says whom a connection is wanted with. What is known of others is kept, as there is room, and not dialled.
    pub fn set_wanted(&mut self, wanted: BTreeSet<DeviceId>, now: u64) {
        for device in wanted.difference(&self.wanted) {
            if let Some(entry) = self.entries.get_mut(device) {
                entry.hurry(now);
            }
        }
        self.wanted = wanted;
    }

    /// Whom a connection is wanted with.
    pub const fn wanted(&self) -> &BTreeSet<DeviceId> {
        &self.wanted
    }

    /// Devices of which an address was set by hand, ascending.
    pub fn by_hand(&self) -> impl Iterator<Item = DeviceId> {
        self.entries.iter().filter(|(_, entry)| entry.is_by_hand()).map(|(device, _)| *device)
    }

    /// Takes an address. Answers whether it was new and is kept; when it was not new, it is fresh again.
    pub fn learn(&mut self, device: DeviceId, address: &Multiaddr, source: Source, near: bool, now: u64) -> bool {
        let by_hand = matches!(source, Source::Explicit | Source::Ticket);
        if (self.explicit_only && !by_hand) || !is_worth_dialling(address, source, near) || !self.make_room(&device) {
            return false;
        }
        let entry = self.entries.entry(device).or_default();
        let new = entry.learn(address, source, now);
        if new && self.wanted.contains(&device) {
            // At once only what is set by hand.
            match by_hand {
                true => entry.hurry(now),
                false => entry.heard_news(now),
            }
        }
        new
    }

    /// Takes an address back that was set by hand. Answers whether it was there.
    pub fn forget(&mut self, device: &DeviceId, address: &Multiaddr) -> bool {
        self.entries.get_mut(device).is_some_and(|entry| entry.forget(address))
    }

    /// A connection stands; with the address that led to it when we dialled.
    pub fn connected(&mut self, device: DeviceId, address: Option<&Multiaddr>, now: u64, wall_ms: u64) {
        if !self.entries.contains_key(&device) && !self.make_room(&device) {
            return;
        }
        let entry = self.entries.entry(device).or_default();
        entry.connected(now);
        if let Some(address) = address {
            entry.worked(address, now, wall_ms);
        }
    }

    /// Operations went over the connection: whatever becomes of it, it was worth having.
    pub fn useful(&mut self, device: &DeviceId) {
        if let Some(entry) = self.entries.get_mut(device) {
            entry.useful();
        }
    }

    /// The last connection is gone: it is dialled again soon; later when connections end as soon as they are made.
    pub fn disconnected(&mut self, device: &DeviceId, now: u64) {
        let Some(entry) = self.entries.get_mut(device) else { return };
        let jitter = &mut self.jitter;
        entry.disconnected(now, |pause_ms| jitter.spread(pause_ms));
    }

    /// All connections and dials are gone at once, because whatever made them is.
    pub fn restarted(&mut self, now: u64) {
        self.entries.values_mut().for_each(|entry| entry.restarted(now));
    }

    /// A dial failed.
    pub fn failed(&mut self, device: &DeviceId, now: u64) {
        let Some(entry) = self.entries.get_mut(device) else { return };
        let delay = self.jitter.spread(DIAL_RETRY_MS.saturating_mul(entry.multiplier()));
        entry.failed(now.saturating_add(delay));
    }

    /// The machine has other addresses than before, or woke: whoever is wanted and away is dialled soon.
    pub fn network_changed(&mut self, now: u64) {
        for entry in self.entries.values_mut() {
            let delay = self.jitter.up_to(CHANGE_SPREAD_MS);
            entry.hurry(now.saturating_add(delay));
        }
    }

    /// Somebody wants a connection now.
    pub fn request(&mut self, device: &DeviceId, now: u64) {
        if let Some(entry) = self.entries.get_mut(device) {
            entry.hurry(now);
        }
    }

    /// The next dial to make; call until `None`.
    pub fn poll_dial(&mut self, now: u64) -> Option<Dial> {
        if self.entries.values().filter(|entry| entry.is_dialling()).count() >= DIALS_AT_ONCE_MAX {
            return None;
        }
        let wanted = self.wanted.iter().filter_map(|device| Some((*device, self.entries.get(device)?.due()?)));
        let (device, _) = wanted.filter(|(_, due)| *due <= now).min_by_key(|(_, due)| *due)?;
        let entry = self.entries.get_mut(&device)?;
        Some(Dial { device, addresses: entry.dial() })
    }

    /// When [`PeerBook::poll_dial`] has something again, unless news come.
    pub fn next_timeout(&self) -> Option<u64> {
        self.wanted.iter().filter_map(|device| self.entries.get(device)?.due()).min()
    }

    /// All that is known of a device's addresses, best first.
    pub fn addresses(&self, device: &DeviceId) -> Vec<Multiaddr> {
        self.entries.get(device).map(Entry::addresses).unwrap_or_default()
    }

    /// Addresses that worked, for the next start and for other members: of wanted devices, best first.
    pub fn saved(&self) -> SavedPeers {
        saved::of(self.wanted.iter().filter_map(|device| Some((*device, self.entries.get(device)?))))
    }

    /// Takes what an earlier run saved.
    pub fn restore(&mut self, saved: &SavedPeers, now: u64) {
        for peer in &saved.peers {
            for address in &peer.addresses {
                if self.learn(peer.device, address, Source::LastGood, false, now)
                    && let Some(entry) = self.entries.get_mut(&peer.device)
                {
                    entry.worked(address, now, peer.last_success_ms);
                }
            }
        }
    }

    fn make_room(&mut self, device: &DeviceId) -> bool {
        if self.entries.contains_key(device) || self.entries.len() < DEVICES_MAX {
            return true;
        }
        let unwanted = self.entries.iter().find(|(other, entry)| !self.wanted.contains(other) && entry.may_be_forgotten());
        let Some(unwanted) = unwanted.map(|(other, _)| *other) else { return false };
        self.entries.remove(&unwanted);
        true
    }
}
