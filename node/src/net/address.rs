//! Which addresses are worth dialling. Pure.
//!
//! What a peer says of itself, or what multicast says of anybody, is a hint: unspecified addresses are nobody's, a loopback address is good
//! only from somebody who is on this machine too, a link-local one only from this link.

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// The longest address that is kept, in bytes. Longer ones are dropped.
const ADDRESS_BYTES_MAX: usize = 256;

/// Where an address was learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The configuration, or somebody by hand. Never forgotten by itself.
    Explicit,
    /// A ticket.
    Ticket,
    /// It worked before.
    LastGood,
    /// The peer says so itself.
    Identify,
    /// A member, or the relay's directory, says so.
    Member,
    /// Multicast on this network.
    Multicast,
}

/// Splits an address that ends in `/p2p/PEER`; `None` when it does not.
pub fn split_peer(address: &Multiaddr) -> Option<(Multiaddr, PeerId)> {
    let mut address = address.clone();
    match address.pop()? {
        Protocol::P2p(peer) => Some((address, peer)),
        _ => None,
    }
}

/// Whether an address goes through a circuit relay.
pub fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::P2pCircuit))
}

/// Whether an address leads to a TCP port and no further.
pub fn is_over_tcp(address: &Multiaddr) -> bool {
    matches!(address.iter().last(), Some(Protocol::Tcp(_)))
}

/// Whether an address is of this machine.
pub fn is_loopback(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_loopback(),
        Protocol::Ip6(ip) => ip.is_loopback(),
        _ => false,
    })
}

fn is_unspecified(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_unspecified(),
        Protocol::Ip6(ip) => ip.is_unspecified(),
        _ => false,
    })
}

fn is_link_local(address: &Multiaddr) -> bool {
    address.iter().any(|part| match part {
        Protocol::Ip4(ip) => ip.is_link_local(),
        Protocol::Ip6(ip) => ip.is_unicast_link_local(),
        _ => false,
    })
}

fn is_dialable_transport(address: &Multiaddr) -> bool {
    address.iter().any(|part| matches!(part, Protocol::Tcp(port) if port != 0) || matches!(part, Protocol::QuicV1))
}

/// Whether an address from this source is worth a dial; `near` says whether whoever named it is connected from this machine itself.
pub fn is_worth_dialling(address: &Multiaddr, source: Source, near: bool) -> bool {
    if address.len() > ADDRESS_BYTES_MAX || is_unspecified(address) || !is_dialable_transport(address) {
        return false;
    }
    match source {
        Source::Explicit | Source::Ticket | Source::LastGood => true,
        Source::Multicast => !is_loopback(address),
        Source::Identify | Source::Member => (near || !is_loopback(address)) && !is_link_local(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn worth(address: &str, source: Source, near: bool) -> bool {
        is_worth_dialling(&address.parse().unwrap(), source, near)
    }

    #[test]
    fn what_others_say_of_loopback_is_believed_only_on_this_machine() {
        let loopback = "/ip4/127.0.0.1/tcp/4001";
        assert!(worth(loopback, Source::Explicit, false));
        assert!(worth(loopback, Source::Ticket, false));
        assert!(!worth(loopback, Source::Identify, false));
        assert!(worth(loopback, Source::Identify, true));
        assert!(!worth(loopback, Source::Multicast, false));
        assert!(!worth("/ip6/::1/udp/4001/quic-v1", Source::Member, false));
    }

    #[test]
    fn addresses_that_lead_nowhere_are_dropped() {
        for address in ["/ip4/0.0.0.0/tcp/4001", "/ip4/192.0.2.1/tcp/0", "/ip4/192.0.2.1", "/ip4/192.0.2.1/udp/4001"] {
            assert!(!worth(address, Source::Explicit, true), "{address}");
        }
        assert!(!worth("/ip4/169.254.1.1/tcp/4001", Source::Identify, false));
        assert!(worth("/ip4/169.254.1.1/tcp/4001", Source::Multicast, false));
        assert!(worth("/ip4/192.0.2.1/udp/4001/quic-v1", Source::Identify, false));
        assert!(worth("/dns4/relay.example/tcp/4001", Source::Member, false));
    }

    #[test]
    fn a_peer_at_the_end_is_split_off() {
        let peer = PeerId::random();
        let whole: Multiaddr = format!("/ip4/192.0.2.1/tcp/4001/p2p/{peer}").parse().unwrap();
        assert_eq!(split_peer(&whole), Some(("/ip4/192.0.2.1/tcp/4001".parse().unwrap(), peer)));
        assert_eq!(split_peer(&"/ip4/192.0.2.1/tcp/4001".parse().unwrap()), None);
        assert_eq!(split_peer(&Multiaddr::empty()), None);
    }
}
