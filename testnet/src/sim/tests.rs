//! The simulator's own tests, and the short run of it that every change passes.
//!
//! 1. Seeds find nothing, and every kind of fault is injected.
//! 2. One seed gives one trace; another seed another.
//! 3. Each hostile device, alone in a world where nothing else goes wrong, is refused or borne.
//! 4. Seeds that once found something find nothing now.
//! 5. A failing seed tells the command that runs it again.

use std::path::Path;

use super::batch::Batch;
use super::faults::Fault;
use super::ledger::Failure;
use super::plan::{HostilePlan, Plan};
use super::regression::{Regression, RegressionError};
use super::run::{Rigour, SeedReport, run_plan, run_regression};
use super::world::{Outcome, Totals};

/// Runs a plan and demands that nothing is found.
fn passes(plan: &Plan) -> Outcome {
    let (outcome, failure) = run_plan(plan, Rigour::Once);
    assert_eq!(failure, None, "SEED={}", plan.seed);
    outcome
}

#[test]
fn heavy_seeds_find_nothing_and_inject_everything() {
    let batch = Batch { seeds: 0..60, devices: (3, 8), jobs: 2, failures_max: 1 };
    let report = batch.run(&|_| {});
    assert!(report.failures.is_empty(), "{:#?}", report.failures);
    assert_eq!(report.seeds, 60);
    assert_eq!(report.faults.missing(), Vec::<Fault>::new(), "never injected");
    assert!(report.totals.ops > 1_000 && report.totals.sessions > 100, "{:?}", report.totals);
}

#[test]
fn a_report_does_not_depend_on_the_number_of_threads() {
    let batch = |jobs| Batch { seeds: 100..106, devices: (2, 4), jobs, failures_max: 1 }.run(&|_| {});
    let (one, two) = (batch(1), batch(3));
    assert_eq!((one.totals, one.faults), (two.totals, two.faults));
}

#[test]
fn one_seed_gives_one_trace() {
    let run = |seed| run_plan(&Plan::draw(seed, (3, 6)), Rigour::Once).0.trace;
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}

#[test]
fn a_calm_world_converges() {
    for seed in 0..3 {
        let outcome = passes(&Plan::calm(seed, 5));
        assert!(outcome.totals.ops > 50, "{:?}", outcome.totals);
        for fault in [Fault::Crash, Fault::FrameLost, Fault::GossipLost, Fault::Equivocation, Fault::ClockOffset] {
            assert_eq!(outcome.faults.of(fault), 0, "{fault:?} in a calm world");
        }
    }
}

/// Runs a few calm worlds with one hostile device, and demands that it did what it is there for.
fn alone(hostile: HostilePlan, does: Fault) {
    let mut times = 0;
    for seed in 0..4 {
        times += passes(&Plan { hostile, ..Plan::calm(seed, 4) }).faults.of(does);
    }
    assert!(times > 0, "{does:?} never happened");
}

#[test]
fn an_equivocator_alone_does_not_divide_the_others() {
    alone(HostilePlan { equivocators: 1, ..HostilePlan::default() }, Fault::Equivocation);
}

#[test]
fn a_forger_alone_changes_nothing_and_learns_nothing() {
    alone(HostilePlan { forgers: 1, ..HostilePlan::default() }, Fault::Forgery);
}

#[test]
fn a_flooder_alone_fills_no_memory() {
    alone(HostilePlan { flooders: 1, ..HostilePlan::default() }, Fault::Flood);
}

#[test]
fn a_liar_alone_stops_nobody_from_writing() {
    alone(HostilePlan { liars: 1, ..HostilePlan::default() }, Fault::FalseClaim);
}

#[test]
fn a_removed_member_alone_changes_nothing_any_more() {
    let hostile = HostilePlan { rogues: 1, ..HostilePlan::default() };
    alone(hostile, Fault::RemovedWrites);
    alone(hostile, Fault::Backdated);
}

#[test]
fn heavy_what_was_once_found_is_not_found_again() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions");
    let mut paths: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "toml")) {
        let regression = Regression::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let failure = run_regression(regression.seed, regression.devices);
        assert_eq!(failure, None, "{}: {}", path.display(), regression.story);
    }
}

#[test]
fn a_regression_file_is_read_strictly() {
    let text = "# found in a night run\nseed = 7\ndevices = [3, 8]\nstory = \"two did this, then that\"\n";
    let expected = Regression { seed: 7, devices: (3, 8), story: "two did this, then that".into() };
    assert_eq!(Regression::parse(text).unwrap(), expected);
    assert!(matches!(Regression::parse("seed = 7\nstory = \"x\""), Err(RegressionError::Missing("devices"))));
    assert!(matches!(Regression::parse("seed = seven"), Err(RegressionError::Line(_))));
    assert!(matches!(Regression::parse("sed = 7"), Err(RegressionError::Line(_))));
}

#[test]
fn a_failing_seed_tells_how_to_run_it_again() {
    let failure = Failure { check: "I1", what: "lost".into(), at_ms: 1 };
    let report = SeedReport { seed: 41, totals: Totals::default(), faults: super::Faults::default(), failure: Some(failure), shrunk: None };
    let command = "cargo run -p nodespace-testnet --profile sim -- sim --seeds 41..42 --devices 3..20 --trace";
    assert_eq!(report.replay((3, 20)), command);
}
