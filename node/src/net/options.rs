//! What the network is started with.

use std::path::PathBuf;

use libp2p::Multiaddr;
use nodespace_protocol::crypto::KeyPair;

/// What the network is started with.
#[derive(Clone, Debug)]
pub struct NetOptions {
    /// The device's key: also its name on the network.
    pub key: KeyPair,
    /// Where to listen.
    pub listen: Vec<Multiaddr>,
    /// Addresses that are told to others besides: a forwarded port, say.
    pub announce: Vec<Multiaddr>,
    /// Addresses to dial and keep, each ending in `/p2p/PEER`; where peers are started with it, the name may be left out.
    pub peers: Vec<Multiaddr>,
    /// Circuit relays to be reachable through, each ending in `/p2p/PEER`.
    pub carriers: Vec<Multiaddr>,
    /// Whether to find peers by multicast.
    pub mdns: bool,
    /// Whether to dial only what was set by hand, and to tell nobody where we listen.
    pub explicit_only: bool,
    /// Connections at one time.
    pub connections_max: u32,
    /// Where addresses that worked are kept for the next start.
    pub book: Option<PathBuf>,
    /// For jitter; devices should differ in it.
    pub seed: u64,
}
