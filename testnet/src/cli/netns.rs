//! `nodespace-testnet netns`: real devices in network namespaces.

use std::io::Write;

use anyhow::{Result, bail};

use super::cluster::{ClusterArguments, block_on};
use crate::cluster::lab;

/// Puts real devices into network namespaces, with a switch, routers and lost packets between them: discovery without configuration, and
/// address translation. Takes root; where it cannot be done it says why and exits with 77.
#[derive(Debug, clap::Args)]
pub struct NetnsArguments {
    /// Which program, and where.
    #[command(flatten)]
    pub cluster: ClusterArguments,
}

/// Runs the experiments.
///
/// # Errors
/// [`lab::Unavailable`] where there are no namespaces to be had; otherwise when something is not as it must be.
pub fn run(arguments: &NetnsArguments, out: &mut (dyn Write + Send)) -> Result<()> {
    let workplace = arguments.cluster.workplace("netns")?;
    let launcher = arguments.cluster.launcher()?;
    let findings = block_on(lab::experiments(&launcher, &workplace.path, out))?;
    let failed = findings.iter().filter(|finding| finding.holds == Some(false)).count();
    if failed > 0 {
        bail!("{failed} of {} findings are not as they must be; homes and logs are in {}", findings.len(), workplace.keep().display());
    }
    Ok(())
}
