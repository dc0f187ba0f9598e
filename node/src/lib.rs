//! A NodeSpace device: everything around the protocol that one user's machine needs.
//!
//! The protocol crate says what two devices must agree on and touches nothing outside itself. This crate is what touches: files, network,
//! clock. It is at its beginning, and what is here works on its own.
//!
//! In reading order:
//!
//! 1. [`import`]: Markdown files become outline trees, the form in which a workspace takes them in.
//!
//! The storage, the network and the local interface of a device are not here yet.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod import;
