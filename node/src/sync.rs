//! The engine's state machines: when to sync, with whom, what to hand to the relay, and what to do when it fails.
//!
//! Nothing here reads a clock, opens a socket or holds a task. Time is an argument, `now`, in milliseconds of a monotonic clock
//! whose zero does not matter; chance is a seed given at construction. Whoever drives these machines (the daemon over libp2p and
//! HTTP, a test, a simulator) does what their outputs ask and reports what became of it:
//!
//! ```text
//!               timer, connect, gap, wake, request                 an operation is durable
//!                            |                                               |
//!                            v                                               v
//!   SyncStatus   <--   SyncOrchestrator  -- Start -->  driver  <-- Send -- BatchSync
//!  (for people)              ^                           |                    ^
//!                            | Retry                     | Failed             | acknowledged
//!                       SyncRecovery  <------------------+--------------------+
//!                                                        |
//!                                                        v
//!                                                   SyncMonitor (for operators)
//! ```
//!
//! 1. [`target`]: with whom; [`failure`]: what can go wrong; [`backoff`]: how long to wait; [`wake`]: whether the machine slept;
//! 2. [`orchestrator`]: when to compare with whom;
//! 3. [`batch`]: new operations on their way to the relay;
//! 4. [`recovery`]: from a retry to a person's help;
//! 5. [`monitor`]: numbers; [`status`]: words.
//!
//! All machines have the same form: `handle(input, now)`, `poll_output()` until `None`, `next_timeout()`, `handle_timeout(now)`. A driver
//! polls outputs after every call of anything else, and calls `handle_timeout` at `next_timeout` or soon after; calling it too early or
//! too often changes nothing. Time that runs backwards is taken for time that stands still.
//!
//! Document sections "Sync Orchestration", "Batch Synchronization", "Sync Failure Recovery", "Sync Metrics".

pub mod backoff;
pub mod batch;
pub mod failure;
pub mod monitor;
pub mod orchestrator;
pub mod recovery;
pub mod status;
pub mod target;
#[cfg(test)]
mod tests;
pub mod wake;

pub use batch::{BatchOutput, BatchSync, OpRef};
pub use failure::SyncFailure;
pub use monitor::SyncMonitor;
pub use orchestrator::{OrchestratorInput, OrchestratorOutput, SyncOrchestrator, SyncResult};
pub use recovery::{RecoveryAction, RecoveryInput, SyncRecovery};
pub use status::{DeviceStatus, StatusBoard};
pub use target::{AttemptId, SyncCounts, Target};
