//! NodeSpace's protocol: what two devices must agree on bit for bit.
//!
//! Everything here is pure: no clock, socket, disk, thread or randomness, so that the same set of operations gives the same
//! bytes everywhere, and a simulator can run it as it is. Time and random seeds are arguments; storage is a trait.
//!
//! In reading order:
//!
//! 1. names and clocks: [`ids`], [`clock`], [`crypto`];
//! 2. the unit of change: [`op`] (header, payload, segment), [`delta`], [`vector`], [`compress`];
//! 3. how operations are kept: [`log`], [`store`];
//! 4. who may write: [`membership`];
//! 5. how they merge: [`text`], [`merge3`], [`tree`], [`fold`], [`conflict`];
//! 6. one device's copy: [`replica`]; two devices talking: [`session`];
//! 7. the documented protocol's structures over all this: [`view`].
//!
//! `docs/PROTOCOL.md` gives every form byte by byte, `docs/ARCHITECTURE.md` the map.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod clock;
pub mod compress;
pub mod conflict;
pub mod crypto;
pub mod delta;
pub mod fold;
mod graph;
pub mod ids;
pub mod log;
pub mod lookup;
mod marks;
pub mod membership;
pub mod merge3;
pub mod mutant;
pub mod op;
pub mod replica;
pub mod session;
pub mod store;
pub mod text;
pub mod tree;
pub mod vector;
pub mod view;
mod wire;

pub use wire::DecodeError;
