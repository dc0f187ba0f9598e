//! Why the store did not do what was asked, in words a person can act on.
//!
//! The trait's [`StoreError`] has one variant for everything the environment does wrong; [`Cause`] is what stands inside it.

use std::io;

use nodespace_protocol::store::StoreError;

/// What the environment did, and what can be done about it.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// No space left, or the quota is used up.
    #[error("{place}: the disk is full; free some space and start again, nothing acknowledged is lost")]
    DiskFull {
        /// The file.
        place: String,
        /// As the system says it.
        #[source]
        source: io::Error,
    },
    /// The file system is mounted read-only.
    #[error("{place}: the file system is read-only; make it writable or move the data folder")]
    ReadOnly {
        /// The file.
        place: String,
        /// As the system says it.
        #[source]
        source: io::Error,
    },
    /// The user may not do this.
    #[error("{place}: permission denied; the data folder must belong to the user that runs this program and be writable by it")]
    Permission {
        /// The file.
        place: String,
        /// As the system says it.
        #[source]
        source: io::Error,
    },
    /// Anything else the system reports.
    #[error("{place}: {source}")]
    Io {
        /// The file.
        place: String,
        /// As the system says it.
        source: io::Error,
    },
    /// An earlier write or sync failed: what is on the disk is not known, so nothing more is written.
    #[error("{place}: an earlier write failed, the store takes nothing more until it is opened anew")]
    Failed {
        /// The file.
        place: String,
    },
    /// A group of records beyond what one frame may hold.
    #[error("a group of records takes more than {max} bytes; split it")]
    GroupTooLarge {
        /// The bound.
        max: usize,
    },
    /// The index of checkpoints refused.
    #[error("{place}: {source}")]
    Index {
        /// The file.
        place: String,
        /// As redb says it.
        source: Box<redb::Error>,
    },
    /// A checkpoint of records that a crash could still take.
    #[error("a checkpoint includes {included} records, but only {durable} are durable; make them so first")]
    NotDurable {
        /// Records it includes.
        included: u64,
        /// Records that are durable.
        durable: u64,
    },
    /// More operations than an index can name.
    #[error("the journal holds as many operations as one store can name")]
    Full,
}

impl Cause {
    /// The cause of a failed call on the file `place`.
    pub fn io(place: impl Into<String>, source: io::Error) -> Self {
        let place = place.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { place, source },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { place, source },
            io::ErrorKind::PermissionDenied => Self::Permission { place, source },
            _ => Self::Io { place, source },
        }
    }

    /// The store's error: the environment failed while `doing` something.
    pub fn while_doing(self, doing: &'static str) -> StoreError {
        StoreError::Environment { doing, source: Box::new(self) }
    }
}

/// What was found where something else was written.
pub(crate) fn corrupt(place: impl Into<String>, what: impl Into<String>) -> StoreError {
    StoreError::Corrupt { place: place.into(), what: what.into() }
}
