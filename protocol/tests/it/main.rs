//! The protocol from outside: golden vectors, properties of the wire forms, and what becomes of bad input.
#![expect(clippy::unwrap_used, reason = "in a test the line that failed says enough")]

mod bad_input;
mod blame;
mod forks;
mod own_log;
mod sessions;
mod vectors;
mod wire;
mod world;
