//! Connections: one a peer, and none that is dead. Pure: what happens is told, what to close is answered.
//!
//! More than one connection to a peer breaks gossipsub silently (after five substream attempts its handler gives up for good), and a
//! connection whose other end lost its power looks alive until somebody asks. So:
//!
//! - when a direct connection stands beside a relayed one, the relayed one is closed once the direct one has been stable for a few seconds;
//! - when two of one kind were made at nearly the same time, both sides dialled: the one dialled by the device with the lower id is kept,
//!   which both sides work out alike;
//! - when a second one comes later, or is dialled by the same side, its dialler has lost the first one (it would not dial otherwise): the
//!   first one is dead. Gossipsub tells its topics at a first connection only, so the second one goes as well, and the next is a first one;
//! - a connection on which pings failed is closed;
//! - one that is being closed, whoever asked for that, counts no more, and one that does not close in time counts as gone;
//! - a guest that has not shown in time that it belongs is disconnected.

use std::collections::{BTreeMap, VecDeque};

use libp2p::Multiaddr;
use nodespace_protocol::ids::DeviceId;

use super::admission::GUEST_MS_MAX;

/// Connections made within this time of each other, in milliseconds, were dialled by both sides at once.
pub const SIMULTANEOUS_MS: u64 = 5_000;
/// How long a direct connection has to stand before the relayed one beside it is closed, in milliseconds.
pub const STABLE_MS: u64 = 5_000;
/// How long a connection may take to close, in milliseconds; then it counts as gone. One whose other end is gone wants to send the rest of
/// what it holds first, until the system gives it up, a quarter of an hour later.
pub const CLOSE_MS_MAX: u64 = 3_000;
/// Failed pings in a row, as libp2p's ping reports them, after which a connection is closed. It keeps the first of a row to itself.
pub const PING_FAILURES_MAX: u32 = 2;

/// A connection that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Who is at the other end.
    pub device: DeviceId,
    /// Whether we dialled.
    pub dialled: bool,
    /// Whether it goes through a circuit relay.
    pub relayed: bool,
    /// Whether the other end was no member when it was made.
    pub guest: bool,
    /// Whether the other end is a circuit relay: it connects back to find out whether we can be reached, and may.
    pub carrier: bool,
    /// The other end's address.
    pub address: Multiaddr,
}

/// Why a connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Closing {
    /// There is a better one to the same device.
    Duplicate,
    /// A newer one shows that this one is dead: all connections to the device are closed.
    Superseded,
    /// Pings were not answered.
    Unresponsive,
    /// A guest has not shown in time that it belongs.
    GuestTooSlow,
}

impl Closing {
    /// The word for it in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Duplicate => "duplicate",
            Self::Superseded => "superseded",
            Self::Unresponsive => "unresponsive",
            Self::GuestTooSlow => "guest_too_slow",
        }
    }
}

#[derive(Debug)]
struct Entry {
    link: Link,
    since: u64,
    ping_failures: u32,
    rtt_ms: Option<u32>,
    /// There was another one to the same device when it was made.
    overlapped: bool,
    /// It is being closed, and until this time that is waited for: it counts no more.
    closing: Option<u64>,
    /// The boot nonce that its device told last, over this one or one beside it.
    nonce: Option<u64>,
}

/// All connections, by whatever names them.
#[derive(Debug)]
pub struct Links<I> {
    own: DeviceId,
    entries: BTreeMap<I, Entry>,
    closings: VecDeque<(I, Closing)>,
}

impl<I: Copy + Ord> Links<I> {
    /// None yet.
    pub const fn new(own: DeviceId) -> Self {
        Self { own, entries: BTreeMap::new(), closings: VecDeque::new() }
    }

    /// A connection was made. Answers whether it is the first to this device.
    pub fn opened(&mut self, id: I, link: Link, now: u64) -> bool {
        let device = link.device;
        let others: Vec<I> = self.open_to(&device).collect();
        let overlapped = !self.all_to(&device).is_empty();
        let nonce = self.entries.values().filter(|entry| entry.link.device == device).find_map(|entry| entry.nonce);
        self.entries.insert(id, Entry { link, since: now, ping_failures: 0, rtt_ms: None, overlapped, closing: None, nonce });
        for other in &others {
            self.choose(*other, id, now);
        }
        others.is_empty()
    }

    /// A connection is gone. Answers whether none is left to its device.
    pub fn closed(&mut self, id: I) -> Option<(DeviceId, bool)> {
        let entry = self.entries.remove(&id)?;
        let device = entry.link.device;
        let none_left = !self.entries.values().any(|entry| entry.link.device == device);
        Some((device, none_left))
    }

    /// A ping was answered.
    pub fn pinged(&mut self, id: I, rtt_ms: u32) {
        if let Some(entry) = self.entries.get_mut(&id) {
            (entry.ping_failures, entry.rtt_ms) = (0, Some(rtt_ms));
        }
    }

    /// A ping was not answered.
    pub fn ping_failed(&mut self, id: I, now: u64) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        entry.ping_failures += 1;
        if entry.ping_failures >= PING_FAILURES_MAX {
            self.close(id, Closing::Unresponsive, now);
        }
    }

    /// A guest has shown that it belongs: it may stay.
    pub fn vouched(&mut self, device: &DeviceId) {
        for entry in self.entries.values_mut().filter(|entry| entry.link.device == *device) {
            entry.link.guest = false;
        }
    }

    /// A device is said goodbye to: whoever says it closes all connections to it, and they have the same time for that as others.
    pub fn dismiss(&mut self, device: &DeviceId, now: u64) {
        for entry in self.entries.values_mut().filter(|entry| entry.link.device == *device) {
            entry.closing.get_or_insert_with(|| now.saturating_add(CLOSE_MS_MAX));
        }
    }

    /// Who is on a connection.
    pub fn link(&self, id: I) -> Option<&Link> {
        self.entries.get(&id).map(|entry| &entry.link)
    }

    /// The connection to a device that is in use: direct before relayed, the newest of a kind.
    pub fn best(&self, device: &DeviceId) -> Option<I> {
        self.open_to(device).max_by_key(|id| (!self.entries[id].link.relayed, self.entries[id].since, *id))
    }

    /// All connections to a device, those that are being closed included.
    pub fn all_to(&self, device: &DeviceId) -> Vec<I> {
        self.entries.iter().filter(|(_, entry)| entry.link.device == *device).map(|(id, _)| *id).collect()
    }

    /// A device told its boot nonce. Answers whether it was started anew behind our back: it told another one before, and its connection was
    /// made while an older one stood. What it tells is forgotten with its last connection.
    pub fn booted(&mut self, device: &DeviceId, nonce: u64) -> bool {
        let mut before = None;
        for entry in self.entries.values_mut().filter(|entry| entry.link.device == *device) {
            before = entry.nonce.replace(nonce).or(before);
        }
        before.is_some_and(|before| before != nonce) && self.overlapped(device)
    }

    /// Whether a device's connection was made while another one stood: gossipsub tells its topics at the first one only.
    pub fn overlapped(&self, device: &DeviceId) -> bool {
        self.best(device).is_some_and(|id| self.entries[&id].overlapped)
    }

    /// When a connection was made, and the last ping's round trip.
    pub fn measures(&self, id: I) -> Option<(u64, Option<u32>)> {
        self.entries.get(&id).map(|entry| (entry.since, entry.rtt_ms))
    }

    /// Devices with a connection, ascending.
    pub fn devices(&self) -> Vec<DeviceId> {
        let mut devices: Vec<DeviceId> = self.entries.values().map(|entry| entry.link.device).collect();
        devices.sort_unstable();
        devices.dedup();
        devices
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The next connection to close; call until `None`.
    pub fn poll_closing(&mut self) -> Option<(I, Closing)> {
        self.closings.pop_front()
    }

    /// A connection that was to close and has not in time: whoever asks counts it as gone, by [`Links::closed`], and asks again until
    /// `None`.
    pub fn overdue(&self, now: u64) -> Option<I> {
        self.entries.iter().find(|(_, entry)| entry.closing.is_some_and(|until| until <= now)).map(|(id, _)| *id)
    }

    /// When [`Links::handle_timeout`] and [`Links::overdue`] want to be called.
    pub fn next_timeout(&self) -> Option<u64> {
        let due = |(id, entry): (&I, &Entry)| entry.closing.or_else(|| self.deadline(*id, entry).map(|(at, _)| at));
        self.entries.iter().filter_map(due).min()
    }

    /// Closes what is due.
    pub fn handle_timeout(&mut self, now: u64) {
        let due = |(id, entry): (&I, &Entry)| self.deadline(*id, entry).filter(|(at, _)| *at <= now).map(|(_, why)| (*id, why));
        let due: Vec<_> = self.entries.iter().filter_map(due).collect();
        for (id, why) in due {
            self.close(id, why, now);
        }
    }

    /// Until when a connection may stand.
    fn deadline(&self, id: I, entry: &Entry) -> Option<(u64, Closing)> {
        if entry.closing.is_some() {
            return None;
        }
        let guest = entry.link.guest.then(|| (entry.since.saturating_add(GUEST_MS_MAX), Closing::GuestTooSlow));
        let direct = || self.open_to(&entry.link.device).filter(|other| *other != id && !self.entries[other].link.relayed);
        let stable = || direct().map(|other| self.entries[&other].since.saturating_add(STABLE_MS)).min();
        let relayed = entry.link.relayed.then(stable).flatten().map(|at| (at, Closing::Duplicate));
        guest.into_iter().chain(relayed).min()
    }

    fn open_to(&self, device: &DeviceId) -> impl Iterator<Item = I> {
        let device = *device;
        let open = move |entry: &Entry| entry.link.device == device && entry.closing.is_none();
        self.entries.iter().filter(move |(_, entry)| open(entry)).map(|(id, _)| *id)
    }

    /// Two connections to one device: which one goes?
    fn choose(&mut self, older: I, newer: I, now: u64) {
        let (Some(first), Some(second)) = (self.entries.get(&older), self.entries.get(&newer)) else { return };
        if first.closing.is_some() || second.closing.is_some() || first.link.carrier || first.link.relayed != second.link.relayed {
            return; // Of different kinds the timer decides.
        }
        let at_once = now.saturating_sub(first.since) < SIMULTANEOUS_MS;
        if !at_once || first.link.dialled == second.link.dialled {
            return self.close(older, Closing::Superseded, now);
        }
        let dialler = |link: &Link| if link.dialled { self.own } else { link.device };
        let lower = self.own.min(first.link.device);
        let (first_by_lower, second_by_lower) = (dialler(&first.link) == lower, dialler(&second.link) == lower);
        let goes = if second_by_lower && !first_by_lower { older } else { newer };
        self.close(goes, Closing::Duplicate, now);
    }

    fn close(&mut self, id: I, why: Closing, now: u64) {
        let Some(device) = self.entries.get(&id).map(|entry| entry.link.device) else { return };
        let relayed = self.entries[&id].link.relayed;
        let goes = |(other, entry): &(&I, &mut Entry)| {
            let with_it = why == Closing::Superseded && entry.link.device == device && entry.link.relayed == relayed;
            entry.closing.is_none() && (**other == id || with_it)
        };
        for (id, entry) in self.entries.iter_mut().filter(goes) {
            entry.closing = Some(now.saturating_add(CLOSE_MS_MAX));
            self.closings.push_back((*id, why));
        }
    }
}

#[cfg(test)]
mod tests;
