//! A Redis of one's own, on a socket in its folder. It keeps nothing on disk.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::Instant;

use super::place::Place;
use crate::cluster::POLL;
use crate::cluster::process::Process;

/// How long it may take until it answers.
const START_TIME_MAX: Duration = Duration::from_secs(30);
/// How long a command to it may take.
const COMMAND_TIME_MAX: Duration = Duration::from_secs(10);

/// A Redis. It ends with this value.
#[derive(Debug)]
pub struct Redis {
    place: Place,
    log: PathBuf,
    process: Option<Process>,
}

impl Redis {
    /// Starts one.
    ///
    /// # Errors
    /// When it is not installed, or does not answer.
    pub async fn create(log: &Path) -> Result<Self> {
        let mut redis = Self { place: Place::make("redis")?, log: log.to_path_buf(), process: None };
        redis.start().await?;
        Ok(redis)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis+unix://{}", self.socket())
    }

    /// Whether it runs.
    pub const fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Starts it, empty, and waits until it answers.
    ///
    /// # Errors
    /// When it runs already, or does not answer in time.
    pub async fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "Redis runs already");
        let (socket, folder) = (self.socket(), self.place.path().display().to_string());
        let arguments = ["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket", &socket, "--dir", &folder];
        let launched = Process::start(self.place.launch("redis-server", &arguments, &self.log));
        let mut process = launched.context("Redis is missing, perhaps: run scripts/setup.sh relay")?;
        let deadline = Instant::now() + START_TIME_MAX;
        while self.command("PING").await.is_err() {
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
        self.command("FLUSHALL").await
    }

    async fn command(&self, word: &str) -> Result<()> {
        Process::run(self.place.launch("redis-cli", &["-s", &self.socket(), word], &self.log), COMMAND_TIME_MAX).await
    }

    fn socket(&self) -> String {
        self.place.path().join("redis.sock").display().to_string()
    }
}
