//! A Redis of one's own, on a socket in its folder. It keeps nothing on disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::Instant;

use crate::process::Process;
use crate::{POLL, Place, START_TIME_MAX, redis_url};

/// How long a command to it may take.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(10);

/// A Redis. It ends with this value.
#[derive(Debug)]
pub struct Redis {
    place: Place,
    process: Option<Process>,
}

impl Redis {
    /// Starts one.
    ///
    /// # Errors
    /// When it is not installed, or does not answer.
    pub async fn create(place: &Place) -> Result<Self> {
        let mut redis = Self { place: place.clone(), process: None };
        redis.start().await?;
        Ok(redis)
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        redis_url(self.place.path())
    }

    /// Whether it runs.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Starts it, empty, and waits until it answers.
    ///
    /// # Errors
    /// When it runs already, or does not answer in time.
    pub async fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "Redis runs already");
        let (socket, folder) = (socket(self.place.path()).display().to_string(), self.place.path().display().to_string());
        let mut arguments = vec!["--port", "0", "--save", "", "--appendonly", "no"];
        arguments.extend(["--unixsocket", &socket, "--unixsocketperm", "700", "--dir", &folder]);
        let started = self.place.start("redis", "redis-server", &arguments);
        let mut process = started.context("Redis is missing, perhaps: run scripts/setup.sh relay")?;
        let deadline = Instant::now() + START_TIME_MAX;
        while command(&self.place, "PING").await.is_err() {
            let ended = process.status()?.is_some();
            ensure!(!ended && Instant::now() < deadline, process.complaint("did not start"));
            tokio::time::sleep(POLL).await;
        }
        self.process = Some(process);
        Ok(())
    }

    /// Kills it: what it held is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().context("Redis is not running")?.kill()
    }

    /// Has it forget everything, as an operator's slip would.
    ///
    /// # Errors
    /// When it does not.
    pub async fn flush(&self) -> Result<()> {
        command(&self.place, "FLUSHALL").await
    }
}

/// Whether the one in a folder answers.
pub(crate) async fn answers(place: &Place) -> bool {
    command(place, "PING").await.is_ok()
}

/// The socket of the one in a folder.
pub(crate) fn socket(folder: &Path) -> PathBuf {
    folder.join("redis.sock")
}

async fn command(place: &Place, word: &str) -> Result<()> {
    let socket = socket(place.path()).display().to_string();
    place.run("redis", "redis-cli", &["-s", &socket, word], COMMAND_TIME_MAX).await
}
