//! `nodespace-testnet demo`: the main job in one process.

use std::io::Write;

use crate::demo;

/// Shows three people working together, apart and together again, on real text.
#[derive(Debug, clap::Args)]
pub struct DemoArguments {}

/// Runs the demonstration.
///
/// # Errors
/// When anything does not come out as it must.
pub fn run(_arguments: &DemoArguments, out: &mut dyn Write) -> anyhow::Result<()> {
    demo::run(out)
}
