//! The network: devices that find each other, and let nobody else in. All of libp2p is in this module and stops at it.
//!
//! ```text
//!   peers (sync sessions, joins, gossip)
//!      │ NetHandle: bounded commands, answers          ▲ NetEvents: connected, streams, gossip, within the mailbox's bounds
//!      ▼                                               │
//!   NetTask ── owns the swarm; one loop; waits for nothing else; started anew by its supervisor after a fault
//!      │ asks                                          
//!      ├── admission   who may be connected: members, hosts of tickets, circuit relays, and a few guests for a few seconds
//!      ├── book        whom to dial, where, when
//!      └── links       one connection a peer, none that is dead
//! ```
//!
//! The three below are pure: no swarm, no clock. What is spoken is in `behaviour`: TCP and QUIC, noise, yamux, identify, ping, multicast
//! DNS, gossipsub for members only, the circuit relay's client, hole punching (DCUtR) and AutoNAT v2. Workspaces are synced over streams of
//! [`SYNC_PROTOCOL`]; gossip is a hint and never needed.

pub mod address;
pub mod admission;
mod answering;
mod behaviour;
pub mod book;
mod clock;
mod closing;
mod control;
pub mod frames;
mod gate;
mod handle;
mod identity;
mod lasting;
pub mod links;
mod mailbox;
mod metrics;
mod options;
mod saving;
mod supervisor;
mod swarm;
mod task;
mod tasks;
#[cfg(test)]
mod tests;

pub use answering::{AnswerError, who_answers};
pub use behaviour::GOSSIP_BYTES_MAX;
pub use handle::{
    ADDRESSES_PROTOCOL, ATTACHMENTS_PROTOCOL, GossipMessage, NODE_PROTOCOL, NetEvent, NetHandle, NetSnapshot, OpenError, PeerSnapshot,
    SYNC_PROTOCOL, Verdict,
};
pub use identity::{device_of, peer_id};
pub use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};
pub use mailbox::NetEvents;
pub use metrics::NetMetrics;
pub use options::NetOptions;
pub use supervisor::start;

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// None of the addresses can be listened on.
    #[error("cannot listen on {address}; choose another in `network.listen`, or switch the network off with `network.enabled = false`")]
    Listen {
        /// The last that was tried.
        address: Multiaddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// libp2p does not start.
    #[error("the network cannot be started: {0}")]
    Start(String),
}
