//! The circuit relay: members reach each other through it, strangers do not.

use std::time::Duration;

use futures::StreamExt as _;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, Swarm, SwarmBuilder, identify, noise, ping, relay, yamux};
use nodespace_protocol::crypto::KeyPair;
use tokio::time::timeout;

use crate::world::{Device, TestRelay, seed, two_members};

#[derive(NetworkBehaviour)]
struct Behaviour {
    client: relay::client::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

/// A device on the network, with its own key.
fn peer(key: &KeyPair) -> Swarm<Behaviour> {
    let identity = Keypair::ed25519_from_bytes(key.seed()).unwrap();
    SwarmBuilder::with_existing_identity(identity)
        .with_tokio()
        .with_tcp(libp2p::tcp::Config::default().nodelay(true), noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_relay_client(noise::Config::new, yamux::Config::default)
        .unwrap()
        .with_behaviour(|identity, client| Behaviour {
            client,
            identify: identify::Behaviour::new(identify::Config::new("/nodespace/test/1".into(), identity.public())),
            ping: ping::Behaviour::new(ping::Config::new()),
        })
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build()
}

/// Asks for a reservation; whether it was given. The first answer may come before the relay has looked the peer up.
async fn reserve(swarm: &mut Swarm<Behaviour>, relay: &Multiaddr, attempts: usize) -> bool {
    for attempt in 0..attempts {
        // Kept connected between attempts, as a device that asks again after a while is.
        let pause = Duration::from_millis(if attempt == 0 { 0 } else { 300 });
        timeout(pause, async {
            loop {
                swarm.select_next_some().await;
            }
        })
        .await
        .unwrap_err();
        let listener = swarm.listen_on(relay.clone().with(Protocol::P2pCircuit)).unwrap();
        let given = timeout(Duration::from_secs(20), async {
            loop {
                match swarm.select_next_some().await {
                    SwarmEvent::Behaviour(BehaviourEvent::Client(relay::client::Event::ReservationReqAccepted { .. })) => return true,
                    SwarmEvent::ListenerClosed { listener_id, .. } if listener_id == listener => return false,
                    _ => {}
                }
            }
        });
        if given.await.unwrap() {
            return true;
        }
    }
    false
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_meet_through_the_relay_and_strangers_do_not() {
    let relay = TestRelay::with(|config| config.circuit.listen = vec!["/ip4/127.0.0.1/tcp/0".into()]).await;
    let (founder, joiner) = two_members(&relay).await;
    let address: Multiaddr = crate::world::eventually("the circuit relay listens", async || {
        let reached = relay.get("/v1/relay", None).await.json();
        reached["circuit"][0].as_str().map(|address| address.parse().unwrap())
    })
    .await;
    let mut listening = peer(&founder.author.key);
    assert!(reserve(&mut listening, &address, 10).await, "a member's device gets a reservation");
    let mut stranger = peer(&KeyPair::from_seed(&seed()));
    assert!(!reserve(&mut stranger, &address, 3).await, "a stranger gets none");
    // A stranger cannot dial through it either; a member can.
    let target = address.clone().with(Protocol::P2pCircuit).with(Protocol::P2p(*listening.local_peer_id()));
    assert!(!dial(&mut stranger, &mut listening, &target, 3).await);
    let mut dialling = peer(&joiner.author.key);
    assert!(dial(&mut dialling, &mut listening, &target, 10).await, "members reach each other");
    let metrics = relay.http.get(format!("{}/metrics", relay.operator_url)).send().await.unwrap().text().await.unwrap();
    for event in ["reservation", "reservation_denied", "circuit", "circuit_denied"] {
        assert!(metrics.contains(&format!("nodespace_relay_circuit_events_total{{event=\"{event}\"}}")), "{event}: {metrics}");
    }
    let _: &Device = &founder;
}

/// Dials the other through the relay; whether they got a connection.
async fn dial(from: &mut Swarm<Behaviour>, to: &mut Swarm<Behaviour>, target: &Multiaddr, attempts: usize) -> bool {
    let other = *to.local_peer_id();
    for _ in 0..attempts {
        from.dial(target.clone()).unwrap();
        let reached = timeout(Duration::from_secs(20), async {
            loop {
                tokio::select! {
                    event = from.select_next_some() => match event {
                        SwarmEvent::ConnectionEstablished { peer_id, .. } if peer_id == other => return true,
                        SwarmEvent::OutgoingConnectionError { peer_id, .. } if peer_id == Some(other) || peer_id.is_none() => return false,
                        _ => {}
                    },
                    _ = to.select_next_some() => {}
                }
            }
        });
        if reached.await.unwrap() {
            return true;
        }
    }
    false
}
