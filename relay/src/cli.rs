//! The command line: what can be said, and how failures are told. Each command has its own file.

pub(crate) mod check_packet;

use std::io::{self, Write as _};

/// The packet was looked at and is refused.
pub(crate) const EXIT_REFUSED: u8 = 1;
/// The command line was not understood, or a file could not be read.
pub(crate) const EXIT_MISUSE: u8 = 2;

/// The NodeSpace relay: hands operations on between devices that are not online together.
#[derive(Debug, clap::Parser)]
#[command(name = "nodespace-relay", version)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Look into a sync packet and say what it holds, or why a relay would refuse it.
    CheckPacket(check_packet::CheckPacketArguments),
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
