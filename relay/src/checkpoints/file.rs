//! The checkpoint of one workspace.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::store::{Checkpoint, PartKey, StoreError};
use nodespace_store::disk::RealDisk;
use nodespace_store::{Anchor, Index};
use tokio::sync::OwnedMutexGuard;

use super::Place;

/// Bytes of a file's pages kept in memory: what is read often is in the system's cache.
const PAGE_CACHE_BYTES: usize = 256 << 10;

/// A workspace's checkpoint file, lent to one replica. Whoever saves in another thread keeps it with that replica's.
#[derive(Debug)]
pub(crate) struct CheckpointFile {
    folder: PathBuf,
    /// `None` after it was thrown away and could not be made anew.
    index: RwLock<Option<Index>>,
    _alone: OwnedMutexGuard<()>,
}

impl CheckpointFile {
    /// Opens the file in a folder, or what will be one with the first checkpoint.
    pub(super) fn open(folder: PathBuf, alone: OwnedMutexGuard<()>) -> Result<Self, StoreError> {
        let index = open_index(&folder)?;
        Ok(Self { folder, index: RwLock::new(Some(index)), _alone: alone })
    }

    /// Throws away what is there: the next checkpoint stands alone.
    pub(crate) fn start_over(&self) -> Result<(), StoreError> {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        // Closed before it is removed.
        drop(index.take());
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("throwing a checkpoint away", error)),
            _ => {}
        }
        *index = Some(open_index(&self.folder)?);
        Ok(())
    }

    fn with<T>(&self, work: impl FnOnce(&Index) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let gone = || failed("using a checkpoint", io::Error::other("it was thrown away and could not be made anew"));
        work(index.as_ref().ok_or_else(gone)?)
    }

    /// Of what it is; `None` when there is none.
    pub(crate) fn anchor(&self) -> Result<Option<Anchor>, StoreError> {
        self.with(Index::anchor)
    }

    /// A node's state.
    pub(crate) fn node(&self, id: &NodeId) -> Result<Option<Vec<u8>>, StoreError> {
        self.with(|index| index.node(id))
    }

    /// All parts, ascending.
    pub(crate) fn parts(&self, each: &mut dyn FnMut(PartKey, &[u8])) -> Result<(), StoreError> {
        self.with(|index| index.parts(each))
    }

    /// Keeps a checkpoint that ends at a place.
    pub(crate) fn save(&self, checkpoint: Checkpoint, place: &Place) -> Result<(), StoreError> {
        self.with(|index| index.save(checkpoint, &place.encode()))
    }
}

fn open_index(folder: &Path) -> Result<Index, StoreError> {
    let disk = RealDisk::new(folder).map_err(|error| failed("making a folder for a checkpoint", error))?;
    Index::open(Arc::new(disk), PAGE_CACHE_BYTES)
}

fn failed(doing: &'static str, error: io::Error) -> StoreError {
    StoreError::Environment { doing, source: Box::new(error) }
}
