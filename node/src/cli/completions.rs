//! `nodespace completions`.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Arguments;
use super::exit::Exit;
use super::output::Output;

/// Arguments of `nodespace completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionsArguments {
    /// The shell.
    shell: Shell,
}

/// Prints the shell's script.
pub(crate) fn run(arguments: &CompletionsArguments, out: &mut Output) -> anyhow::Result<Exit> {
    // The generator panics when it cannot write, so it writes to memory.
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "nodespace", &mut script);
    out.raw(&script)?;
    Ok(Exit::Done)
}
