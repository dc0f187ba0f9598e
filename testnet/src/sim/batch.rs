//! Many seeds on several threads. Each world stays in one thread, and the report does not depend on which finished first.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::Serialize;

use super::faults::Faults;
use super::run::{SeedReport, print_seed, run_seed};
use super::world::Totals;

/// Which seeds, how.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The seeds.
    pub seeds: Range<u64>,
    /// Honest devices of a world, least and most.
    pub devices: (usize, usize),
    /// Threads.
    pub jobs: usize,
    /// Failing seeds after which no further one is begun.
    pub failures_max: usize,
}

/// What a batch gave.
#[derive(Clone, Debug, Default, Serialize)]
pub struct BatchReport {
    /// Seeds that were run.
    pub seeds: u64,
    /// What happened, in numbers.
    pub totals: Totals,
    /// What was injected, by kind.
    pub faults: Faults,
    /// Seeds that failed, ascending.
    pub failures: Vec<SeedReport>,
}

impl Batch {
    /// Runs the seeds; `progress` is told how many are done.
    pub fn run(&self, progress: &(dyn Fn(u64) + Sync)) -> BatchReport {
        let next = AtomicU64::new(self.seeds.start);
        let stop = AtomicBool::new(false);
        let report = Mutex::new(BatchReport::default());
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.seeds.end {
                            break;
                        }
                        let result = run_seed(seed, self.devices);
                        let mut report = report.lock().expect("no thread panics while it holds the report");
                        report.add(result);
                        if report.failures.len() >= self.failures_max {
                            stop.store(true, Ordering::Relaxed);
                        }
                        progress(report.seeds);
                    }
                });
            }
        });
        let mut report = report.into_inner().expect("no thread panics while it holds the report");
        report.failures.sort_by_key(|failure| failure.seed);
        report
    }

    /// Runs the seeds one after another, once, printing everything that happens.
    pub fn print(&self) {
        self.seeds.clone().for_each(|seed| print_seed(seed, self.devices));
    }
}

impl BatchReport {
    fn add(&mut self, seed: SeedReport) {
        self.seeds += 1;
        self.totals.add(&seed.totals);
        self.faults.add(&seed.faults);
        if seed.failure.is_some() {
            self.failures.push(seed);
        }
    }
}
