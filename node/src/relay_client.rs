//! The device's side of a relay (`docs/RELAY-API.md`): one that peers need not be online with.
//!
//! ```text
//!   Exchange ── one attempt: what the relay lacks goes up, what is new comes down, until neither is left
//!     │   ├─ plan      what the relay lacks, cut into packets, parents first
//!     │   ├─ RelayApi  HTTP: login, packets, everything bounded
//!     │   ├─ follower  whether what it gave is what it signed (pure)
//!     │   └─ memory    what is remembered of it: id, cursor, running hash, last checkpoint, how far it holds each log
//!     hints          a WebSocket that says when there is something new
//!     check          a person asks what is wrong with a relay
//! ```
//!
//! A relay cannot forge; it can withhold, reorder, go back. So what it gives is followed by a running hash, and held against every
//! checkpoint it signed; and what it acknowledges has to be met there, since what is nowhere is not synced. One that contradicts itself is
//! not used any more until a person has looked (`nodespace relay check`), and both checkpoints are kept as evidence.
//!
//! When to ask it, and what a failure leads to, is decided by the machines of [`crate::sync`], driven by [`crate::peers`].

mod api;
mod check;
#[cfg(test)]
mod damage;
mod error;
mod exchange;
mod follower;
mod hints;
mod memory;
mod plan;
mod settings;
mod url;

pub(crate) use api::{Identity, RelayApi};
pub(crate) use check::check;
pub use error::{RelayError, RelayRefusal};
pub(crate) use exchange::{Arrivals, Exchange, Exchanged};
pub use follower::Alarm;
pub(crate) use hints::listen;
pub(crate) use memory::RelayMemory;
pub(crate) use settings::{RELAYS_MAX, own_urls, put_own_urls};
pub use url::{RelayUrl, RelayUrlError};
