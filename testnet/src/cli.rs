//! The command line: what can be said, and how failures are told. Each command has its own file.

pub mod bulk;
pub mod cluster;
pub mod demo;
pub mod generate;
pub mod mutants;
pub mod netns;
pub mod run;
pub mod sim;
pub mod trace;
pub mod up;

use std::io::{self, Write as _};

/// Proves that NodeSpace devices converge, and shows it.
#[derive(Debug, clap::Parser)]
#[command(name = "nodespace-testnet", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Show three people working together, apart and together again, on real text.
    Demo(demo::DemoArguments),
    /// Start real devices that share a workspace, to play with.
    Up(up::UpArguments),
    /// Run real devices through scenarios with faults, and check that they converge.
    Run(run::RunArguments),
    /// Measure how fast a new device takes a large workspace from another.
    Bulk(bulk::BulkArguments),
    /// Put real devices into network namespaces: discovery, address translation, lost packets. Takes root.
    Netns(netns::NetnsArguments),
    /// Replay an editing trace and give the verdict, with time, memory and bytes.
    Trace(trace::TraceArguments),
    /// Simulate worlds of devices with faults and hostile peers, and check that they converge.
    Sim(sim::SimArguments),
    /// Write a workload of any size to a file, for benchmarks and tests of devices.
    Generate(generate::GenerateArguments),
    /// Break one rule of the protocol after another, and check that the simulator notices each.
    Mutants(mutants::MutantsArguments),
}

/// Does what was asked.
///
/// # Errors
/// When something was found, or could not be done.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let out = &mut io::stdout();
    match &arguments.command {
        Command::Demo(arguments) => demo::run(arguments, out),
        Command::Up(arguments) => up::run(arguments, out),
        Command::Run(arguments) => run::run(arguments, out),
        Command::Bulk(arguments) => bulk::run(arguments, out),
        Command::Netns(arguments) => netns::run(arguments, out),
        Command::Trace(arguments) => trace::run(arguments, out),
        Command::Sim(arguments) => sim::run(arguments, out),
        Command::Generate(arguments) => generate::run(arguments, out),
        Command::Mutants(arguments) => mutants::run(arguments, out),
    }
}

/// Whether a command could not do its work here at all, through no fault of what it looks at.
pub fn is_unavailable(error: &anyhow::Error) -> bool {
    error.downcast_ref::<crate::cluster::lab::Unavailable>().is_some()
}

/// Whether a command only failed because nobody reads its output any more.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    causes.any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}

/// Tells a failure and its causes on standard error.
pub fn report(error: &anyhow::Error) {
    // When even standard error is closed, the exit code is all that can be told.
    writeln!(io::stderr(), "nodespace-testnet: {error:#}").ok();
}

/// A range as `A..B`, or a single number `A`.
pub(crate) fn parse_range(text: &str) -> Result<(u64, u64), String> {
    let number = |part: &str| part.trim().parse::<u64>().map_err(|error| format!("`{part}` is no number: {error}"));
    match text.split_once("..") {
        Some((low, high)) => Ok((number(low)?, number(high)?)),
        None => number(text).map(|one| (one, one)),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn verify_cli() {
        super::Arguments::command().debug_assert();
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(super::parse_range("3..20"), Ok((3, 20)));
        assert_eq!(super::parse_range("7"), Ok((7, 7)));
        assert!(super::parse_range("a..b").is_err());
    }
}
