//! `nodespace-relay migrate`: brings the database's tables up to date.

use std::io::Write;
use std::process::ExitCode;

use nodespace_relay::config::Config;
use nodespace_relay::store::Database;

/// Arguments of `nodespace-relay migrate`.
#[derive(Debug, clap::Args)]
pub(crate) struct MigrateArguments {
    /// Only say what would be applied; exit code 1 when something would.
    #[arg(long)]
    check: bool,
}

/// Applies, or lists, what is missing.
pub(crate) fn run(arguments: &MigrateArguments, config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    super::runtime()?.block_on(async {
        let status = Database::migration_status(&config.database).await?;
        for version in &status.unknown {
            writeln!(out, "unknown  {version:04} (of a newer program)")?;
        }
        for version in &status.missing {
            writeln!(out, "missing  {version:04}")?;
        }
        if arguments.check {
            let code = if status.missing.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(super::EXIT_REFUSED) };
            return Ok(code);
        }
        Database::migrate(&config.database).await?;
        writeln!(out, "{} applied before, {} applied now", status.applied.len(), status.missing.len())?;
        Ok(ExitCode::SUCCESS)
    })
}
