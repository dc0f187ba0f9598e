//! `nodespace-testnet demo`: the main job, shown.

use std::io::Write;

use anyhow::Result;

use super::cluster::{ClusterArguments, block_on};
use crate::cluster::show;
use crate::demo;

/// Shows three people working together, apart and together again, on real text: with real devices, or in one process.
#[derive(Debug, clap::Args)]
pub struct DemoArguments {
    /// In one process over links in memory, with virtual time: needs no device program, and is the same every time.
    #[arg(long)]
    pub simulated: bool,
    /// Which program, and where.
    #[command(flatten)]
    pub cluster: ClusterArguments,
}

/// Runs the demonstration.
///
/// # Errors
/// When anything does not come out as it must.
pub fn run(arguments: &DemoArguments, out: &mut (dyn Write + Send)) -> Result<()> {
    if arguments.simulated {
        return demo::run(out);
    }
    let workplace = arguments.cluster.workplace("demo")?;
    let launcher = arguments.cluster.launcher()?;
    match block_on(show::show(launcher, &workplace.path, out)) {
        Ok(()) => Ok(()),
        Err(error) => {
            let kept = workplace.keep();
            Err(error.context(format!("the demonstration failed; homes and logs are in {}", kept.display())))
        }
    }
}
