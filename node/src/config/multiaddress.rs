//! Multiaddresses, checked when they are given: a mistake is told by the line it stands in, not by a log an hour later.

use std::net::SocketAddr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

use crate::net::address::{foreign_key, is_over_tcp, split_peer};
use crate::net::device_of;

/// Whether a text is an address that can be listened on: an IP address and a TCP port, or a UDP port with QUIC. Answers it as it was given.
pub(super) fn check_listen_address(text: &str) -> Result<String, String> {
    const EXAMPLES: &str = "write it like /ip4/0.0.0.0/tcp/4100 or /ip4/0.0.0.0/udp/4100/quic-v1";
    let address = parse(text, EXAMPLES)?;
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    let fits = matches!(
        parts.as_slice(),
        [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(_)] | [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Udp(_), Protocol::QuicV1]
    );
    if fits { Ok(text.to_owned()) } else { Err(format!("`{text}` cannot be listened on; {EXAMPLES}")) }
}

/// Whether a text is an address that can be dialled: a host (an IP address or a name), a port, and what follows. Answers it without white
/// space around it.
///
/// # Errors
/// When it is none, with words that say how one looks, or of one link alone: what stands in a multiaddress of the interface is dropped.
pub fn check_dial_address(text: &str) -> Result<String, String> {
    const EXAMPLES: &str = "write it like /ip4/192.0.2.7/tcp/4100 or /dns4/home.example.org/udp/4100/quic-v1";
    let text = text.trim();
    let address = parse(text, EXAMPLES)?;
    let mut parts = address.iter();
    let host = parts.next();
    if matches!(host, Some(Protocol::Ip6(ip)) if ip.is_unicast_link_local()) {
        return Err(of_one_link(text));
    }
    let is_host = matches!(
        host,
        Some(Protocol::Ip4(_) | Protocol::Ip6(_) | Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_))
    );
    let has_port = match parts.next() {
        Some(Protocol::Tcp(port)) => port != 0,
        Some(Protocol::Udp(port)) => port != 0 && matches!(parts.next(), Some(Protocol::QuicV1)),
        _ => matches!(host, Some(Protocol::Dnsaddr(_))),
    };
    if is_host && has_port { Ok(text.to_owned()) } else { Err(format!("`{text}` cannot be dialled; {EXAMPLES}")) }
}

/// Whether a text is the address of a peer: one that can be dialled, and says which device is there, or can be asked. Answers it without white
/// space around it.
pub(super) fn check_peer_address(text: &str) -> Result<String, String> {
    let text = check_dial_address(text)?;
    let address = text.parse::<Multiaddr>().map_err(|error| format!("`{text}` is no multiaddress ({error})"))?;
    match split_peer(&address) {
        Some((_, peer)) if device_of(&peer).is_none() => Err(foreign_key(&text)),
        None if !is_over_tcp(&address) => Err(format!(
            "`{text}` does not say who is there, and only over TCP it can be asked: add /p2p/ and the peer id that `nodespace peers` shows on \
             that device"
        )),
        _ => Ok(text),
    }
}

/// Reads an address to dial as people give it: a multiaddress, or a host and a TCP port with a colon between them. Answers the multiaddress.
///
/// # Errors
/// When it is neither, or of one link alone; see [`check_dial_address`].
pub fn read_dial_address(text: &str) -> Result<String, String> {
    if is_of_one_link(text.trim()) {
        return Err(of_one_link(text));
    }
    let expanded = of_host_and_port(text.trim());
    check_dial_address(expanded.as_deref().unwrap_or(text))
}

/// Whether it is a link-local IPv6 address and a port, with the interface behind a `%` or without: a multiaddress has a place for the
/// interface, and libp2p's transports drop it.
fn is_of_one_link(text: &str) -> bool {
    let names_interface = text.starts_with('[') && text.contains('%');
    names_interface || matches!(text.parse::<SocketAddr>(), Ok(SocketAddr::V6(socket)) if socket.ip().is_unicast_link_local())
}

fn of_one_link(text: &str) -> String {
    format!(
        "`{text}` leads somewhere only together with a network interface, which libp2p cannot be told; give another address of that device, or \
         have it found by multicast (`network.mdns`)"
    )
}

/// What `192.0.2.7:4100`, `[2001:db8::1]:4100` or `home.example.org:4100` is as a multiaddress.
fn of_host_and_port(text: &str) -> Option<String> {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        let kind = if socket.is_ipv4() { "ip4" } else { "ip6" };
        return Some(format!("/{kind}/{}/tcp/{}", socket.ip(), socket.port()));
    }
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let fits = host.chars().all(|character| character.is_ascii_alphanumeric() || matches!(character, '-' | '.'));
    // The last part of a name is never a number: what looks so is an IP address with a mistake in it.
    let is_name = host.rsplit('.').next().is_some_and(|last| last.chars().any(|character| character.is_ascii_alphabetic()));
    (fits && is_name).then(|| format!("/dns/{host}/tcp/{port}"))
}

fn parse(text: &str, examples: &str) -> Result<Multiaddr, String> {
    text.parse().map_err(|error| format!("`{text}` is no multiaddress ({error}); {examples}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_on_are_told_from_others() {
        for good in ["/ip4/127.0.0.1/tcp/0", "/ip6/::/udp/0/quic-v1"] {
            assert_eq!(check_listen_address(good).as_deref(), Ok(good));
        }
        for bad in
            ["", "4100", "127.0.0.1:4100", "/ip4/1.2.3/tcp/1", "/ip4/0.0.0.0/udp/0", "/dns4/example.org/tcp/1", "/ip4/0.0.0.0/tcp/70000"]
        {
            let refused = check_listen_address(bad).unwrap_err();
            assert!(refused.contains(&format!("`{bad}`")) && refused.contains("/ip4/"), "{refused}");
        }
    }

    #[test]
    fn addresses_to_dial_are_told_from_others() {
        let peer = "/ip4/192.0.2.7/tcp/4100/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        for good in [peer, "/dns4/home.example.org/udp/4100/quic-v1", "/ip6/::1/tcp/1", "/dnsaddr/example.org"] {
            assert_eq!(check_dial_address(good).as_deref(), Ok(good));
        }
        assert_eq!(check_dial_address(" /ip6/::1/tcp/1\n").as_deref(), Ok("/ip6/::1/tcp/1"));
        for bad in ["", "example.org", "/ip4/192.0.2.7", "/ip4/192.0.2.7/tcp/0", "/ip4/192.0.2.7/udp/4100", "/tcp/4100", "/unix/a"] {
            assert!(check_dial_address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn peers_say_who_they_are_or_can_be_asked() {
        let peer = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let quic = "/ip4/192.0.2.7/udp/4100/quic-v1";
        for good in ["/dns4/home.example.org/tcp/4100", &format!("{quic}/p2p/{peer}"), &format!("/ip6/::1/tcp/1/p2p/{peer}")] {
            assert_eq!(check_peer_address(good).as_deref(), Ok(good));
        }
        for (bad, why) in [
            (quic, "nodespace peers"),
            ("/dnsaddr/example.org", "nodespace peers"),
            ("/ip4/192.0.2.7/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N", "Ed25519"),
            ("/ip4/192.0.2.7/tcp/0", "cannot be dialled"),
        ] {
            let refused = check_peer_address(bad).unwrap_err();
            assert!(refused.contains(why), "{bad}: {refused}");
        }
    }

    #[test]
    fn a_host_and_a_port_are_an_address_over_tcp() {
        for (given, read) in [
            ("192.0.2.7:4100", "/ip4/192.0.2.7/tcp/4100"),
            (" [2001:db8::1]:4100 ", "/ip6/2001:db8::1/tcp/4100"),
            ("localhost:1", "/dns/localhost/tcp/1"),
            ("home.example.org:65535", "/dns/home.example.org/tcp/65535"),
            (" /ip4/192.0.2.7/tcp/4100", "/ip4/192.0.2.7/tcp/4100"),
        ] {
            assert_eq!(read_dial_address(given).as_deref(), Ok(read), "{given}");
        }
        for bad in ["", ":1", "192.0.2.7", "192.0.2.7:0", "192.0.2.999:1", "a:b", "a:70000", "a b:1", "http://a:1", "2001:db8::1:4100"] {
            let refused = read_dial_address(bad).unwrap_err();
            assert!(refused.contains("/ip4/"), "{bad}: {refused}");
        }
    }

    #[test]
    fn an_address_of_one_link_is_refused_with_words() {
        for bad in ["[fe80::1%2]:4100", " [fe80::1%eth0]:4100", "[fe80::1]:4100"] {
            let refused = read_dial_address(bad).unwrap_err();
            assert!(refused.contains(bad) && refused.contains("interface"), "{bad}: {refused}");
        }
        let peer = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        for bad in ["/ip6/fe80::1/tcp/4100", "/ip6/febf::1/udp/4100/quic-v1", &format!("/ip6/fe80::1/tcp/4100/p2p/{peer}")] {
            for refused in [check_dial_address(bad), check_peer_address(bad), read_dial_address(bad)] {
                let refused = refused.unwrap_err();
                assert!(refused.contains(bad) && refused.contains("interface"), "{bad}: {refused}");
            }
        }
    }
}
