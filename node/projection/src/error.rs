//! What can go wrong, by operation.
//!
//! Three blames are kept apart: the caller asked for something that cannot be ([`RowError`], [`SearchError`]), the table is not what was
//! left ([`crate::Doubt`], never an error: the answer is a rebuild), and the environment failed ([`TableError`] or an I/O error).

use std::{io, path::PathBuf};

use crate::row::RowError;

/// LanceDB reported an error. Its text is for the log; what to do is said by the error around it.
///
/// The cause is kept as a source but not in the type, so that no type of LanceDB is part of this crate's interface.
#[derive(Debug, thiserror::Error)]
#[error("LanceDB: {0}")]
pub struct TableError(#[source] Box<dyn std::error::Error + Send + Sync>);

impl From<lancedb::Error> for TableError {
    fn from(error: lancedb::Error) -> Self {
        Self(Box::new(error))
    }
}

impl From<lance::Error> for TableError {
    fn from(error: lance::Error) -> Self {
        Self(Box::new(error))
    }
}

impl From<arrow_schema::ArrowError> for TableError {
    fn from(error: arrow_schema::ArrowError) -> Self {
        Self(Box::new(error))
    }
}

/// A table that has not the columns, or the values, that this crate writes.
#[derive(Debug, thiserror::Error)]
#[error("column {column:?} of table nodes {problem}")]
pub(crate) struct Misshapen {
    pub(crate) column: String,
    pub(crate) problem: &'static str,
}

impl From<Misshapen> for TableError {
    fn from(error: Misshapen) -> Self {
        Self(Box::new(error))
    }
}

/// Why a projection could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process, or another part of this one, has it open for writing.
    #[error("{} is being written by another process: stop that one, or read through it", folder.display())]
    Locked {
        /// The folder.
        folder: PathBuf,
    },
    /// The folder cannot be used.
    #[error("{} cannot be used: make it a folder that this user may write, on a disk with room", path.display())]
    Folder {
        /// The path that failed.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// LanceDB cannot make its table.
    #[error("no table can be made in {}", folder.display())]
    Table {
        /// The folder.
        folder: PathBuf,
        /// What LanceDB said.
        #[source]
        source: TableError,
    },
}

/// Why changes were not written. The table may have part of them; writing them again is safe.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// A row cannot be stored. Nothing of its batch was written.
    #[error(transparent)]
    Row(#[from] RowError),
    /// LanceDB failed. Write again when the cause is gone (a full disk, say); if it fails again, open without a mark and rebuild.
    #[error("the table could not be written: try again, and rebuild the projection if it goes on")]
    Table(#[from] TableError),
    /// One of this crate's own files failed.
    #[error("{} could not be written: make room on the disk, then try again", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Why a checkpoint was not made. The mark before it still holds.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// LanceDB could not say what the table is made of.
    #[error("the table's files could not be listed: open the projection again")]
    Table(#[from] TableError),
    /// A file could not be read, written or made durable. What the disk holds is unknown: open the projection again, from the last mark.
    #[error("{} could not be made durable: open the projection again from the last mark", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Why there is no answer to a question.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// The query asks for more than [`crate::query::WINDOW_MAX`] hits.
    #[error("hits up to number {asked} were asked for; a search gives the first {}: narrow it down with filters", crate::query::WINDOW_MAX)]
    TooManyHits {
        /// Offset and limit together.
        asked: usize,
    },
    /// The text is longer than [`crate::query::TEXT_BYTES_MAX`].
    #[error("the text to search for has {bytes} bytes; at most {} are looked at: shorten it", crate::query::TEXT_BYTES_MAX)]
    TextTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A name in a filter is longer than any stored one.
    #[error("the {field} to filter by has {bytes} bytes, more than any node's: shorten it")]
    FilterTooLong {
        /// The filter.
        field: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// The filter lists more values than [`crate::filter::VALUES_MAX`].
    #[error("{found} values were given to filter by; at most {} are taken: ask in parts", crate::filter::VALUES_MAX)]
    TooManyValues {
        /// How many there are.
        found: usize,
    },
    /// Metadata can be filtered by text, number, true, false and null.
    #[error("metadata key {key:?} cannot be filtered by an array or an object: filter by its elements, with dotted keys for nested ones")]
    NotScalar {
        /// The key.
        key: String,
    },
    /// The table has no vectors of this model.
    #[error("no node has a vector of model {model:?}; there are vectors of {known:?}")]
    UnknownModel {
        /// The model asked for.
        model: String,
        /// The models that there are.
        known: Vec<String>,
    },
    /// The vector is not as long as the model's.
    #[error("the vector has {found} elements, those of model {model:?} have {expected}: compute it with that model")]
    WrongDimension {
        /// The model.
        model: String,
        /// The length of its vectors.
        expected: usize,
        /// The length of the one given.
        found: usize,
    },
    /// An element of the vector is not a finite number.
    #[error("element {index} of the vector is not a finite number: compute the vector again")]
    NotFinite {
        /// The first such element.
        index: usize,
    },
    /// A vector of zeros has no direction to compare.
    #[error("a vector of zeros is near to nothing: compute the vector again, or search by text")]
    ZeroVector,
    /// LanceDB failed.
    #[error("the table could not be read: try again, and rebuild the projection if it goes on")]
    Table(#[from] TableError),
}
