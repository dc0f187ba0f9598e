//! Checkpoints of replicas on this instance's disk, so that opening a workspace folds what came since and not its whole log.
//!
//! ```text
//!   data/checkpoints/<slot>/lock                      held by the instance that uses the slot
//!                          /<workspace>/index.redb    the index that devices have too: nodes, parts, a head
//! ```
//!
//! **Invariant:** a checkpoint belongs to one replica at a time. A replica reads states of nodes from it for as long as it lives; were
//! another one to write a later checkpoint meanwhile, operations would be folded twice. So each instance has a slot of its own (instances may
//! share a data folder), and within an instance a workspace's file is lent to one replica (`Checkpoints::take`).
//!
//! **Invariant:** nothing depends on a checkpoint. It says of which log it is, and up to where (`Place`); that is compared with the
//! database before it is used, and what does not fit, or cannot be read, is thrown away: the log is read instead. Without a place to keep them
//! (no permission, a full disk, a file system without locks) the relay runs as well, and opens workspaces from their logs.

mod file;
mod place;

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use nodespace_protocol::ids::{WorkspaceId, hex};
use nodespace_store::INDEX_FILE;
use tokio::runtime::Handle;
use tokio::sync::{OwnedMutexGuard, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::hex::unhex_array;

pub(crate) use file::CheckpointFile;
pub(crate) use place::Place;

/// The folder of all slots, in the data folder.
pub const CHECKPOINT_FOLDER: &str = "checkpoints";
/// Instances that can share a data folder; more run without checkpoints.
const SLOTS_MAX: u32 = 64;
const LOCK_FILE: &str = "lock";
/// How long a replica that is being opened waits for the one before it to be done with the file.
const TAKE_WAIT: Duration = Duration::from_secs(5);
/// A workspace that was not written to for so long is read from its log again.
const AGE_MAX: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Checkpoints written at once: they share the disk with whatever else there is.
const SAVING_MAX: usize = 1;

/// Where this instance keeps checkpoints, if it has a place for them.
#[derive(Clone, Debug, Default)]
pub struct Checkpoints {
    shared: Option<Arc<Shared>>,
}

#[derive(Debug)]
struct Shared {
    /// The slot's folder.
    folder: PathBuf,
    /// Held for as long as this instance runs; the system lets go of it however that ends. `None` once it was closed.
    lock: Mutex<Option<File>>,
    bytes_max: u64,
    /// Who has a workspace's file.
    lent: Mutex<HashMap<WorkspaceId, Arc<tokio::sync::Mutex<()>>>>,
    saving: Arc<Semaphore>,
}

/// A workspace's folder as it is found.
#[derive(Debug)]
struct Found {
    workspace: WorkspaceId,
    folder: PathBuf,
    bytes: u64,
    written: SystemTime,
}

impl Checkpoints {
    /// Takes a slot in a data folder, in which checkpoints may take `bytes_max`; with 0 none are kept. When there is no place for them that
    /// is logged, and none are kept.
    #[must_use]
    pub fn open(data: &Path, bytes_max: u64) -> Self {
        if bytes_max == 0 {
            return Self::default();
        }
        let slots = data.join(CHECKPOINT_FOLDER);
        match take_slot(&slots) {
            Ok(Some((folder, lock))) => {
                let saving = Arc::new(Semaphore::new(SAVING_MAX));
                let shared = Shared { folder, lock: Mutex::new(Some(lock)), bytes_max, lent: Mutex::default(), saving };
                Self { shared: Some(Arc::new(shared)) }
            }
            Ok(None) => {
                tracing::warn!(folder = %slots.display(), "{SLOTS_MAX} instances share the data folder: this one keeps no checkpoints");
                Self::default()
            }
            Err(error) => {
                let folder = slots.display();
                tracing::warn!(%error, %folder, "no checkpoints can be kept: workspaces are opened from their logs, which takes longer");
                Self::default()
            }
        }
    }

    /// The folder of this instance's checkpoints.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.shared.as_ref().map(|shared| shared.folder.as_path())
    }

    /// Lends a workspace's file to a replica, in a thread that may wait. `None` when none are kept, another replica is still at work with
    /// it, or it cannot be used.
    ///
    /// The file is opened in the caller's thread: were it to wait for another one, as many openings at once as there are threads would
    /// wait for ever.
    pub(crate) fn take(&self, workspace: WorkspaceId, runtime: &Handle) -> Option<CheckpointFile> {
        let shared = self.shared.as_ref().filter(|shared| shared.is_open())?;
        let alone = Arc::clone(shared.lent().entry(workspace).or_default());
        let Ok(alone) = runtime.block_on(async { timeout(TAKE_WAIT, alone.lock_owned()).await }) else {
            tracing::warn!(workspace = %workspace.short(), "a checkpoint is in use for long: the log is read instead");
            return None;
        };
        let opened = CheckpointFile::open(shared.folder_of(&workspace), alone);
        opened.map_err(|error| tracing::warn!(error = %crate::store::chain(&error), "checkpoints cannot be kept")).ok()
    }

    /// Gives the slot to whoever starts next. All replicas must have left memory.
    pub fn close(&self) {
        if let Some(shared) = &self.shared {
            shared.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
    }

    /// Waits until a checkpoint may be written.
    pub(crate) async fn may_save(&self) -> Option<OwnedSemaphorePermit> {
        let shared = self.shared.as_ref()?;
        Arc::clone(&shared.saving).acquire_owned().await.ok()
    }

    /// The workspaces of which there are checkpoints.
    #[must_use]
    pub fn workspaces(&self) -> Vec<WorkspaceId> {
        let found = self.shared.as_ref().map(|shared| found_in(&shared.folder).unwrap_or_default());
        found.into_iter().flatten().map(|found| found.workspace).collect()
    }

    /// Removes what is old, of workspaces that are `gone`, and the oldest while all take more than they may; also what instances
    /// left that are no more. Files in use stay. Answers the bytes that this instance's take then.
    pub fn sweep(&self, gone: &[WorkspaceId]) -> u64 {
        let Some(shared) = self.shared.as_ref().filter(|shared| shared.is_open()) else { return 0 };
        sweep_other_slots(&shared.folder);
        let mut all = found_in(&shared.folder).unwrap_or_default();
        all.sort_unstable_by_key(|found| found.written);
        let mut bytes = all.iter().map(|found| found.bytes).sum();
        for found in &all {
            let unwanted = is_old(found) || gone.contains(&found.workspace) || bytes > shared.bytes_max;
            if unwanted && let Some(_alone) = shared.take_unused(&found.workspace) {
                remove(found);
                bytes -= found.bytes;
            }
        }
        shared.lent().retain(|_, alone| Arc::strong_count(alone) > 1);
        bytes
    }
}

impl Shared {
    fn is_open(&self) -> bool {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    fn lent(&self) -> MutexGuard<'_, HashMap<WorkspaceId, Arc<tokio::sync::Mutex<()>>>> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder_of(&self, workspace: &WorkspaceId) -> PathBuf {
        self.folder.join(hex(&workspace.0))
    }

    fn take_unused(&self, workspace: &WorkspaceId) -> Option<OwnedMutexGuard<()>> {
        let alone = Arc::clone(self.lent().entry(*workspace).or_default());
        alone.try_lock_owned().ok()
    }
}

/// The first slot that no instance holds.
fn take_slot(slots: &Path) -> io::Result<Option<(PathBuf, File)>> {
    for number in 0..SLOTS_MAX {
        let folder = slots.join(number.to_string());
        fs::create_dir_all(&folder)?;
        if let Some(lock) = lock(&folder)? {
            return Ok(Some((folder, lock)));
        }
    }
    Ok(None)
}

/// A slot's lock, unless somebody has it.
fn lock(slot: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(slot.join(LOCK_FILE))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// What lies in a slot. Anything that is no workspace's folder is left alone.
fn found_in(slot: &Path) -> io::Result<Vec<Found>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(slot)? {
        let folder = entry?.path();
        let name = folder.file_name().and_then(|name| name.to_str()).and_then(unhex_array);
        let Some(workspace) = name.map(WorkspaceId) else { continue };
        let (mut bytes, mut written) = (0, SystemTime::UNIX_EPOCH);
        for file in fs::read_dir(&folder)? {
            let file = file?;
            let about = file.metadata()?;
            bytes += about.len();
            if file.file_name() == INDEX_FILE {
                written = about.modified()?;
            }
        }
        all.push(Found { workspace, folder, bytes, written });
    }
    Ok(all)
}

fn is_old(found: &Found) -> bool {
    found.written.elapsed().is_ok_and(|age| age > AGE_MAX)
}

fn remove(found: &Found) {
    if let Err(error) = fs::remove_dir_all(&found.folder) {
        tracing::warn!(%error, folder = %found.folder.display(), "an old checkpoint cannot be removed");
    }
}

/// Removes what is old in slots that nobody holds: of instances that were restarted under another number, or are no more.
fn sweep_other_slots(own: &Path) {
    let Some(Ok(slots)) = own.parent().map(fs::read_dir) else { return };
    for slot in slots.flatten().map(|entry| entry.path()).filter(|slot| slot != own) {
        // Held while it is swept: an instance that starts meanwhile takes another one.
        let Ok(Some(_lock)) = lock(&slot) else { continue };
        found_in(&slot).unwrap_or_default().iter().filter(|found| is_old(found)).for_each(remove);
    }
}

#[cfg(test)]
mod tests;
