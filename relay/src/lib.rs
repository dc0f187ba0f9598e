//! A NodeSpace relay: hands operations on between devices that are not online together.
//!
//! It is at its beginning: what is here is the door. A packet that a device would send is read within bounds, its signatures and
//! views are checked, and a report says what it holds or why it would be refused. All of it needs no database and no network.
//!
//! In reading order:
//!
//! 1. [`inspection`]: from the bytes of a packet to a report.
//!
//! Storage, HTTP, notifications and the circuit relay are not here yet.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod inspection;
