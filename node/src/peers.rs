//! Devices that sync: what lies between the network, which knows connections, and the engine, which knows workspaces.
//!
//! ```text
//!   net ──NetEvents──▶ Hub ── one a device: who is a member of what, joins, addresses, where this device is reached
//!                       │ connected, streams, gossip                       
//!                       ▼                                                  
//!              WorkspaceSync ── one a workspace: drives the machines of `sync` (when, with whom, what after a failure)
//!                       │ starts                         │ publishes
//!                       ▼                                ▼
//!              SessionTask ── one a peer            DeviceStatus, metrics
//!                reads and writes frames beside it; each step of the protocol's session is a job of the workspace's writer
//! ```
//!
//! A relay is one more to sync with (`workspace/relaying.rs`, over [`crate::relay_client`]): while no peer can be reached, and to keep it
//! current.
//!
//! A session reconciles first, then stays open and forwards what is new. Own operations go to every session at once; those of others are
//! held for a moment, since among devices that all talk to each other they come from their author (see `Session::holding`). Gossip is added
//! where not every member is connected. Everything is bounded: queues between the parts, frames, what a peer may say without bringing
//! anything (`budget`).

mod account;
mod addresses;
mod attachments;
mod budget;
mod carriers;
mod cbor;
mod fetch;
mod gossip;
mod host;
mod hub;
mod inspect;
mod nameless;
mod session;
mod status;
#[cfg(test)]
mod tests;
mod told;
mod traffic;
mod workspace;

use std::sync::Arc;

use futures::future::BoxFuture;
use nodespace_protocol::ids::WorkspaceId;
use tokio::sync::{mpsc, oneshot};

use crate::engine::{Device, JoinProgress, Joining, Network, Workspace};
use crate::model::{ErrorCode, NetworkStatus, ServiceError};
use crate::net::address::split_peer;
use crate::net::{self, Multiaddr, NetError, NetHandle, NetOptions};
use crate::sync::recovery::Pace;
use crate::sync::{DeviceStatus, Target};
use addresses::Written;
use hub::{Hub, HubCommand};
use nameless::Asking;
use traffic::Traffic;

/// Commands that wait for the hub; whoever comes then waits to be let in.
const COMMANDS_MAX: usize = 64;

/// How peers are synced with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeersOptions {
    /// How often a quiet target is compared with, in milliseconds.
    pub interval_ms: u64,
    /// Whether operations are gossiped, beside being sent to every connected member.
    pub gossip: GossipUse,
    /// URLs of relays for all workspaces, the preferred one first; a workspace may have others of its own.
    pub relays: Vec<String>,
    /// How long recovery waits before its steps.
    pub pace: Pace,
}

/// When operations are gossiped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GossipUse {
    /// While some member is not connected: it may be reached by way of another.
    #[default]
    WhenUseful,
    /// Always.
    Always,
}

/// The peers of a device: its [`Network`].
#[derive(Clone, Debug)]
pub struct Peers {
    net: NetHandle,
    device: Device,
    traffic: Traffic,
    commands: mpsc::Sender<HubCommand>,
    asking: Arc<Asking>,
    /// Whether nobody is dialled but where it was set by hand.
    explicit_only: bool,
    /// Whether the configuration names a relay, through which members may be found.
    has_relay: bool,
}

impl Peers {
    /// Starts the network and syncs every workspace of a device, now and later. Hand the answer to [`Device::attach_network`]. Peers of the
    /// options that do not say who is there are asked, and kept when they are members.
    ///
    /// # Errors
    /// When the network cannot be started.
    pub fn start(device: &Device, mut net: NetOptions, options: PeersOptions) -> Result<Arc<Self>, NetError> {
        let metrics = device.metrics().net();
        let (explicit_only, seed) = (net.explicit_only, net.seed);
        let has_relay = !options.relays.is_empty();
        let (named, nameless): (Vec<Multiaddr>, Vec<_>) = net.peers.into_iter().partition(|address| split_peer(address).is_some());
        net.peers = named;
        let (handle, events) = net::start(net, metrics)?;
        let (commands, queue) = mpsc::channel(COMMANDS_MAX);
        let traffic = Traffic::default();
        let hub = Hub::new(device.clone(), handle.clone(), traffic.clone(), options, explicit_only);
        tokio::spawn(hub.run(events, queue));
        let asking = Arc::new(Asking::start(device, &handle, nameless, seed));
        Ok(Arc::new(Self { net: handle, device: device.clone(), traffic, commands, asking, explicit_only, has_relay }))
    }

    /// The network beneath.
    pub const fn net(&self) -> &NetHandle {
        &self.net
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> HubCommand) -> Result<T, ServiceError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| ServiceError::stopping())?;
        answered.await.map_err(|_| ServiceError::stopping())
    }
}

impl Network for Peers {
    fn fetch_membership<'a>(
        &'a self,
        workspace: Workspace,
        joining: Joining,
        progress: JoinProgress,
    ) -> BoxFuture<'a, Result<(), ServiceError>> {
        Box::pin(fetch::membership(self, workspace, joining, progress))
    }

    fn confirm<'a>(&'a self, workspace: Workspace, progress: JoinProgress) -> BoxFuture<'a, Result<bool, ServiceError>> {
        Box::pin(fetch::confirm(workspace, progress))
    }

    fn sync_now<'a>(&'a self, workspace: Workspace, target: Option<Target>) -> BoxFuture<'a, Result<DeviceStatus, ServiceError>> {
        Box::pin(async move {
            let asked = self.ask(|answer| HubCommand::SyncNow { workspace: workspace.id(), target, answer }).await?;
            asked.map_err(|()| ServiceError::new(ErrorCode::Unavailable, "this workspace is being joined; there is nothing to sync yet"))
        })
    }

    fn relays_changed(&self, workspace: WorkspaceId) -> BoxFuture<'_, ()> {
        // A hub that has ended needs not know.
        Box::pin(async move { drop(self.commands.send(HubCommand::RelaysChanged(workspace)).await) })
    }

    fn snapshot(&self) -> BoxFuture<'_, Result<NetworkStatus, ServiceError>> {
        Box::pin(status::snapshot(self))
    }

    fn add_peer(&self, address: String) -> BoxFuture<'_, Result<(), ServiceError>> {
        Box::pin(async move {
            let (device, address) = match addresses::read(&address)? {
                Written::Named(device, address) => (device, address),
                Written::Nameless(address) => (nameless::member_at(&self.device, &address).await?, address),
            };
            self.ask(|answer| HubCommand::AddPeer { device, address, answer }).await
        })
    }

    fn remove_peer(&self, address: String) -> BoxFuture<'_, Result<(), ServiceError>> {
        Box::pin(async move {
            let removed = match addresses::read(&address)? {
                Written::Named(device, address) => self.net.forget(device, address).await.then_some(device),
                Written::Nameless(address) => nameless::forget(&self.net, &address).await,
            };
            let missing = || ServiceError::new(ErrorCode::NotFound, format!("{address} was not added as a peer's address"));
            self.net.disconnect(removed.ok_or_else(missing)?, "by_hand", false).await;
            Ok(())
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            self.asking.stop().await;
            // When the hub has ended already there is nothing to end.
            self.ask(HubCommand::Stop).await.unwrap_or_default();
            self.net.stop().await;
        })
    }
}
