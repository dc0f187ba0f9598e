//! `nodespace-testnet run`: real devices through a scenario.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};

use super::cluster::{ClusterArguments, block_on};
use crate::cluster::report::Report;
use crate::cluster::run::{self, Options};
use crate::cluster::scenario::Scenario;

/// Runs real devices through scenarios with faults, and checks that they converge.
#[derive(Debug, clap::Args)]
pub struct RunArguments {
    /// Scenario files, or names of those in testnet/scenarios.
    #[arg(required = true, value_name = "SCENARIO")]
    pub scenarios: Vec<PathBuf>,
    /// Shorter, as each scenario says: for a quick look.
    #[arg(long)]
    pub short: bool,
    /// How often each is run, each time from the next seed.
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub runs: u64,
    /// The first seed, instead of the scenario's own.
    #[arg(long)]
    pub seed: Option<u64>,
    /// Where reports go: report.json and report.html, in a folder for each run [default: none are written, unless something fails].
    #[arg(long, value_name = "FOLDER")]
    pub report: Option<PathBuf>,
    /// Which program, and where.
    #[command(flatten)]
    pub cluster: ClusterArguments,
}

/// Runs the scenarios.
///
/// # Errors
/// When one cannot be run, or a check fails.
pub fn run(arguments: &RunArguments, out: &mut (dyn Write + Send)) -> Result<()> {
    ensure!(arguments.runs >= 1, "--runs is 0");
    let scenarios = arguments.scenarios.iter().map(|path| Scenario::read(&locate(path))).collect::<Result<Vec<_>>>()?;
    let mut failed = Vec::new();
    let mut table = Vec::new();
    for scenario in &scenarios {
        for number in 0..arguments.runs {
            let mut scenario = scenario.clone();
            scenario.seed = arguments.seed.unwrap_or(scenario.seed) + number;
            if arguments.short {
                scenario.shorten();
            }
            let report = run_one(&scenario, arguments, out)?;
            let took = report.convergence.took_s.map_or_else(|| "never".into(), |took| format!("{took:.2} s"));
            let word = if report.passed() { "passed" } else { "FAILED" };
            table.push(format!("{:<24} seed {:<6} {word}  equal after {took}", scenario.name, scenario.seed));
            if !report.passed() {
                failed.push(format!("{} (seed {})", scenario.name, scenario.seed));
            }
        }
    }
    if table.len() > 1 {
        writeln!(out, "\n{}", table.join("\n"))?;
    }
    if failed.is_empty() { Ok(()) } else { bail!("{} of {} runs failed: {}", failed.len(), table.len(), failed.join(", ")) }
}

fn run_one(scenario: &Scenario, arguments: &RunArguments, out: &mut (dyn Write + Send)) -> Result<Report> {
    let name = format!("{}-{}", scenario.name, scenario.seed);
    let workplace = arguments.cluster.workplace(&name)?;
    writeln!(out, "\n{} (seed {}): {}", scenario.name, scenario.seed, scenario.story)?;
    let options = Options { launcher: arguments.cluster.launcher()?, folder: workplace.path.clone() };
    // A line that nobody reads is not worth ending a run for.
    let mut tell = |line: &str| drop(writeln!(out, "  {line}"));
    let ran = block_on(run::run(scenario, &options, &mut tell));
    let report = match ran {
        Ok(report) => report,
        Err(error) => {
            let kept = workplace.keep();
            return Err(error.context(format!("{name} could not be run; homes and logs are in {}", kept.display())));
        }
    };
    report.tell(out)?;
    if let Some(folder) = &arguments.report {
        writeln!(out, "  the report: {}", report.save(&folder.join(&name))?.display())?;
    }
    if !report.passed() {
        let kept = workplace.keep();
        if arguments.report.is_none() {
            writeln!(out, "  the report: {}", report.save(&kept)?.display())?;
        }
        writeln!(out, "  homes and logs: {}\n  again: {}", kept.display(), replay(scenario, arguments))?;
    }
    Ok(report)
}

/// The command that runs the same again.
fn replay(scenario: &Scenario, arguments: &RunArguments) -> String {
    let short = if arguments.short { " --short" } else { "" };
    format!("nodespace-testnet run {} --seed {}{short}", scenario.name, scenario.seed)
}

/// A file, or a scenario of the repository by its name.
fn locate(path: &Path) -> PathBuf {
    let known = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(path).with_extension("toml");
    if !path.exists() && path.components().count() == 1 && known.exists() { known } else { path.to_path_buf() }
}
