//! What the swarm tells.

use libp2p::core::ConnectedPoint;
use libp2p::swarm::{ConnectionId, ListenError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, autonat, dcutr, gossipsub, identify, mdns, ping, relay};
use nodespace_protocol::ids::DeviceId;

use super::super::address::{Source, is_loopback, is_relayed, place_of};
use super::super::admission::{Refused, Standing};
use super::super::behaviour::BehaviourEvent;
use super::super::handle::{GossipMessage, Verdict};
use super::super::identity::device_of;
use super::super::links::Link;
use super::NetTask;
use crate::engine::wall_ms;

/// Addresses of one identify message that are looked at.
const IDENTIFY_ADDRESSES_MAX: usize = 16;
/// Records of one multicast answer that are looked at.
const MULTICAST_RECORDS_MAX: usize = 64;

impl NetTask<'_> {
    pub(super) fn on_swarm_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_established(peer_id, connection_id, &endpoint)
            }
            SwarmEvent::ConnectionClosed { connection_id, cause, .. } => {
                let cause = cause.map(|cause| cause.to_string()).unwrap_or_default();
                self.on_closed(connection_id, &cause);
            }
            SwarmEvent::OutgoingConnectionError { peer_id, error, .. } => self.on_dial_failed(peer_id, &error.to_string()),
            SwarmEvent::IncomingConnectionError { error, send_back_addr, .. } => {
                tracing::debug!(from = %send_back_addr, %error, "a connection was not taken");
                if let Some(reason) = refusal_of(&error) {
                    self.lasting.metrics.refused(reason, &send_back_addr);
                }
            }
            SwarmEvent::NewListenAddr { address, .. } => {
                tracing::info!(%address, "listening");
                self.dials_from = 0;
                self.on_addresses_changed();
            }
            SwarmEvent::ExpiredListenAddr { .. } => self.on_addresses_changed(),
            SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                if let Some(address) = self.circuits.remove(&listener_id) {
                    tracing::info!(%address, ?reason, "not reachable through this circuit relay now; it is asked again");
                    self.carrier_lost(address);
                }
                self.tell_reachable();
            }
            SwarmEvent::ListenerError { error, .. } => tracing::debug!(%error, "a listener has trouble"),
            SwarmEvent::ExternalAddrConfirmed { address } => {
                tracing::info!(%address, "reachable from outside");
                // By way of a circuit relay anybody is: that says nothing of the network here.
                if !is_relayed(&address) {
                    self.public = Some(true);
                }
                self.tell_reachable();
            }
            SwarmEvent::ExternalAddrExpired { .. } => self.tell_reachable(),
            _ => {}
        }
    }

    fn on_addresses_changed(&mut self) {
        let now = self.now();
        self.lasting.book.network_changed(now);
        self.tell_reachable();
        self.lasting.outbox.changed();
    }

    fn on_established(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let now = self.now();
        // The gate has let nobody in who is no device.
        let Some(device) = device_of(&peer) else { return };
        let standing = self.lasting.admission.judge(&device, now).unwrap_or(Standing::Guest);
        let address = endpoint.get_remote_address().clone();
        let guest = standing == Standing::Guest && !self.vouched.contains(&device);
        let link = Link {
            device,
            dialled: endpoint.is_dialer(),
            relayed: endpoint.is_relayed() || is_relayed(&address),
            guest,
            carrier: standing == Standing::Carrier,
            address,
        };
        tracing::debug!(device = %device.short(), address = %link.address, ?standing, dialled = link.dialled, "connected");
        if guest {
            let from = if link.dialled { None } else { place_of(&link.address) };
            self.lasting.admission.enter(device, from);
        }
        if link.dialled {
            self.lasting.metrics.dials.get_or_create(&[("result", "connected")]).inc();
        }
        let dialled = link.dialled.then(|| strip_own_name(&link.address, &peer));
        self.lasting.book.connected(device, dialled.as_ref(), now, wall_ms());
        let is_first = self.links.opened(id, link, now);
        self.count_connections();
        if is_first {
            // One that comes beside another keeps nobody here who is to go.
            self.farewells.remove(&device);
            self.lasting.outbox.connected(device, standing);
        }
    }

    pub(super) fn on_closed(&mut self, id: ConnectionId, cause: &str) {
        let now = self.now();
        let Some((device, none_left)) = self.links.closed(id) else { return };
        self.count_connections();
        tracing::debug!(device = %device.short(), cause, none_left, "a connection is gone");
        if none_left {
            self.lasting.admission.leave(&device);
            self.vouched.remove(&device);
            self.farewells.remove(&device);
            self.lasting.book.disconnected(&device, now);
            self.lasting.outbox.disconnected(device);
        }
    }

    /// Shows how many devices are connected, by what they are to us now.
    fn count_connections(&self) {
        let now = self.now();
        let standings: Vec<Standing> =
            self.links.devices().iter().map(|device| self.lasting.admission.judge(device, now).unwrap_or(Standing::Guest)).collect();
        self.lasting.metrics.connected(&standings);
    }

    fn on_dial_failed(&mut self, peer: Option<PeerId>, error: &str) {
        let now = self.now();
        self.lasting.metrics.dials.get_or_create(&[("result", "failed")]).inc();
        let Some(device) = peer.as_ref().and_then(device_of) else { return };
        tracing::debug!(device = %device.short(), error, "a dial failed");
        // The transport's errors come as text.
        if error.contains("Address already in use") {
            self.port_taken.insert(device);
        }
        self.lasting.book.failed(&device, now);
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Gate(turned) => {
                self.lasting.metrics.refused(turned.why.name(), &turned.peer);
            }
            BehaviourEvent::Ping(ping) => self.on_ping(&ping),
            BehaviourEvent::Identify(identify::Event::Received { peer_id, connection_id, info }) => {
                self.on_identified(peer_id, connection_id, &info);
            }
            BehaviourEvent::Mdns(mdns::Event::Discovered(found)) => {
                for (peer, address) in found.into_iter().take(MULTICAST_RECORDS_MAX) {
                    if let Some(device) = device_of(&peer) {
                        self.learn(device, &address, Source::Multicast, false);
                    }
                }
            }
            BehaviourEvent::Gossip(gossipsub::Event::Message { propagation_source, message_id, message }) => {
                self.on_gossip(propagation_source, message_id, message);
            }
            BehaviourEvent::Autonat(autonat::v2::client::Event { tested_addr, result: Err(_), .. })
                if self.swarm.external_addresses().all(is_relayed) =>
            {
                tracing::debug!(address = %tested_addr, "not reachable from outside at this address");
                self.public = Some(false);
            }
            BehaviourEvent::Dcutr(event) => self.on_hole_punched(&event),
            BehaviourEvent::Relay(event) => {
                tracing::debug!(?event, "circuit relay");
                if let relay::client::Event::ReservationReqAccepted { relay_peer_id, .. } = event {
                    self.carrier_won(&relay_peer_id);
                }
            }
            _ => {}
        }
    }

    /// An attempt to get from a relayed connection to a direct one is over. The relayed one carries on meanwhile, and afterwards if need
    /// be.
    fn on_hole_punched(&self, event: &dcutr::Event) {
        let result = if event.result.is_ok() { "direct" } else { "failed" };
        tracing::debug!(peer = %event.remote_peer_id, result, "hole punching");
        self.lasting.metrics.hole_punches.get_or_create(&[("result", result)]).inc();
    }

    fn on_ping(&mut self, event: &ping::Event) {
        match &event.result {
            Ok(rtt) => {
                self.lasting.metrics.round_trip.observe(rtt.as_secs_f64());
                self.links.pinged(event.connection, u32::try_from(rtt.as_millis()).unwrap_or(u32::MAX));
            }
            // libp2p's ping closes nothing by itself.
            Err(ping::Failure::Unsupported) => {}
            Err(_) => self.links.ping_failed(event.connection, self.now()),
        }
    }

    fn on_identified(&mut self, peer: PeerId, id: ConnectionId, info: &identify::Info) {
        let Some(device) = device_of(&peer) else { return };
        let Some(link) = self.links.link(id) else { return };
        if link.guest {
            return; // What a stranger says of itself is of no use yet.
        }
        let near = is_loopback(&link.address);
        for address in info.listen_addrs.iter().take(IDENTIFY_ADDRESSES_MAX) {
            self.learn(device, address, Source::Identify, near);
        }
    }

    fn on_gossip(&mut self, from: PeerId, id: gossipsub::MessageId, message: gossipsub::Message) {
        let Some(device) = device_of(&from) else { return };
        self.repair(&from, device, &message.topic);
        let message = GossipMessage { topic: message.topic.into_string(), from: device, data: message.data, id };
        if let Some(lost) = self.lasting.outbox.gossip(message) {
            self.count_dropped("gossip");
            self.judge(&lost, Verdict::Ignore);
        }
    }

    /// A peer that sends on a topic it is not known to have subscribed to will get nothing from us: its word was lost. Connecting anew has
    /// both tell their topics again.
    fn repair(&mut self, peer: &PeerId, device: DeviceId, topic: &gossipsub::TopicHash) {
        let now = self.now();
        let knows = |(other, topics): (&PeerId, Vec<&gossipsub::TopicHash>)| other == peer && topics.contains(&topic);
        let known = self.swarm.behaviour().gossip.inner.all_peers().any(knows);
        if !known && self.repairs.begin(device, now) {
            self.disconnect(&device, "gossip_repair");
        }
    }
}

/// The word for why a connection was not taken. The gate counts by itself whom it refuses.
fn refusal_of(error: &ListenError) -> Option<&'static str> {
    match error {
        ListenError::Denied { cause } if cause.downcast_ref::<Refused>().is_some() => None,
        ListenError::Denied { .. } => Some("too_many_connections"),
        _ => Some("handshake"),
    }
}

/// The address without the peer's own name at the end, as the book keeps it.
fn strip_own_name(address: &Multiaddr, peer: &PeerId) -> Multiaddr {
    super::super::address::split_peer(address).filter(|(_, named)| named == peer).map_or_else(|| address.clone(), |(rest, _)| rest)
}
