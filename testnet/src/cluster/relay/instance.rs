//! One `nodespace-relay`, running or not.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nodespace_servers::process::Process;
use tokio::time::Instant;

use crate::cluster::POLL;
use crate::cluster::device::{Launcher, Settings};

/// How long it may take until it listens. One that cannot reach its database ends, and is started again by whoever keeps it running.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// How long it may take to stop in order.
const STOP_TIME_MAX: Duration = Duration::from_secs(30);
/// What its first line begins with, before its URL.
const GREETING: &str = "relay    http://";

/// An instance of the relay.
#[derive(Debug)]
pub struct Instance {
    /// What it is called in reports.
    pub name: String,
    log: PathBuf,
    launcher: Launcher,
    settings: Settings,
    process: Option<Process>,
}

impl Instance {
    /// One that does not run yet. Settings are called as in its configuration (`server.address`).
    pub fn new(name: &str, log: &Path, launcher: Launcher, settings: Settings) -> Self {
        Self { name: name.into(), log: log.to_path_buf(), launcher, settings, process: None }
    }

    /// Starts it and waits until it listens. Answers where.
    ///
    /// # Errors
    /// When it runs already, or does not listen in time.
    pub async fn start(&mut self) -> Result<SocketAddr> {
        ensure!(self.process.is_none(), "{} runs already", self.name);
        let deadline = Instant::now() + START_TIME_MAX;
        let mut from = self.log_bytes();
        let mut process = self.spawn()?;
        loop {
            if let Some(address) = self.greeting(from) {
                self.process = Some(process);
                return Ok(address);
            }
            let ended = process.status()?;
            ensure!(Instant::now() < deadline, "{}: {}", self.name, process.complaint(&format!("did not listen ({ended:?})")));
            if ended.is_some() {
                from = self.log_bytes();
                process = self.spawn()?;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// When it does not run, or does not stop as it should.
    pub async fn stop(&mut self) -> Result<()> {
        self.take()?.stop(STOP_TIME_MAX).await
    }

    /// Kills it at once.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.take()?.kill()
    }

    /// Whether it runs.
    pub const fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Ends with an error when it has ended by itself.
    ///
    /// # Errors
    /// When it has, with the end of its log.
    pub fn check_alive(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        match process.status()? {
            None => Ok(()),
            Some(status) => bail!("{} died: {}", self.name, process.complaint(&status.to_string())),
        }
    }

    fn take(&mut self) -> Result<Process> {
        self.process.take().with_context(|| format!("{} is not running", self.name))
    }

    fn spawn(&self) -> Result<Process> {
        let variable = |key: &String| format!("NODESPACE_RELAY_{}", key.replace('.', "_").to_uppercase());
        let environment = self.settings.iter().map(|(key, value)| (variable(key), value.clone())).collect();
        Process::start(self.launcher.launch(vec!["serve".into(), "--migrate".into()], environment, &self.log))
    }

    fn log_bytes(&self) -> usize {
        fs::metadata(&self.log).map_or(0, |file| usize::try_from(file.len()).unwrap_or(usize::MAX))
    }

    /// Where it says that it listens, in what it wrote since.
    fn greeting(&self, from: usize) -> Option<SocketAddr> {
        let log = fs::read(&self.log).ok()?;
        let text = String::from_utf8_lossy(log.get(from..)?);
        // A line that is not whole yet names half a port.
        let whole = &text[..=text.rfind('\n')?];
        whole.lines().find_map(|line| line.strip_prefix(GREETING)?.parse().ok())
    }
}
