//! Workspaces that are being written to: the protocol's replica of each, over the log in PostgreSQL.
//!
//! ```text
//!   request ─▶ Hub ─▶ Seat of the workspace (a queue) ─▶ turn: many packets, one transaction
//!                                                          1. lock the workspace's row
//!                                                          2. catch up with what other instances added
//!                                                          3. ingest each packet: who may write, chains, clocks, fold
//!                                                          4. write operations, canonical nodes, members, the counter
//!                                                          5. commit; only then answer, and tell who listens
//! ```
//!
//! Who may write what, and what a node is, is decided by [`Replica`](nodespace_protocol::replica::Replica) and nothing else. It is
//! memory that can be thrown away: after any error it is, and opened again, from this instance's checkpoint and the log after it.
//! Several instances may hold replicas of one workspace; the row's lock lets one write at a time, and whoever has it has seen everything
//! before. Whoever is alone does not lock it first, and writes only if it stands where its replica does (`alone`).

mod alone;
mod hub;
mod keeping;
mod log;
mod opened;
mod opening;
mod push;
mod seat;
mod segments;
mod turn;

pub use hub::{Hub, HubParts, HubStatus};
pub use push::{Added, PushJob, Pushed};
pub use segments::{Run, runs_of};

pub(crate) use log::LogStore;

/// A replica over the log in PostgreSQL.
pub(crate) type RelayReplica = nodespace_protocol::replica::Replica<LogStore>;
