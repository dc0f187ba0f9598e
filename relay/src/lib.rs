//! A NodeSpace relay: hands operations on between devices that are not online together, and is the authority on their order.
//!
//! It cannot make operations, change them or decide what they mean: it stores what members signed, once, in the order of arrival, and
//! what it says of that order it signs. It folds them by the same code as every device ([`nodespace_protocol`]), to know who may write and to
//! serve the canonical version of a node.
//!
//! In reading order:
//!
//! 1. [`config`], [`key`], [`clock`], [`hex`], [`logging`]: what it is started with.
//! 2. [`refusal`]: why a request is not served.
//! 3. [`store`]: PostgreSQL; the log, the counter, the epoch.
//! 4. [`workspace`]: the protocol's replicas over it, one turn after the other; [`checkpoints`]: what of them is kept on this instance's disk.
//! 5. [`sync`]: a packet and its answer; the document's `CloudSyncService`.
//! 6. [`auth`], [`limits`]: who may, and how fast.
//! 7. [`redis`], [`notify`]: what instances tell each other.
//! 8. [`objects`], [`attachments`], [`directory`], [`circuit`]: object storage, addresses, the libp2p relay.
//! 9. [`server`], [`memory`], [`metrics`]: HTTP, what all requests may hold together, and what is measured.
//! 10. [`relay`]: all of it put together.
//!
//! Beside it [`inspection`] looks into a packet without any of this.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod attachments;
pub mod auth;
pub mod checkpoints;
pub mod circuit;
pub mod clock;
pub mod config;
pub mod directory;
pub mod hex;
pub mod inspection;
pub mod key;
pub mod limits;
pub mod logging;
pub mod memory;
pub mod metrics;
mod neighbourhood;
pub mod notify;
pub mod objects;
pub mod redis;
pub mod refusal;
pub mod relay;
pub mod server;
pub mod store;
pub mod sync;
pub mod workspace;
