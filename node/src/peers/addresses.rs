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

use crate::model::{ErrorCode, ServiceError};
use crate::net::address::Source;
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

/// Reads a peer's address as people write it.
pub(super) fn parse(text: &str) -> Result<(DeviceId, Multiaddr), ServiceError> {
    let invalid = |why: String| ServiceError::new(ErrorCode::InvalidValue, why);
    let address: Multiaddr = text.parse().map_err(|error| invalid(format!("`{text}` is no multiaddress: {error}")))?;
    let (address, peer) = crate::net::address::split_peer(&address).ok_or_else(|| {
        invalid(format!("`{text}` does not say who is there: add /p2p/ and the peer id that `nodespace peers` shows on that device"))
    })?;
    let device =
        device_of(&peer).ok_or_else(|| invalid(format!("`{text}` names a peer whose key is not an Ed25519 key: no NodeSpace device")))?;
    Ok((device, address))
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
        let mut bytes = Vec::new();
        // Writing to memory does not fail.
        ciborium::into_writer(&told, &mut bytes).unwrap_or_default();
        bytes
    }

    async fn take(&self, frame: &[u8]) {
        let told: Vec<Told> = match ciborium::de::from_reader_with_recursion_limit(frame, 8) {
            Ok(told) => told,
            Err(_) => {
                self.net.metrics().refused("malformed_addresses", &self.peer.short());
                return;
            }
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
}
