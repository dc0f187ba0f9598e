//! `sim`: run seeds, print what was found and what was injected.

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};

use super::parse_range;
use crate::sim::{Batch, BatchReport, Fault};

/// Batches of at least this many seeds must have injected every kind of fault.
const SEEDS_FOR_ALL_FAULTS: u64 = 100;
/// Failing seeds after which a batch ends.
const FAILURES_MAX: usize = 10;

/// What `sim` can be told.
#[derive(Debug, clap::Args)]
pub struct SimArguments {
    /// Which seeds: from A up to, and without, B.
    #[arg(long, value_name = "A..B", value_parser = parse_range, default_value = "0..100")]
    pub seeds: (u64, u64),
    /// How many honest devices a world has, least and most.
    #[arg(long, value_name = "A..B", value_parser = parse_range, default_value = "3..20")]
    pub devices: (u64, u64),
    /// Threads [default: one a core].
    #[arg(long)]
    pub jobs: Option<usize>,
    /// Print everything that happens, running each seed once more.
    #[arg(long)]
    pub trace: bool,
    /// Write the report to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// Runs the seeds.
///
/// # Errors
/// When a check failed, or a kind of fault was never injected.
pub fn run(arguments: &SimArguments, out: &mut impl Write) -> anyhow::Result<()> {
    let (seeds, devices) = (arguments.seeds, arguments.devices);
    // `7..7` and `7` both mean seed 7.
    let seeds = seeds.0..seeds.1.max(seeds.0 + 1);
    ensure!(1 <= devices.0 && devices.0 <= devices.1 && devices.1 <= 1000, "--devices needs 1 <= A <= B <= 1000");
    let jobs = arguments.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let batch = Batch { seeds, devices: (devices.0 as usize, devices.1 as usize), jobs, failures_max: FAILURES_MAX };
    if arguments.trace {
        batch.print();
    }
    let started = std::time::Instant::now();
    let total = batch.seeds.end - batch.seeds.start;
    let report = batch.run(&|done| progress(done, total));
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    print(&report, &batch, started.elapsed().as_secs_f64(), out)?;
    judge(&report)
}

/// One line that is written over, on a terminal; nothing elsewhere.
fn progress(done: u64, total: u64) {
    let mut err = io::stderr().lock();
    if err.is_terminal() {
        let end = if done == total { "\n" } else { "" };
        write!(err, "\r{done} of {total} seeds{end}").ok();
    }
}

fn print(report: &BatchReport, batch: &Batch, seconds: f64, out: &mut impl Write) -> io::Result<()> {
    for seed in &report.failures {
        writeln!(out, "\nSEED={}", seed.seed)?;
        if let Some(failure) = &seed.failure {
            writeln!(out, "  {} at {:.3}s: {}", failure.check, failure.at_ms as f64 / 1000.0, failure.what)?;
        }
        if let Some(shrunk) = &seed.shrunk {
            writeln!(out, "  with {} devices: {}: {}", shrunk.devices, shrunk.failure.check, shrunk.failure.what)?;
        }
        writeln!(out, "  {}", seed.replay(batch.devices))?;
    }
    let totals = &report.totals;
    writeln!(out, "\n{:<24}{:>12}", "seeds, each run twice", report.seeds)?;
    for (name, value) in [
        ("seeds that failed", report.failures.len() as u64),
        ("honest devices", totals.devices),
        ("operations written", totals.ops),
        ("sessions", totals.sessions),
        ("frames", totals.frames),
        ("bytes", totals.bytes),
        ("events", totals.events),
        ("virtual seconds", totals.virtual_ms / 1000),
    ] {
        writeln!(out, "{name:<24}{value:>12}")?;
    }
    writeln!(out, "{:<24}{seconds:>12.1}\n\nfaults injected", "seconds")?;
    for fault in Fault::ALL {
        writeln!(out, "  {:<22}{:>12}", fault.name(), report.faults.of(fault))?;
    }
    Ok(())
}

fn judge(report: &BatchReport) -> anyhow::Result<()> {
    if let Some(first) = report.failures.first() {
        bail!("{} of {} seeds failed, the first is {}", report.failures.len(), report.seeds, first.seed);
    }
    let missing: Vec<&str> = report.faults.missing().iter().map(|fault| fault.name()).collect();
    if report.seeds >= SEEDS_FOR_ALL_FAULTS && !missing.is_empty() {
        bail!("never injected: {}", missing.join(", "));
    }
    Ok(())
}
