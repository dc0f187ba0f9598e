//! A PostgreSQL of one's own, on a socket in its folder, driven through its programs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use tokio::time::Instant;

use super::place::Place;
use crate::cluster::POLL;
use crate::cluster::process::Process;

/// How long it may take until it answers; after a crash it replays its log first.
const START_TIME_MAX: Duration = Duration::from_secs(60);
/// How long it may take to stop in order.
const STOP_TIME_MAX: Duration = Duration::from_secs(30);
/// How long one of its programs may take.
const PROGRAM_TIME_MAX: Duration = Duration::from_secs(120);
/// How long its end is waited for when nobody can wait otherwise.
const DROP_TIME_MAX: Duration = Duration::from_secs(10);
/// The oldest version that the relay takes, and the newest that is looked for.
const VERSIONS: std::ops::RangeInclusive<u32> = 15..=30;
/// The database.
const DATABASE: &str = "relay";
/// Settings that differ from its own: only the socket is listened on, and its memory is what a test machine can spare. Durability is as in
/// earnest.
const SETTINGS: [&str; 5] = ["listen_addresses=", "port=5432", "max_connections=200", "shared_buffers=64MB", "logging_collector=off"];

/// A PostgreSQL with one database. It ends with this value.
#[derive(Debug)]
pub struct Postgres {
    place: Place,
    programs: PathBuf,
    log: PathBuf,
    process: Option<Process>,
    /// Backups so far.
    backups: usize,
}

impl Postgres {
    /// Makes a cluster, starts it, and makes the database.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or does not do what it should.
    pub async fn create(log: &Path) -> Result<Self> {
        let mut postgres = Self { place: Place::make("pg")?, programs: programs()?, log: log.to_path_buf(), process: None, backups: 0 };
        let data = postgres.data();
        let arguments =
            ["--username=relay", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions", "-D", &data];
        postgres.run("initdb", &arguments).await?;
        postgres.start().await?;
        postgres.run_at("createdb", &[DATABASE]).await?;
        Ok(postgres)
    }

    /// The URL of its database.
    pub fn url(&self) -> String {
        format!("postgres://relay@localhost:5432/{DATABASE}?host={}", self.socket())
    }

    /// Whether it runs.
    pub const fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When it runs already, or does not answer in time.
    pub async fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "PostgreSQL runs already");
        let (data, socket) = (self.data(), self.socket());
        let mut arguments = vec!["-D", &data, "-k", &socket];
        arguments.extend(SETTINGS.iter().flat_map(|setting| ["-c", setting]));
        let spawn = || Process::start(self.place.launch(self.programs.join("postgres"), &arguments, &self.log));
        let mut process = spawn()?;
        let deadline = Instant::now() + START_TIME_MAX;
        while self.run_at("pg_isready", &["-q"]).await.is_err() {
            if let Some(status) = process.status()? {
                ensure!(Instant::now() < deadline, process.complaint(&format!("did not start ({status})")));
                // After a crash its children have to be gone first: one that comes too early ends at once.
                process = spawn()?;
            }
            ensure!(Instant::now() < deadline, process.complaint(&format!("did not answer within {START_TIME_MAX:?}")));
            tokio::time::sleep(POLL).await;
        }
        self.process = Some(process);
        Ok(())
    }

    /// Stops it in order; clients are cut off.
    ///
    /// # Errors
    /// When it does not run, or does not stop as it should.
    pub async fn stop(&mut self) -> Result<()> {
        self.take()?.stop_by(Signal::INT, STOP_TIME_MAX).await
    }

    /// Kills it, as a crash would.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self) -> Result<()> {
        self.take()?.kill()
    }

    /// Writes a backup of the database.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn back_up(&mut self) -> Result<()> {
        self.backups += 1;
        let file = self.backup(self.backups);
        self.run_at("pg_dump", &["--format=custom", "--file", &file, DATABASE]).await
    }

    /// Puts an empty database in place of the one there is.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn lose(&self) -> Result<()> {
        self.run_at("dropdb", &["--force", DATABASE]).await?;
        self.run_at("createdb", &[DATABASE]).await
    }

    /// Puts the first backup in place of the database.
    ///
    /// # Errors
    /// When there is no backup, or it cannot be restored.
    pub async fn restore(&self) -> Result<()> {
        ensure!(self.backups > 0, "there is no backup");
        self.lose().await?;
        self.run_at("pg_restore", &["--single-transaction", "--exit-on-error", "--dbname", DATABASE, &self.backup(1)]).await
    }

    /// Ends with an error when it has ended by itself.
    ///
    /// # Errors
    /// When it has, with the end of its log.
    pub fn check_alive(&mut self) -> Result<()> {
        let Some(process) = &mut self.process else { return Ok(()) };
        match process.status()? {
            None => Ok(()),
            Some(status) => bail!("PostgreSQL died: {}", process.complaint(&status.to_string())),
        }
    }

    fn take(&mut self) -> Result<Process> {
        self.process.take().context("PostgreSQL is not running")
    }

    fn data(&self) -> String {
        self.place.path().join("data").display().to_string()
    }

    fn socket(&self) -> String {
        self.place.path().display().to_string()
    }

    fn backup(&self, number: usize) -> String {
        self.place.path().join(format!("backup-{number}")).display().to_string()
    }

    /// Runs one of its programs against the running server.
    async fn run_at(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let socket = self.socket();
        let mut all = vec!["-h", &socket, "-p", "5432", "-U", "relay"];
        all.extend(arguments);
        self.run(program, &all).await
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        Process::run(self.place.launch(self.programs.join(program), arguments, &self.log), PROGRAM_TIME_MAX).await
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Its children notice the end of a killed one only after a while, and write into the folder until then.
        if let Some(process) = self.process.take() {
            process.end_by(Signal::INT, DROP_TIME_MAX);
        }
    }
}

/// Where its programs are: Debian keeps them outside of PATH.
fn programs() -> Result<PathBuf> {
    let in_path = std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let debian = VERSIONS.rev().map(|major| PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")));
    let found = debian.chain(in_path).find(|folder| folder.join("initdb").exists());
    found.context("PostgreSQL's server programs are missing: run scripts/setup.sh relay")
}
