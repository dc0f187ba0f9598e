//! The libp2p circuit relay: by it devices behind NATs are reached, and find the way to each other.
//!
//! It is for members only: a reservation, and a circuit, is given to a peer whose device key is a member's in some workspace held here. A
//! peer id *is* an Ed25519 device key, and libp2p's handshake has proved it. The relay's behaviour asks synchronously, so members are looked
//! up when a peer connects, and what was found holds for as long as it is connected and is looked up again every minute: a removal ends
//! reservations at their next renewal at the latest.
//!
//! It also tells members whether they can be reached from outside, which devices do not do for each other (decision 0038).
//!
//! What passes a circuit is encrypted between its ends. Limits are those of the configuration; libp2p's own (128 KiB, two minutes) would
//! end every sync in the middle.

mod crowd;
mod probes;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use libp2p::connection_limits::{self, ConnectionLimits};
use libp2p::core::ConnectedPoint;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, SwarmBuilder, identify, noise, ping, relay, tcp, yamux};
use nodespace_protocol::ids::DeviceId;
use tokio::sync::{mpsc, watch};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use self::crowd::Crowd;
use self::probes::{Probes, ip_of};
use crate::config::CircuitConfig;
use crate::key::RelayKey;
use crate::metrics::Metrics;
use crate::store::{Database, WorkspaceRow};

/// Connections in all; the next is refused.
const CONNECTIONS_MAX: u32 = 2_048;
/// Connections whose handshake is not over, each direction; of one place fewer ([`Crowd`]).
const PENDING_MAX: u32 = 128;
/// Connections of one peer.
const PER_PEER_MAX: u32 = 4;
/// How long a reservation holds; devices renew it before.
const RESERVATION_LIFE: Duration = Duration::from_secs(600);
/// How long making a connection may take. AutoNAT gives up a question after ten seconds, here and at the device: by then it has to be known
/// that a router drops what is sent to the address, and said.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(6);
/// How long a connection stays that nothing passes over.
const IDLE: Duration = Duration::from_secs(120);
/// How often connected peers are looked up again.
const LOOK_AGAIN: Duration = Duration::from_secs(60);
/// Reservations and circuits of one peer: so many a minute.
const PER_PEER_A_MINUTE: NonZeroU32 = NonZeroU32::new(30).expect("thirty is not zero");
/// Peers waiting to be looked up; more are left to the next round.
const QUESTIONS_MAX: usize = 1_024;

/// Why the circuit relay cannot run.
#[derive(Debug, thiserror::Error)]
pub enum CircuitError {
    /// A configured address is none.
    #[error("circuit: `{0}` is no multiaddress")]
    Address(String),
    /// An address cannot be listened on.
    #[error("circuit: cannot listen on {0}: {1}")]
    Listen(Multiaddr, String),
    /// The transport cannot be built.
    #[error("circuit: {0}")]
    Transport(String),
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    // What refuses connections comes first.
    crowd: Crowd,
    limits: connection_limits::Behaviour,
    relay: relay::Behaviour,
    probes: Probes,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

/// A peer that is connected.
#[derive(Clone, Copy, Debug, Default)]
struct Guest {
    /// Whether it is a member, as far as it was looked up.
    member: bool,
    /// Where it last came from.
    from: Option<IpAddr>,
}

/// Peers that are connected.
#[derive(Clone, Debug, Default)]
struct Guests(Arc<Mutex<BTreeMap<PeerId, Guest>>>);

impl Guests {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerId, Guest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connected(&self, peer: PeerId, endpoint: &ConnectedPoint) {
        let mut guests = self.lock();
        let guest = guests.entry(peer).or_default();
        // Where the relay itself connected to is an address that the peer named.
        if endpoint.is_listener() {
            guest.from = ip_of(endpoint.get_remote_address());
        }
    }

    fn is_member(&self, peer: PeerId) -> bool {
        self.lock().get(&peer).is_some_and(|guest| guest.member)
    }

    fn came_from(&self, peer: PeerId) -> Option<IpAddr> {
        self.lock().get(&peer)?.from
    }
}

/// A circuit relay that listens.
pub struct Circuit {
    swarm: Swarm<Behaviour>,
    guests: Guests,
    questions: mpsc::Sender<PeerId>,
    asked: mpsc::Receiver<PeerId>,
    reached: watch::Sender<Vec<String>>,
    named_by_configuration: bool,
    metrics: Metrics,
}

impl std::fmt::Debug for Circuit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Circuit").field("guests", &self.guests).finish_non_exhaustive()
    }
}

/// The device of a peer: the key is in the id itself.
#[must_use]
pub fn device_of(peer: &PeerId) -> Option<DeviceId> {
    let hash = peer.as_ref();
    // An Ed25519 key is short enough to be in the id as it is: the identity "hash" of its protobuf form.
    let key =
        Some(hash.digest()).filter(|_| hash.code() == 0).and_then(|bytes| libp2p::identity::PublicKey::try_decode_protobuf(bytes).ok())?;
    Some(DeviceId(key.try_into_ed25519().ok()?.to_bytes()))
}

impl Circuit {
    /// Builds the relay and listens; `None` when the configuration names no address.
    ///
    /// # Errors
    /// When an address is none, or cannot be listened on.
    pub fn listen(
        config: &CircuitConfig,
        key: &RelayKey,
        metrics: Metrics,
        reached: watch::Sender<Vec<String>>,
    ) -> Result<Option<Self>, CircuitError> {
        if config.listen.is_empty() {
            return Ok(None);
        }
        let guests = Guests::default();
        let mut swarm = swarm(config, key, &guests, &metrics)?;
        for text in &config.listen {
            let address = parse(text)?;
            swarm.listen_on(address.clone()).map_err(|error| CircuitError::Listen(address, error.to_string()))?;
        }
        let own = Protocol::P2p(*swarm.local_peer_id());
        let mut external = Vec::new();
        for text in &config.external {
            let address = parse(text)?;
            swarm.add_external_address(address.clone());
            external.push(address.with(own.clone()).to_string());
        }
        // Offered even before an external address is confirmed: the configuration says that it is reached.
        swarm.behaviour_mut().relay.set_status(Some(relay::Status::Enable));
        reached.send_replace(external);
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        let named_by_configuration = !config.external.is_empty();
        Ok(Some(Self { swarm, guests, questions, asked, reached, named_by_configuration, metrics }))
    }

    /// Serves until it is stopped.
    pub async fn run(mut self, database: Database, stop: CancellationToken) {
        let mut again = interval(LOOK_AGAIN);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                event = self.swarm.select_next_some() => self.on_event(event),
                Some(peer) = self.asked.recv() => self.look_up(peer, &database),
                _ = again.tick() => {
                    let peers: Vec<PeerId> = self.guests.lock().keys().copied().collect();
                    peers.into_iter().for_each(|peer| self.look_up(peer, &database));
                }
            }
        }
    }

    /// Asks the database, elsewhere: the swarm goes on.
    fn look_up(&self, peer: PeerId, database: &Database) {
        let (guests, database) = (self.guests.clone(), database.clone());
        let Some(device) = device_of(&peer) else { return };
        tokio::spawn(async move {
            match WorkspaceRow::is_anywhere_member(database.read(), &device).await {
                Ok(member) => {
                    // Only while it is connected: who has gone is asked about anew.
                    if let Some(known) = guests.lock().get_mut(&peer) {
                        known.member = member;
                    }
                }
                Err(error) => tracing::warn!(error = %crate::store::chain(&error), "cannot look up a peer of the circuit relay"),
            }
        });
    }

    fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => self.on_address(&address),
            SwarmEvent::ConnectionEstablished { peer_id, endpoint, .. } => {
                self.guests.connected(peer_id, &endpoint);
                // When the queue is full the peer is looked up with the next round.
                self.questions.try_send(peer_id).ok();
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established: 0, .. } => {
                self.guests.lock().remove(&peer_id);
            }
            SwarmEvent::Behaviour(BehaviourEvent::Relay(event)) => self.on_relay(&event),
            SwarmEvent::Behaviour(BehaviourEvent::Probes(probed)) => self.metrics.circuit(probed.name()),
            _ => {}
        }
    }

    /// Where it listens is where it is reached, unless the configuration says otherwise. A reservation must name an address, or it is of no
    /// use to the device.
    fn on_address(&mut self, address: &Multiaddr) {
        tracing::info!(%address, "the circuit relay listens");
        if self.named_by_configuration {
            return;
        }
        self.swarm.add_external_address(address.clone());
        let named = address.clone().with(Protocol::P2p(*self.swarm.local_peer_id())).to_string();
        self.reached.send_modify(|reached| reached.push(named));
    }

    fn on_relay(&self, event: &relay::Event) {
        let name = match event {
            relay::Event::ReservationReqAccepted { renewed: false, .. } => "reservation",
            relay::Event::ReservationReqAccepted { renewed: true, .. } => "renewal",
            relay::Event::ReservationReqDenied { .. } => "reservation_denied",
            relay::Event::CircuitReqAccepted { .. } => "circuit",
            relay::Event::CircuitReqDenied { .. } => "circuit_denied",
            relay::Event::CircuitClosed { .. } => "circuit_closed",
            _ => return,
        };
        self.metrics.circuit(name);
    }
}

fn parse(text: &str) -> Result<Multiaddr, CircuitError> {
    text.parse().map_err(|_| CircuitError::Address(text.to_owned()))
}

fn swarm(config: &CircuitConfig, key: &RelayKey, guests: &Guests, metrics: &Metrics) -> Result<Swarm<Behaviour>, CircuitError> {
    let failed = |error: &dyn std::fmt::Display| CircuitError::Transport(error.to_string());
    let identity = libp2p::identity::Keypair::ed25519_from_bytes(key.seed()).map_err(|error| failed(&error))?;
    let relayed = relay_config(config, guests);
    let built = SwarmBuilder::with_existing_identity(identity)
        .with_tokio()
        .with_tcp(tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .map_err(|error| failed(&error))?
        .with_quic()
        .with_behaviour(|identity| {
            let limits = ConnectionLimits::default()
                .with_max_pending_incoming(Some(PENDING_MAX))
                .with_max_pending_outgoing(Some(PENDING_MAX))
                .with_max_established(Some(CONNECTIONS_MAX))
                .with_max_established_per_peer(Some(PER_PEER_MAX));
            Behaviour {
                crowd: Crowd::new(metrics.clone()),
                limits: connection_limits::Behaviour::new(limits),
                relay: relay::Behaviour::new(identity.public().to_peer_id(), relayed),
                probes: Probes::new(guests.clone()),
                identify: identify::Behaviour::new(identify::Config::new("/nodespace/relay/1".into(), identity.public())),
                ping: ping::Behaviour::new(ping::Config::new()),
            }
        })
        .map_err(|error| failed(&error))?
        .with_swarm_config(|swarm| swarm.with_idle_connection_timeout(IDLE));
    Ok(built.with_connection_timeout(CONNECT_TIME_MAX).build())
}

fn relay_config(config: &CircuitConfig, guests: &Guests) -> relay::Config {
    let members_only = |guests: Guests| Box::new(move |peer: PeerId, _: &Multiaddr, _| guests.is_member(peer));
    let mut relayed = relay::Config {
        max_reservations: config.reservations as usize,
        max_reservations_per_peer: PER_PEER_MAX as usize,
        reservation_duration: RESERVATION_LIFE,
        max_circuits: config.circuits as usize,
        max_circuits_per_peer: config.circuits_per_device as usize,
        max_circuit_duration: Duration::from_secs(config.circuit_seconds),
        max_circuit_bytes: config.circuit_mib << 20,
        ..relay::Config::default()
    }
    .reservation_rate_per_peer(PER_PEER_A_MINUTE, Duration::from_secs(60))
    .circuit_src_per_peer(PER_PEER_A_MINUTE, Duration::from_secs(60));
    // Whether the peer may at all is asked before how often it did.
    relayed.reservation_rate_limiters.insert(0, members_only(guests.clone()));
    relayed.circuit_src_rate_limiters.insert(0, members_only(guests.clone()));
    relayed
}

#[cfg(test)]
mod tests {
    use nodespace_protocol::crypto::KeyPair;

    use super::*;

    #[test]
    fn a_peer_is_the_device_whose_key_it_has() {
        let seed = [7; 32];
        let identity = libp2p::identity::Keypair::ed25519_from_bytes(seed).unwrap();
        assert_eq!(device_of(&identity.public().to_peer_id()), Some(KeyPair::from_seed(&seed).device()));
    }

    /// libp2p's own bounds would end every sync in the middle: 128 KiB, two minutes.
    #[test]
    fn a_circuit_is_good_for_a_whole_sync() {
        let (ours, theirs) = (relay_config(&CircuitConfig::default(), &Guests::default()), relay::Config::default());
        assert!(ours.max_circuit_bytes >= 1 << 30 && ours.max_circuit_bytes > theirs.max_circuit_bytes);
        assert!(ours.max_circuit_duration >= Duration::from_secs(3_600) && ours.max_circuit_duration > theirs.max_circuit_duration);
        let any = relay_config(&CircuitConfig { circuit_mib: 0, ..CircuitConfig::default() }, &Guests::default());
        assert_eq!(any.max_circuit_bytes, 0, "which is how libp2p is told to count nothing");
    }
}
