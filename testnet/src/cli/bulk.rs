//! `nodespace-testnet bulk`: how fast a new device takes a large workspace.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};

use super::cluster::{ClusterArguments, block_on};
use crate::cluster::bulk::{self, Volume};

/// Fills one device, then measures how a new one takes everything from it, undisturbed and with a connection that breaks.
#[derive(Debug, clap::Args)]
pub struct BulkArguments {
    /// Operations in all.
    #[arg(long, default_value_t = 1_000_000)]
    pub ops: u64,
    /// Nodes that they are about.
    #[arg(long, default_value_t = 100_000)]
    pub nodes: u64,
    /// How often the connection is cut in the second run.
    #[arg(long, default_value_t = 10)]
    pub cuts: u64,
    /// Fail when fewer operations a second arrive undisturbed.
    #[arg(long, value_name = "N")]
    pub at_least: Option<f64>,
    /// Fail when either device uses more memory, in MiB, while operations are under way.
    #[arg(long, value_name = "MIB")]
    pub memory_at_most: Option<f64>,
    /// Write the figures to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Which program, and where.
    #[command(flatten)]
    pub cluster: ClusterArguments,
}

/// Measures.
///
/// # Errors
/// When a device fails, does not get everything, starts over after a cut, or misses what was demanded.
pub fn run(arguments: &BulkArguments, out: &mut (dyn Write + Send)) -> Result<()> {
    let workplace = arguments.cluster.workplace("bulk")?;
    let launcher = arguments.cluster.launcher()?;
    let volume = Volume { ops: arguments.ops, nodes: arguments.nodes, cuts: arguments.cuts };
    let measured = block_on(bulk::measure(launcher, &workplace.path, volume, out));
    let report = match measured {
        Ok(report) => report,
        Err(error) => {
            let kept = workplace.keep();
            return Err(error.context(format!("bulk could not be measured; homes and logs are in {}", kept.display())));
        }
    };
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&report)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    for arrival in &report.arrivals {
        let most = arrival.giver_mib.max(arrival.taker_mib);
        let allowed = arguments.memory_at_most.unwrap_or(f64::INFINITY);
        ensure!(most <= allowed, "{most:.0} MiB were used, {allowed} are allowed");
    }
    let (found, wanted) = (report.arrivals[0].ops_per_s, arguments.at_least.unwrap_or_default());
    ensure!(found >= wanted, "{found:.0} operations a second arrived, {wanted} are demanded");
    Ok(())
}
