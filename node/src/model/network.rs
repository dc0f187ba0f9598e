//! The network as people see it: who is connected, over what, and who was turned away.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Whether this device can be reached from outside its own network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NatStatus {
    /// Nobody has tried yet.
    #[default]
    Unknown,
    /// Somebody outside reached it.
    Public,
    /// Nobody outside could: others reach it through a relay, or by punching holes.
    Private,
}

impl NatStatus {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

/// A device that is connected, or that somebody named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PeerStatus {
    /// Its key; `null` while only its address is known.
    pub device: Option<String>,
    /// Its user, when it is a member of a workspace of this device.
    pub user: Option<String>,
    /// Its name in libp2p; `null` while only its address is known.
    pub peer_id: Option<String>,
    /// Whether there is a connection.
    pub connected: bool,
    /// The address of the connection, else the one that would be dialled next; a multiaddress.
    pub address: Option<String>,
    /// Whether the connection goes through a relay.
    pub relayed: bool,
    /// The last round trip, in milliseconds.
    pub rtt_ms: Option<u64>,
    /// Bytes sent to it since the program started.
    pub bytes_sent: u64,
    /// Bytes received from it since the program started.
    pub bytes_received: u64,
    /// When the connection was made, in Unix milliseconds.
    pub since_ms: Option<u64>,
    /// The workspaces that are synced with it.
    pub workspaces: Vec<String>,
}

/// The network of this device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NetworkStatus {
    /// This device's name in libp2p.
    pub peer_id: String,
    /// This device.
    pub device: String,
    /// Where it listens; multiaddresses.
    pub listening: Vec<String>,
    /// Where others outside reach it, as far as that was confirmed.
    pub external: Vec<String>,
    /// Whether it can be reached from outside.
    pub nat: NatStatus,
    /// The peers: those that are connected first.
    pub peers: Vec<PeerStatus>,
    /// How often somebody was turned away since the program started, by the reason.
    pub refused: BTreeMap<String, u64>,
}

/// A peer to be dialled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddPeer {
    /// Its address: `/ip4/192.0.2.7/tcp/4100` with `/p2p/<peer id>` behind it or without, or `192.0.2.7:4100`, which means TCP.
    pub address: String,
}
