//! The simulator: worlds of devices that run the production replica and session code, in one thread, in virtual time, from one seed.
//!
//! A seed draws its own mix of devices, policy, work and faults (`plan`), the `world` runs it, the checkers (`check`) look whether
//! the invariants of the design hold, and every seed runs twice, which must give the same trace. After TigerBeetle's VOPR and FoundationDB:
//! faults are data, a quiet phase at the end demands convergence, and a fault that was never injected is itself a failure.

mod batch;
mod check;
mod clock;
mod device;
pub(crate) mod dice;
mod event;
mod faults;
mod hostile;
mod ledger;
mod mutants;
mod plan;
mod regression;
mod run;
mod store;
#[cfg(test)]
mod tests;
mod trace;
mod workload;
mod world;

pub use batch::{Batch, BatchReport};
pub use faults::{Fault, Faults};
pub use ledger::Failure;
pub use mutants::{MutantReport, hunt};
pub use regression::{Regression, RegressionError};
pub use run::{SeedReport, Shrunk, run_seed};
pub use world::Totals;
