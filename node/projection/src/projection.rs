//! The one writer of the table.
//!
//! ```text
//!   log ──changes, position──▶ apply ──▶ table `nodes` ◀── readers: ours, other processes', other languages'
//!                                          │
//!   caller's own store ◀──── mark ──── checkpoint: files hashed, listed and synced
//!          │
//!          └──── mark ──▶ open: list and files checked, later versions dropped ──▶ replay from the mark's position, or rebuild
//! ```
//!
//! LanceDB lets two writers who insert the same new id at once both succeed, which leaves two rows; so there is one writer, held by a lock
//! on a file in the folder and by `&mut self`. Applying a change twice is harmless, so what was written after the last mark is simply
//! written again after a crash.
//!
//! # The folder
//!
//! | Path | |
//! |---|---|
//! | `nodes.lance/` | the table; open the folder with any LanceDB client of the same format, and read table `nodes` |
//! | `models.json` | which model's vectors are in which column, for other clients |
//! | `checkpoint-….json` | the files of the last marks' versions, see [`crate::inventory`] |
//! | `writer.lock` | locked while a device writes |

use std::{
    collections::HashSet,
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    handle::Handle,
    inventory::Inventory,
    mark::Mark,
    reader::Reader,
    schedule::{Rhythm, Schedule, Work},
};

mod apply;
mod checkpoint;
mod known;
mod maintain;
pub(crate) mod open;
mod rebuild;

pub use apply::Applied;
pub use maintain::Maintained;
pub use open::{Doubt, Opened, State};
pub use verify::Verification;

mod verify;

/// The name of the table.
pub const TABLE: &str = "nodes";

/// The table's folder within the projection's.
const TABLE_FOLDER: &str = "nodes.lance";

/// The file with the models, for other clients.
const MODELS_FILE: &str = "models.json";

/// How much memory and work the projection may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// When tidying and checkpoints are due.
    pub rhythm: Rhythm,
    /// From this many rows on the columns that are filtered by get an index; below, looking through all rows is as fast.
    pub scalar_index_rows_min: u64,
    /// From this many vectors of a model on they get an index; below, comparing with all of them takes a few milliseconds and is exact.
    pub vector_index_rows_min: u64,
    /// How long an old version is kept for those who still read it.
    pub keep_versions: Duration,
    /// The most bytes of indexes kept in memory.
    pub index_cache_bytes: usize,
    /// The most bytes of manifests and file footers kept in memory.
    pub metadata_cache_bytes: usize,
    /// Up to this many bytes every byte is checked when the table is opened; beyond, only that each file is there with its size, and the
    /// bytes are left to [`Projection::verification`].
    pub verify_at_open_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rhythm: Rhythm::default(),
            scalar_index_rows_min: 2_000,
            vector_index_rows_min: 10_000,
            keep_versions: Duration::from_secs(10 * 60),
            index_cache_bytes: 64 << 20,
            metadata_cache_bytes: 16 << 20,
            verify_at_open_bytes: 32 << 20,
        }
    }
}

/// The table, open for writing.
///
/// # Contract
///
/// Apply changes in the order of the log, each with the position up to which the log is then applied. While [`Projection::due`] says that
/// something is due, do it: [`Projection::checkpoint`] for [`Work::Checkpoint`], [`Projection::maintain`] for the rest. Store each mark
/// durably before the next call of `checkpoint`: the files of the mark before are kept until then, and no longer.
#[derive(Debug)]
pub struct Projection {
    folder: PathBuf,
    handle: Handle,
    settings: Settings,
    schedule: Schedule,
    position: u64,
    /// The ids of the table's rows, or nothing after a failure, when what was written is not known.
    known: Option<known::Known>,
    /// The last two marks and their inventories; the first of them may still be the one that the caller has stored.
    kept: Vec<(Mark, Inventory)>,
    /// Held open, and so locked, as long as this lives.
    _lock: File,
}

impl Projection {
    /// Asks the table, from any task, while this one writes.
    pub fn reader(&self) -> Reader {
        Reader::new(self.handle.clone())
    }

    /// The folder that other LanceDB clients open.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The position in the log up to which the table is current.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What is to be done now, if anything; `now` is counted from any fixed moment.
    pub fn due(&mut self, now: Duration) -> Option<Work> {
        self.schedule.due(now)
    }

    /// When something becomes due if nothing more is written.
    pub fn next_due(&self) -> Option<Duration> {
        self.schedule.next_due()
    }

    fn table_folder(&self) -> PathBuf {
        self.folder.join(TABLE_FOLDER)
    }
}

/// Hashes of ids; see [`known::Known`].
type Hashes = HashSet<u64>;
