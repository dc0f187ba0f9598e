//! The network of a device: the one place where a command attaches it.

use anyhow::Context as _;
use nodespace_node::config::Config;
use nodespace_node::engine::{Device, TicketAddresses};
use nodespace_node::net::{Multiaddr, NetOptions};
use nodespace_node::peers::{GossipUse, Peers, PeersOptions};
use nodespace_node::sync::recovery::Pace;

/// The file with addresses that worked, in the home folder.
const BOOK_FILE: &str = "peers.json";

/// Milliseconds of a second.
const MS_PER_S: u64 = 1_000;

/// Says what tickets tell although no network finds out more: the configured addresses and relays.
pub(crate) fn announce(device: &Device, config: &Config) {
    let (addresses, relays) = (config.network.announce.clone(), config.relay.urls.clone());
    device.set_ticket_addresses(TicketAddresses { addresses, relays });
}

/// Attaches the network, when it is switched on: for the daemon, and for commands that need a peer where no daemon runs.
pub(crate) fn start(device: &Device, config: &Config) -> anyhow::Result<()> {
    announce(device, config);
    if !config.network.enabled {
        return Ok(());
    }
    let options = PeersOptions {
        interval_ms: config.sync.interval_s.saturating_mul(MS_PER_S),
        gossip: GossipUse::default(),
        relays: config.relay.urls.clone(),
        pace: Pace::default(),
    };
    let peers = Peers::start(device, net_options(device, config)?, options)?;
    device.attach_network(peers);
    Ok(())
}

fn net_options(device: &Device, config: &Config) -> anyhow::Result<NetOptions> {
    let network = &config.network;
    // The configuration has parsed them already.
    let parse = |addresses: &[String]| -> anyhow::Result<Vec<Multiaddr>> {
        addresses.iter().map(|address| address.parse().with_context(|| format!("{address} is no multiaddress"))).collect()
    };
    Ok(NetOptions {
        key: device.key().clone(),
        listen: parse(&network.listen)?,
        announce: parse(&network.announce)?,
        peers: parse(&network.peers)?,
        carriers: Vec::new(),
        mdns: network.mdns && !network.explicit_only,
        explicit_only: network.explicit_only,
        connections_max: u32::try_from(network.connections_max).unwrap_or(u32::MAX),
        book: Some(device.home().join(BOOK_FILE)),
        seed: getrandom::u64().map_err(|error| anyhow::anyhow!("the system has no random numbers: {error}"))?,
    })
}
