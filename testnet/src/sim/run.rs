//! One seed: run, run again, and when it fails made smaller.

use serde::Serialize;

use super::faults::Faults;
use super::ledger::Failure;
use super::plan::Plan;
use super::world::{Outcome, Totals, World};

/// What a seed gave.
#[derive(Clone, Debug, Serialize)]
pub struct SeedReport {
    /// The seed.
    pub seed: u64,
    /// What happened, in numbers.
    pub totals: Totals,
    /// What went wrong on purpose.
    pub faults: Faults,
    /// What went wrong otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The smallest world found that still fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shrunk: Option<Shrunk>,
}

/// A smaller world that fails too.
#[derive(Clone, Debug, Serialize)]
pub struct Shrunk {
    /// Honest devices.
    pub devices: usize,
    /// Its failure.
    pub failure: Failure,
}

impl SeedReport {
    /// The command that runs this seed again.
    pub fn replay(&self, devices: (usize, usize)) -> String {
        let (seed, next) = (self.seed, self.seed + 1);
        let (low, high) = self.shrunk.as_ref().map_or(devices, |shrunk| (shrunk.devices, shrunk.devices));
        format!("cargo run -p nodespace-testnet --profile sim -- sim --seeds {seed}..{next} --devices {low}..{high} --trace")
    }
}

/// How a seed is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rigour {
    /// Once.
    Once,
    /// Twice, with equal traces.
    Twice,
}

/// Runs a seed with a number of devices in a range (both included), twice; a failing one is made smaller.
pub fn run_seed(seed: u64, devices: (usize, usize)) -> SeedReport {
    let (outcome, failure) = run_plan(&Plan::draw(seed, devices), Rigour::Twice);
    let shrunk = failure.as_ref().and_then(|_| shrink(seed, devices));
    SeedReport { seed, totals: outcome.totals, faults: outcome.faults, failure, shrunk }
}

/// Runs a seed that once found something, as it ran then: without what came later.
#[cfg(test)]
pub(crate) fn run_regression(seed: u64, devices: (usize, usize)) -> Option<Failure> {
    let plan = Plan::draw(seed, devices);
    let plan = Plan { holding: false, hostile: super::plan::HostilePlan { liars: 0, ..plan.hostile }, ..plan };
    run_plan(&plan, Rigour::Twice).1
}

/// Runs a seed once and prints what happens.
pub(crate) fn print_seed(seed: u64, devices: (usize, usize)) {
    World::new(Plan::draw(seed, devices), true).run();
}

/// Runs a plan; a difference between two runs is a failure like any other.
pub(crate) fn run_plan(plan: &Plan, rigour: Rigour) -> (Outcome, Option<Failure>) {
    let outcome = World::new(plan.clone(), false).run();
    let mut failure = outcome.failure.clone();
    if rigour == Rigour::Twice && failure.is_none() && World::new(plan.clone(), false).run().trace != outcome.trace {
        let what = "two runs of one seed went different ways".to_owned();
        failure = Some(Failure { check: "determinism", what, at_ms: outcome.totals.virtual_ms });
    }
    (outcome, failure)
}

/// The same seed with fewer devices: the least number that still fails. The draws change with the number, so this is a search, not a
/// reduction.
fn shrink(seed: u64, devices: (usize, usize)) -> Option<Shrunk> {
    let most = Plan::draw(seed, devices).devices;
    (2..=most).find_map(|count| {
        let (_, failure) = run_plan(&Plan::draw(seed, (count, count)), Rigour::Once);
        failure.map(|failure| Shrunk { devices: count, failure })
    })
}
