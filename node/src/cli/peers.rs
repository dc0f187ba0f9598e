//! `nodespace peers`: who is connected, and who is to be dialled.

use std::io;

use axum::http::Method;
use nodespace_node::client::{Client, Request};
use nodespace_node::model::{AddPeer, NetworkStatus, PeerStatus};
use nodespace_node::net::address::named;

use super::exit::Exit;
use super::output::Output;
use super::style::{Tone, bytes};
use super::table::{Cell, Table};

/// Arguments of `nodespace peers`.
#[derive(Debug, clap::Args)]
pub(crate) struct PeersArguments {
    #[command(subcommand)]
    command: Option<PeersCommand>,
}

/// What to do with peers.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum PeersCommand {
    /// Dial a peer now, and whenever it is not connected, until the daemon stops; `network.peers` of the configuration is for good.
    Add(AddressArguments),
    /// Do not dial a peer any more, and close the connection to it.
    Remove(AddressArguments),
}

/// Which peer.
#[derive(Debug, clap::Args)]
pub(crate) struct AddressArguments {
    /// Its address: /ip4/192.0.2.7/tcp/4100 with /p2p/ and a peer id behind it or without, or 192.0.2.7:4100, which means TCP.
    address: String,
}

/// Does what was asked.
pub(crate) async fn run(arguments: &PeersArguments, client: &Client, out: &mut Output) -> anyhow::Result<Exit> {
    let client = client.clone().of_workspace(None);
    let peers = ["v1", "network", "peers"];
    let request = match &arguments.command {
        None => Request::get(&["v1", "network"]),
        Some(PeersCommand::Add(arguments)) => Request::post(&peers).json(&AddPeer { address: arguments.address.clone() })?,
        Some(PeersCommand::Remove(arguments)) => Request::new(Method::DELETE, &peers).query("address", &arguments.address),
    };
    let answer = client.ask::<NetworkStatus>(request).await?;
    out.answer(&answer, print)?;
    Ok(Exit::Done)
}

fn print(out: &mut Output, network: &NetworkStatus) -> io::Result<()> {
    let mut table = Table::plain();
    table.pair("peer id", network.peer_id.as_str());
    for (name, addresses) in [("listens", &network.listening), ("reached at", &network.external)] {
        for (index, address) in addresses.iter().enumerate() {
            // In full, as it is given to others.
            table.pair(if index == 0 { name } else { "" }, named(address, &network.peer_id));
        }
    }
    table.pair("from outside", network.nat.name());
    for (reason, count) in &network.refused {
        table.pair("refused", format!("{reason}: {count}"));
    }
    out.table(&table)?;
    out.line("")?;
    if network.peers.is_empty() {
        return out.line("no peers");
    }
    let mut table = Table::new(["device", "user", "state", "round trip", "sent", "received", "workspaces", "address"]);
    network.peers.iter().for_each(|peer| table.row(row(peer)));
    out.table(&table)
}

/// How it is with a peer. One that was set by hand is dialled only once this device has a workspace, and one with which none is shared is of
/// no use, connected or not: whoever wonders why nothing is synced is told.
fn state(peer: &PeerStatus) -> Cell {
    let (tone, word) = match (peer.connected, peer.relayed) {
        (true, false) => (Tone::Green, "connected"),
        (true, true) => (Tone::Yellow, "through a relay"),
        (false, _) => (Tone::Dim, "away"),
    };
    match peer.workspaces.is_empty() {
        true => Cell::toned(Tone::Dim, format!("{word}, no workspace in common")),
        false => Cell::toned(tone, word),
    }
}

fn row(peer: &PeerStatus) -> [Cell; 8] {
    let short = |id: &Option<String>| id.as_deref().map_or("unknown", |id| id.get(..12).unwrap_or(id)).to_owned();
    [
        Cell::toned(Tone::Bold, short(&peer.device)),
        short(&peer.user).into(),
        state(peer),
        peer.rtt_ms.map(|ms| format!("{ms} ms")).unwrap_or_default().into(),
        bytes(peer.bytes_sent).into(),
        bytes(peer.bytes_received).into(),
        peer.workspaces.len().to_string().into(),
        peer.address.clone().unwrap_or_default().into(),
    ]
}
