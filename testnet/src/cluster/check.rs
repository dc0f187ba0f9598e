//! Judging what devices hold in the end. Every check is a function over what was gathered; each says what it found, so that a verdict can be
//! understood without running again.

mod equal;
mod goals;
pub mod latency;
mod lost;
mod projection;
mod relay;
mod stuck;

use serde::Serialize;

use super::report::{Convergence, PhaseRecord};
use super::run::evidence::{Evidence, JudgedWrites};
use super::scenario::Scenario;

/// What is judged.
#[derive(Debug)]
pub struct Case<'a> {
    /// What was to happen.
    pub scenario: &'a Scenario,
    /// What the members hold.
    pub evidence: &'a Evidence,
    /// What was promised.
    pub writes: JudgedWrites,
    /// How the quiet ended.
    pub convergence: &'a Convergence,
    /// The phases as they were.
    pub phases: &'a [PhaseRecord],
    /// What did not end as the scenario says.
    pub surprises: &'a [String],
    /// How members differed before the quiet.
    pub before_quiet: &'a [String],
    /// The relay's epochs before it was restored.
    pub epochs: &'a [u64],
    /// How many of the relay's answers were lies.
    pub lies: u64,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Which check.
    pub check: &'static str,
    /// Whether all is well.
    pub passed: bool,
    /// What was found.
    pub found: String,
}

impl Verdict {
    /// Well when there are no faults; then `well` says what was looked at.
    fn of(check: &'static str, faults: &[String], well: impl Into<String>) -> Self {
        match faults {
            [] => Self { check, passed: true, found: well.into() },
            [only] => Self { check, passed: false, found: only.clone() },
            [first, ..] => Self { check, passed: false, found: format!("{} faults, the first: {first}", faults.len()) },
        }
    }
}

/// All checks that apply.
pub fn all(case: &Case<'_>) -> Vec<Verdict> {
    let mut verdicts = vec![
        goals::converged(case),
        lost::operations(case),
        lost::words(case),
        equal::operations(case),
        equal::states(case),
        equal::exports(case),
        equal::conflicts(case),
        projection::equals_the_log(case),
        stuck::nobody(case),
    ];
    if !case.writes.void.is_empty() || case.scenario.phase.iter().any(removes) {
        verdicts.push(lost::void(case));
    }
    if case.scenario.relay.is_some() {
        verdicts.push(relay::holds_all(case));
    }
    if !case.epochs.is_empty() {
        verdicts.push(relay::restore_noticed(case));
    }
    verdicts.extend(goals::all(case));
    verdicts
}

fn removes(phase: &super::scenario::Phase) -> bool {
    phase.event.iter().any(|event| matches!(event.action, super::scenario::Action::Remove { .. }))
}

#[cfg(test)]
mod tests;
