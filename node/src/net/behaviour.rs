//! The swarm's behaviour: what is spoken, and within which limits.
//!
//! Order matters: what denies connections comes first, since the others note a connection before a later one can deny it
//! (rust-libp2p#4773).

use std::io;
use std::sync::Arc;
use std::time::Duration;

use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{autonat, connection_limits, dcutr, gossipsub, identify, identity, mdns, memory_connection_limits, ping, relay};

use super::admission::Admission;
use super::clock::Clock;
use super::gate::{self, Gate, MembersOnly};
use super::options::NetOptions;

/// Handshakes under way at one time, each direction; more are refused. Of those that others begin the gate says besides how many may come from
/// one place.
const PENDING_MAX: u32 = gate::PENDING_MAX as u32;
/// Connections to one peer: the present one, its successor, and a relayed one beside them.
const PER_PEER_MAX: u32 = 4;
/// Resident memory of the process above which no connection is taken.
const MEMORY_BYTES_MAX: usize = 2 << 30;
/// How long after a ping, answered or timed out, the next one is sent. A dead connection is noticed within a minute: 10 s at most until the
/// next ping, 10 s until it fails, 10 s until the one after; the stream for that one is given up after 10 s, and so is the next, which
/// follows at once: 50 s. libp2p's ping keeps the first failure of a row to itself, hence the two of `PING_FAILURES_MAX`, which are three.
const PING_INTERVAL: Duration = Duration::from_secs(10);
/// How long a ping may take.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest gossip message on the wire. The receiver checks the whole RPC and not only our part of it, hence far above
/// [`GOSSIP_BYTES_MAX`].
const TRANSMIT_BYTES_MAX: usize = 1 << 20;
/// The largest operation that is gossiped; larger ones go by the sync stream alone.
pub const GOSSIP_BYTES_MAX: usize = 64 * 1024;
/// What an RPC may hold beside the operation: seal, signature, topic, and what gossipsub says of its own.
const RPC_BYTES_MAX: usize = 16 * 1024;
const _: () = assert!(GOSSIP_BYTES_MAX + RPC_BYTES_MAX <= TRANSMIT_BYTES_MAX, "the receiver closes the stream over an RPC too large");
/// Topics of one peer that are taken note of, and subscriptions of one message.
const SUBSCRIPTIONS_MAX: usize = 64;
/// Messages of one peer that wait to be sent; gossip beyond it is dropped, as gossip may be.
const GOSSIP_QUEUE_MAX: usize = 256;
/// How long the same message is not taken again.
const DUPLICATE_TIME: Duration = Duration::from_secs(60);

/// What identify calls the protocol; peers of other kinds are told by the gate, not by this.
pub(super) const PROTOCOL_VERSION: &str = "/nodespace/1";

/// Bounds what is taken note of. This device subscribes to the topics of its own workspaces alone; what *members* say of other topics is kept,
/// within the bounds, since one that hears of a removal first changes its topic first, and its word would be lost if it were heard too early.
pub(super) type TopicFilter = gossipsub::MaxCountSubscriptionFilter<gossipsub::AllowAllSubscriptionFilter>;
/// Gossipsub with that filter.
pub(super) type Gossip = gossipsub::Behaviour<gossipsub::IdentityTransform, TopicFilter>;

/// Everything that is spoken.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    pub(super) gate: Gate,
    limits: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    pub(super) identify: identify::Behaviour,
    ping: ping::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
    pub(super) gossip: MembersOnly<Gossip>,
    relay: relay::client::Behaviour,
    dcutr: dcutr::Behaviour,
    /// Asks circuit relays whether this device can be reached from outside. Devices do not answer that question for each other: to answer it
    /// one connects a second time, and a second connection between members breaks gossip.
    autonat: autonat::v2::client::Behaviour,
    pub(super) stream: libp2p_stream::Behaviour,
}

impl std::fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Behaviour")
    }
}

impl Behaviour {
    pub(super) fn new(
        key: &identity::Keypair,
        relay: relay::client::Behaviour,
        options: &NetOptions,
        (admission, clock): (&Admission, &Arc<Clock>),
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let peer = key.public().to_peer_id();
        let gossip = MembersOnly::new(gossip(key)?, admission.clone(), Arc::clone(clock));
        Ok(Self {
            gate: Gate::new(admission.clone(), Arc::clone(clock)),
            limits: connection_limits::Behaviour::new(limits(options.connections_max)),
            memory: memory_connection_limits::Behaviour::with_max_bytes(MEMORY_BYTES_MAX),
            identify: identify::Behaviour::new(identify(key, options)),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT)),
            mdns: mdns(options, peer),
            gossip,
            relay,
            dcutr: dcutr::Behaviour::new(peer),
            autonat: autonat::v2::client::Behaviour::default(),
            stream: libp2p_stream::Behaviour::new(),
        })
    }
}

fn limits(connections_max: u32) -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING_MAX))
        .with_max_pending_outgoing(Some(PENDING_MAX))
        .with_max_established_per_peer(Some(PER_PEER_MAX))
        .with_max_established(Some(connections_max))
}

fn identify(key: &identity::Keypair, options: &NetOptions) -> identify::Config {
    identify::Config::new(PROTOCOL_VERSION.to_owned(), key.public())
        .with_agent_version(format!("nodespace/{}", env!("CARGO_PKG_VERSION")))
        .with_push_listen_addr_updates(true)
        // Where addresses are given by hand, ours are too.
        .with_hide_listen_addrs(options.explicit_only)
}

/// Without a working interface watcher, or by configuration, there is no multicast: said in the log, and no reason to fail.
fn mdns(options: &NetOptions, peer: libp2p::PeerId) -> Toggle<mdns::tokio::Behaviour> {
    let started = options.mdns.then(|| mdns::tokio::Behaviour::new(mdns::Config::default(), peer));
    let started = started.and_then(|started: io::Result<_>| {
        started.inspect_err(|error| tracing::warn!(%error, "no discovery by multicast on this machine; peers are found otherwise")).ok()
    });
    Toggle::from(started)
}

/// For groups of two to twenty, as a workspace's devices are; messages are named by their content, so that the same operation from two
/// devices is one message.
pub(super) fn gossip(key: &identity::Keypair) -> Result<Gossip, Box<dyn std::error::Error + Send + Sync>> {
    let name = |message: &gossipsub::Message| {
        gossipsub::MessageId(
            blake3::Hasher::new().update(message.topic.as_str().as_bytes()).update(&message.data).finalize().as_bytes()[..16].to_vec(),
        )
    };
    let config = gossipsub::ConfigBuilder::default()
        .mesh_n(4)
        .mesh_n_low(2)
        .mesh_n_high(8)
        .mesh_outbound_min(1)
        .heartbeat_initial_delay(Duration::from_secs(1))
        .prune_backoff(Duration::from_secs(5))
        .flood_publish(true)
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .message_id_fn(name)
        .max_transmit_size(TRANSMIT_BYTES_MAX)
        .duplicate_cache_time(DUPLICATE_TIME)
        .connection_handler_queue_len(GOSSIP_QUEUE_MAX)
        .build()?;
    let filter = gossipsub::MaxCountSubscriptionFilter {
        filter: gossipsub::AllowAllSubscriptionFilter {},
        max_subscribed_topics: SUBSCRIPTIONS_MAX,
        max_subscriptions_per_request: SUBSCRIPTIONS_MAX,
    };
    Ok(gossipsub::Behaviour::new_with_subscription_filter(gossipsub::MessageAuthenticity::Signed(key.clone()), config, filter)?)
}
