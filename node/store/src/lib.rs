//! A device's durable store.
//!
//! Operations are the truth and live in the [`journal`]; what is derived from them lives in an index of checkpoints beside it; both
//! lie in the folder of a workspace. The index serves a relay too, whose operations are elsewhere. In reading order:
//!
//! - [`disk`]: files and what makes them durable, real and simulated;
//! - [`journal`]: operations in order of arrival;
//! - [`store`]: journal and index behind the protocol's `Store` trait, with what is local beside them;
//! - [`home`]: the data folder, its keys, its lock and its incarnation.

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod database;
pub mod disk;
pub mod error;
pub mod home;
mod index;
pub mod journal;
mod local;
pub mod store;

pub use error::Cause;
pub use home::{Home, HomeError};
pub use index::{Anchor, INDEX_FILE, Index};
pub use journal::{Mark, StoreOptions};
pub use local::VectorEntry;
pub use store::DiskStore;
