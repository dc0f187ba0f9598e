//! Members tell each other where members are, so that whoever knows one of them finds the others.
//!
//! On the first connection the device with the lower id opens a stream; each side sends one frame, a CBOR array of
//! `[device (32 bytes), [multiaddress ...]]`, with at most [`DEVICES_MAX`] devices of workspaces that both are members of. What comes is a
//! candidate like any other: it is dialled only for devices that are members here.

use std::collections::BTreeSet;
use std::time::Duration;

use nodespace_protocol::ids::DeviceId;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::cbor;
use crate::model::{ErrorCode, ServiceError};
use crate::net::address::{Source, foreign_key, is_over_tcp, split_peer};
use crate::net::frames::{read_frame, write_frame};
use crate::net::{Multiaddr, NetHandle, Stream, device_of};

/// The most devices that are told of.
const DEVICES_MAX: usize = 128;
/// The most addresses of each.
const ADDRESSES_MAX: usize = 8;
/// The largest frame.
const FRAME_BYTES_MAX: usize = 256 * 1024;
/// How long the exchange may take.
const TIME_MAX: Duration = Duration::from_secs(20);

/// How somebody says who is at an address.
const ADD_PEER: &str = "add /p2p/ and the peer id that `nodespace peers` shows on that device";

/// A device and where it is.
#[derive(Debug, Serialize, Deserialize)]
struct Told(#[serde(with = "serde_bytes")] Vec<u8>, Vec<String>);

/// What an exchange needs.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) net: NetHandle,
    /// The peer.
    pub(super) peer: DeviceId,
    /// Members of workspaces that the peer is a member of too.
    pub(super) shared: BTreeSet<DeviceId>,
    /// Whether the peer is on this machine.
    pub(super) near: bool,
}

/// A peer's address as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It says who is there.
    Named(DeviceId, Multiaddr),
    /// It does not: whoever answers there is meant, over TCP.
    Nameless(Multiaddr),
}

/// Reads an address that may leave out who is there. `text` was checked to be one that can be dialled.
pub(super) fn read(text: &str) -> Result<Written, ServiceError> {
    let address = multiaddress(text)?;
    if split_peer(&address).is_some() {
        return parse(text).map(|(device, address)| Written::Named(device, address));
    }
    if !is_over_tcp(&address) {
        return Err(invalid(format!("`{text}` does not say who is there, and only over TCP it can be asked: {ADD_PEER}")));
    }
    Ok(Written::Nameless(address))
}

/// Reads an address that says who is there.
pub(super) fn parse(text: &str) -> Result<(DeviceId, Multiaddr), ServiceError> {
    let address = multiaddress(text)?;
    let (address, peer) = split_peer(&address).ok_or_else(|| invalid(format!("`{text}` does not say who is there: {ADD_PEER}")))?;
    let device = device_of(&peer).ok_or_else(|| invalid(foreign_key(text)))?;
    Ok((device, address))
}

fn multiaddress(text: &str) -> Result<Multiaddr, ServiceError> {
    text.parse().map_err(|error| invalid(format!("`{text}` is no multiaddress: {error}")))
}

fn invalid(why: String) -> ServiceError {
    ServiceError::new(ErrorCode::InvalidValue, why)
}

impl Exchange {
    /// Tells and listens, in the order that keeps both from waiting for each other.
    pub(super) async fn run(self, mut stream: Stream, first: bool) {
        let exchanged = async {
            let ours = self.ours().await;
            if first {
                write_frame(&mut stream, &ours).await?;
            }
            let theirs = read_frame(&mut stream, FRAME_BYTES_MAX).await?;
            if !first {
                write_frame(&mut stream, &ours).await?;
            }
            Ok::<_, crate::net::frames::FrameError>(theirs)
        };
        match timeout(TIME_MAX, exchanged).await {
            Ok(Ok(theirs)) => self.take(&theirs).await,
            Ok(Err(error)) => tracing::debug!(device = %self.peer.short(), %error, "addresses were not exchanged"),
            Err(_) => tracing::debug!(device = %self.peer.short(), "addresses were not exchanged in time"),
        }
    }

    async fn ours(&self) -> Vec<u8> {
        let known = self.net.addresses().await;
        let told = |(device, addresses): (DeviceId, Vec<Multiaddr>)| {
            Told(device.0.to_vec(), addresses.iter().take(ADDRESSES_MAX).map(ToString::to_string).collect())
        };
        let shared = known.into_iter().filter(|(device, _)| self.shared.contains(device) && *device != self.peer);
        let told: Vec<Told> = shared.take(DEVICES_MAX).map(told).collect();
        cbor::encode(&told)
    }

    async fn take(&self, frame: &[u8]) {
        let Some(told) = cbor::decode::<Vec<Told>>(frame) else {
            return self.net.metrics().refused("malformed_addresses", &self.peer.short());
        };
        for Told(device, addresses) in told.into_iter().take(DEVICES_MAX) {
            let Some(device) = device.try_into().ok().map(DeviceId).filter(|device| self.shared.contains(device)) else { continue };
            let addresses: Vec<Multiaddr> = addresses.iter().take(ADDRESSES_MAX).filter_map(|text| text.parse().ok()).collect();
            self.net.learn(device, addresses, Source::Member, self.near).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_names_nobody_is_refused_with_words() {
        let refused = |text: &str| parse(text).unwrap_err().to_string();
        assert!(refused("hello").contains("no multiaddress"));
        assert!(refused("/ip4/192.0.2.1/tcp/1").contains("/p2p/"));
        let hashed = "/ip4/192.0.2.1/tcp/1/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N";
        assert!(refused(hashed).contains("Ed25519"));
    }

    #[test]
    fn who_is_there_may_be_left_out_where_it_can_be_asked() {
        let tcp = "/ip4/192.0.2.1/tcp/1";
        assert_eq!(read(tcp).unwrap(), Written::Nameless(tcp.parse().unwrap()));
        let peer = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        let device = device_of(&peer.parse().unwrap()).unwrap();
        assert_eq!(read(&format!("{tcp}/p2p/{peer}")).unwrap(), Written::Named(device, tcp.parse().unwrap()));
        for nobody in ["/ip4/192.0.2.1/udp/1/quic-v1", &format!("{tcp}/p2p/{peer}/p2p-circuit")] {
            assert!(read(nobody).unwrap_err().to_string().contains("nodespace peers"), "{nobody}");
        }
    }
}
