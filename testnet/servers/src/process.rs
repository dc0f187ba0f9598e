//! One process of ours: started with a log file, signalled by its number, and gone when we are.
//!
//! Dropping a [`Process`] kills it and waits for it, so none outlives an error, a panic or an interrupted command. It runs in a process
//! group of its own: Ctrl-C in a terminal reaches us alone, who then end it in order.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How often a process is asked whether it has ended; the system's own notice would need a process-wide handler.
const POLL: Duration = Duration::from_millis(10);
/// How much of the end of a log is shown when a process did not do what it should.
const LOG_TAIL_BYTES: usize = 4_000;

/// What to run.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables of its environment. Of ours it gets all that do not begin with `NODESPACE_`.
    pub environment: Vec<(String, String)>,
    /// The file its output is appended to.
    pub log: PathBuf,
    /// Where it runs, if not where we are.
    pub folder: Option<PathBuf>,
    /// Whom it runs as, if not as ourselves.
    pub user: Option<User>,
}

/// A user of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
}

impl Launch {
    /// The command, with its output going to the log.
    fn command(&self) -> Result<Command> {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log: File = log.with_context(|| format!("cannot write the log {}", self.log.display()))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("NODESPACE_") {
                command.env_remove(name);
            }
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        if let Some(user) = self.user {
            command.uid(user.uid).gid(user.gid);
        }
        Ok(command)
    }

    fn failed(&self, what: &str) -> String {
        format!("{} {what}; the end of {}:\n{}", self.program.display(), self.log.display(), log_tail(&self.log))
    }
}

/// A running process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    launch: Launch,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// When the program cannot be run, or its log not be written.
    pub fn start(launch: Launch) -> Result<Self> {
        let child = launch.command()?.spawn().with_context(|| format!("cannot run {}", launch.program.display()))?;
        Ok(Self { child, launch })
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    /// When it cannot be run, takes longer than it may, or fails.
    pub async fn run(launch: Launch, within: Duration) -> Result<()> {
        let mut process = Self::start(launch)?;
        match process.ended(within).await? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!(process.launch.failed(&format!("failed ({status})"))),
            None => bail!(process.launch.failed(&format!("did not end within {within:?}"))),
        }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The processes that it has started and that have not ended. Only Linux tells.
    pub(crate) fn children(&self) -> Result<Vec<Pid>> {
        let own = Pid::from_child(&self.child).as_raw_nonzero().get();
        let entries = fs::read_dir("/proc").context("who runs here cannot be read")?;
        let all = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        Ok(all.filter(|number| parent_of(*number) == Some(own)).filter_map(Pid::from_raw).collect())
    }

    /// Whether it has ended, and how.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn status(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its end; `None` when it runs on.
    ///
    /// # Errors
    /// When the system does not say.
    pub async fn ended(&mut self, within: Duration) -> Result<Option<ExitStatus>> {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            if let Some(status) = self.status()? {
                return Ok(Some(status));
            }
            if tokio::time::Instant::now() >= deadline {
                return Ok(None);
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Stops it in its tracks.
    ///
    /// # Errors
    /// When it has ended.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Kills it at once, as `kill -9` does.
    ///
    /// # Errors
    /// When it could not be waited for.
    pub fn kill(mut self) -> Result<()> {
        self.end()
    }

    /// Asks it to end and waits for it.
    ///
    /// # Errors
    /// When it does not end in time (it is killed then), or ends with a failure.
    pub async fn stop(self, within: Duration) -> Result<()> {
        self.stop_by(Signal::TERM, within).await
    }

    /// Asks it to end by a signal of its own taste, and waits for it.
    ///
    /// # Errors
    /// As [`Process::stop`].
    pub async fn stop_by(mut self, signal: Signal, within: Duration) -> Result<()> {
        // The number of one that has ended, and was noticed, may be another's.
        if self.status()?.is_none() {
            self.signal(signal)?;
        }
        match self.ended(within).await? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!(self.launch.failed(&format!("ended with {status}"))),
            None => {
                self.end()?;
                bail!(self.launch.failed(&format!("did not stop within {within:?} and was killed")))
            }
        }
    }

    /// Asks it to end by a signal and waits in this thread, for so long at most; what is still there is killed. For whoever is dropped and
    /// cannot wait otherwise.
    pub fn end_by(mut self, signal: Signal, within: Duration) {
        // The number of one that has ended, and was noticed, may be another's.
        if matches!(self.status(), Ok(None)) {
            self.signal(signal).ok();
        }
        let deadline = std::time::Instant::now() + within;
        while matches!(self.status(), Ok(None)) && std::time::Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
    }

    /// Why it is not as it should be, with the end of its log.
    pub fn complaint(&self, what: &str) -> String {
        self.launch.failed(what)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal).with_context(|| format!("process {} cannot be signalled", self.pid()))
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_none() {
            self.child.kill()?;
            self.child.wait()?;
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It can only fail when the process is gone already.
        self.end().ok();
    }
}

/// Who started a process.
fn parent_of(number: i32) -> Option<i32> {
    // After the name, which is in parentheses and may be anything: the state, then the parent.
    let stat = fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// The end of a log file, for an error message.
pub fn log_tail(path: &Path) -> String {
    let Ok(bytes) = fs::read(path) else { return "(there is no log)".into() };
    String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(LOG_TAIL_BYTES)..]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(folder: &Path, script: &str) -> Launch {
        Launch {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("WHO".into(), "device".into())],
            log: folder.join("log"),
            folder: None,
            user: None,
        }
    }

    fn is_alive(pid: u32) -> bool {
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        rustix::process::test_kill_process(pid).is_ok()
    }

    #[tokio::test]
    async fn output_goes_to_the_log_and_failures_show_it() {
        let folder = tempfile::tempdir().unwrap();
        Process::run(launch(folder.path(), "echo hello $WHO"), Duration::from_secs(20)).await.unwrap();
        assert_eq!(log_tail(&folder.path().join("log")), "hello device\n");
        let error = Process::run(launch(folder.path(), "echo broken >&2; exit 3"), Duration::from_secs(20)).await.unwrap_err();
        assert!(error.to_string().contains("broken") && error.to_string().contains("exit status: 3"), "{error}");
    }

    #[tokio::test]
    async fn a_dropped_process_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(launch(folder.path(), "exec sleep 600")).unwrap();
        let pid = process.pid();
        assert!(is_alive(pid));
        drop(process);
        assert!(!is_alive(pid), "it was killed and waited for");
    }

    #[tokio::test]
    async fn a_paused_process_can_be_killed_and_one_that_does_not_stop_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let process = Process::start(launch(folder.path(), "exec sleep 600")).unwrap();
        let pid = process.pid();
        process.pause().unwrap();
        process.kill().unwrap();
        assert!(!is_alive(pid));
        // It says that it is deaf before it is signalled, so that the signal cannot come too early.
        let deaf = Process::start(launch(folder.path(), "trap '' TERM; echo deaf; while :; do sleep 0.05; done")).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while !log_tail(&folder.path().join("log")).contains("deaf") {
            assert!(std::time::Instant::now() < deadline, "the shell did not start");
            tokio::task::yield_now().await;
        }
        let pid = deaf.pid();
        let error = deaf.stop(Duration::from_millis(200)).await.unwrap_err().to_string();
        assert!(error.contains("was killed"), "{error}");
        assert!(!is_alive(pid));
    }
}
