//! The directory: where members can be reached now, for members.
//!
//! Addresses come from the devices themselves, hold for minutes, and are hints: whoever dials one proves by libp2p's handshake that it is
//! the device.

use std::net::IpAddr;

use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use nodespace_protocol::ids::DeviceId;

use crate::refusal::Refusal;
use crate::store::addresses::{self, AddressRow};
use crate::store::{Database, StoreError};

/// The most addresses of one device; more are refused.
pub const ADDRESSES_MAX: usize = 16;
/// The longest address, in bytes.
pub const ADDRESS_BYTES_MAX: usize = 256;
/// How long an announcement holds unless it says, and at most, in seconds: as long as a device may be silent.
const SECONDS_DEFAULT: u32 = 300;
const SECONDS_MAX: u32 = 3_600;

/// Members' addresses.
#[derive(Clone, Debug)]
pub struct Directory {
    database: Database,
    /// Whether addresses that only this machine can use are kept: when the relay serves only this machine.
    keep_loopback: bool,
}

/// What was kept of an announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The addresses others will see.
    pub addresses: Vec<String>,
    /// For how long, in seconds.
    pub seconds: u32,
}

impl Directory {
    /// A directory in a database. `served_on` is where the relay listens.
    #[must_use]
    pub const fn new(database: Database, served_on: IpAddr) -> Self {
        Self { database, keep_loopback: served_on.is_loopback() }
    }

    /// Replaces a device's addresses. Those that nobody else could use are left out.
    ///
    /// # Errors
    /// When one is no multiaddress, there are too many, or the database fails.
    pub async fn announce(&self, workspace: i64, device: &DeviceId, sent: &[String], seconds: Option<u32>) -> Result<Kept, Refusal> {
        if sent.len() > ADDRESSES_MAX {
            return Err(Refusal::too_large("too_many_addresses", format!("a device has at most {ADDRESSES_MAX} addresses")));
        }
        let mut kept = Vec::with_capacity(sent.len());
        for text in sent {
            let address = parse(text)?;
            if usable(&address, self.keep_loopback) {
                kept.push(address.to_string());
            }
        }
        let seconds = seconds.unwrap_or(SECONDS_DEFAULT).clamp(1, SECONDS_MAX);
        self.database.within(addresses::write(self.database.write(), workspace, device, &kept, seconds)).await?;
        Ok(Kept { addresses: kept, seconds })
    }

    /// The addresses of all members that hold now.
    pub(crate) async fn list(&self, workspace: i64) -> Result<Vec<AddressRow>, StoreError> {
        self.database.within(addresses::read(self.database.read(), workspace)).await
    }
}

/// Reads an address as it is sent.
///
/// # Errors
/// When it is too long or no multiaddress.
pub fn parse(text: &str) -> Result<Multiaddr, Refusal> {
    let bad = || Refusal::bad_request("bad_address", "an address is a multiaddress of at most 256 bytes, such as /ip4/192.0.2.1/tcp/4001");
    if text.len() > ADDRESS_BYTES_MAX {
        return Err(bad());
    }
    text.parse().map_err(|_| bad())
}

/// Whether somebody else could reach it. Private addresses stay: members may share a network.
fn usable(address: &Multiaddr, keep_loopback: bool) -> bool {
    let reachable = |ip: IpAddr| {
        let link_local = match ip {
            IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        };
        !ip.is_unspecified() && !ip.is_multicast() && !link_local && (keep_loopback || !ip.is_loopback())
    };
    let mut parts = address.iter().peekable();
    parts.peek().is_some()
        && parts.all(|part| match part {
            Protocol::Ip4(ip) => reachable(ip.into()),
            Protocol::Ip6(ip) => reachable(ip.to_canonical()),
            _ => true,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_else_can_use_is_left_out() {
        let usable = |text: &str, loopback| usable(&parse(text).unwrap(), loopback);
        for good in ["/ip4/192.168.1.2/tcp/4001", "/dns4/example.org/udp/1/quic-v1", "/ip6/2001:db8::1/tcp/1"] {
            assert!(usable(good, false), "{good}");
        }
        for bad in ["/ip4/127.0.0.1/tcp/1", "/ip4/0.0.0.0/tcp/1", "/ip6/fe80::1/tcp/1", "/ip6/::1/tcp/1", "/ip4/169.254.0.1/tcp/1"] {
            assert!(!usable(bad, false), "{bad}");
        }
        assert!(usable("/ip4/127.0.0.1/tcp/1", true) && !usable("/ip4/0.0.0.0/tcp/1", true));
        for none in ["hello", "/ip4/1.2.3/tcp/1", "'; DROP TABLE addresses; --", &format!("/dns4/{}", "a".repeat(300))] {
            assert_eq!(parse(none).unwrap_err().code, "bad_address");
        }
    }
}
