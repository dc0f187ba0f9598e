//! What outlives a swarm: it is built anew after a fault. While there is none, what is told is remembered here, and whoever asks is answered
//! from here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use libp2p::Multiaddr;
use nodespace_protocol::ids::DeviceId;

use super::address::{Source, split_peer};
use super::admission::{Admission, Roll};
use super::book::PeerBook;
use super::clock::Clock;
use super::handle::{Command, NetSnapshot, PeerSnapshot};
use super::identity::{device_of, peer_id};
use super::mailbox::Outbox;
use super::metrics::NetMetrics;
use super::options::NetOptions;
use crate::sync::wake::WakeWatch;

/// What outlives a swarm.
#[derive(Debug)]
pub(super) struct Lasting {
    pub(super) options: NetOptions,
    pub(super) admission: Admission,
    /// Who belongs, as it was told; who is dialled by hand comes on top of it.
    pub(super) roll: Roll,
    pub(super) clock: Arc<Clock>,
    pub(super) book: PeerBook,
    pub(super) topic_names: BTreeSet<String>,
    pub(super) carriers: Vec<Multiaddr>,
    pub(super) metrics: NetMetrics,
    pub(super) outbox: Outbox,
    wake: WakeWatch,
}

impl Lasting {
    /// With what an earlier run of the program knew, and what the configuration says.
    pub(super) fn new(options: NetOptions, metrics: NetMetrics, outbox: Outbox) -> Self {
        let mut book = PeerBook::new(options.seed, options.explicit_only);
        if let Some(path) = &options.book {
            book.restore(&super::saving::read(path), 0);
        }
        learn_explicit(&mut book, &options.peers);
        Self {
            admission: Admission::default(),
            roll: Roll::default(),
            clock: Arc::new(Clock::start()),
            book,
            topic_names: BTreeSet::new(),
            carriers: options.carriers.clone(),
            metrics,
            outbox,
            wake: WakeWatch::default(),
            options,
        }
    }

    fn own(&self) -> DeviceId {
        self.options.key.device()
    }

    /// Other devices of which an address was set by hand, in the configuration or since.
    pub(super) fn by_hand(&self) -> impl Iterator<Item = DeviceId> {
        let own = self.own();
        self.book.by_hand().filter(move |device| *device != own)
    }

    /// Puts in place who belongs. Who was set by hand does as well once there is something to talk about; before, this device would only be
    /// a stranger there. It is shown to people all the same. Answers the guests that have become members.
    pub(super) fn apply_roll(&mut self) -> Vec<DeviceId> {
        let now = self.clock.now_ms();
        let mut roll = self.roll.clone();
        if roll.has_workspace || !roll.hosts.is_empty() {
            roll.hosts.extend(self.by_hand());
        }
        let wanted = roll.members.union(&roll.hosts).copied().collect();
        let become_members = self.admission.set_roll(roll);
        self.book.set_wanted(wanted, now);
        become_members
    }

    /// Takes an address. Answers whether it was new and is kept.
    pub(super) fn learn(&mut self, device: DeviceId, address: &Multiaddr, source: Source, near: bool) -> bool {
        let (address, peer) = split_peer(address).map_or_else(|| (address.clone(), None), |(rest, peer)| (rest, Some(peer)));
        // An address that names somebody else is no address of this device; one through a relay names the relay on its way.
        if peer.is_some_and(|peer| device_of(&peer) != Some(device)) {
            return false;
        }
        let now = self.clock.now_ms();
        self.book.learn(device, &address, source, near, now)
    }

    /// Remembers that somebody was turned away.
    pub(super) fn turn_away(&self, device: DeviceId, reason: &'static str) {
        self.metrics.refused(reason, &device.short());
        self.admission.turn_away(device, self.clock.now_ms());
    }

    /// Looks whether the machine has slept: then whoever is away is dialled soon, as nobody knows where this device woke.
    pub(super) fn notice_wake(&mut self, wall_ms: u64) {
        let now = self.clock.now_ms();
        if self.wake.woke(wall_ms, now) {
            tracing::debug!("the machine has slept: whoever is away is dialled again");
            self.book.network_changed(now);
        }
    }

    /// Other devices that are shown to people although they may not be connected.
    pub(super) fn shown(&self) -> BTreeSet<DeviceId> {
        let own = self.own();
        self.book.wanted().iter().copied().filter(|device| *device != own).chain(self.by_hand()).collect()
    }

    /// What people are shown of a device that is not connected.
    pub(super) fn away(&self, device: DeviceId) -> PeerSnapshot {
        PeerSnapshot {
            device,
            peer_id: name(&device),
            connected: false,
            address: self.book.addresses(&device).into_iter().next(),
            relayed: false,
            rtt_ms: None,
            for_ms: None,
        }
    }

    /// Takes a command that needs no swarm, or any while there is none.
    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::SetRoll(roll) => {
                self.roll = roll;
                self.apply_roll();
            }
            Command::SetCarriers(carriers) => self.carriers = carriers,
            Command::Topics(topics) => self.topic_names = topics,
            Command::Dial(device) => self.book.request(&device, self.clock.now_ms()),
            Command::Learn { device, addresses, source, near } => {
                for address in addresses {
                    self.learn(device, &address, source, near);
                }
                self.apply_roll();
            }
            Command::Forget { device, address, answer } => {
                let was_there = self.book.forget(&device, &address);
                self.apply_roll();
                answer.send(was_there).ok();
            }
            Command::Disconnect { device, reason, turn_away: true } => self.turn_away(device, reason),
            Command::Useful(device) => self.book.useful(&device),
            Command::Publish { .. } => {
                self.metrics.gossip_sent.get_or_create(&[("result", "nobody")]).inc();
            }
            Command::ByHand(answer) => {
                answer.send(self.by_hand().collect()).ok();
            }
            Command::AddressesFor(answer) => {
                answer.send(self.known_addresses()).ok();
            }
            Command::Snapshot(answer) => {
                answer.send(self.snapshot()).ok();
            }
            Command::IsConnected(_, answer) => {
                answer.send(false).ok();
            }
            // Of connections, and there are none; and the last is taken by whoever waits for commands.
            Command::Disconnect { .. } | Command::Vouched(_) | Command::Booted { .. } | Command::Judge { .. } | Command::Stop(_) => {}
            #[cfg(test)]
            Command::Panic | Command::PanicInTask => {}
        }
    }

    fn known_addresses(&self) -> BTreeMap<DeviceId, Vec<Multiaddr>> {
        let of = |device: &DeviceId| (*device, self.book.addresses(device));
        self.book.wanted().iter().map(of).filter(|(_, addresses)| !addresses.is_empty()).collect()
    }

    fn snapshot(&self) -> NetSnapshot {
        NetSnapshot {
            peer_id: name(&self.own()),
            listening: Vec::new(),
            external: Vec::new(),
            public: None,
            peers: self.shown().into_iter().map(|device| self.away(device)).collect(),
            refused: self.metrics.refusals(),
        }
    }

    /// Saves the address book for the next start of the program.
    pub(super) fn save(&self) {
        let Some(path) = &self.options.book else { return };
        if let Err(error) = super::saving::write(path, &self.book.saved()) {
            tracing::warn!(path = %path.display(), %error, "the address book could not be saved; peers are found otherwise after a restart");
        }
    }
}

/// A device's libp2p name; nothing when it can have none.
fn name(device: &DeviceId) -> String {
    peer_id(device).map(|peer| peer.to_string()).unwrap_or_default()
}

fn learn_explicit(book: &mut PeerBook, peers: &[Multiaddr]) {
    for address in peers {
        let split = split_peer(address).and_then(|(rest, peer)| Some((rest, device_of(&peer)?)));
        match split {
            Some((address, device)) => drop(book.learn(device, &address, Source::Explicit, true, 0)),
            None => tracing::warn!(%address, "no peer: such an address ends in /p2p/ and an Ed25519 peer id"),
        }
    }
}

#[cfg(test)]
mod tests {
    use nodespace_protocol::crypto::KeyPair;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::net::book::{CHANGE_SPREAD_MS, DIAL_RETRY_MS};
    use crate::net::mailbox::mailbox;

    /// Of a device with one member, who is away and was dialled in vain.
    fn lonely() -> Lasting {
        let options = NetOptions {
            key: KeyPair::from_seed(&[1; 32]),
            listen: Vec::new(),
            announce: Vec::new(),
            peers: Vec::new(),
            carriers: Vec::new(),
            mdns: false,
            explicit_only: false,
            connections_max: 16,
            book: None,
            seed: 1,
        };
        let mut lasting = Lasting::new(options, NetMetrics::new(&mut Registry::default()), mailbox().0);
        let member = KeyPair::from_seed(&[2; 32]).device();
        lasting.learn(member, &"/ip4/192.0.2.1/tcp/1".parse().unwrap(), Source::Member, false);
        lasting.on_command(Command::SetRoll(Roll { members: [member].into(), has_workspace: true, ..Roll::default() }));
        let now = lasting.clock.now_ms();
        assert!(lasting.book.poll_dial(now).is_some());
        lasting.book.failed(&member, now);
        lasting
    }

    #[test]
    fn whoever_is_away_is_dialled_soon_when_the_machine_wakes() {
        let mut lasting = lonely();
        let before = lasting.clock.now_ms();
        lasting.notice_wake(1_000_000);
        assert!(lasting.book.next_timeout().unwrap() > before + CHANGE_SPREAD_MS, "in {DIAL_RETRY_MS} ms at the earliest");
        lasting.notice_wake(1_000_000 + 3_600_000);
        assert!(lasting.book.next_timeout().unwrap() <= lasting.clock.now_ms() + CHANGE_SPREAD_MS);
    }

    #[test]
    fn what_is_told_without_a_swarm_is_remembered() {
        let mut lasting = lonely();
        let host = KeyPair::from_seed(&[3; 32]).device();
        let address: Multiaddr = "/ip4/192.0.2.1/tcp/3".parse().unwrap();
        lasting.on_command(Command::Learn { device: host, addresses: vec![address.clone()], source: Source::Explicit, near: false });
        lasting.on_command(Command::Topics(["topic".to_owned()].into()));
        lasting.on_command(Command::SetCarriers(vec![address.clone()]));
        assert!(lasting.book.wanted().contains(&host), "it is dialled when there is a swarm");
        assert!(lasting.snapshot().peers.iter().any(|peer| peer.device == host && peer.address.as_ref() == Some(&address)));
        assert_eq!((lasting.topic_names.len(), lasting.carriers.len()), (1, 1));
    }
}
