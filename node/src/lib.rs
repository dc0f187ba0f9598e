//! A NodeSpace device: everything around the protocol that one user's machine needs.
//!
//! The protocol crate says what two devices must agree on and touches nothing outside itself. This crate is what touches: files, clock,
//! the local network.
//!
//! In reading order:
//!
//! 1. [`model`]: what applications send and get;
//! 2. [`engine`]: one writer that owns a workspace's state, the change stream, the projector;
//! 3. [`service`]: each request, as a method of a workspace;
//! 4. [`api`]: the same over HTTP, for the programs of this machine; [`client`] talks to it;
//! 5. [`import`], [`export`], [`backup`], [`doctor`]: what requests do that take longer;
//! 6. [`sync`]: when to sync with whom, as machines without a clock; [`peers`] and [`relay_client`]: doing it;
//! 7. [`config`] and [`logging`]: what a person can set.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod api;
pub mod backup;
pub mod client;
pub mod config;
pub mod doctor;
pub mod engine;
pub mod export;
pub mod import;
pub mod logging;
pub mod model;
pub mod net;
pub mod peers;
pub mod relay_client;
pub mod service;
pub mod sync;
