//! `mutants`: break each rule of the protocol and see that a checker notices.

use std::io::Write;

use anyhow::bail;
use nodespace_protocol::mutant::Mutant;

use super::parse_range;
use crate::sim::{MutantReport, hunt};

/// What `mutants` can be told.
#[derive(Debug, clap::Args)]
pub struct MutantsArguments {
    /// Seeds that a mutant may live through before it counts as not found.
    #[arg(long, default_value_t = 200)]
    pub seeds: u64,
    /// How many honest devices a world has, least and most.
    #[arg(long, value_name = "A..B", value_parser = parse_range, default_value = "3..8")]
    pub devices: (u64, u64),
    /// Only this mutant.
    #[arg(long)]
    pub only: Option<String>,
}

/// Hunts every mutant.
///
/// # Errors
/// When one is not found.
pub fn run(arguments: &MutantsArguments, out: &mut impl Write) -> anyhow::Result<()> {
    let devices = (arguments.devices.0 as usize, arguments.devices.1 as usize);
    let wanted = |mutant: &Mutant| arguments.only.as_ref().is_none_or(|only| format!("{mutant:?}").eq_ignore_ascii_case(only));
    let mutants: Vec<Mutant> = Mutant::ALL.into_iter().filter(wanted).collect();
    if mutants.is_empty() {
        bail!("no mutant of that name; there are {:?}", Mutant::ALL);
    }
    let mut survivors = Vec::new();
    writeln!(out, "{:<22}{:>6}  {:<12}what was noticed", "mutant", "seed", "check")?;
    for mutant in mutants {
        let report: MutantReport = hunt(mutant, arguments.seeds, devices);
        match &report.caught {
            Some((seed, failure)) => {
                let what: String = failure.what.chars().take(100).collect();
                writeln!(out, "{:<22}{seed:>6}  {:<12}{what}", report.mutant, failure.check)?;
            }
            None => {
                writeln!(out, "{:<22}{:>6}  not found in {} seeds", report.mutant, "-", report.survived)?;
                survivors.push(report.mutant);
            }
        }
    }
    if survivors.is_empty() { Ok(()) } else { bail!("not found: {}", survivors.join(", ")) }
}
