//! The LanceDB table that applications query.
//!
//! A device's truth is its journal; this crate keeps a picture of it that can be searched by words, by vectors and by filters, and that any
//! LanceDB client can open while the device runs. The picture is derived: it can be deleted at any time and made again, and it is made
//! again whenever there is doubt whether it is whole. LanceDB's and Arrow's types stay inside.
//!
//! In reading order:
//!
//! 1. what is kept: [`row`], [`metadata`], [`models`], [`columns`];
//! 2. the writer: [`projection`], [`mark`], [`inventory`], [`schedule`];
//! 3. questions: [`query`], [`filter`], [`reader`].
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod columns;
mod durable;
pub mod error;
pub mod filter;
mod fusion;
mod handle;
pub mod inventory;
pub mod mark;
pub mod metadata;
pub mod models;
pub mod projection;
pub mod query;
pub mod reader;
pub mod row;
pub mod schedule;
mod search;
mod snippet;

pub use error::{CheckpointError, OpenError, SearchError, TableError, WriteError};
pub use filter::{Deleted, Filter, Parent, TimeRange};
pub use mark::Mark;
pub use models::Model;
pub use projection::{Applied, Doubt, Maintained, Opened, Projection, Settings, State, TABLE, Verification};
pub use query::{Hit, Query, QueryVector};
pub use reader::Reader;
pub use row::{Change, Digest, Embedding, Embeddings, Row, RowError};
pub use schedule::{Rhythm, Work};
