//! What befalls the machine that a database is on: it hangs, or a standby takes over.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::Instant;

use super::{PROGRAM_TIME_MAX, Postgres};
use crate::{POLL, START_TIME_MAX};

impl Postgres {
    /// Stops all its processes where they are, as a machine that hangs would: connections stay, and nobody answers.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> Result<()> {
        self.running()?.pause()?;
        self.signal_children(Signal::STOP)
    }

    /// Lets them go on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> Result<()> {
        self.running()?.resume()?;
        self.signal_children(Signal::CONT)
    }

    fn signal_children(&self, signal: Signal) -> Result<()> {
        for child in self.running()?.children()? {
            // One that has just ended needs none.
            kill_process(child, signal).ok();
        }
        Ok(())
    }

    /// Starts what was stopped as a standby, and promotes it: nothing is lost, and it writes on another timeline. What would note that in its
    /// control file, with the next checkpoint, stands still until [`Postgres::thaw`].
    ///
    /// # Errors
    /// When it runs, or does not do what it should.
    pub async fn start_promoted(&mut self) -> Result<()> {
        let standby = self.data().join("standby.signal").display().to_string();
        self.place.run("postgres", "touch", &[&standby], PROGRAM_TIME_MAX).await?;
        self.start().await?;
        kill_process(self.checkpointer().await?, Signal::STOP).context("the checkpointer cannot be stopped")?;
        self.run_at("psql", &["-Xqd", "postgres", "-c", "SELECT pg_promote()"]).await
    }

    /// Who writes its checkpoints: it is started a moment after the first answer.
    async fn checkpointer(&self) -> Result<Pid> {
        let deadline = Instant::now() + START_TIME_MAX;
        loop {
            if let Some(found) = self.running()?.children()?.into_iter().find(|child| is_checkpointer(*child)) {
                return Ok(found);
            }
            ensure!(Instant::now() < deadline, "PostgreSQL has no checkpointer");
            tokio::time::sleep(POLL).await;
        }
    }
}

fn is_checkpointer(process: Pid) -> bool {
    fs::read_to_string(format!("/proc/{}/cmdline", process.as_raw_nonzero())).is_ok_and(|line| line.contains("checkpointer"))
}
