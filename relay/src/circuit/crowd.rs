//! How many connections there may be from one place: a stranger with one address, and as many keys as he likes, keeps nobody else out.
//!
//! [`connection_limits`](libp2p::connection_limits) knows peers and how many connections there are in all. Those that are being made have no
//! name yet, and a name costs nothing. Stands first among the behaviours: others change their state before a later one can refuse
//! (rust-libp2p#4773).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use super::PENDING_MAX;
use super::probes::ip_of;
use crate::metrics::Metrics;
use crate::neighbourhood::neighbourhood;

/// Connections from one place that are being made at one time; more are refused. Enough for many devices behind one address that all connect
/// anew.
const PENDING_OF_ONE_PLACE_MAX: usize = 24;
/// Connections that are there from one place: one in eight of all.
const OF_ONE_PLACE_MAX: usize = 256;

/// How many may be being made from one place, when so many are from all. Half of the room is for places that have none under way: a few
/// addresses fill the first half and get one each of the second.
const fn share_of_one_place(pending: usize) -> usize {
    if pending < PENDING_MAX as usize / 2 { PENDING_OF_ONE_PLACE_MAX } else { 1 }
}

/// Others from the same place are connected, or being connected.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("too many connections come from there")]
struct Crowded;

/// Refuses whoever comes from a place that many come from.
#[derive(Debug)]
pub(super) struct Crowd {
    /// Connections that others are making, and from where.
    pending: BTreeMap<ConnectionId, IpAddr>,
    /// Those that they have made.
    made: BTreeMap<ConnectionId, IpAddr>,
    metrics: Metrics,
}

impl Crowd {
    pub(super) const fn new(metrics: Metrics) -> Self {
        Self { pending: BTreeMap::new(), made: BTreeMap::new(), metrics }
    }

    fn refuse(&self) -> ConnectionDenied {
        self.metrics.circuit("crowded");
        ConnectionDenied::new(Crowded)
    }
}

/// How many come from a place.
fn count(connections: &BTreeMap<ConnectionId, IpAddr>, place: IpAddr) -> usize {
    connections.values().filter(|other| **other == place).count()
}

/// Where a connection comes from; one that does not come by the internet protocol is not counted.
fn place_of(remote: &Multiaddr) -> Option<IpAddr> {
    ip_of(remote).map(neighbourhood)
}

impl NetworkBehaviour for Crowd {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(&mut self, id: ConnectionId, _: &Multiaddr, remote: &Multiaddr) -> Result<(), ConnectionDenied> {
        let Some(place) = place_of(remote) else { return Ok(()) };
        if count(&self.pending, place) >= share_of_one_place(self.pending.len()) {
            return Err(self.refuse());
        }
        self.pending.insert(id, place);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.pending.remove(&id);
        if let Some(place) = place_of(remote) {
            if count(&self.made, place) >= OF_ONE_PLACE_MAX {
                return Err(self.refuse());
            }
            self.made.insert(id, place);
        }
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
            // Also when another behaviour refused it.
            FromSwarm::ListenFailure(failure) => {
                self.pending.remove(&failure.connection_id);
                self.made.remove(&failure.connection_id);
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.made.remove(&closed.connection_id);
            }
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

#[cfg(test)]
mod tests {
    use libp2p::swarm::ListenError;
    use libp2p::swarm::behaviour::ListenFailure;

    use super::*;

    fn crowd() -> Crowd {
        Crowd::new(Metrics::new())
    }

    /// A connection begins to be made; whether it may.
    fn knock(crowd: &mut Crowd, number: usize, from: &str) -> bool {
        let (id, nowhere) = (ConnectionId::new_unchecked(number), Multiaddr::empty());
        crowd.handle_pending_inbound_connection(id, &nowhere, &from.parse().unwrap()).is_ok()
    }

    /// It has been made; whether it may stay.
    fn enter(crowd: &mut Crowd, number: usize, from: &str) -> bool {
        let (id, nowhere) = (ConnectionId::new_unchecked(number), Multiaddr::empty());
        let peer = libp2p::identity::Keypair::ed25519_from_bytes([7; 32]).unwrap().public().to_peer_id();
        crowd.handle_established_inbound_connection(id, peer, &nowhere, &from.parse().unwrap()).is_ok()
    }

    fn fail(crowd: &mut Crowd, number: usize) {
        let nowhere = Multiaddr::empty();
        let failure = ListenFailure {
            local_addr: &nowhere,
            send_back_addr: &nowhere,
            error: &ListenError::Aborted,
            connection_id: ConnectionId::new_unchecked(number),
            peer_id: None,
        };
        crowd.on_swarm_event(FromSwarm::ListenFailure(failure));
    }

    #[test]
    fn half_open_connections_from_one_place_keep_no_other_out() {
        let mut crowd = crowd();
        let let_in = (0..1_000).filter(|number| knock(&mut crowd, *number, &format!("/ip6/2001:db8::{number:x}/tcp/9"))).count();
        assert_eq!(let_in, PENDING_OF_ONE_PLACE_MAX, "one /64 is one place");
        assert!(knock(&mut crowd, 2_000, "/ip6/2001:db8:0:1::1/udp/9/quic-v1"));
        assert!(knock(&mut crowd, 2_001, "/ip4/192.0.2.1/tcp/9"));
        // What was given up, and what was made, makes room.
        fail(&mut crowd, 0);
        assert!(knock(&mut crowd, 2_002, "/ip6/2001:db8::1/tcp/9") && !knock(&mut crowd, 2_003, "/ip6/2001:db8::1/tcp/9"));
        assert!(enter(&mut crowd, 1, "/ip6/2001:db8::1/tcp/9"));
        assert!(knock(&mut crowd, 2_004, "/ip6/2001:db8::1/tcp/9"));
    }

    #[test]
    fn a_few_places_do_not_take_all_the_room() {
        let mut crowd = crowd();
        let from = |number: usize| format!("/ip4/192.0.2.{}/tcp/9", number % 6);
        let let_in = (0..1_000).filter(|number| knock(&mut crowd, *number, &from(*number))).count();
        assert!(let_in < PENDING_MAX as usize * 3 / 4, "{let_in}");
        assert!(knock(&mut crowd, 2_000, "/ip4/198.51.100.1/tcp/9"));
    }

    #[test]
    fn connections_of_one_place_that_are_there_keep_no_other_out() {
        let mut crowd = crowd();
        let let_in = (0..1_000).filter(|number| enter(&mut crowd, *number, "/ip4/192.0.2.1/tcp/9")).count();
        assert_eq!(let_in, OF_ONE_PLACE_MAX);
        assert!(enter(&mut crowd, 2_000, "/ip4/192.0.2.2/tcp/9"));
        fail(&mut crowd, 0);
        assert!(enter(&mut crowd, 2_001, "/ip4/192.0.2.1/tcp/9"), "one that another behaviour refused has gone");
    }
}
