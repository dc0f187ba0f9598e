//! A network, and how a test waits.

use std::time::Duration;

use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::DeviceId;
use prometheus_client::registry::Registry;
use tokio::time::{Instant, timeout};

use crate::net::address::Source;
use crate::net::admission::Roll;
use crate::net::{Multiaddr, NetEvent, NetEvents, NetHandle, NetMetrics, NetOptions, PeerSnapshot, peer_id, start};

/// How long anything may take before a test fails. Far more than it needs, of which some is waiting by design: a guest that became a member
/// keeps its connection for five seconds, who is said goodbye to for two, and one that does not close is given up after two more.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The topic of all.
pub(super) const TOPIC: &str = "topic";

/// What a network is started with.
pub(super) fn options(seed: u8) -> NetOptions {
    NetOptions {
        key: KeyPair::from_seed(&[seed; 32]),
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        announce: Vec::new(),
        peers: Vec::new(),
        carriers: Vec::new(),
        mdns: false,
        explicit_only: true,
        connections_max: 16,
        book: None,
        seed: seed.into(),
    }
}

/// One device's network. It dials where it is told to, and nowhere else.
pub(super) struct Network {
    pub(super) net: NetHandle,
    pub(super) events: NetEvents,
    pub(super) device: DeviceId,
}

impl Network {
    pub(super) fn start(seed: u8) -> Self {
        Self::adjusted(seed, |_| {})
    }

    /// With addresses in its configuration.
    pub(super) fn with_peers(seed: u8, peers: Vec<Multiaddr>) -> Self {
        Self::adjusted(seed, |options| options.peers = peers)
    }

    /// With something else in its configuration.
    pub(super) fn adjusted(seed: u8, adjust: impl FnOnce(&mut NetOptions)) -> Self {
        let mut options = options(seed);
        adjust(&mut options);
        let device = options.key.device();
        let (net, events) = start(options, NetMetrics::new(&mut Registry::default())).unwrap();
        Self { net, events, device }
    }

    /// Is in a workspace with another one, and gossips.
    pub(super) async fn befriend(&self, other: DeviceId) {
        self.net.set_roll(Roll { members: [other].into(), has_workspace: true, ..Roll::default() }).await;
        self.net.set_topics([TOPIC.to_owned()].into()).await;
    }

    /// Knows where another one is.
    pub(super) async fn knows(&self, other: DeviceId, address: Multiaddr) {
        self.net.learn(other, vec![address], Source::Explicit, true).await;
    }

    /// Where it listens, once it does.
    pub(super) async fn address(&self) -> Multiaddr {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(address) = self.net.snapshot().await.unwrap().listening.into_iter().next() {
                return address;
            }
            assert!(Instant::now() < deadline, "it does not listen");
            tokio::task::yield_now().await;
        }
    }

    /// The same, as it is written for others.
    pub(super) async fn named_address(&self) -> Multiaddr {
        self.address().await.with(libp2p::multiaddr::Protocol::P2p(peer_id(&self.device).unwrap()))
    }

    /// Reads events until one is as it should be.
    pub(super) async fn event(&mut self, what: &str, is_it: impl Fn(&NetEvent) -> bool) -> NetEvent {
        let wait = async {
            loop {
                let event = self.events.next().await.unwrap();
                if is_it(&event) {
                    return event;
                }
            }
        };
        match timeout(PATIENCE, wait).await {
            Ok(event) => event,
            Err(_) => panic!("waited in vain for {what}"),
        }
    }

    pub(super) async fn meets(&mut self, other: DeviceId) {
        self.event("a connection", |event| matches!(event, NetEvent::Connected { device, .. } if *device == other)).await;
    }

    pub(super) async fn loses(&mut self, other: DeviceId) {
        self.event("the end of a connection", |event| matches!(event, NetEvent::Disconnected(device) if *device == other)).await;
    }

    /// Another one, as this one shows it to people, if it does.
    pub(super) async fn shown(&self, other: DeviceId) -> Option<PeerSnapshot> {
        self.net.snapshot().await.unwrap().peers.into_iter().find(|peer| peer.device == other)
    }

    /// Waits until gossip of another one arrives, which says it again and again: whom it knows to listen it learns by and by, and what is
    /// said before is lost.
    pub(super) async fn hears(&mut self, from: &NetHandle, text: &str, bytes: usize) {
        let mut ticks = tokio::time::interval(Duration::from_millis(50));
        let mut number = 0;
        let wait = async {
            loop {
                tokio::select! {
                    event = self.events.next() => {
                        if matches!(event.unwrap(), NetEvent::Gossip(message) if message.data.starts_with(text.as_bytes())) {
                            return;
                        }
                    }
                    _ = ticks.tick() => {
                        number += 1;
                        // No two the same: the same within a minute is one message.
                        let mut data = format!("{text} {number}").into_bytes();
                        data.resize(bytes.max(data.len()), b'.');
                        from.publish(TOPIC.to_owned(), data);
                    }
                }
            }
        };
        assert!(timeout(PATIENCE, wait).await.is_ok(), "no gossip arrives: {text}");
    }
}
