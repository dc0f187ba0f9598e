//! Backups: everything of a workspace in one file, without what makes this device this device.
//!
//! A backup is *logical*: the operations in their order of arrival, the signatures that prove them, and the vectors this device keeps at full
//! precision. Nothing derived is in it, and nothing of how the store lays out its files, so a backup outlives formats. Neither keys nor the
//! incarnation are in it: whoever finds a backup can read the notes and cannot write as their author, and a restored store never goes on
//! counting where another store counts already.
//!
//! This device signs its own operations only when it passes them on, so the journal holds none of those signatures. A backup is passing
//! on: it ends with signatures over this device's logs as they are ([`source::seal`]). Without them a store restored under new keys could prove
//! nothing of what was written here to anybody.
//!
//! [`source`] is what goes in, [`archive`] the file, [`reading`] reads and proves it, [`restore()`] makes a home of it. The decision behind what a restored device may
//! do is `docs/decisions/0023-a-backup-has-no-identity.md`.

pub mod archive;
mod entry;
pub mod reading;
mod restore;
pub mod source;
#[cfg(test)]
mod tests;

pub use archive::{BackupWriter, FORMAT, Manifest, Totals};
pub use reading::{BackupReader, Part};
pub use restore::restore;

use std::io;
use std::path::PathBuf;

/// Why a backup could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file is there already.
    #[error("{} exists already; name a new file, backups are not overwritten", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The environment failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// As the system says it.
        source: io::Error,
    },
    /// The file is something else.
    #[error("this is not a NodeSpace backup")]
    NotABackup,
    /// A newer program wrote it.
    #[error("this backup has format {found}, this program reads formats up to {FORMAT}; restore it with a newer program")]
    Future {
        /// Its format.
        found: u32,
    },
    /// The file ends before the backup does.
    #[error("the backup is cut off after {bytes} bytes; use another copy of it")]
    Truncated {
        /// How far it could be read.
        bytes: u64,
    },
    /// The bytes are not those that were written.
    #[error("the backup is damaged at byte {at}: {what}; use another copy of it")]
    Damaged {
        /// Where.
        at: u64,
        /// What was found.
        what: &'static str,
    },
    /// The bytes are sound and what they say cannot be.
    #[error("the backup cannot be trusted: {0}; it was altered, use another copy of it")]
    Untrue(String),
}
