//! What the commands that run real devices have in common.

use std::future::Future;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use nodespace_servers::Signals;
use tokio::runtime::{Builder, Runtime};

use crate::cluster::device::Launcher;
use crate::cluster::program;

/// Which program is run, and where its devices live.
#[derive(Debug, clap::Args)]
pub struct ClusterArguments {
    /// The device program [default: $NODESPACE_PROGRAM, else the one compiled beside this one].
    #[arg(long, value_name = "FILE")]
    pub program: Option<PathBuf>,
    /// Where homes and logs of the devices go; they stay there [default: a temporary folder, which is kept when something fails].
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

impl ClusterArguments {
    /// How devices are run.
    ///
    /// # Errors
    /// When there is no device program.
    pub fn launcher(&self) -> Result<Launcher> {
        Ok(Launcher::plain(program::find(self.program.as_deref())?))
    }

    /// The folder for what is called `name`.
    ///
    /// # Errors
    /// When it cannot be made, or there is something in it already.
    pub fn workplace(&self, name: &str) -> Result<Workplace> {
        let Some(folder) = &self.folder else {
            let folder = tempfile::Builder::new().prefix("nodespace-testnet-").tempdir().context("no temporary folder")?;
            return Ok(Workplace { path: folder.path().to_path_buf(), temporary: Some(folder) });
        };
        let path = folder.join(name);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let path = path.canonicalize()?;
        if path.read_dir()?.next().is_some() {
            bail!("{} is not empty: name another folder, or remove it", path.display());
        }
        Ok(Workplace { path, temporary: None })
    }
}

/// Where devices live while a command runs.
#[derive(Debug)]
pub struct Workplace {
    /// The folder.
    pub path: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

impl Workplace {
    /// Keeps a temporary folder, for whoever wants to see what went wrong. Answers where it is.
    pub fn keep(self) -> PathBuf {
        self.temporary.map_or(self.path, tempfile::TempDir::keep)
    }
}

/// A runtime for real devices.
///
/// # Errors
/// When the system gives no threads.
pub fn runtime() -> Result<Runtime> {
    Builder::new_multi_thread().enable_all().build().context("no runtime")
}

/// Runs work with real devices to its end, or until it is interrupted; then all it holds is dropped, devices included.
///
/// # Errors
/// When the work fails or is interrupted.
pub fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        tokio::select! {
            done = work => done,
            () = signals.next() => bail!("interrupted; the devices were ended"),
        }
    })
}
