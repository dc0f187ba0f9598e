//! The mutation gate: break one rule of the protocol on purpose and see that a checker notices.

use nodespace_protocol::mutant::{self, Mutant};
use serde::Serialize;

use super::ledger::Failure;
use super::plan::Plan;
use super::run::{Rigour, run_plan};

/// What became of a mutant.
#[derive(Clone, Debug, Serialize)]
pub struct MutantReport {
    /// Which, by its name in the code.
    pub mutant: String,
    /// How many seeds it lived through.
    pub survived: u64,
    /// The seed and the check that caught it.
    pub caught: Option<(u64, Failure)>,
}

/// Runs seeds with a rule broken until a checker fails, at most `seeds_max`.
pub fn hunt(mutant: Mutant, seeds_max: u64, devices: (usize, usize)) -> MutantReport {
    mutant::set(Some(mutant));
    let caught = (0..seeds_max).find_map(|seed| {
        let (_, failure) = run_plan(&Plan::draw(seed, devices), Rigour::Once);
        failure.map(|failure| (seed, failure))
    });
    mutant::set(None);
    let survived = caught.as_ref().map_or(seeds_max, |(seed, _)| *seed);
    MutantReport { mutant: format!("{mutant:?}"), survived, caught }
}
