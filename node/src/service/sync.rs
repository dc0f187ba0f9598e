//! How sync stands, and syncing now.

use std::time::Duration;

use nodespace_protocol::ids::DeviceId;

use super::parse;
use crate::engine::{Device, Workspace};
use crate::model::{ErrorCode, NetworkStatus, ServiceError};
use crate::sync::{DeviceStatus, Target};

/// How the relay is named where a peer is named by its key.
pub const RELAY_NAME: &str = "relay";

impl Workspace {
    /// How sync stands now.
    ///
    /// # Errors
    /// When the device is stopping.
    pub async fn sync_status(&self) -> Result<DeviceStatus, ServiceError> {
        let published = self.watch_sync_status();
        let status = published.borrow().clone();
        // What is held by now: whoever wrote a moment ago must not be told that it is synced.
        match self.read(|replica| u64::from(replica.durable_ops())).await {
            Ok(operations) => Ok(status.as_of(operations)),
            // Where a fault has ended the writer, whoever syncs has said so, with what to do.
            Err(error) => Some(published.borrow().clone()).filter(DeviceStatus::has_failed).ok_or(error),
        }
    }

    /// A target by its name: `relay`, or a device's key or an unambiguous beginning of it.
    async fn target(&self, text: &str) -> Result<Target, ServiceError> {
        if text == RELAY_NAME {
            return Ok(Target::Relay);
        }
        let text = text.to_owned();
        self.read(move |replica| {
            let devices: Vec<DeviceId> = replica.membership().members().into_iter().flat_map(|member| member.devices).collect();
            let others = devices.into_iter().filter(|device| Some(*device) != replica.device());
            parse::by_key("other device of this workspace", &text, others, |device: DeviceId| device.to_string()).map(Target::peer)
        })
        .await?
    }
}

impl Device {
    /// Syncs a workspace now, with one target or with all, and answers how it stands after that, or when `wait` is over: then it goes on
    /// by itself.
    ///
    /// # Errors
    /// When there is no such target, or the network is off.
    pub async fn sync_now(&self, workspace: &Workspace, target: Option<&str>, wait: Duration) -> Result<DeviceStatus, ServiceError> {
        let network = self.network()?;
        let target = match target {
            Some(text) => Some(workspace.target(text).await?),
            None => None,
        };
        let asked = workspace.clone();
        let syncing = tokio::spawn(async move { network.sync_now(asked, target).await });
        match tokio::time::timeout(wait, syncing).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Err(ServiceError::new(ErrorCode::Internal, format!("a fault of NodeSpace ended the sync: {error}"))),
            Err(_) => workspace.sync_status().await,
        }
    }

    /// How the network is.
    ///
    /// # Errors
    /// When it is off.
    pub async fn network_status(&self) -> Result<NetworkStatus, ServiceError> {
        self.network()?.snapshot().await
    }

    /// Dials an address from now on. One that does not say who is there is asked first.
    ///
    /// # Errors
    /// When it is no address, when nobody answers there who is a member and it does not say who is there, or the network is off.
    pub async fn add_peer(&self, address: &str) -> Result<NetworkStatus, ServiceError> {
        let (network, address) = (self.network()?, multiaddress(address)?);
        network.add_peer(address).await?;
        network.snapshot().await
    }

    /// Does not dial an address any more.
    ///
    /// # Errors
    /// When it was not added, or the network is off.
    pub async fn remove_peer(&self, address: &str) -> Result<NetworkStatus, ServiceError> {
        let (network, address) = (self.network()?, multiaddress(address)?);
        network.remove_peer(address).await?;
        network.snapshot().await
    }
}

fn multiaddress(text: &str) -> Result<String, ServiceError> {
    let parsed = crate::config::read_dial_address(text);
    parsed.map_err(|why| ServiceError::new(ErrorCode::InvalidValue, why))
}
