//! A device: a home folder that is open, and its workspaces.

mod identity;
mod open;
mod reach;
mod workspaces;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use nodespace_projection::Settings;
use nodespace_protocol::conflict::Policy;
use nodespace_protocol::ids::{DeviceId, UserId, WorkspaceId};
use nodespace_protocol::store::StoreError;
use nodespace_store::{Cause, Home, HomeError};
use tokio::sync::watch;

use super::clock::Clock;
use super::metrics::Metrics;
use super::network::{Network, TicketAddresses};
use super::workspace::Workspace;
use crate::model::{ErrorCode, ServiceError};
use identity::Identity;

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
    /// A checkpoint is also written when the nodes that changed since the last one take so many bytes of memory.
    pub changed_nodes_bytes: usize,
    /// Bytes of nodes kept in memory to work with.
    pub node_cache_bytes: usize,
    /// Bytes of operations kept in memory.
    pub op_cache_bytes: usize,
    /// The clock that operations are dated by.
    pub clock: Clock,
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
            changed_nodes_bytes: 96 << 20,
            node_cache_bytes: 16 << 20,
            op_cache_bytes: 8 << 20,
            clock: Clock::default(),
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
    pub device: DeviceId,
    /// Its user.
    pub user: UserId,
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

impl From<DeviceError> for ServiceError {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Service(error) => error,
            DeviceError::Found(error) => error.into(),
            DeviceError::Store { source, .. } => Self::of_store(&source),
            DeviceError::Home(HomeError::Certificate { what }) => Self::new(ErrorCode::InviteRefused, what),
            DeviceError::Home(HomeError::Environment(Cause::DiskFull { .. })) => Self::new(ErrorCode::DiskFull, error.to_string()),
            DeviceError::Home(_) | DeviceError::System(_) => Self::new(ErrorCode::StoreFailed, error.to_string()),
        }
    }
}

/// A device. Clones share it.
#[derive(Clone, Debug)]
pub struct Device {
    inner: Arc<DeviceInner>,
}

#[derive(Debug)]
struct DeviceInner {
    /// Open, and so locked, until the device is closed. Whoever opens or lets go of a workspace holds it meanwhile.
    home: Mutex<Option<Home>>,
    path: PathBuf,
    options: OpenOptions,
    identity: Identity,
    workspaces: RwLock<BTreeMap<WorkspaceId, Workspace>>,
    /// The writers, each to be waited for when its workspace is closed.
    threads: Mutex<BTreeMap<WorkspaceId, JoinHandle<()>>>,
    /// The workspace that was set to be meant when none is named.
    default: RwLock<Option<WorkspaceId>>,
    /// Counts the changes of `workspaces`, for those who follow them.
    generation: watch::Sender<u64>,
    /// Whether workspaces that come have their projection started.
    is_started: AtomicBool,
    metrics: Metrics,
    network: OnceLock<Arc<dyn Network>>,
    /// The workspaces whose join is being worked on.
    joins: Mutex<BTreeSet<WorkspaceId>>,
    ticket_addresses: RwLock<TicketAddresses>,
}

impl Device {
    /// Makes a home with keys and a first workspace.
    ///
    /// # Errors
    /// When the folder cannot be used, or is a home already.
    pub fn create(options: &CreateOptions) -> Result<Created, DeviceError> {
        open::check_name(&options.workspace_name)?;
        let home = Home::create(&options.home)?;
        let founding = open::founding(&options.workspace_name, options.policy)?;
        let replica = open::found(&home, founding, Clock::default())?;
        let workspace = replica.workspace();
        home.set_default_workspace(workspace)?;
        Ok(Created { workspace, device: home.device_key().device(), user: home.certificate().user })
    }

    /// Makes a home with keys and no workspace: one that is going to join.
    ///
    /// # Errors
    /// When the folder cannot be used, or is a home already.
    pub fn create_empty(home: &Path) -> Result<DeviceId, DeviceError> {
        Ok(Home::create(home)?.device_key().device())
    }

    /// Opens a home. Needs a tokio runtime, for what runs beside the requests.
    ///
    /// # Errors
    /// When there is no home, another process has it open, or a store is damaged.
    pub async fn open(options: OpenOptions) -> Result<Self, DeviceError> {
        let metrics = Metrics::default();
        let opening = tokio::task::spawn_blocking({
            let (metrics, options) = (metrics.clone(), options.clone());
            move || open::open_all(&options, &metrics)
        });
        let (home, opened) = opening.await.map_err(|error| std::io::Error::other(error.to_string()))??;
        let inner = DeviceInner {
            path: options.home.clone(),
            identity: Identity::of(&home),
            default: RwLock::new(home.chosen_workspace()),
            home: Mutex::new(Some(home)),
            options,
            workspaces: RwLock::default(),
            threads: Mutex::default(),
            generation: watch::Sender::new(0),
            is_started: AtomicBool::new(false),
            metrics,
            network: OnceLock::new(),
            joins: Mutex::default(),
            ticket_addresses: RwLock::default(),
        };
        let device = Self { inner: Arc::new(inner) };
        for opened in opened {
            device.insert(opened);
        }
        Ok(device)
    }

    /// The home folder.
    pub fn home(&self) -> &Path {
        &self.inner.path
    }

    /// The clock that operations are dated by.
    pub fn clock(&self) -> Clock {
        self.inner.options.clock
    }

    /// What it counts.
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// The exposition of its metrics for Prometheus: with the state of all workspaces that can say how they are, and how many cannot.
    pub async fn metrics_text(&self) -> String {
        let workspaces = self.workspaces();
        let mut statuses = Vec::with_capacity(workspaces.len());
        for workspace in &workspaces {
            statuses.extend(workspace.status().await);
        }
        self.inner.metrics.set_failed(workspaces.len() - statuses.len());
        self.inner.metrics.text(&statuses)
    }

    /// Starts what runs beside requests in a daemon: the projections. A short-lived program lets them start when they are needed. One that
    /// cannot be opened says so in the status and tries again.
    pub async fn start(&self) {
        self.inner.is_started.store(true, std::sync::atomic::Ordering::Release);
        for workspace in self.workspaces() {
            // Switched off is no failure.
            workspace.projector().await.map(drop).unwrap_or_default();
        }
    }

    /// Says goodbye to peers, takes checkpoints, ends everything and gives the home back to other processes. Requests that come later are
    /// refused.
    ///
    /// # Errors
    /// When a store fails; what was acknowledged is in its journal all the same.
    pub async fn close(&self) -> Result<(), DeviceError> {
        if let Some(network) = self.attached_network() {
            network.stop().await;
        }
        // From here on nobody opens another workspace; whoever is at it is waited for.
        let device = self.clone();
        let home = open::blocking(move || Ok(lock(&device.inner.home).take())).await?;
        let mut outcome = Ok(());
        for workspace in self.workspaces() {
            if let Err(error) = workspace.close().await {
                outcome = outcome.and(Err(DeviceError::Service(error)));
            }
        }
        let threads = std::mem::take(&mut *lock(&self.inner.threads));
        let joined = tokio::task::spawn_blocking(move || threads.into_values().for_each(|thread| drop(thread.join())));
        joined.await.map_err(|error| std::io::Error::other(error.to_string()))?;
        drop(home);
        outcome
    }
}

/// Locks what no panic leaves half-changed.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
