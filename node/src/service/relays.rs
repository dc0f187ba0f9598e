//! The relays of a workspace: added, removed, shown, looked at.

use nodespace_protocol::store::StoreError;
use nodespace_protocol::view::LoginCredential;

use crate::engine::{Device, DeviceReplica, Workspace};
use crate::model::{ErrorCode, RelayCheckList, RelayEntry, RelayList, RelaySource, ServiceError, time};
use crate::relay_client::{Alarm, Identity, RELAYS_MAX, RelayApi, RelayMemory, RelayUrl, check, own_urls, put_own_urls};

impl Workspace {
    /// The URLs of the workspace's own relays, for tickets.
    pub(crate) async fn own_relays(&self) -> Result<Vec<String>, ServiceError> {
        let urls = self.read(own_urls).await??;
        Ok(urls.into_iter().map(String::from).collect())
    }
}

impl Device {
    /// The relays of a workspace: its own, then those of the configuration.
    ///
    /// # Errors
    /// When the store fails or the device is stopping.
    pub async fn relays(&self, workspace: &Workspace) -> Result<RelayList, ServiceError> {
        let configured = self.configured_relays();
        let list = move |replica: &DeviceReplica| -> Result<RelayList, StoreError> {
            let own = own_urls(replica)?;
            let configured = configured.into_iter().filter(|url| !own.contains(url)).map(|url| (url, RelaySource::Configuration));
            let all: Vec<_> = own.iter().cloned().map(|url| (url, RelaySource::Workspace)).chain(configured).collect();
            let relays = all.into_iter().map(|(url, source)| entry(replica, &url, source)).collect::<Result<_, _>>()?;
            Ok(RelayList { relays })
        };
        Ok(workspace.read(list).await??)
    }

    /// Uses a relay for a workspace from now on, beside the others.
    ///
    /// # Errors
    /// When it is no URL, is used already, or there are too many.
    pub async fn add_relay(&self, workspace: &Workspace, url: &str) -> Result<RelayList, ServiceError> {
        let url = relay_url(url)?;
        if self.configured_relays().contains(&url) {
            let message = format!("{url} is used for all workspaces already, by `relay.urls` of the configuration");
            return Err(ServiceError::new(ErrorCode::AlreadyExists, message));
        }
        let add = move |replica: &DeviceReplica| -> Result<(), ServiceError> {
            let mut urls = own_urls(replica)?;
            if urls.contains(&url) {
                return Err(ServiceError::new(ErrorCode::AlreadyExists, format!("{url} is a relay of this workspace already")));
            }
            if urls.len() >= RELAYS_MAX {
                let message = format!("a workspace has at most {RELAYS_MAX} relays; remove one first");
                return Err(ServiceError::new(ErrorCode::TooLarge, message));
            }
            urls.push(url);
            Ok(put_own_urls(replica, &urls)?)
        };
        workspace.read(add).await??;
        self.relays_changed(workspace).await;
        self.relays(workspace).await
    }

    /// Does not use a relay for a workspace any more, and forgets what is known of it. What it holds stays there.
    ///
    /// # Errors
    /// When it is none of the workspace's own.
    pub async fn remove_relay(&self, workspace: &Workspace, url: &str) -> Result<RelayList, ServiceError> {
        let url = relay_url(url)?;
        let is_configured = self.configured_relays().contains(&url);
        let remove = move |replica: &DeviceReplica| -> Result<(), ServiceError> {
            let mut urls = own_urls(replica)?;
            let before = urls.len();
            urls.retain(|other| *other != url);
            // Whoever removes one of the configuration begins anew with it: what is known of it is forgotten all the same.
            RelayMemory::remove(replica, &url)?;
            match (urls.len() < before, is_configured) {
                (true, _) => Ok(put_own_urls(replica, &urls)?),
                (false, true) => {
                    let message = format!(
                        "what was known of {url} is forgotten; it is used for all workspaces by `relay.urls` of the configuration: \
                         take it out there"
                    );
                    Err(ServiceError::new(ErrorCode::InvalidValue, message))
                }
                (false, false) => Err(ServiceError::new(ErrorCode::NotFound, format!("{url} is no relay of this workspace"))),
            }
        };
        let removed = workspace.read(remove).await?;
        self.relays_changed(workspace).await;
        removed?;
        self.relays(workspace).await
    }

    /// Looks at the relays of a workspace, or at one: whether they answer, know this device, and stand by what they signed. One that does
    /// again is trusted again.
    ///
    /// # Errors
    /// When there is none, or not the one that is named; when the store fails.
    pub async fn check_relays(&self, workspace: &Workspace, only: Option<&str>) -> Result<RelayCheckList, ServiceError> {
        let only = only.map(relay_url).transpose()?;
        let known = self.relays(workspace).await?.relays;
        let urls = known.iter().filter_map(|entry| RelayUrl::parse(&entry.url).ok());
        let urls: Vec<RelayUrl> = urls.filter(|url| only.as_ref().is_none_or(|only| only == url)).collect();
        if urls.is_empty() {
            let what = only.map_or_else(|| "this workspace has no relay".to_owned(), |url| format!("{url} is no relay of this workspace"));
            return Err(ServiceError::new(ErrorCode::NotFound, format!("{what}; add one with `nodespace relay add URL`")));
        }
        let mut checks = Vec::new();
        for url in urls {
            let credential = LoginCredential::Device { certificate: (&self.certificate()).into() };
            let identity = Identity { key: self.key().clone(), workspace: workspace.id(), credential };
            let api = RelayApi::new(url, identity).map_err(|error| ServiceError::new(ErrorCode::Internal, error.to_string()))?;
            checks.push(check(workspace, api, self.clock()).await?);
        }
        self.relays_changed(workspace).await;
        Ok(RelayCheckList { checks })
    }

    fn configured_relays(&self) -> Vec<RelayUrl> {
        self.ticket_addresses().relays.iter().filter_map(|url| RelayUrl::parse(url).ok()).collect()
    }

    async fn relays_changed(&self, workspace: &Workspace) {
        if let Some(network) = self.attached_network() {
            network.relays_changed(workspace.id()).await;
        }
    }
}

fn relay_url(text: &str) -> Result<RelayUrl, ServiceError> {
    RelayUrl::parse(text).map_err(|error| ServiceError::new(ErrorCode::InvalidValue, error.to_string()))
}

fn entry(replica: &DeviceReplica, url: &RelayUrl, source: RelaySource) -> Result<RelayEntry, StoreError> {
    let memory = RelayMemory::load(replica, url)?;
    let confirmed = memory.confirmed_ms.map(|ms| time::to_text(nodespace_protocol::clock::Timestamp::from_ms(ms)));
    Ok(RelayEntry {
        url: url.to_string(),
        source,
        relay: memory.relay.map(|relay| relay.to_string()),
        epoch: memory.relay.map(|_| memory.cursor.epoch),
        version: memory.cursor.version,
        confirmed,
        missing_there_max: u64::from(replica.durable_ops().saturating_sub(memory.stored_through)),
        alarm: memory.alarm.as_ref().map(Alarm::to_model),
    })
}
