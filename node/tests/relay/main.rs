//! Devices and a relay as processes: the programs `nodespace` and `nodespace-relay`, with a real PostgreSQL and a real Redis.
//!
//! The two crates must not know each other, so the relay's program is found where this one was built, or by `NODESPACE_RELAY_PROGRAM`. Where
//! it or the servers are missing, the tests say so and do nothing.
#![expect(clippy::unwrap_used, reason = "a test that meets what it did not expect has failed")]
#![expect(clippy::print_stderr, reason = "why a test does nothing has to be seen")]

mod apart;
mod cut;
mod liar;
mod lies;
mod lost;
mod reconciled;
mod stage;
