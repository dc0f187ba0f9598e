//! What of the book outlives the program: addresses that worked.

use libp2p::Multiaddr;
use nodespace_protocol::ids::DeviceId;
use serde::{Deserialize, Serialize};

use super::entry::Entry;

/// Addresses kept of one device.
const ADDRESSES_SAVED_MAX: usize = 4;

/// Addresses that worked, by device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPeers {
    /// Each device.
    pub peers: Vec<SavedPeer>,
}

/// A device's addresses that worked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedPeer {
    /// Whose.
    pub device: DeviceId,
    /// Best first.
    pub addresses: Vec<Multiaddr>,
    /// When one of them led to a connection last, in Unix milliseconds.
    pub last_success_ms: u64,
}

pub(super) fn of<'a>(entries: impl Iterator<Item = (DeviceId, &'a Entry)>) -> SavedPeers {
    let peer = |(device, entry): (DeviceId, &Entry)| {
        let (mut addresses, last_success_ms) = entry.worked_addresses();
        addresses.truncate(ADDRESSES_SAVED_MAX);
        (!addresses.is_empty()).then_some(SavedPeer { device, addresses, last_success_ms })
    };
    SavedPeers { peers: entries.filter_map(peer).collect() }
}
