//! Multiaddresses, checked when they are given: a mistake is told by the line it stands in, not by a log an hour later.

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

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
/// When it is none, with words that say how one looks.
pub fn check_dial_address(text: &str) -> Result<String, String> {
    const EXAMPLES: &str = "write it like /ip4/192.0.2.7/tcp/4100 or /dns4/home.example.org/udp/4100/quic-v1";
    let text = text.trim();
    let address = parse(text, EXAMPLES)?;
    let mut parts = address.iter();
    let host = parts.next();
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
}
