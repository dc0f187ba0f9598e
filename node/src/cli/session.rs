//! A device to talk to: the daemon when one runs, else the store itself, opened under its lock.
//!
//! Two commands may be started at once, or a command while a daemon is starting. Then the lock is held and no daemon answers yet; both are
//! tried again for a moment, and what is said in the end names the process that holds the lock.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nodespace_node::api::{self, ApiOptions, Token};
use nodespace_node::client::{self, Client};
use nodespace_node::config::Config;
use nodespace_node::engine::{Clock, Device, DeviceError, OpenOptions};
use nodespace_projection::Settings;
use nodespace_store::HomeError;

use super::network;

/// How long to wait for another process to let go of the store, or to answer.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// How often to look whether it did.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Bytes of a MiB.
const MIB: u64 = 1 << 20;

/// What a command needs of a device that it opens itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// The nodes; the LanceDB table when the command asks for it.
    Store,
    /// The LanceDB table, brought up to date before the store is closed.
    Projection,
    /// The network, for as long as the command takes.
    Network,
}

/// A device to talk to.
#[derive(Debug)]
pub(crate) struct Session {
    /// The way to it.
    pub(crate) client: Client,
    /// The home folder.
    pub(crate) home: PathBuf,
    /// The configuration of its home.
    pub(crate) config: Config,
    /// The daemon's process and address, when it is one.
    pub(crate) daemon: Option<(u32, SocketAddr)>,
    /// The device, when this process opened it.
    device: Option<Device>,
}

impl Session {
    /// Finds the daemon or opens the store.
    pub(crate) async fn open(home: &Path, config: Config, need: Need, workspace: Option<String>) -> anyhow::Result<Self> {
        let begin = Instant::now();
        let home = home.to_path_buf();
        loop {
            if let Some(daemon) = client::find(&home).await? {
                let client = daemon.client.of_workspace(workspace);
                return Ok(Self { client, home, config, daemon: Some((daemon.pid, daemon.address)), device: None });
            }
            match Device::open(options(&home, &config)).await {
                Ok(device) => return Self::over(device, home, config, need, workspace).await,
                Err(DeviceError::Home(HomeError::Locked { .. })) if begin.elapsed() < WAIT_MAX => {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A session over a device of this process.
    async fn over(device: Device, home: PathBuf, config: Config, need: Need, workspace: Option<String>) -> anyhow::Result<Self> {
        match need {
            Need::Store => network::announce(&device, &config),
            Need::Projection => device.start().await,
            Need::Network => network::start(&device, &config)?,
        }
        let token = Token::random()?;
        let secret = token.secret().to_owned();
        let router = api::router(device.clone(), api_options(&config, token));
        let client = Client::in_process(router, secret).of_workspace(workspace);
        Ok(Self { client, home, config, daemon: None, device: Some(device) })
    }

    /// Gives the store back, when this process opened it.
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        drop(self.client);
        match self.device {
            Some(device) => Ok(device.close().await?),
            None => Ok(()),
        }
    }
}

/// How a device is opened.
pub(crate) fn options(home: &Path, config: &Config) -> OpenOptions {
    let (store, projection) = (&config.store, &config.projection);
    let mut settings = Settings { keep_versions: Duration::from_secs(60 * projection.keep_versions_minutes), ..Settings::default() };
    settings.index_cache_bytes = mib(projection.index_cache_mib);
    settings.rhythm.checkpoint_after = Duration::from_secs(projection.checkpoint_seconds);
    OpenOptions {
        projection: projection.enabled,
        projection_interval: Duration::from_millis(projection.interval_ms),
        projection_settings: settings,
        checkpoint_bytes: MIB * store.checkpoint_mib,
        changed_nodes_bytes: mib(store.changed_nodes_mib),
        node_cache_bytes: mib(store.node_cache_mib),
        op_cache_bytes: mib(store.op_cache_mib),
        clock: Clock::ahead_by_ms(config.sync.clock_offset_ms),
        ..OpenOptions::new(home)
    }
}

/// How the API is served.
pub(crate) fn api_options(config: &Config, token: Token) -> ApiOptions {
    let api = &config.api;
    ApiOptions {
        allowed_hosts: api.allowed_hosts.clone(),
        allowed_origins: api.allowed_origins.clone(),
        allow_remote: api.allow_remote,
        body_bytes_max: mib(api.body_limit_mib),
        import_bytes_max: mib(4 * api.body_limit_mib),
        ..ApiOptions::new(token)
    }
}

/// So many MiB in bytes; as many as there are addresses where they are fewer.
fn mib(count: u64) -> usize {
    usize::try_from(MIB * count).unwrap_or(usize::MAX)
}
