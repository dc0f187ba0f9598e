//! What the relay's crate does, seen from outside.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod attachments;
mod auth;
mod bad_input;
mod bounds;
mod checkpoints;
mod circuit;
mod cluster;
mod command;
mod crowds;
mod directory;
mod epoch;
mod failover;
mod faults;
mod fixture;
mod fuzz;
mod inspection;
mod limits;
mod load;
mod log;
mod notify;
mod quota;
mod servers;
mod slow_readers;
mod spares;
mod sync;
mod tls;
mod world;
