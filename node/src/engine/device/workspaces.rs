//! The workspaces of a device: which there are, which is meant, and how they come and go while it runs.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use nodespace_protocol::conflict::Policy;
use nodespace_protocol::ids::WorkspaceId;
use nodespace_store::Home;
use tokio::sync::watch;

use super::super::workspace::{TICKET_KEY, Workspace};
use super::open::{self, Opened};
use super::{Device, DeviceError, lock};
use crate::model::{ErrorCode, ServiceError};
use crate::service::parse;

/// How often what was held back for its time is looked at.
const TICK_INTERVAL: Duration = Duration::from_secs(1);

impl Device {
    /// All workspaces, by id.
    pub fn workspaces(&self) -> Vec<Workspace> {
        self.inner.workspaces.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The workspace with this id, if it is open.
    pub fn open_workspace(&self, id: WorkspaceId) -> Option<Workspace> {
        self.inner.workspaces.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Tells whenever a workspace was founded, adopted or let go: look at [`Device::workspaces`] then. The number itself says nothing.
    pub fn watch_workspaces(&self) -> watch::Receiver<u64> {
        self.inner.generation.subscribe()
    }

    /// The workspace whose id begins with these digits (at least eight, unambiguous), or the one that is meant when none is named.
    ///
    /// # Errors
    /// When there is none, or several.
    pub fn workspace(&self, id: Option<&str>) -> Result<Workspace, ServiceError> {
        let workspaces = self.workspaces();
        let Some(text) = id else {
            return self.default_of(workspaces);
        };
        let ids = workspaces.iter().map(Workspace::id);
        let wanted = parse::by_key("workspace here", text, ids, |id: WorkspaceId| id.to_string())?;
        let found = workspaces.into_iter().find(|workspace| workspace.id() == wanted);
        found.ok_or_else(|| ServiceError::new(ErrorCode::NotFound, format!("this home has no workspace {}", wanted.short())))
    }

    /// The id of the workspace that is meant when none is named: the one that was set, else the only one.
    pub fn default_workspace(&self) -> Option<WorkspaceId> {
        self.default_of(self.workspaces()).ok().map(|workspace| workspace.id())
    }

    fn default_of(&self, workspaces: Vec<Workspace>) -> Result<Workspace, ServiceError> {
        let set = *self.inner.default.read().unwrap_or_else(PoisonError::into_inner);
        let message = match (workspaces.as_slice(), set) {
            ([], _) => {
                "this home has no workspace yet: make one with `nodespace workspace new NAME`, or join one with `nodespace join TICKET`"
            }
            ([only], _) => return Ok(only.clone()),
            (several, set) => {
                if let Some(found) = several.iter().find(|workspace| Some(workspace.id()) == set) {
                    return Ok(found.clone());
                }
                "this home has several workspaces and none of them is its default: name one, as `--workspace ID` or `?workspace=ID`, or \
                 choose with `nodespace workspace default ID`"
            }
        };
        Err(ServiceError::new(ErrorCode::NotFound, message))
    }

    /// Makes a workspace the one that is meant when none is named.
    ///
    /// # Errors
    /// When the home folder cannot be written, or the device is stopping.
    pub async fn set_default_workspace(&self, id: WorkspaceId) -> Result<(), DeviceError> {
        self.with_home(move |device, home| device.set_default_in(home, id)).await
    }

    /// As [`Device::set_default_workspace`], unless one was set before: for the first that is founded or joined.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn set_first_default(&self, id: WorkspaceId) -> Result<(), DeviceError> {
        self.with_home(move |device, home| device.set_first_default_in(home, id)).await
    }

    fn set_first_default_in(&self, home: &Home, id: WorkspaceId) -> Result<(), DeviceError> {
        let is_set = self.inner.default.read().unwrap_or_else(PoisonError::into_inner).is_some();
        if is_set { Ok(()) } else { self.set_default_in(home, id) }
    }

    fn set_default_in(&self, home: &Home, id: WorkspaceId) -> Result<(), DeviceError> {
        home.set_default_workspace(id)?;
        *self.inner.default.write().unwrap_or_else(PoisonError::into_inner) = Some(id);
        Ok(())
    }

    /// Founds a workspace; this device's user becomes its owner. It is open, and durable, on return. The first one of a home becomes the
    /// one that is meant when none is named.
    ///
    /// # Errors
    /// When the name is not allowed, the home folder cannot be written, or the device is stopping.
    pub async fn found_workspace(&self, name: &str, policy: Policy) -> Result<Workspace, DeviceError> {
        open::check_name(name)?;
        let founding = open::founding(name, policy)?;
        self.with_home(move |device, home| {
            let replica = open::found(home, founding, device.inner.options.clock)?;
            let opened = open::start(home, replica, &device.inner.options, &device.inner.metrics)?;
            device.set_first_default_in(home, opened.0.id())?;
            Ok(device.insert(opened))
        })
        .await
    }

    /// Takes up a workspace that is going to be joined: an empty one, which keeps `ticket` until the join is done, so that it goes on after
    /// a restart. One that is open already keeps what it holds and takes the ticket.
    ///
    /// # Errors
    /// When the home folder cannot be written, or the device is stopping.
    pub async fn adopt_workspace(&self, id: WorkspaceId, ticket: &str) -> Result<Workspace, DeviceError> {
        let kept = ticket.to_owned();
        let (workspace, is_new) = self
            .with_home(move |device, home| {
                if let Some(workspace) = device.open_workspace(id) {
                    return Ok((workspace, false));
                }
                let replica = open::open_replica(home, id, &device.inner.options)?;
                // Before anybody can see the workspace: an empty one without a ticket would be of no use after a crash.
                let keeping = replica.store().put_value(TICKET_KEY, kept.as_bytes());
                keeping.map_err(|source| DeviceError::Store { workspace: id, source })?;
                let opened = open::start(home, replica, &device.inner.options, &device.inner.metrics)?;
                Ok((device.insert(opened), true))
            })
            .await?;
        if !is_new {
            workspace.keep_ticket(ticket).await?;
        }
        Ok(workspace)
    }

    /// Lets go of a workspace whose join failed. One that holds no operation leaves nothing behind; what holds any is set aside in the home
    /// folder, never deleted.
    ///
    /// # Errors
    /// When the home folder cannot be written, or the device is stopping.
    pub async fn forget_workspace(&self, id: WorkspaceId) -> Result<(), DeviceError> {
        let Some(workspace) = self.open_workspace(id) else { return Ok(()) };
        let is_empty = workspace.read(|replica| replica.durable_ops() == 0).await?;
        // Out of sight first: nobody is to ask one that is closing.
        self.inner.workspaces.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.inner.generation.send_modify(|generation| *generation += 1);
        workspace.close().await?;
        self.with_home(move |device, home| {
            let thread = lock(&device.inner.threads).remove(&id);
            // The store is closed when its writer has ended.
            drop(thread.map(JoinHandle::join));
            let mut default = device.inner.default.write().unwrap_or_else(PoisonError::into_inner);
            if *default == Some(id) {
                home.clear_default_workspace()?;
                *default = None;
            }
            drop(default);
            if is_empty {
                home.remove_empty_workspace(id)?
            } else {
                home.set_workspace_aside(id).map(drop)?
            }
            Ok(())
        })
        .await
    }

    /// Runs what changes the home folder, alone, where it holds up nobody.
    pub(super) async fn with_home<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Self, &Home) -> Result<T, DeviceError> + Send + 'static,
    ) -> Result<T, DeviceError> {
        let device = self.clone();
        open::blocking(move || {
            let home = lock(&device.inner.home);
            let home = home.as_ref().ok_or_else(|| DeviceError::Service(ServiceError::stopping()))?;
            change(&device, home)
        })
        .await
    }

    /// Takes an open workspace among the device's. Needs a tokio runtime.
    pub(super) fn insert(&self, (workspace, thread): Opened) -> Workspace {
        let id = workspace.id();
        lock(&self.inner.threads).insert(id, thread);
        self.inner.workspaces.write().unwrap_or_else(PoisonError::into_inner).insert(id, workspace.clone());
        tokio::spawn(tick(workspace.clone()));
        if self.inner.is_started.load(Ordering::Acquire) {
            let workspace = workspace.clone();
            // Switched off is no failure.
            tokio::spawn(async move { workspace.projector().await.map(drop).unwrap_or_default() });
        }
        self.inner.generation.send_modify(|generation| *generation += 1);
        workspace
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
