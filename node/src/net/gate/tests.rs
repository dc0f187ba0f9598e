use std::task::Waker;

use libp2p::gossipsub;
use libp2p::swarm::ListenError;
use libp2p::swarm::behaviour::ListenFailure;
use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::DeviceId;

use super::*;
use crate::net::NetOptions;
use crate::net::admission::{GUESTS_MAX, GUESTS_OF_ONE_PLACE_MAX, Roll};
use crate::net::behaviour::Behaviour;
use crate::net::identity::{keypair, peer_id};

const MEMBER: u8 = 1;
const STRANGER: u8 = 2;

fn device(seed: u8) -> DeviceId {
    KeyPair::from_seed(&[seed; 32]).device()
}

fn peer(seed: u8) -> PeerId {
    peer_id(&device(seed)).unwrap()
}

fn id(number: usize) -> ConnectionId {
    ConnectionId::new_unchecked(number)
}

/// Where one member belongs.
fn admission() -> Admission {
    let admission = Admission::default();
    admission.set_roll(Roll { members: [device(MEMBER)].into(), has_workspace: true, ..Roll::default() });
    admission
}

fn gate(admission: Admission) -> Gate {
    Gate::new(admission, Arc::new(Clock::start()))
}

/// Whether a connection from an address may be made.
fn knock(gate: &mut Gate, number: usize, from: &str) -> bool {
    gate.handle_pending_inbound_connection(id(number), &Multiaddr::empty(), &from.parse().unwrap()).is_ok()
}

fn establish(gate: &mut Gate, number: usize, seed: u8) -> Option<Refused> {
    let established = gate.handle_established_inbound_connection(id(number), peer(seed), &Multiaddr::empty(), &Multiaddr::empty());
    established.err().and_then(|denied| denied.downcast_ref::<Refused>().copied())
}

/// A connection is not made after all.
fn fail(behaviour: &mut impl NetworkBehaviour, number: usize) {
    let nowhere = Multiaddr::empty();
    let failure = ListenFailure {
        local_addr: &nowhere,
        send_back_addr: &nowhere,
        error: &ListenError::Aborted,
        connection_id: id(number),
        peer_id: None,
    };
    behaviour.on_swarm_event(FromSwarm::ListenFailure(failure));
}

/// As many as may be from an address, numbered from the first on. Answers how many.
fn crowd(gate: &mut Gate, first: usize, from: &str) -> usize {
    (first..).take_while(|number| knock(gate, *number, from)).count()
}

#[test]
fn half_open_connections_from_one_place_keep_no_other_out() {
    let mut gate = gate(admission());
    assert_eq!(crowd(&mut gate, 0, "/ip4/192.0.2.1/tcp/1000"), PENDING_OF_ONE_PLACE_MAX);
    assert!(!knock(&mut gate, 100, "/ip4/192.0.2.1/tcp/2000"));
    assert!(!knock(&mut gate, 101, "/ip4/192.0.2.1/udp/2000/quic-v1"));
    assert!(!knock(&mut gate, 102, "/ip6/::ffff:192.0.2.1/tcp/2000"), "the same place");
    assert!(knock(&mut gate, 103, "/ip4/192.0.2.2/tcp/1000"));
    assert!(knock(&mut gate, 104, "/ip6/2001:db8::1/tcp/1000"));
}

/// Somebody has many addresses, and takes from each all that can be had: who comes once still gets in.
#[test]
fn many_places_together_do_not_fill_the_door() {
    for places in [3, 10, 30] {
        let mut gate = gate(admission());
        let mut number = 0;
        for _ in 0..PENDING_MAX {
            for place in 1..=places {
                number += crowd(&mut gate, number, &format!("/ip4/192.0.2.{place}/tcp/1000")) + 1;
            }
        }
        assert!(gate.pending.len() < PENDING_MAX, "{places} places hold {}", gate.pending.len());
        assert!(knock(&mut gate, number, "/ip4/198.51.100.1/tcp/1000"), "{places} places keep another out");
    }
}

#[test]
fn all_addresses_of_one_ipv6_network_are_one_place() {
    let mut gate = gate(admission());
    let mut number = 0;
    while knock(&mut gate, number, &format!("/ip6/2001:db8:0:1::{number:x}/tcp/1000")) {
        number += 1;
    }
    assert_eq!(number, PENDING_OF_ONE_PLACE_MAX);
    assert!(!knock(&mut gate, 100, "/ip6/2001:db8:0:1:ffff::1/tcp/1000"));
    assert!(knock(&mut gate, 101, "/ip6/2001:db8:0:2::1/tcp/1000"));
}

#[test]
fn a_place_is_free_again_when_a_connection_is_made_refused_or_given_up() {
    let mut gate = gate(Admission::default());
    let from = "/ip4/192.0.2.1/tcp/1000";
    crowd(&mut gate, 0, from);
    assert_eq!(establish(&mut gate, 0, STRANGER), Some(Refused::NoWorkspace));
    assert!(knock(&mut gate, 100, from));
    gate.admission.set_roll(Roll { members: [device(MEMBER)].into(), ..Roll::default() });
    assert_eq!(establish(&mut gate, 1, MEMBER), None);
    assert!(knock(&mut gate, 101, from));
    fail(&mut gate, 2);
    assert!(knock(&mut gate, 102, from));
    assert!(!knock(&mut gate, 103, from));
    // It was never counted: its end frees nothing.
    fail(&mut gate, 103);
    assert!(!knock(&mut gate, 104, from));
    (0..200).for_each(|number| fail(&mut gate, number));
    assert!(gate.pending.is_empty());
}

#[test]
fn what_comes_through_a_circuit_relay_is_not_counted() {
    let mut gate = gate(admission());
    let (relay, source) = (peer(7), peer(MEMBER));
    for number in 0..2 * PENDING_MAX {
        // As libp2p names it, and in full.
        assert!(knock(&mut gate, number, &format!("/p2p/{source}")));
        assert!(knock(&mut gate, 1_000 + number, &format!("/ip4/192.0.2.1/tcp/1/p2p/{relay}/p2p-circuit/p2p/{source}")));
    }
    assert!(gate.pending.is_empty());
}

/// One machine comes with one fresh key after the other: newcomers from elsewhere still get in.
#[test]
fn strangers_from_one_address_leave_places_for_guests_to_others() {
    let mut gate = gate(admission());
    let (there, elsewhere): (Multiaddr, Multiaddr) =
        ("/ip4/192.0.2.1/tcp/1000".parse().unwrap(), "/ip4/198.51.100.1/tcp/1000".parse().unwrap());
    let mut come = |seed: u8, from: &Multiaddr| {
        let nowhere = Multiaddr::empty();
        let taken = gate.handle_established_inbound_connection(id(usize::from(seed)), peer(seed), &nowhere, from).is_ok();
        if taken {
            gate.admission.enter(device(seed), place_of(from));
        }
        taken
    };
    let taken = (10..10 + 2 * u8::try_from(GUESTS_MAX).unwrap()).filter(|seed| come(*seed, &there)).count();
    assert_eq!(taken, GUESTS_OF_ONE_PLACE_MAX);
    assert!(come(3, &elsewhere));
    assert!(come(MEMBER, &there));
}

#[test]
fn who_is_refused_is_told_of() {
    let mut gate = gate(Admission::default());
    assert_eq!(establish(&mut gate, 0, STRANGER), Some(Refused::NoWorkspace));
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(ToSwarm::GenerateEvent(turned)) = gate.poll(&mut cx) else { panic!("it is not told of") };
    assert_eq!((turned.peer, turned.why), (peer(STRANGER), Refused::NoWorkspace));
    assert!(gate.poll(&mut cx).is_pending());
}

fn point() -> ConnectedPoint {
    ConnectedPoint::Listener { local_addr: Multiaddr::empty(), send_back_addr: Multiaddr::empty() }
}

/// Makes a connection. Answers whether the behaviour behind the gate has a part in it.
fn connect<B: NetworkBehaviour>(behaviour: &mut MembersOnly<B>, number: usize, seed: u8, other_established: usize) -> bool {
    let nowhere = Multiaddr::empty();
    let handler = behaviour.handle_established_inbound_connection(id(number), peer(seed), &nowhere, &nowhere);
    let endpoint = point();
    behaviour.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
        peer_id: peer(seed),
        connection_id: id(number),
        endpoint: &endpoint,
        failed_addresses: &[],
        other_established,
    }));
    matches!(handler, Ok(Either::Left(_)))
}

fn disconnect<B: NetworkBehaviour>(behaviour: &mut MembersOnly<B>, number: usize, seed: u8, remaining_established: usize) {
    let endpoint = point();
    behaviour.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
        peer_id: peer(seed),
        connection_id: id(number),
        endpoint: &endpoint,
        cause: None,
        remaining_established,
    }));
}

#[test]
fn gossip_exists_for_members_and_for_nobody_else() {
    let key = gossipsub::MessageAuthenticity::Signed(keypair(&KeyPair::from_seed(&[9; 32])));
    let gossip: gossipsub::Behaviour = gossipsub::Behaviour::new(key, gossipsub::Config::default()).unwrap();
    let mut gossip = MembersOnly::new(gossip, admission(), Arc::new(Clock::start()));
    let known = |gossip: &MembersOnly<gossipsub::Behaviour>| gossip.inner.all_peers().map(|(peer, _)| *peer).collect::<Vec<_>>();
    assert!(!connect(&mut gossip, 1, STRANGER, 0), "no handler");
    assert!(known(&gossip).is_empty());
    assert!(connect(&mut gossip, 2, MEMBER, 0));
    assert_eq!(known(&gossip), [peer(MEMBER)]);
    disconnect(&mut gossip, 1, STRANGER, 0);
    disconnect(&mut gossip, 2, MEMBER, 0);
    assert!(known(&gossip).is_empty());
    assert!(gossip.shown.is_empty() && gossip.judged.is_empty());
}

/// A behaviour that writes down how many other connections it is told of.
#[derive(Default)]
struct Recorder {
    others: Vec<usize>,
    left: Vec<usize>,
}

impl NetworkBehaviour for Recorder {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => self.others.push(established.other_established),
            FromSwarm::ConnectionClosed(closed) => self.left.push(closed.remaining_established),
            _ => {}
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// Gossipsub tells its topics at a first connection only: one that was hidden from it must not pass for the first. When one of two that
/// were shown goes, the other passes for a first one, so that they are told again.
#[test]
fn a_connection_made_as_a_guest_does_not_count_when_the_guest_is_a_member() {
    let admission = admission();
    let mut recorder = MembersOnly::new(Recorder::default(), admission.clone(), Arc::new(Clock::start()));
    assert!(!connect(&mut recorder, 1, STRANGER, 0));
    admission.set_roll(Roll { members: [device(STRANGER)].into(), has_workspace: true, ..Roll::default() });
    assert!(connect(&mut recorder, 2, STRANGER, 1));
    assert!(connect(&mut recorder, 3, STRANGER, 2));
    disconnect(&mut recorder, 1, STRANGER, 2);
    disconnect(&mut recorder, 3, STRANGER, 1);
    disconnect(&mut recorder, 2, STRANGER, 0);
    assert_eq!((&recorder.inner.others[..], &recorder.inner.left[..]), (&[0, 1, 0][..], &[1, 0][..]));
}

#[test]
fn a_connection_that_was_judged_and_failed_is_forgotten() {
    let mut recorder = MembersOnly::new(Recorder::default(), admission(), Arc::new(Clock::start()));
    let nowhere = Multiaddr::empty();
    assert!(recorder.handle_established_inbound_connection(id(1), peer(MEMBER), &nowhere, &nowhere).is_ok());
    fail(&mut recorder, 1);
    assert!(recorder.judged.is_empty() && recorder.shown.is_empty());
}

/// All that is spoken, of a device that takes so many connections.
fn whole(admission: &Admission, connections_max: u32) -> Behaviour {
    let options = NetOptions {
        key: KeyPair::from_seed(&[9; 32]),
        listen: Vec::new(),
        announce: Vec::new(),
        peers: Vec::new(),
        carriers: Vec::new(),
        mdns: false,
        explicit_only: true,
        connections_max,
        book: None,
        seed: 9,
    };
    let key = keypair(&options.key);
    let (_, relay) = libp2p::relay::client::new(key.public().to_peer_id());
    Behaviour::new(&key, relay, &options, (admission, &Arc::new(Clock::start()))).unwrap()
}

/// Makes a connection, as the swarm does. Answers whether it was taken.
fn enter(behaviour: &mut Behaviour, number: usize, seed: u8) -> bool {
    let nowhere = Multiaddr::empty();
    let taken = behaviour.handle_established_inbound_connection(id(number), peer(seed), &nowhere, &nowhere).is_ok();
    if taken {
        let endpoint = point();
        behaviour.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
            peer_id: peer(seed),
            connection_id: id(number),
            endpoint: &endpoint,
            failed_addresses: &[],
            other_established: 0,
        }));
    }
    taken
}

/// Behaviours are asked in turn until one denies. Gossipsub takes note of a connection when it is asked (rust-libp2p#4773), so whatever may
/// deny is asked before it.
#[test]
fn gossip_never_hears_of_a_connection_that_is_refused() {
    let admission = Admission::default();
    let mut behaviour = whole(&admission, 1);
    assert!(!enter(&mut behaviour, 1, STRANGER));
    assert!(behaviour.gossip.judged.is_empty(), "refused by the gate");
    admission.set_roll(Roll { members: [device(MEMBER), device(STRANGER)].into(), has_workspace: true, ..Roll::default() });
    assert!(enter(&mut behaviour, 2, MEMBER));
    assert!(!enter(&mut behaviour, 3, STRANGER));
    assert!(behaviour.gossip.judged.is_empty(), "refused by the bound on connections");
    assert_eq!(behaviour.gossip.shown.keys().copied().collect::<Vec<_>>(), [peer(MEMBER)]);
}
