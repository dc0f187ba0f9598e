//! What the rest of the device asks for.

use std::collections::BTreeSet;

use libp2p::gossipsub::{IdentTopic, MessageAcceptance, PublishError};
use libp2p::{Multiaddr, multiaddr::Protocol};
use nodespace_protocol::ids::DeviceId;

use super::super::address::{Source, is_loopback, is_relayed, split_peer};
use super::super::admission::Standing;
use super::super::handle::{Command, GossipMessage, NetSnapshot, PeerSnapshot, Verdict};
use super::super::identity::{device_of, peer_id};
use super::{FAREWELL_MS, NetTask, PROMOTION_MS};

impl NetTask<'_> {
    pub(super) fn on_command(&mut self, command: Command) {
        let now = self.now();
        match command {
            Command::SetRoll(roll) => {
                self.lasting.roll = roll;
                self.apply_roll();
            }
            Command::SetCarriers(carriers) => self.set_carriers(carriers),
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
            Command::Disconnect { device, reason, turn_away } => {
                if turn_away {
                    self.lasting.turn_away(device, reason);
                }
                // What was said last is still on its way.
                self.farewells.entry(device).or_insert((now + FAREWELL_MS, reason));
            }
            // It may have gone meanwhile: with its last connection this is forgotten.
            Command::Vouched(device) if !self.links.all_to(&device).is_empty() => {
                self.vouched.insert(device);
                self.links.vouched(&device);
            }
            Command::Booted { device, nonce } => self.on_booted(&device, nonce),
            Command::Topics(topics) => self.set_topics(topics),
            Command::Publish { topic, data } => self.publish(topic, data),
            Command::Judge { message, verdict } => self.judge(&message, verdict),
            Command::Snapshot(answer) => {
                answer.send(self.snapshot()).ok();
            }
            Command::IsConnected(device, answer) => {
                answer.send(self.links.best(&device).is_some()).ok();
            }
            #[cfg(test)]
            Command::Panic => panic!("a fault on purpose"),
            #[cfg(test)]
            Command::PanicInTask => self.panic_in_task(),
            needs_no_swarm => self.lasting.on_command(needs_no_swarm),
        }
    }

    #[cfg(test)]
    fn panic_in_task(&self) {
        use libp2p::swarm::Executor as _;
        let fault = std::future::poll_fn(|_| -> std::task::Poll<()> { panic!("a fault on purpose, in a task") });
        self.tasks.exec(Box::pin(fault));
    }

    /// Puts in place who belongs. Whoever newly does not is to go, soon.
    fn apply_roll(&mut self) {
        let now = self.now();
        for device in self.lasting.apply_roll() {
            self.links.vouched(&device);
        }
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
        let is_new = self.lasting.learn(device, address, source, near);
        match source {
            Source::Identify if is_new => self.lasting.outbox.learned(),
            // One that was known from elsewhere may be set by hand only now.
            Source::Explicit => self.apply_roll(),
            _ => {}
        }
    }

    fn on_booted(&mut self, device: &DeviceId, nonce: u64) {
        if self.links.booted(device, nonce) {
            // It was started anew while its old connection still stood: it has not been told our topics (rust-libp2p#5097).
            tracing::debug!(device = %device.short(), "started anew behind our back: connecting anew");
            self.disconnect(device, "restarted");
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

    fn snapshot(&self) -> NetSnapshot {
        let mut devices = self.lasting.shown();
        devices.extend(self.links.devices());
        NetSnapshot {
            peer_id: self.swarm.local_peer_id().to_string(),
            listening: self.swarm.listeners().cloned().collect(),
            external: self.swarm.external_addresses().cloned().collect(),
            public: self.public,
            peers: devices.into_iter().map(|device| self.peer_snapshot(device)).collect(),
            refused: self.lasting.metrics.refusals(),
        }
    }

    fn peer_snapshot(&self, device: DeviceId) -> PeerSnapshot {
        let away = self.lasting.away(device);
        let connection = self.links.best(&device).and_then(|id| Some((self.links.link(id)?, self.links.measures(id)?)));
        let Some((link, (since, rtt_ms))) = connection else { return away };
        PeerSnapshot {
            connected: true,
            address: Some(link.address.clone()),
            relayed: link.relayed,
            rtt_ms,
            for_ms: Some(self.now().saturating_sub(since)),
            ..away
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
