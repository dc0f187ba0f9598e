//! A device: a home folder that is open, and its workspaces.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nodespace_projection::Settings;
use nodespace_protocol::conflict::Policy;
use nodespace_protocol::ids::{WorkspaceId, unhex};
use nodespace_protocol::membership::Certificate;
use nodespace_protocol::replica::{Author, Founding, Replica};
use nodespace_protocol::store::StoreError;
use nodespace_store::{DiskStore, Home, HomeError, StoreOptions};
use tokio::sync::OnceCell;

use super::clock::now;
use super::feed::Feed;
use super::logger::{CheckpointPolicy, OperationLogger, RESET_KEY};
use super::metrics::Metrics;
use super::projector::ProjectorOptions;
use super::workspace::{Inner, Workspace};
use super::{DeviceReplica, OPEN_ANEW_KEY};
use crate::model::{ErrorCode, ServiceError};

/// How often what was held back for its time is looked at.
const TICK_INTERVAL: Duration = Duration::from_secs(1);

/// The folder of the LanceDB table within a workspace's folder.
pub const PROJECTION_FOLDER: &str = "lancedb";

/// How a device is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The home folder.
    pub home: PathBuf,
    /// Whether to keep a LanceDB table.
    pub projection: bool,
    /// How long changes are gathered before they are written to the table.
    pub projection_interval: Duration,
    /// What the table may take.
    pub projection_settings: Settings,
    /// A checkpoint is written after so many bytes of journal.
    pub checkpoint_bytes: u64,
    /// Bytes of nodes kept in memory beside those that changed since the last checkpoint.
    pub node_cache_bytes: usize,
    /// Bytes of operations kept in memory.
    pub op_cache_bytes: usize,
}

impl OpenOptions {
    /// The defaults, for a home folder.
    pub fn new(home: impl Into<PathBuf>) -> Self {
        Self {
            home: home.into(),
            projection: true,
            projection_interval: Duration::from_millis(200),
            projection_settings: Settings::default(),
            checkpoint_bytes: 96 << 20,
            node_cache_bytes: 16 << 20,
            op_cache_bytes: 8 << 20,
        }
    }
}

/// What a new home begins with.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// The home folder: new, or empty.
    pub home: PathBuf,
    /// The name of its first workspace, for people.
    pub workspace_name: String,
    /// How the workspace meets conflicts.
    pub policy: Policy,
}

/// What was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Created {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// This device.
    pub device: nodespace_protocol::ids::DeviceId,
    /// Its user.
    pub user: nodespace_protocol::ids::UserId,
}

/// Why a device could not be made, opened or closed.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The home folder cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A workspace's store failed or is damaged.
    #[error("workspace {}: {source}", workspace.short())]
    Store {
        /// The workspace.
        workspace: WorkspaceId,
        /// What was found.
        #[source]
        source: StoreError,
    },
    /// The workspace cannot be founded.
    #[error("the workspace cannot be founded")]
    Found(#[from] nodespace_protocol::replica::WriteError),
    /// The system gives no thread or no random numbers.
    #[error("the system refuses what the device needs")]
    System(#[from] std::io::Error),
    /// Something failed while it was running.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

/// A device. Clones share it.
#[derive(Clone, Debug)]
pub struct Device {
    inner: Arc<DeviceInner>,
}

#[derive(Debug)]
struct DeviceInner {
    /// Open, and so locked, until the device is closed.
    home: Mutex<Option<Home>>,
    path: PathBuf,
    workspaces: BTreeMap<WorkspaceId, Workspace>,
    default: Option<WorkspaceId>,
    metrics: Metrics,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

impl Device {
    /// Makes a home with keys and a first workspace.
    ///
    /// # Errors
    /// When the folder cannot be used, or is a home already.
    pub fn create(options: &CreateOptions) -> Result<Created, DeviceError> {
        let home = Home::create(&options.home)?;
        let (user, device) = (home.user_key().clone(), home.device_key().clone());
        let author = Author { key: device.clone(), epoch: home.incarnation() };
        let certificate = Certificate::issue(&user, device.device());
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| std::io::Error::other(error.to_string()))?;
        let founding = Founding { name: options.workspace_name.clone(), policy: options.policy, secret };
        let now = now();
        let workspace = founding.workspace_id(&author, certificate, now);
        let failed = |source| DeviceError::Store { workspace, source };
        let store = DiskStore::open(&home.create_workspace(workspace)?, workspace, &StoreOptions::default()).map_err(failed)?;
        let mut replica = Replica::found(store, author, certificate, founding, now)?;
        replica.commit().map_err(failed)?;
        home.set_default_workspace(workspace)?;
        Ok(Created { workspace, device: device.device(), user: user.user() })
    }

    /// Opens a home. Needs a tokio runtime, for what runs beside the requests.
    ///
    /// # Errors
    /// When there is no home, another process has it open, or a store is damaged.
    pub async fn open(options: OpenOptions) -> Result<Self, DeviceError> {
        let path = options.home.clone();
        let metrics = Metrics::default();
        let opening = tokio::task::spawn_blocking({
            let metrics = metrics.clone();
            move || open_all(&options, &metrics)
        });
        let (home, opened) = opening.await.map_err(|error| std::io::Error::other(error.to_string()))??;
        let (mut workspaces, mut threads) = (BTreeMap::new(), Vec::new());
        for (workspace, thread) in opened {
            tokio::spawn(tick(workspace.clone()));
            workspaces.insert(workspace.id(), workspace);
            threads.push(thread);
        }
        let default = home.default_workspace();
        let inner = DeviceInner { home: Mutex::new(Some(home)), path, workspaces, default, metrics, threads: Mutex::new(threads) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The home folder.
    pub fn home(&self) -> &Path {
        &self.inner.path
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// The exposition of its metrics for Prometheus.
    ///
    /// # Errors
    /// When the device is stopping.
    pub async fn metrics_text(&self) -> Result<String, ServiceError> {
        let mut statuses = Vec::new();
        for workspace in self.workspaces() {
            statuses.push(workspace.status().await?);
        }
        Ok(self.inner.metrics.text(&statuses))
    }

    /// All workspaces, by id.
    pub fn workspaces(&self) -> Vec<Workspace> {
        self.inner.workspaces.values().cloned().collect()
    }

    /// The workspace with this id, or the home's default.
    ///
    /// # Errors
    /// When there is none.
    pub fn workspace(&self, id: Option<&str>) -> Result<Workspace, ServiceError> {
        let missing = |message: String| ServiceError::new(ErrorCode::NotFound, message);
        let id = match id {
            Some(text) => {
                let bytes = unhex(text).and_then(|bytes| bytes.try_into().ok());
                let bytes = bytes.ok_or_else(|| ServiceError::new(ErrorCode::InvalidRequest, "a workspace id has 64 hex digits"))?;
                WorkspaceId(bytes)
            }
            None => self.inner.default.ok_or_else(|| missing("this home has no workspace".to_owned()))?,
        };
        let found = self.inner.workspaces.get(&id).cloned();
        found.ok_or_else(|| missing(format!("this home has no workspace {}", id.short())))
    }

    /// Starts what runs beside requests in a daemon: the projections. A short-lived program lets them start when they are needed. One that
    /// cannot be opened says so in the status and tries again.
    pub async fn start(&self) {
        for workspace in self.workspaces() {
            // Switched off is no failure.
            workspace.projector().await.map(drop).unwrap_or_default();
        }
    }

    /// Takes checkpoints, ends everything and gives the home back to other processes. Requests that come later are refused.
    ///
    /// # Errors
    /// When a store fails; what was acknowledged is in its journal all the same.
    pub async fn close(&self) -> Result<(), DeviceError> {
        let mut outcome = Ok(());
        for workspace in self.workspaces() {
            if let Err(error) = workspace.close().await {
                outcome = outcome.and(Err(DeviceError::Service(error)));
            }
        }
        let threads = std::mem::take(&mut *self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = tokio::task::spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join())));
        joined.await.map_err(|error| std::io::Error::other(error.to_string()))?;
        drop(self.inner.home.lock().unwrap_or_else(PoisonError::into_inner).take());
        outcome
    }
}

/// Lets time pass for a workspace until it is closed.
async fn tick(workspace: Workspace) {
    let mut interval = tokio::time::interval(TICK_INTERVAL);
    loop {
        interval.tick().await;
        if !workspace.tick() {
            return;
        }
    }
}

type Opened = (Workspace, std::thread::JoinHandle<()>);

fn open_all(options: &OpenOptions, metrics: &Metrics) -> Result<(Home, Vec<Opened>), DeviceError> {
    let home = Home::open(&options.home)?;
    let opened = home.workspaces()?.into_iter().map(|id| open_one(&home, id, options, metrics)).collect::<Result<Vec<_>, _>>()?;
    Ok((home, opened))
}

fn open_one(home: &Home, id: WorkspaceId, options: &OpenOptions, metrics: &Metrics) -> Result<Opened, DeviceError> {
    let failed = |source| DeviceError::Store { workspace: id, source };
    let folder = home.workspace_folder(id);
    let store_options = StoreOptions { op_cache_bytes: options.op_cache_bytes, ..StoreOptions::default() };
    let store = DiskStore::open(&folder, id, &store_options).map_err(failed)?;
    let epoch = home.incarnation();
    let author = Author { key: home.device_key().clone(), epoch };
    let anew = store.value(OPEN_ANEW_KEY).map_err(failed)?.is_some();
    let mut replica: DeviceReplica = if anew {
        tracing::warn!(workspace = %id.short(), "a doctor asked for it: the journal is folded anew");
        Replica::open_anew(id, store, Some(author), now()).map_err(failed)?
    } else {
        Replica::open(id, store, Some(author), now()).map_err(failed)?
    };
    if anew {
        // Only when what replaces the doubtful checkpoint is durable.
        replica.checkpoint().map_err(failed)?;
        replica.store().put_values(&[(OPEN_ANEW_KEY, None)]).map_err(failed)?;
    }
    replica.set_cache_bytes(options.node_cache_bytes);
    replica.take_changed().map_err(failed)?;
    let reset = replica.store().value(RESET_KEY).map_err(failed)?;
    let reset = reset.and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
    let ops = nodespace_protocol::store::Store::op_count(replica.store());
    let feed = Arc::new(Feed::new(epoch, ops, reset));
    let policy = CheckpointPolicy { bytes: options.checkpoint_bytes };
    let (logger, thread) = OperationLogger::start(replica, Arc::clone(&feed), policy, metrics.store.clone())?;
    let projection = options.projection.then(|| ProjectorOptions {
        folder: folder.join(PROJECTION_FOLDER),
        interval: options.projection_interval,
        settings: options.projection_settings.clone(),
    });
    let inner = Inner { id, folder, epoch, logger, feed, projection, projector: OnceCell::new() };
    Ok((Workspace::new(inner), thread))
}
