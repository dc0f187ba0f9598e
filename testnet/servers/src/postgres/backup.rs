//! What a relay's operator does about a database, and to it: backups of two kinds, put back or missing.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use super::{DATABASE, PROGRAM_TIME_MAX, Postgres};

impl Postgres {
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

    /// Copies all its files while it is stopped: a cold backup.
    ///
    /// # Errors
    /// When it runs, or they cannot be copied.
    pub async fn back_up_files(&self) -> Result<()> {
        ensure!(!self.is_running(), "PostgreSQL still runs");
        let (data, copy) = (self.data().display().to_string(), self.files_backup().display().to_string());
        self.place.run("postgres", "cp", &["-a", &data, &copy], PROGRAM_TIME_MAX).await
    }

    /// Puts the cold backup in place of its files, which are lost.
    ///
    /// # Errors
    /// When it runs, or there is no backup.
    pub fn restore_files(&self) -> Result<()> {
        ensure!(!self.is_running(), "PostgreSQL still runs");
        let lost = self.place.path().join("postgres-lost");
        if lost.exists() {
            fs::remove_dir_all(&lost).context("files that were lost before cannot be removed")?;
        }
        // Put aside, not removed: children of one that was killed may write there for a moment more.
        fs::rename(self.data(), lost).context("its files cannot be put aside")?;
        fs::rename(self.files_backup(), self.data()).context("there is no backup of its files")
    }

    fn backup(&self, number: usize) -> String {
        self.place.path().join(format!("backup-{number}")).display().to_string()
    }

    fn files_backup(&self) -> PathBuf {
        self.place.path().join("postgres-backup")
    }
}
