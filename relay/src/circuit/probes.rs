//! Tells devices whether they can be reached from outside (AutoNAT v2): the relay connects to the address that a device asks about.
//!
//! Members only. What anybody else asks is dropped, and answered as an internal error: a device asks again after one, so a member that
//! asked before it was looked up loses nothing. Nor does the relay connect wherever it is told to: a member could look around with it in
//! the network that it stands in.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::task::{Context, Poll};

use libp2p::autonat::v2::server;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{
    CloseConnection, ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

use super::Guests;

/// What became of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probed {
    /// It was answered, one way or the other.
    Answered,
    /// It was asked by somebody who is no member.
    Denied,
}

impl Probed {
    /// The word for it in metrics.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Answered => "probe",
            Self::Denied => "probe_denied",
        }
    }
}

/// AutoNAT's server, for members.
pub(super) struct Probes {
    inner: server::Behaviour,
    guests: Guests,
    /// Connections that were made to find out, by the address: all that the relay makes are.
    made: BTreeMap<ConnectionId, Multiaddr>,
    /// Those of them that have served: a peer may have few connections.
    over: VecDeque<(PeerId, ConnectionId)>,
    denied: VecDeque<Probed>,
}

impl Probes {
    pub(super) fn new(guests: Guests) -> Self {
        let inner = server::Behaviour::default();
        Self { inner, guests, made: BTreeMap::new(), over: VecDeque::new(), denied: VecDeque::new() }
    }

    fn answered(&mut self, event: &server::Event) -> Probed {
        let address = event.tested_addr.clone().with_p2p(event.client).ok();
        if let Some((id, _)) = self.made.iter().find(|(_, made)| Some(*made) == address.as_ref()) {
            self.over.push_back((event.client, *id));
        }
        Probed::Answered
    }
}

/// The address of the internet protocol that an address begins with.
pub(super) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(IpAddr::V6(ip)),
        _ => None,
    }
}

/// Whether the relay connects there for a peer: on the internet at large, or to where the peer itself has come from. A name could lead
/// anywhere.
fn is_allowed(address: &Multiaddr, from: Option<IpAddr>) -> bool {
    ip_of(address).is_some_and(|ip| Some(ip) == from || is_public(ip))
}

/// Whether it is an address of the internet at large.
fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            let of_a_carrier = first == 100 && second & 0xc0 == 64;
            let of_nobody = first == 0 || first >= 224 || ip.is_documentation();
            !(of_nobody || of_a_carrier || ip.is_private() || ip.is_loopback() || ip.is_link_local())
        }
        // All that has been given out, but 6to4: that wraps any IPv4 address.
        IpAddr::V6(ip) => ip.segments()[0] & 0xe000 == 0x2000 && ip.segments()[0] != 0x2002,
    }
}

impl NetworkBehaviour for Probes {
    type ConnectionHandler = THandler<server::Behaviour>;
    type ToSwarm = Probed;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_inbound_connection(id, peer, local, remote)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let from = peer.and_then(|peer| self.guests.came_from(peer));
        if !addresses.iter().all(|address| is_allowed(address, from)) {
            return Err(ConnectionDenied::new("the relay does not connect there for a peer"));
        }
        self.inner.handle_pending_outbound_connection(id, peer, addresses, role)
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner.handle_established_outbound_connection(id, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match &event {
            FromSwarm::ConnectionEstablished(made) if made.endpoint.is_dialer() => {
                self.made.insert(made.connection_id, made.endpoint.get_remote_address().clone());
            }
            FromSwarm::ConnectionClosed(closed) => drop(self.made.remove(&closed.connection_id)),
            _ => {}
        }
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        // To the right is what peers ask: first the question, then how it ended.
        if let Some(asked) = event.as_ref().right()
            && !self.guests.is_member(peer)
        {
            if asked.is_left() {
                self.denied.push_back(Probed::Denied);
            }
            return;
        }
        self.inner.on_connection_handler_event(peer, id, event);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // What waits here follows from an event of the swarm, which polls again after it: nobody needs to be woken.
        if let Some((peer_id, id)) = self.over.pop_front() {
            return Poll::Ready(ToSwarm::CloseConnection { peer_id, connection: CloseConnection::One(id) });
        }
        if let Some(denied) = self.denied.pop_front() {
            return Poll::Ready(ToSwarm::GenerateEvent(denied));
        }
        self.inner.poll(cx).map(|to_swarm| to_swarm.map_out(|event| self.answered(&event)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_connects_to_the_internet_and_back_to_where_a_peer_has_come_from() {
        let allowed = |address: &str, from: Option<&str>| is_allowed(&address.parse().unwrap(), from.map(|from| from.parse().unwrap()));
        for address in ["/ip4/9.9.9.9/tcp/4100", "/ip4/100.128.0.1/udp/1/quic-v1", "/ip6/2a00:1450::1/tcp/4100"] {
            assert!(allowed(address, None), "{address}");
        }
        let inside = [
            "/ip4/127.0.0.1/tcp/5432",
            "/ip4/10.1.2.3/tcp/22",
            "/ip4/192.168.1.1/tcp/80",
            "/ip4/169.254.169.254/tcp/80",
            "/ip4/100.64.0.1/tcp/80",
            "/ip4/0.0.0.0/tcp/80",
            "/ip4/255.255.255.255/udp/1/quic-v1",
            "/ip6/::1/tcp/80",
            "/ip6/fe80::1/tcp/80",
            "/ip6/fd00::1/tcp/80",
            "/ip6/::ffff:10.0.0.1/tcp/80",
            "/ip6/2002:a00:1::1/tcp/80",
            "/dns/localhost/tcp/80",
            "/memory/1",
        ];
        for address in inside {
            assert!(!allowed(address, Some("9.9.9.9")), "{address}");
        }
        assert!(allowed("/ip4/192.168.1.7/tcp/4100", Some("192.168.1.7")), "a device beside the relay");
        assert!(!allowed("/ip4/192.168.1.8/tcp/4100", Some("192.168.1.7")), "and nobody else there");
    }
}
