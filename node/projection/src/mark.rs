//! What the caller remembers of the table, durably, in a place of its own.

use serde::{Deserialize, Serialize};

/// A version of the table that was made durable, and how much of the log it shows.
///
/// A projection gives a mark at each checkpoint; the caller stores it durably and hands it back when it opens the projection again. The
/// mark is what the table is held against: it is not kept beside the table, so that a damaged folder cannot vouch for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The version of the table's columns.
    pub schema: u32,
    /// LanceDB's version of the table.
    pub version: u64,
    /// The position in the log up to which the table is current.
    pub position: u64,
    /// How many rows the table has.
    pub rows: u64,
    /// The hash of the list of the version's files.
    pub inventory: [u8; 32],
}
