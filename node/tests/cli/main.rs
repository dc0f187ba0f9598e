//! The program `nodespace` as people and scripts run it.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod alone;
mod bad_input;
mod configuration;
mod conflicts;
mod daemon;
mod files;
mod harness;
mod membership;
mod reference;
