//! What the rest of the device asks for.

use std::collections::{BTreeMap, BTreeSet};

use libp2p::gossipsub::{IdentTopic, MessageAcceptance, PublishError};
use libp2p::{Multiaddr, multiaddr::Protocol};
use nodespace_protocol::ids::DeviceId;

use super::super::address::{Source, is_loopback, is_relayed, split_peer};
use super::super::admission::{Roll, Standing};
use super::super::handle::{Command, GossipMessage, NetSnapshot, PeerSnapshot, Verdict};
use super::super::identity::{device_of, peer_id};
use super::{FAREWELL_MS, NetTask, PROMOTION_MS};

impl NetTask<'_> {
    pub(super) fn on_command(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::SetRoll(roll) => self.set_roll(roll),
            Command::SetCarriers(carriers) => self.set_carriers(carriers),
            Command::Dial(device) => self.lasting.book.request(&device, now),
            Command::Learn { device, addresses, source, near } => {
                for address in addresses {
                    self.learn(device, &address, source, near);
                }
            }
            Command::Forget { device, address, answer } => {
                let was_there = self.lasting.book.forget(&device, &address);
                self.apply_roll();
                answer.send(was_there).ok();
            }
            Command::ByHand(answer) => {
                answer.send(self.by_hand().collect()).ok();
            }
            Command::Disconnect { device, reason, turn_away } => {
                if turn_away {
                    self.lasting.metrics.refused(reason, &device.short());
                    self.lasting.admission.turn_away(device, now);
                }
                // What was said last is still on its way.
                self.farewells.entry(device).or_insert((now + FAREWELL_MS, reason));
            }
            Command::Vouched(device) => {
                self.vouched.insert(device);
                self.links.vouched(&device);
            }
            Command::Useful(device) => self.lasting.book.useful(&device),
            Command::Booted { device, nonce } => self.on_booted(device, nonce),
            Command::Topics(topics) => self.set_topics(topics),
            Command::Publish { topic, data } => self.publish(topic, data),
            Command::Judge { message, verdict } => self.judge(&message, verdict),
            Command::AddressesFor(answer) => {
                answer.send(self.known_addresses()).ok();
            }
            Command::Snapshot(answer) => {
                answer.send(self.snapshot()).ok();
            }
            Command::IsConnected(device, answer) => {
                answer.send(self.links.best(&device).is_some()).ok();
            }
            // Taken by the loop.
            Command::Stop(_) => {}
            #[cfg(test)]
            Command::Panic => panic!("a fault on purpose"),
        }
    }

    fn set_roll(&mut self, roll: Roll) {
        self.lasting.roll = roll;
        self.apply_roll();
    }

    /// Other devices of which an address was set by hand, in the configuration or since.
    fn by_hand(&self) -> impl Iterator<Item = DeviceId> {
        let own = device_of(self.swarm.local_peer_id());
        self.lasting.book.by_hand().filter(move |device| Some(*device) != own)
    }

    /// Puts in place who belongs. Who was set by hand does as well once there is something to talk about; before, this device would only be
    /// a stranger there. It is shown to people all the same.
    fn apply_roll(&mut self) {
        let now = self.now();
        let mut roll = self.lasting.roll.clone();
        if roll.has_workspace || !roll.hosts.is_empty() {
            roll.hosts.extend(self.by_hand());
        }
        let wanted: BTreeSet<DeviceId> = roll.members.union(&roll.hosts).copied().collect();
        for device in self.lasting.admission.set_roll(roll) {
            self.links.vouched(&device);
        }
        self.lasting.book.set_wanted(wanted, now);
        for device in self.links.devices() {
            if let Some(farewell) = self.farewell(&device, now) {
                self.farewells.entry(device).or_insert(farewell);
            }
        }
    }

    /// When and why somebody who is connected is to go, if so.
    fn farewell(&self, device: &DeviceId, now: u64) -> Option<(u64, &'static str)> {
        let best = self.links.best(device)?;
        match self.lasting.admission.judge(device, now) {
            // Gossip runs over connections that were made with members alone: one that was made with a guest or a host is made anew.
            Ok(Standing::Member) => {
                let gossips = self.swarm.behaviour().gossip.is_shown(&peer_id(device)?, best);
                (!gossips).then_some((now + PROMOTION_MS, "promoted"))
            }
            Ok(Standing::Host | Standing::Carrier) => None,
            Ok(Standing::Guest) | Err(_) => (!self.links.link(best)?.guest).then_some((now + FAREWELL_MS, "not_a_member")),
        }
    }

    pub(super) fn set_carriers(&mut self, carriers: Vec<Multiaddr>) {
        let devices = carriers.iter().filter_map(|address| device_of(&split_peer(address)?.1)).collect();
        self.lasting.admission.set_carriers(devices);
        let gone: Vec<_> = self.circuits.extract_if(|_, address| !carriers.contains(address)).map(|(id, _)| id).collect();
        for id in gone {
            self.swarm.remove_listener(id);
        }
        let now = self.now();
        for address in &carriers {
            if !self.circuits.values().any(|other| other == address) {
                self.carriers_due.entry(address.clone()).or_insert(now);
            }
        }
        self.carriers_due.retain(|address, _| carriers.contains(address));
        self.carriers_lost.retain(|address, _| carriers.contains(address));
        self.lasting.carriers = carriers;
    }

    pub(super) fn learn(&mut self, device: DeviceId, address: &Multiaddr, source: Source, near: bool) {
        let (address, peer) = split_peer(address).map_or_else(|| (address.clone(), None), |(rest, peer)| (rest, Some(peer)));
        // An address that names somebody else is no address of this device; one through a relay names the relay on its way.
        if peer.is_some_and(|peer| device_of(&peer) != Some(device)) {
            return;
        }
        let now = self.now();
        let is_new = self.lasting.book.learn(device, &address, source, near, now);
        match source {
            Source::Identify if is_new => self.lasting.outbox.learned(),
            // One that was known from elsewhere may be set by hand only now.
            Source::Explicit => self.apply_roll(),
            _ => {}
        }
    }

    fn on_booted(&mut self, device: DeviceId, nonce: u64) {
        let before = self.nonces.insert(device, nonce);
        if before.is_some_and(|before| before != nonce) && self.links.overlapped(&device) {
            // It was started anew while its old connection still stood: it has not been told our topics (rust-libp2p#5097).
            tracing::debug!(device = %device.short(), "started anew behind our back: connecting anew");
            self.disconnect(&device, "restarted");
        }
    }

    pub(super) fn set_topics(&mut self, topics: BTreeSet<String>) {
        let gone: Vec<String> = self.lasting.topic_names.difference(&topics).cloned().collect();
        let gossip = &mut self.swarm.behaviour_mut().gossip.inner;
        for topic in gone {
            gossip.unsubscribe(&IdentTopic::new(topic));
        }
        for topic in &topics {
            if let Err(error) = gossip.subscribe(&IdentTopic::new(topic)) {
                tracing::warn!(%error, "a topic could not be subscribed to; operations still travel by sync streams");
            }
        }
        self.lasting.topic_names = topics;
    }

    fn publish(&mut self, topic: String, data: Vec<u8>) {
        let published = self.swarm.behaviour_mut().gossip.inner.publish(IdentTopic::new(topic), data);
        let result = match published {
            // The same within a minute: somebody has said it already.
            Ok(_) | Err(PublishError::Duplicate) => "published",
            Err(PublishError::NoPeersSubscribedToTopic) => "nobody",
            Err(PublishError::MessageTooLarge) => "too_large",
            Err(_) => "failed",
        };
        self.lasting.metrics.gossip_sent.get_or_create(&[("result", result)]).inc();
    }

    pub(super) fn judge(&mut self, message: &GossipMessage, verdict: Verdict) {
        let acceptance = match verdict {
            Verdict::Accept => MessageAcceptance::Accept,
            Verdict::Ignore => MessageAcceptance::Ignore,
            Verdict::Reject => MessageAcceptance::Reject,
        };
        let Some(from) = peer_id(&message.from) else { return };
        self.swarm.behaviour_mut().gossip.inner.report_message_validation_result(&message.id, &from, acceptance);
    }

    fn known_addresses(&self) -> BTreeMap<DeviceId, Vec<Multiaddr>> {
        let book = &self.lasting.book;
        book.wanted().iter().map(|device| (*device, book.addresses(device))).filter(|(_, addresses)| !addresses.is_empty()).collect()
    }

    fn snapshot(&self) -> NetSnapshot {
        let wanted = self.lasting.book.wanted().iter().copied();
        let devices: BTreeSet<DeviceId> = self.links.devices().into_iter().chain(wanted).chain(self.by_hand()).collect();
        let own = device_of(self.swarm.local_peer_id());
        NetSnapshot {
            peer_id: self.swarm.local_peer_id().to_string(),
            listening: self.swarm.listeners().cloned().collect(),
            external: self.swarm.external_addresses().cloned().collect(),
            public: self.public,
            peers: devices.into_iter().filter(|device| Some(*device) != own).map(|device| self.peer_snapshot(device)).collect(),
            refused: self.lasting.metrics.refusals(),
        }
    }

    fn peer_snapshot(&self, device: DeviceId) -> PeerSnapshot {
        let best = self.links.best(&device);
        let link = best.and_then(|id| self.links.link(id));
        let (since, rtt_ms) = best.and_then(|id| self.links.measures(id)).map_or((None, None), |(since, rtt)| (Some(since), rtt));
        let known = || self.lasting.book.addresses(&device).into_iter().next();
        PeerSnapshot {
            device,
            peer_id: peer_id(&device).map(|peer| peer.to_string()).unwrap_or_default(),
            connected: best.is_some(),
            address: link.map(|link| link.address.clone()).or_else(known),
            relayed: link.is_some_and(|link| link.relayed),
            rtt_ms,
            for_ms: since.map(|since| self.now().saturating_sub(since)),
        }
    }

    /// Addresses at which others can reach this device, best first, each with our name at the end.
    pub(super) fn reachable(&self) -> Vec<Multiaddr> {
        let own = *self.swarm.local_peer_id();
        let mut addresses: Vec<Multiaddr> = self.swarm.external_addresses().cloned().collect();
        if !self.lasting.options.explicit_only {
            let mut listening: Vec<Multiaddr> = self.swarm.listeners().cloned().collect();
            listening.sort_by_key(|address| (is_loopback(address), is_relayed(address)));
            addresses.extend(listening);
        }
        let mut named: Vec<Multiaddr> = Vec::new();
        for address in addresses {
            let address = split_peer(&address).filter(|(_, peer)| *peer == own).map_or(address, |(rest, _)| rest);
            let address = address.with(Protocol::P2p(own));
            if !named.contains(&address) {
                named.push(address);
            }
        }
        named
    }
}
