//! The command line: what can be said, and how failures are told. Each command has its own file.

pub(crate) mod outline;

use std::io::{self, Write as _};

/// NodeSpace on your own machine: notes that stay yours and agree with everybody you share them with.
#[derive(Debug, clap::Parser)]
#[command(name = "nodespace", version)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show the tree that importing a Markdown file or folder would make, and write nothing.
    Outline(outline::OutlineArguments),
}

/// Whether a command only failed because nobody reads its output any more.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Tells a failure and its causes on standard error.
pub(crate) fn report(error: &anyhow::Error) {
    // When even standard error is closed, the exit code is all that can be told.
    writeln!(io::stderr(), "nodespace: {error:#}").ok();
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn verify_cli() {
        super::Arguments::command().debug_assert();
    }
}
