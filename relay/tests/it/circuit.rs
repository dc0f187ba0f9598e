//! The circuit relay: members reach each other through it and learn from it whether they are reached, strangers do neither.

use std::time::Duration;

use futures::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{FromSwarm, NetworkBehaviour, NewExternalAddrCandidate, SwarmEvent};
use libp2p::{Multiaddr, StreamProtocol, Swarm, SwarmBuilder, autonat, identify, noise, ping, relay, yamux};
use nodespace_protocol::crypto::KeyPair;
use tokio::time::timeout;

use crate::world::{Device, TestRelay, seed, two_members};

#[derive(NetworkBehaviour)]
struct Behaviour {
    client: relay::client::Behaviour,
    autonat: autonat::v2::client::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    stream: libp2p_stream::Behaviour,
}

/// What is sent through a circuit in bulk.
const BULK: StreamProtocol = StreamProtocol::new("/nodespace/test/bulk/1");
/// Bytes of it: eight times what libp2p's own bound on a circuit lets pass.
const BULK_BYTES: usize = 8 * 128 * 1024;
/// Attempts of a member. They take half a minute at least, and until the relay has looked the member up each is in vain.
const ATTEMPTS_MAX: usize = 100;

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
            autonat: autonat::v2::client::Behaviour::default(),
            identify: identify::Behaviour::new(identify::Config::new("/nodespace/test/1".into(), identity.public())),
            ping: ping::Behaviour::new(ping::Config::new()),
            stream: libp2p_stream::Behaviour::new(),
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
    let address = circuit(&relay).await;
    let mut listening = peer(&founder.author.key);
    assert!(reserve(&mut listening, &address, ATTEMPTS_MAX).await, "a member's device gets a reservation");
    let mut stranger = peer(&KeyPair::from_seed(&seed()));
    assert!(!reserve(&mut stranger, &address, 3).await, "a stranger gets none");
    // A stranger cannot dial through it either; a member can.
    let target = address.clone().with(Protocol::P2pCircuit).with(Protocol::P2p(*listening.local_peer_id()));
    assert!(!dial(&mut stranger, &mut listening, &target, 3).await);
    let mut dialling = peer(&joiner.author.key);
    assert!(dial(&mut dialling, &mut listening, &target, ATTEMPTS_MAX).await, "members reach each other");
    // A circuit carries bytes before it is counted.
    for event in ["reservation", "reservation_denied", "circuit", "circuit_denied"] {
        crate::world::eventually(event, async || has_counted(&relay, event).await.then_some(())).await;
    }
    let _: &Device = &founder;
}

/// What was seen with libp2p's own bounds: a circuit ends after 128 KiB, in the middle of whatever is synced through it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circuit_carries_a_whole_sync() {
    let relay = TestRelay::with(|config| config.circuit.listen = vec!["/ip4/127.0.0.1/tcp/0".into()]).await;
    let (founder, joiner) = two_members(&relay).await;
    let address = circuit(&relay).await;
    let (mut listening, mut dialling) = (peer(&founder.author.key), peer(&joiner.author.key));
    assert!(reserve(&mut listening, &address, ATTEMPTS_MAX).await);
    let other = *listening.local_peer_id();
    let target = address.with(Protocol::P2pCircuit).with(Protocol::P2p(other));
    assert!(dial(&mut dialling, &mut listening, &target, ATTEMPTS_MAX).await);
    let mut taken = listening.behaviour().stream.new_control().accept(BULK).unwrap();
    let mut control = dialling.behaviour().stream.new_control();
    let both = tokio::spawn(async move { tokio::join!(keep(&mut listening), keep(&mut dialling)) });
    let send = async {
        let mut stream = control.open_stream(other, BULK).await.unwrap();
        stream.write_all(&vec![7; BULK_BYTES]).await.unwrap();
        stream.close().await.unwrap();
    };
    let receive = async {
        let (_, mut stream) = taken.next().await.unwrap();
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        received
    };
    let ((), received) = timeout(Duration::from_secs(30), async { tokio::join!(send, receive) }).await.unwrap();
    assert_eq!(received.len(), BULK_BYTES);
    both.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_learn_whether_they_are_reached_and_strangers_do_not() {
    let relay = TestRelay::with(|config| config.circuit.listen = vec!["/ip4/127.0.0.1/tcp/0".into()]).await;
    let (founder, _) = two_members(&relay).await;
    let address = circuit(&relay).await;
    // The stranger first: whoever is denied is it.
    let mut stranger = peer(&KeyPair::from_seed(&seed()));
    listen(&mut stranger).await;
    stranger.dial(address.clone()).unwrap();
    tokio::select! {
        () = keep(&mut stranger) => {}
        () = crate::world::eventually("a stranger is denied", async || has_counted(&relay, "probe_denied").await.then_some(())) => {}
    }
    assert_eq!(stranger.external_addresses().count(), 0, "nobody has told it");
    assert!(!has_counted(&relay, "probe").await);
    let mut member = peer(&founder.author.key);
    let own = listen(&mut member).await;
    member.dial(address).unwrap();
    assert_eq!(learn(&mut member).await, own);
    assert!(has_counted(&relay, "probe").await);
}

/// A router drops what it was not asked for, and nobody says so: AutoNAT waits for ten seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_learns_in_time_that_it_is_not_reached() {
    let relay = TestRelay::with(|config| config.circuit.listen = vec!["/ip4/127.0.0.1/tcp/0".into()]).await;
    let (founder, _) = two_members(&relay).await;
    // Connections are made, since the system does that, and nothing is ever said on them.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/{}", silent.local_addr().unwrap().port()).parse().unwrap();
    let (mut member, at) = (peer(&founder.author.key), circuit(&relay).await);
    let candidate = FromSwarm::NewExternalAddrCandidate(NewExternalAddrCandidate { addr: &address });
    member.behaviour_mut().autonat.on_swarm_event(candidate);
    member.dial(at).unwrap();
    let learned = async {
        loop {
            let event = member.select_next_some().await;
            if let SwarmEvent::Behaviour(BehaviourEvent::Autonat(autonat::v2::client::Event { tested_addr, result: Err(_), .. })) = event
                && tested_addr == address
            {
                return;
            }
        }
    };
    timeout(Duration::from_secs(45), learned).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_from_one_address_leave_room_for_the_others() {
    let relay = TestRelay::with(|config| config.circuit.listen = vec!["/ip4/127.0.0.1/tcp/0".into()]).await;
    let (member, _) = two_members(&relay).await;
    let address = circuit(&relay).await;
    let mut parts = address.iter();
    let (Some(Protocol::Ip4(ip)), Some(Protocol::Tcp(port))) = (parts.next(), parts.next()) else { panic!("{address}") };
    // More than may be made at one time in all; none of them says a word.
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(crate::crowds::connect("127.0.0.2", (ip, port).into()).await);
    }
    let mut swarm = peer(&member.author.key);
    swarm.dial(address.clone()).unwrap();
    let connected = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { .. } => return true,
                SwarmEvent::OutgoingConnectionError { .. } => return false,
                _ => {}
            }
        }
    };
    assert!(timeout(Duration::from_secs(20), connected).await.unwrap(), "the crowd has kept a member out");
    assert!(has_counted(&relay, "crowded").await);
    drop(crowd);
}

/// Where the circuit relay listens.
async fn circuit(relay: &TestRelay) -> Multiaddr {
    crate::world::eventually("the circuit relay listens", async || {
        let reached = relay.get("/v1/relay", None).await.json();
        reached["circuit"][0].as_str().map(|address| address.parse().unwrap())
    })
    .await
}

/// Whether the circuit relay has counted such an event.
async fn has_counted(relay: &TestRelay, event: &str) -> bool {
    let metrics = relay.http.get(format!("{}/metrics", relay.operator_url)).send().await.unwrap().text().await.unwrap();
    metrics.contains(&format!("nodespace_relay_circuit_events_total{{event=\"{event}\"}}"))
}

/// Listens on a port of the system's choice.
async fn listen(swarm: &mut Swarm<Behaviour>) -> Multiaddr {
    swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return address;
        }
    }
}

async fn keep(swarm: &mut Swarm<Behaviour>) {
    loop {
        swarm.select_next_some().await;
    }
}

/// Waits until a peer has learned that it is reached, and where; and until the connection that was made to find out is closed again.
async fn learn(swarm: &mut Swarm<Behaviour>) -> Multiaddr {
    let (mut reached, mut closed) = (None, false);
    let learned = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ExternalAddrConfirmed { address } => reached = Some(address),
                SwarmEvent::ConnectionClosed { endpoint, .. } if endpoint.is_listener() => closed = true,
                _ => {}
            }
            if let (Some(address), true) = (&reached, closed) {
                return address.clone();
            }
        }
    };
    // Less than the time after which a connection that nothing passes over is closed anyway.
    timeout(Duration::from_secs(45), learned).await.unwrap()
}

/// Dials the other through the relay; whether they got a connection.
async fn dial(from: &mut Swarm<Behaviour>, to: &mut Swarm<Behaviour>, target: &Multiaddr, attempts: usize) -> bool {
    let other = *to.local_peer_id();
    for attempt in 0..attempts {
        // Both go on meanwhile: the relay has to look the dialling one up.
        let pause = Duration::from_millis(if attempt == 0 { 0 } else { 300 });
        let both = async {
            loop {
                tokio::select! {
                    _ = from.select_next_some() => {}
                    _ = to.select_next_some() => {}
                }
            }
        };
        timeout(pause, both).await.unwrap_err();
        if from.is_connected(&other) {
            return true;
        }
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
