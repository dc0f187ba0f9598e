//! Which addresses are worth dialling. Pure.
//!
//! What a peer says of itself, or what multicast says of anybody, is a hint: unspecified addresses are nobody's, a loopback address is good
//! only from somebody who is on this machine too, a link-local one only from this link.

use std::net::{IpAddr, Ipv6Addr};

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

/// What stands before a peer's name: at the end of an address, or alone.
pub const NAME: &str = "/p2p/";

/// An address with the name of the peer that is there at its end, where it has that not yet. Of no address it is the name alone.
pub fn named(address: &str, peer: &str) -> String {
    let name = format!("{NAME}{peer}");
    if address.ends_with(&name) { address.to_owned() } else { format!("{address}{name}") }
}

/// Whether an address is a name alone: it says who, and not where.
pub fn is_name(address: &str) -> bool {
    address.starts_with(NAME)
}

/// Why an address is refused that names a peer whose key is of another kind than devices have.
pub fn foreign_key(address: &str) -> String {
    format!("`{address}` names a peer whose key is not an Ed25519 key: no NodeSpace device")
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

/// Where a connection comes from, as far as it is counted; by IPv6 the network of 64 bits, which is one customer's with all its addresses.
/// One through a circuit relay shows no address and is not counted: the relay knows who it is, and bounds by itself what it carries.
pub fn place_of(remote: &Multiaddr) -> Option<IpAddr> {
    if is_relayed(remote) {
        return None;
    }
    remote.iter().find_map(|part| match part {
        Protocol::Ip4(ip) => Some(IpAddr::V4(ip)),
        Protocol::Ip6(ip) => Some(match ip.to_canonical() {
            IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
            mapped => mapped,
        }),
        _ => None,
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
    fn a_name_is_put_at_the_end_once() {
        assert_eq!(named("/ip4/192.0.2.1/tcp/4001", "12D3"), "/ip4/192.0.2.1/tcp/4001/p2p/12D3");
        assert_eq!(named("/ip4/192.0.2.1/tcp/4001/p2p/12D3", "12D3"), "/ip4/192.0.2.1/tcp/4001/p2p/12D3");
        assert!(is_name(&named("", "12D3")) && !is_name("/ip4/192.0.2.1/tcp/4001/p2p/12D3"));
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
