//! The command line: what can be said, and how failures are told. Each command has its own file.

pub(crate) mod admin;
pub(crate) mod check;
pub(crate) mod check_packet;
pub(crate) mod migrate;
pub(crate) mod serve;

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use nodespace_relay::config::Config;
use tokio::runtime::Runtime;

/// The packet was looked at and is refused; something that was checked is wrong.
pub(crate) const EXIT_REFUSED: u8 = 1;
/// The command line was not understood, or a file could not be read.
pub(crate) const EXIT_MISUSE: u8 = 2;

/// The NodeSpace relay: hands operations on between devices that are not online together.
#[derive(Debug, clap::Parser)]
#[command(name = "nodespace-relay", version)]
pub(crate) struct Arguments {
    /// The configuration file (docs/relay.toml explains every key). Without it only the environment counts.
    #[arg(long, global = true)]
    pub(crate) config: Option<PathBuf>,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Look into a sync packet and say what it holds, or why a relay would refuse it.
    CheckPacket(check_packet::CheckPacketArguments),
    /// Run the relay.
    Serve(serve::ServeArguments),
    /// Bring the database's tables up to date.
    Migrate(migrate::MigrateArguments),
    /// Look whether everything the relay needs is there and fits together.
    Check,
    /// Look after a relay: workspaces, epochs, its id.
    Admin(admin::AdminArguments),
}

impl Arguments {
    /// The configuration that the file and the environment make.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        // A variable that is not UTF-8 is none of ours.
        let environment = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Ok(Config::read(self.config.as_deref(), environment)?)
    }
}

/// What commands that wait for servers run in.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")
}

/// Whether a command only failed because nobody reads its output any more.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Tells a failure and its causes on standard error.
pub(crate) fn report(error: &anyhow::Error) {
    // When even standard error is closed, the exit code is all that can be told.
    writeln!(io::stderr(), "nodespace-relay: {error:#}").ok();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn verify_cli() {
        super::Arguments::command().debug_assert();
    }
}
