//! The data folder of a device: its layout, its keys, its lock, its incarnation.
//!
//! ```text
//! <home>/                     0700
//!   format                    the version of this layout, for people and programs
//!   identity/                 0700; never in a backup
//!     device.key              0600; the device's secret seed, 64 hex digits
//!     user.key                0600; the user's
//!     certificate             0600; by the user's other device, when this is not the user's first one
//!   incarnation               which life of this folder this is; never in a backup
//!   lock                      held while a process has the home open; holds its id
//!   default-workspace         the id of the workspace meant when none is named
//!   api-token, config.toml    the programs' own
//!   workspaces/<id>/          one folder a workspace
//!     journal/                operations: the truth
//!     index.redb              checkpoints: derived
//!     local.redb              full vectors and settings: this device's alone
//!     lancedb/                the table other programs read: derived
//! ```
//!
//! Every file is 0600 and every folder 0700.

mod files;
mod identity;
mod incarnation;
mod lock;
mod migrate;

use std::path::{Path, PathBuf};

use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::{WorkspaceId, hex, unhex};
use nodespace_protocol::membership::Certificate;

use crate::disk::sync_folder;
use crate::error::Cause;
use lock::Lock;

pub use migrate::FORMAT;

const DEFAULT_WORKSPACE: &str = "default-workspace";
const WORKSPACES: &str = "workspaces";
/// What may lie in a folder that is to become a home: what a creation that was interrupted left, and what a person put there first.
const KNOWN: [&str; 8] = ["format", "identity", "incarnation", "lock", DEFAULT_WORKSPACE, "api-token", "config.toml", WORKSPACES];

/// Why a home could not be made or opened.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// No home lies there.
    #[error("{} is not a NodeSpace home; make one with `nodespace init`, or name another with --home", path.display())]
    NotAHome {
        /// The folder.
        path: PathBuf,
    },
    /// A home lies there already.
    #[error("{} is a NodeSpace home already", path.display())]
    Exists {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds something else.
    #[error("{} holds `{found}`, which is no part of a NodeSpace home; name a new or empty folder", path.display())]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// Another process has it open.
    #[error("{} is in use{}; stop that process first", path.display(), pid.map(|pid| format!(" by process {pid}")).unwrap_or_default())]
    Locked {
        /// The folder.
        path: PathBuf,
        /// Who has it, when it says so.
        pid: Option<u32>,
    },
    /// A newer program has written it.
    #[error("{} has format {found}, this program knows formats up to {known}; use the newer program that wrote it", path.display())]
    Future {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// Others could read a secret key.
    #[error("others may read {} (mode {mode:o}); run `chmod {} {}`", path.display(), if *is_folder { "700" } else { "600" }, path.display())]
    Exposed {
        /// The file or folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// Whether it is a folder.
        is_folder: bool,
    },
    /// A file of the home does not hold what it must.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// A certificate that is not for this device, or not by its user.
    #[error("the certificate is not valid for this device: {what}")]
    Certificate {
        /// What is wrong with it.
        what: &'static str,
    },
    /// The file system or the system failed.
    #[error(transparent)]
    Environment(Cause),
}

/// An open home. The lock is held until it is dropped.
#[derive(Debug)]
pub struct Home {
    path: PathBuf,
    device: KeyPair,
    user: KeyPair,
    /// By the user's other device; `None` when the device is of the user whose key is here.
    certificate: Option<Certificate>,
    incarnation: u32,
    _lock: Lock,
}

impl Home {
    /// Makes a home with new keys in a new or empty folder, and opens it. One whose making was interrupted is finished.
    ///
    /// # Errors
    /// When the folder is a home already, holds something else, or cannot be written.
    pub fn create(path: &Path) -> Result<Self, HomeError> {
        files::make_folder(path)?;
        if path.join(migrate::FORMAT_FILE).exists() {
            return Err(HomeError::Exists { path: path.to_owned() });
        }
        let foreign = files::names(path)?.into_iter().find(|name| !KNOWN.contains(&name.trim_end_matches(".new")));
        if let Some(found) = foreign {
            return Err(HomeError::NotEmpty { path: path.to_owned(), found });
        }
        let lock = Lock::take(path)?;
        identity::create(path)?;
        files::make_folder(&path.join(WORKSPACES))?;
        incarnation::renew(path)?;
        // Last: without it the folder is no home.
        migrate::write_format(path, FORMAT)?;
        Self::load(path, lock)
    }

    /// Opens a home: takes the lock, brings an older layout up to date, and sees whether this is the folder it was.
    ///
    /// # Errors
    /// When there is none, another process has it open, a newer program wrote it, its keys are exposed, or it cannot be written.
    pub fn open(path: &Path) -> Result<Self, HomeError> {
        migrate::check(path)?;
        let lock = Lock::take(path)?;
        migrate::run(path)?;
        Self::load(path, lock)
    }

    fn load(path: &Path, lock: Lock) -> Result<Self, HomeError> {
        let (device, user) = identity::read(path)?;
        let certificate = identity::read_certificate(path, &device)?;
        let incarnation = incarnation::current(path)?;
        Ok(Self { path: path.to_owned(), device, user, certificate, incarnation, _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The key that signs this device's operations.
    pub const fn device_key(&self) -> &KeyPair {
        &self.device
    }

    /// The key that certifies the user's devices.
    pub const fn user_key(&self) -> &KeyPair {
        &self.user
    }

    /// What shows whose this device is: the certificate that was kept, else one by the user whose key is here.
    pub fn certificate(&self) -> Certificate {
        self.certificate.unwrap_or_else(|| Certificate::issue(&self.user, self.device.device()))
    }

    /// Keeps the certificate by which the user's other device made this one the user's. It holds from the next opening on.
    ///
    /// # Errors
    /// When it is not valid or for another device, or the folder cannot be written.
    pub fn keep_certificate(&self, certificate: &Certificate) -> Result<(), HomeError> {
        identity::write_certificate(&self.path, &self.device, certificate)
    }

    /// The epoch of the logs that this device writes; another when the folder was copied or restored.
    pub const fn incarnation(&self) -> u32 {
        self.incarnation
    }

    /// Begins a new incarnation: logs written so far are not continued. For a workspace that was restored into this home.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn renew_incarnation(&mut self) -> Result<u32, HomeError> {
        self.incarnation = incarnation::renew(&self.path)?;
        Ok(self.incarnation)
    }

    /// The folder of a workspace, which need not exist.
    pub fn workspace_folder(&self, id: WorkspaceId) -> PathBuf {
        self.path.join(WORKSPACES).join(hex(&id.0))
    }

    /// Makes the folder of a workspace, unless it is there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn create_workspace(&self, id: WorkspaceId) -> Result<PathBuf, HomeError> {
        files::make_folder(&self.path.join(WORKSPACES))?;
        let folder = self.workspace_folder(id);
        files::make_folder(&folder)?;
        Ok(folder)
    }

    /// The workspaces of this home, ascending.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn workspaces(&self) -> Result<Vec<WorkspaceId>, HomeError> {
        let folder = self.path.join(WORKSPACES);
        let names = if folder.is_dir() { files::names(&folder)? } else { Vec::new() };
        let mut ids: Vec<WorkspaceId> = names.iter().filter_map(|name| workspace_in(name)).collect();
        ids.sort_unstable();
        Ok(ids)
    }

    /// Removes the folder of a workspace that holds no operation. The store must be closed.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_empty_workspace(&self, id: WorkspaceId) -> Result<(), HomeError> {
        let folder = self.workspace_folder(id);
        std::fs::remove_dir_all(&folder).map_err(files::failed(&folder))
    }

    /// Sets the folder of a workspace aside, under a name by which it is no workspace of this home any more. The store must be closed.
    /// Answers where it lies now.
    ///
    /// # Errors
    /// When it cannot be renamed.
    pub fn set_workspace_aside(&self, id: WorkspaceId) -> Result<PathBuf, HomeError> {
        let folder = self.workspace_folder(id);
        let name = |number: u32| self.path.join(WORKSPACES).join(format!("{}.aside-{number}", hex(&id.0)));
        let mut number = 1;
        while name(number).exists() {
            number += 1;
        }
        let aside = name(number);
        std::fs::rename(&folder, &aside).map_err(files::failed(&folder))?;
        sync_folder(&self.path.join(WORKSPACES)).map_err(files::failed(&folder))?;
        Ok(aside)
    }

    /// The workspace meant when none is named: the one that was set, else the only one.
    pub fn default_workspace(&self) -> Option<WorkspaceId> {
        self.chosen_workspace().or_else(|| match self.workspaces().ok()?.as_slice() {
            [only] => Some(*only),
            _ => None,
        })
    }

    /// The workspace that was set to be meant when none is named.
    pub fn chosen_workspace(&self) -> Option<WorkspaceId> {
        let set = std::fs::read_to_string(self.path.join(DEFAULT_WORKSPACE)).ok();
        set.and_then(|text| workspace_in(text.trim()))
    }

    /// Forgets which workspace was set to be meant.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn clear_default_workspace(&self) -> Result<(), HomeError> {
        let path = self.path.join(DEFAULT_WORKSPACE);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(files::failed(&path)(error)),
            _ => Ok(()),
        }
    }

    /// Sets the workspace meant when none is named.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn set_default_workspace(&self, id: WorkspaceId) -> Result<(), HomeError> {
        files::replace(&self.path.join(DEFAULT_WORKSPACE), format!("{}\n", hex(&id.0)).as_bytes())
    }
}

fn workspace_in(text: &str) -> Option<WorkspaceId> {
    unhex(text)?.try_into().ok().map(WorkspaceId)
}
