//! One real device: a home folder, a log file, the program running in it or not, and a way to talk to it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nodespace_servers::process::{Launch, Process};
use tokio::sync::watch;

use super::api::answer::Network;
use super::api::{Api, ApiError, ApiFile};
use super::usage::Usage;

/// How long a device may take until it answers: it replays its journal first, and may share the machine with many others.
const START_TIME_MAX: Duration = Duration::from_secs(120);
/// How long a device may take to stop in order.
const STOP_TIME_MAX: Duration = Duration::from_secs(60);
/// How often a starting device is looked at.
const POLL: Duration = Duration::from_millis(20);

/// How the device program is run.
#[derive(Clone, Debug)]
pub struct Launcher {
    /// The device program.
    pub program: PathBuf,
    /// What stands before it on the command line, such as `ip netns exec NAME`.
    pub prefix: Vec<OsString>,
}

impl Launcher {
    /// The program as it is.
    pub const fn plain(program: PathBuf) -> Self {
        Self { program, prefix: Vec::new() }
    }

    /// A run of the program.
    pub(super) fn launch(&self, arguments: Vec<OsString>, environment: Vec<(String, String)>, log: &Path) -> Launch {
        let mut words = self.prefix.clone();
        words.push(self.program.clone().into());
        words.extend(arguments);
        let program = PathBuf::from(words.remove(0));
        Launch { program, arguments: words, environment, log: log.to_path_buf(), folder: None, user: None }
    }
}

/// Settings of a device: keys as its configuration names them (`network.mdns`), and their values as in the environment.
pub type Settings = BTreeMap<String, String>;

/// How a home begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning<'a> {
    /// With a first workspace of this name.
    Founder(&'a str),
    /// With keys and nothing else: to join one.
    Empty,
}

/// A device.
#[derive(Debug)]
pub struct Device {
    /// What it is called in reports.
    pub name: String,
    home: PathBuf,
    log: PathBuf,
    launcher: Launcher,
    settings: Settings,
    process: Option<Process>,
    paused: bool,
    /// The way to the running program; nothing while it does not run.
    api: watch::Sender<Option<Api>>,
}

impl Device {
    /// Makes a device's home below `folder`.
    ///
    /// # Errors
    /// When the program fails.
    pub async fn create(name: &str, folder: &Path, launcher: Launcher, settings: Settings, beginning: Beginning<'_>) -> Result<Self> {
        let (home, log) = (folder.join(name), folder.join(format!("{name}.log")));
        let device = Self { name: name.into(), home, log, launcher, settings, process: None, paused: false, api: watch::Sender::new(None) };
        let mut arguments: Vec<OsString> = vec!["init".into()];
        match beginning {
            Beginning::Founder(workspace) => arguments.extend(["--name".into(), workspace.into()]),
            Beginning::Empty => arguments.push("--empty".into()),
        }
        let launch = device.launcher.launch(device.arguments(arguments), device.environment(), &device.log);
        Process::run(launch, START_TIME_MAX).await.with_context(|| format!("cannot make the home of {name}"))?;
        Ok(device)
    }

    /// Starts the program and waits until it answers.
    ///
    /// # Errors
    /// When it runs already, ends, or does not answer in time.
    pub async fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{} runs already", self.name);
        let arguments = self.arguments(vec!["run".into(), "--port".into(), "0".into()]);
        let process = Process::start(self.launcher.launch(arguments, self.environment(), &self.log))?;
        let pid = process.pid();
        self.process = Some(process);
        let deadline = tokio::time::Instant::now() + START_TIME_MAX;
        loop {
            if let Some(api) = self.answering(pid).await? {
                self.api.send_replace(Some(api));
                return Ok(());
            }
            if let Some(status) = self.running_mut()?.status()? {
                let process = self.process.take().context("it was just there")?;
                bail!("{}: {}", self.name, process.complaint(&format!("ended at its start ({status})")));
            }
            if tokio::time::Instant::now() >= deadline {
                bail!("{}: {}", self.name, self.running()?.complaint(&format!("did not answer within {START_TIME_MAX:?}")));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The API, once the process of this number says where it is and answers there.
    async fn answering(&self, pid: u32) -> Result<Option<Api>> {
        let Some(file) = ApiFile::read(&self.home).filter(|file| file.pid == pid) else { return Ok(None) };
        let token = fs::read_to_string(self.home.join("api-token")).with_context(|| format!("{} has no token", self.name))?;
        let api = Api::new(file.address, token.trim().to_owned());
        match api.get::<serde_json::Value>("/health").await {
            Ok(_) => Ok(Some(api)),
            // It is there and will not talk: waiting helps nobody.
            Err(error @ ApiError::Refused { .. }) => Err(error).with_context(|| format!("{} does not say how it is", self.name)),
            Err(_) => Ok(None),
        }
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// When it does not run, or does not stop as it should.
    pub async fn stop(&mut self) -> Result<()> {
        self.resume()?;
        let process = self.take()?;
        process.stop(STOP_TIME_MAX).await.with_context(|| format!("{} did not stop in order", self.name))
    }

    /// Kills it at once.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.take()?.kill()
    }

    /// Stops it in its tracks: nothing of it goes on until [`Device::resume`].
    ///
    /// # Errors
    /// When it does not run.
    pub fn pause(&mut self) -> Result<()> {
        self.running()?.pause()?;
        self.paused = true;
        Ok(())
    }

    /// Lets a paused device go on; one that is not paused is left alone.
    ///
    /// # Errors
    /// When it does not run.
    pub fn resume(&mut self) -> Result<()> {
        if self.paused {
            self.running()?.resume()?;
            self.paused = false;
        }
        Ok(())
    }

    /// Changes a setting; it counts from the next start.
    pub fn set(&mut self, key: &str, value: &str) {
        self.settings.insert(key.to_owned(), value.to_owned());
    }

    /// Whether the program runs, paused or not.
    pub const fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Whether it is paused.
    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Ends with an error when the program, which should run, has ended by itself.
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

    /// The way to the running program.
    ///
    /// # Errors
    /// When it does not run.
    pub fn api(&self) -> Result<Api> {
        self.api.borrow().clone().with_context(|| format!("{} is not running", self.name))
    }

    /// The way to the program, as it comes and goes.
    pub fn api_updates(&self) -> watch::Receiver<Option<Api>> {
        self.api.subscribe()
    }

    /// What its network says.
    ///
    /// # Errors
    /// When it does not run or does not answer.
    pub async fn network(&self) -> Result<Network> {
        self.api()?.get("/v1/network").await.with_context(|| format!("{}: its network", self.name))
    }

    /// Its process.
    ///
    /// # Errors
    /// When it does not run.
    pub fn pid(&self) -> Result<u32> {
        self.running().map(Process::pid)
    }

    /// What it uses.
    ///
    /// # Errors
    /// When it does not run.
    pub fn usage(&self) -> Result<Usage> {
        Usage::of(self.pid()?)
    }

    /// Its home folder.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Its log file.
    pub fn log(&self) -> &Path {
        &self.log
    }

    fn running(&self) -> Result<&Process> {
        self.process.as_ref().with_context(|| format!("{} is not running", self.name))
    }

    fn running_mut(&mut self) -> Result<&mut Process> {
        self.process.as_mut().with_context(|| format!("{} is not running", self.name))
    }

    fn take(&mut self) -> Result<Process> {
        self.api.send_replace(None);
        self.paused = false;
        self.process.take().with_context(|| format!("{} is not running", self.name))
    }

    fn arguments(&self, command: Vec<OsString>) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--home".into(), self.home.clone().into()];
        arguments.extend(command);
        arguments
    }

    fn environment(&self) -> Vec<(String, String)> {
        let variable = |key: &String| format!("NODESPACE_{}", key.replace('.', "_").to_uppercase());
        self.settings.iter().map(|(key, value)| (variable(key), value.clone())).collect()
    }
}
