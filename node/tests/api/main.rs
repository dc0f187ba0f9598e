//! The local API, seen by its clients: friendly ones, clumsy ones, and web pages that have no business here.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod bodies;
mod browser;
mod description;
mod membership;
mod nodes;
mod refusals;
mod sockets;
mod streams;
mod support;
mod sync;
mod tasks;
mod wire;
