//! A PostgreSQL of one's own, on a socket in its folder, driven through its programs.

mod backup;
mod trouble;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;
use tokio::time::Instant;

use crate::process::Process;
use crate::{POLL, Place, START_TIME_MAX, folders_of_programs, postgres_url};

/// How long it may take to stop in order: it writes a checkpoint of all there is.
const STOP_TIME_MAX: Duration = Duration::from_secs(120);
/// How long one of its programs may take.
const PROGRAM_TIME_MAX: Duration = Duration::from_secs(120);
/// How long its end is waited for when nobody can wait otherwise.
const DROP_TIME_MAX: Duration = Duration::from_secs(10);
/// The oldest version that the relay takes, and the newest that is looked for.
const VERSIONS: std::ops::RangeInclusive<u32> = 15..=30;
/// Where systems keep its programs outside of PATH, before the version and after it.
const FOLDERS: [(&str, &str); 4] = [
    ("/usr/lib/postgresql/", "/bin"),
    ("/usr/pgsql-", "/bin"),
    ("/opt/homebrew/opt/postgresql@", "/bin"),
    ("/usr/local/opt/postgresql@", "/bin"),
];
/// The database.
const DATABASE: &str = "relay";
/// Settings that differ from its own: only the socket is listened on. Durability is as in earnest.
const SETTINGS: [&str; 4] = ["listen_addresses=", "port=5432", "max_connections=200", "logging_collector=off"];
/// What a test machine can spare of memory.
const TEMPORARY_SETTINGS: [&str; 1] = ["shared_buffers=64MB"];

/// A PostgreSQL with one database, `relay`. It ends with this value.
#[derive(Debug)]
pub struct Postgres {
    place: Place,
    programs: PathBuf,
    process: Option<Process>,
    /// Backups so far.
    backups: usize,
}

impl Postgres {
    /// Starts one, and makes what is not there yet: its files and the database.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, or does not do what it should.
    pub async fn create(place: &Place) -> Result<Self> {
        let mut postgres = Self { place: place.clone(), programs: programs()?, process: None, backups: 0 };
        let is_new = !postgres.data().join("PG_VERSION").exists();
        if is_new {
            postgres.initialize().await?;
        }
        postgres.start().await?;
        if is_new || postgres.run_at("psql", &["-Xqd", DATABASE, "-c", "SELECT 1"]).await.is_err() {
            postgres.run_at("createdb", &[DATABASE]).await?;
        }
        Ok(postgres)
    }

    /// Makes its files beside their place first: what an interrupted run has begun is no database, and would not start for ever after.
    async fn initialize(&self) -> Result<()> {
        let begun = self.place.path().join("postgres-begun");
        if begun.exists() {
            fs::remove_dir_all(&begun).with_context(|| format!("cannot remove {}", begun.display()))?;
        }
        let data = begun.display().to_string();
        let mut arguments = vec!["--username=relay", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions", "-D", &data];
        if !self.place.is_kept() {
            arguments.push("--no-sync");
        }
        self.run("initdb", &arguments).await?;
        fs::rename(&begun, self.data()).with_context(|| format!("cannot rename {}", begun.display()))
    }

    /// The URL of its database.
    #[must_use]
    pub fn url(&self) -> String {
        postgres_url(self.place.path(), DATABASE)
    }

    /// Whether it runs.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// When it runs already, or does not answer in time.
    pub async fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "PostgreSQL runs already");
        let (data, socket) = (self.data().display().to_string(), self.socket());
        let mut arguments = vec!["-D", &data, "-k", &socket];
        let spared: &[&str] = if self.place.is_kept() { &[] } else { &TEMPORARY_SETTINGS };
        arguments.extend(SETTINGS.iter().chain(spared).flat_map(|setting| ["-c", setting]));
        let spawn = || self.place.start("postgres", self.programs.join("postgres"), &arguments);
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

    fn running(&self) -> Result<&Process> {
        self.process.as_ref().context("PostgreSQL is not running")
    }

    fn take(&mut self) -> Result<Process> {
        self.process.take().context("PostgreSQL is not running")
    }

    fn data(&self) -> PathBuf {
        self.place.path().join("postgres")
    }

    fn socket(&self) -> String {
        self.place.path().display().to_string()
    }

    /// Runs one of its programs against the running server.
    async fn run_at(&self, program: &str, arguments: &[&str]) -> Result<()> {
        let socket = self.socket();
        let mut all = vec!["-h", &socket, "-p", "5432", "-U", "relay"];
        all.extend(arguments);
        self.run(program, &all).await
    }

    async fn run(&self, program: &str, arguments: &[&str]) -> Result<()> {
        self.place.run("postgres", self.programs.join(program), arguments, PROGRAM_TIME_MAX).await
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A test that failed may have left it frozen.
        self.thaw().ok();
        // Its children notice the end of a killed one only after a while, and write into the folder until then.
        if let Some(process) = self.process.take() {
            process.end_by(Signal::INT, DROP_TIME_MAX);
        }
    }
}

/// Whether the one in a folder answers.
pub(crate) async fn answers(place: &Place) -> Result<bool> {
    let arguments = ["-q", "-p", "5432", "-U", "relay", "-h", &place.path().display().to_string()];
    Ok(place.run("postgres", programs()?.join("pg_isready"), &arguments, PROGRAM_TIME_MAX).await.is_ok())
}

/// Where its programs are: the newest version's of those that are there.
///
/// # Errors
/// When there are none.
pub(crate) fn programs() -> Result<PathBuf> {
    let of_version = |major: u32| FOLDERS.map(|(before, after)| PathBuf::from(format!("{before}{major}{after}")));
    let found = VERSIONS.rev().flat_map(of_version).chain(folders_of_programs()).find(|folder| folder.join("initdb").exists());
    found.context("PostgreSQL's server programs are missing: run scripts/setup.sh relay")
}
