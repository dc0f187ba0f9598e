//! The door: refuses connections before any other behaviour hears of them, and keeps gossip away from those who are no members.
//!
//! [`Gate`] stands first in the swarm's behaviour, since others change their state before a later one can deny (rust-libp2p#4773). It also
//! bounds how many of the connections that are being made come from one place: those have no name yet; and how many guests do.
//! [`MembersOnly`] wraps gossipsub: gossipsub tells everybody who connects its topics and sends to everybody who claims one, so a
//! connection that was made by a guest gets no handler of it at all. A guest that becomes a member connects anew. It also has gossipsub say
//! again what is said once, where that may be lost: [`MembersOnly::tell_again`].

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use either::Either;
use libp2p::core::transport::PortUse;
use libp2p::core::{ConnectedPoint, Endpoint};
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use super::address::place_of;
use super::admission::{Admission, Refused, Standing};
use super::clock::Clock;
use super::identity::device_of;

/// Somebody was refused at the door.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turned {
    /// Who, when it has a name.
    pub(super) peer: PeerId,
    /// Why.
    pub(super) why: Refused,
}

/// Refused peers that wait to be told of; beyond it they are only refused.
const TURNED_MAX: usize = 256;

/// Handshakes of others under way at one time; more are refused.
pub(super) const PENDING_MAX: usize = 64;

/// Connections from one place that are being made at one time; more are refused. Enough for eight devices on one machine that all connect
/// anew.
const PENDING_OF_ONE_PLACE_MAX: usize = 24;

/// How many may be being made from one place, when so many are from all. Half of the door is for those who have none under way: a few
/// addresses fill the first half and get one place each of the second, so it takes more than thirty to keep another out. Nothing that began
/// is ended for another: that the swarm cannot do, and it ends by itself when the handshake takes too long.
const fn share_of_one_place(pending: usize) -> usize {
    if pending < PENDING_MAX / 2 { PENDING_OF_ONE_PLACE_MAX } else { 1 }
}

/// Others from the same place are being connected.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("too many connections are being made from there")]
struct Crowded;

/// Refuses whoever may not be connected.
#[derive(Debug)]
pub(super) struct Gate {
    admission: Admission,
    clock: Arc<Clock>,
    turned: VecDeque<Turned>,
    /// Connections that others are making, and from where.
    pending: BTreeMap<ConnectionId, IpAddr>,
}

impl Gate {
    pub(super) const fn new(admission: Admission, clock: Arc<Clock>) -> Self {
        Self { admission, clock, turned: VecDeque::new(), pending: BTreeMap::new() }
    }

    fn judge(&mut self, peer: PeerId, from: Option<IpAddr>) -> Result<(), ConnectionDenied> {
        let judge = |device| self.admission.judge_from(&device, from, self.clock.now_ms());
        let standing = device_of(&peer).ok_or(Refused::ForeignKey).and_then(judge);
        standing.map(drop).map_err(|why| {
            if self.turned.len() < TURNED_MAX {
                self.turned.push_back(Turned { peer, why });
            }
            ConnectionDenied::new(why)
        })
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Turned;

    fn handle_pending_inbound_connection(&mut self, id: ConnectionId, _: &Multiaddr, remote: &Multiaddr) -> Result<(), ConnectionDenied> {
        let Some(place) = place_of(remote) else { return Ok(()) };
        let from_there = self.pending.values().filter(|other| **other == place).count();
        if from_there >= share_of_one_place(self.pending.len()) {
            return Err(ConnectionDenied::new(Crowded));
        }
        self.pending.insert(id, place);
        Ok(())
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.pending.remove(&id);
        self.judge(peer, place_of(remote)).map(|()| dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.judge(peer, None).map(|()| dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        // Also when another behaviour denied it.
        if let FromSwarm::ListenFailure(failure) = event {
            self.pending.remove(&failure.connection_id);
        }
    }

    fn on_connection_handler_event(&mut self, _: PeerId, _: ConnectionId, event: THandlerOutEvent<Self>) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        // A refusal is always followed by an event of the swarm, which polls again: nobody needs to be woken.
        self.turned.pop_front().map_or(Poll::Pending, |turned| Poll::Ready(ToSwarm::GenerateEvent(turned)))
    }
}

/// A behaviour that exists for members only.
#[derive(Debug)]
pub(super) struct MembersOnly<B> {
    pub(super) inner: B,
    admission: Admission,
    clock: Arc<Clock>,
    /// Connections that the behaviour knows, by peer.
    shown: HashMap<PeerId, Vec<ConnectionId>>,
    /// Connections that were judged and are not established yet.
    judged: BTreeMap<ConnectionId, bool>,
}

impl<B> MembersOnly<B> {
    pub(super) fn new(inner: B, admission: Admission, clock: Arc<Clock>) -> Self {
        Self { inner, admission, clock, shown: HashMap::new(), judged: BTreeMap::new() }
    }

    fn is_member(&mut self, id: ConnectionId, peer: &PeerId) -> bool {
        let standing = device_of(peer).map(|device| self.admission.judge(&device, self.clock.now_ms()));
        let member = matches!(standing, Some(Ok(Standing::Member)));
        self.judged.insert(id, member);
        member
    }

    /// Whether the behaviour has a part in a connection.
    pub(super) fn is_shown(&self, peer: &PeerId, id: ConnectionId) -> bool {
        self.shown.get(peer).is_some_and(|ids| ids.contains(&id))
    }
}

impl<B: NetworkBehaviour> MembersOnly<B> {
    /// One of several connections to a peer has ended here. At the other end it may have ended before the next one was made: then the
    /// peer has forgotten our topics, and takes for its first connection one that was not the first here, so nobody tells them over it. Or
    /// they were on their way by the one that ended. So they are told once more; what the peer knows already changes nothing there.
    ///
    /// Gossipsub cannot be asked for that. At a first connection it tells its topics and does nothing else, as long as peers get no
    /// scores; so it is told that the one that stays is a first one. What it says waits for all connections to the peer together, ahead
    /// of any message, and the one that ended takes nothing any more. One that stays and never sent anything looks there when something
    /// comes over it, which is a ping at the latest.
    fn tell_again(&mut self, peer_id: PeerId, connection_id: ConnectionId, endpoint: &ConnectedPoint) {
        let again = ConnectionEstablished { peer_id, connection_id, endpoint, failed_addresses: &[], other_established: 0 };
        self.inner.on_swarm_event(FromSwarm::ConnectionEstablished(again));
    }

    fn on_closed(&mut self, closed: ConnectionClosed<'_>) {
        let Some(ids) = self.shown.get_mut(&closed.peer_id) else { return };
        let before = ids.len();
        ids.retain(|id| *id != closed.connection_id);
        let (remaining_established, stays) = (ids.len(), ids.last().copied());
        if remaining_established == before {
            return;
        }
        if stays.is_none() {
            self.shown.remove(&closed.peer_id);
        }
        self.inner.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed { remaining_established, ..closed }));
        if let Some(stays) = stays {
            // Where the other end is, gossipsub asks for scores alone.
            self.tell_again(closed.peer_id, stays, closed.endpoint);
        }
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for MembersOnly<B> {
    type ConnectionHandler = Either<THandler<B>, dummy::ConnectionHandler>;
    type ToSwarm = B::ToSwarm;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        self.inner.handle_pending_inbound_connection(id, local, remote)
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if !self.is_member(id, &peer) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        self.inner.handle_established_inbound_connection(id, peer, local, remote).map(Either::Left)
    }

    fn handle_pending_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: Option<PeerId>,
        addresses: &[Multiaddr],
        role: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
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
        if !self.is_member(id, &peer) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        self.inner.handle_established_outbound_connection(id, peer, address, role, port).map(Either::Left)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(established) => {
                if self.judged.remove(&established.connection_id) != Some(true) {
                    return;
                }
                let ids = self.shown.entry(established.peer_id).or_default();
                // What gossipsub does at a first connection it must also do when the first one was hidden from it.
                let other_established = ids.len();
                ids.push(established.connection_id);
                self.inner.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished { other_established, ..established }));
            }
            FromSwarm::ConnectionClosed(closed) => self.on_closed(closed),
            FromSwarm::AddressChange(change) if !self.is_shown(&change.peer_id, change.connection_id) => {}
            FromSwarm::ListenFailure(failure) => {
                self.judged.remove(&failure.connection_id);
                self.inner.on_swarm_event(FromSwarm::ListenFailure(failure));
            }
            FromSwarm::DialFailure(failure) => {
                self.judged.remove(&failure.connection_id);
                self.inner.on_swarm_event(FromSwarm::DialFailure(failure));
            }
            other => self.inner.on_swarm_event(other),
        }
    }

    fn on_connection_handler_event(&mut self, peer: PeerId, id: ConnectionId, event: THandlerOutEvent<Self>) {
        let none = |never: Infallible| match never {};
        match event {
            Either::Left(event) => self.inner.on_connection_handler_event(peer, id, event),
            Either::Right(event) => none(event),
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(cx).map(|to_swarm| to_swarm.map_in(Either::Left))
    }
}

#[cfg(test)]
mod tests;
