//! The program's work: a command beside a PostgreSQL and a Redis.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::{POLL, Place, Postgres, Redis, Signals};

/// Runs a command beside a PostgreSQL, with an empty database `relay`, and a Redis of its own. It finds them as a relay does, by
/// NODESPACE_RELAY_DATABASE_URL and NODESPACE_RELAY_REDIS_URL. When it ends they end, too; Ctrl-C asks it to end.
#[derive(Debug, clap::Parser)]
#[command(name = "nodespace-servers", version)]
pub struct Arguments {
    /// Where the servers keep everything from one run to the next [default: a temporary folder, which is removed in the end]. It must be new,
    /// empty, or from an earlier run: it is closed to all others. Whoever the servers run as when we are root, the user `postgres` or `nobody`,
    /// gets it, and must be able to get there.
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Does it. Answers how the command ended; nothing when it was not started any more.
///
/// # Errors
/// When servers do not start or stop as they should, or the command cannot be run.
pub async fn run(arguments: &Arguments) -> Result<Option<ExitStatus>> {
    let mut signals = Signals::listen()?;
    let place = arguments.folder.as_deref().map_or_else(Place::temporary, Place::kept)?;
    let started = tokio::select! {
        started = start(&place) => started?,
        () = signals.next() => return Ok(None),
    };
    let (mut postgres, mut redis) = started;
    let urls = [("NODESPACE_RELAY_DATABASE_URL", postgres.url()), ("NODESPACE_RELAY_REDIS_URL", redis.url())];
    let status = run_command(&arguments.command, urls, &mut signals).await?;
    redis.kill()?;
    postgres.stop().await?;
    Ok(Some(status))
}

async fn start(place: &Place) -> Result<(Postgres, Redis)> {
    Ok((Postgres::create(place).await?, Redis::create(place).await?))
}

/// Runs it to its end. The terminal's signals come to us alone, and are handed on as a request to end: to its whole group, as a terminal does.
async fn run_command(words: &[OsString], urls: [(&str, String); 2], signals: &mut Signals) -> Result<ExitStatus> {
    let (program, arguments) = words.split_first().context("no command")?;
    let mut command = Command::new(program);
    command.args(arguments).envs(urls).stdin(Stdio::null()).process_group(0);
    let mut child = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        tokio::select! {
            () = signals.next() => kill_process_group(Pid::from_child(&child), Signal::TERM).context("the command cannot be asked to end")?,
            () = tokio::time::sleep(POLL) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn verify_cli() {
        super::Arguments::command().debug_assert();
    }
}
