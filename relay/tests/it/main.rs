//! What the relay's crate does, seen from outside.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod command;
mod fixture;
mod inspection;
