//! Making the table durable, and saying so.
//!
//! 1. List the files of the current version; hash those that the list before did not have (LanceDB's files never change).
//! 2. Sync the new files and their folders.
//! 3. Write the list under a name made from its hash, synced as well.
//! 4. Remove lists older than the mark before this one.
//!
//! A crash anywhere leaves the files of the mark that the caller has.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Projection, known::Known, open::blocking};
use crate::{
    columns::SCHEMA_VERSION,
    durable,
    error::{CheckpointError, TableError},
    inventory::{self, Content, Inventory},
    mark::Mark,
    schedule::Work,
};

/// How many marks the files on disk answer for: the one just made, and the one before, which the caller may still have.
const MARKS_KEPT: usize = 2;

impl Projection {
    /// Makes everything applied so far durable, and gives the mark to open the table with. Store it durably before the next call.
    pub async fn checkpoint(&mut self, now: Duration) -> Result<Mark, CheckpointError> {
        let made = self.make_checkpoint().await;
        match &made {
            Ok(_) => self.schedule.done(Work::Checkpoint),
            Err(_) => self.schedule.checkpoint_failed(now),
        }
        made
    }

    async fn make_checkpoint(&mut self) -> Result<Mark, CheckpointError> {
        if self.known.is_none() {
            self.known = Some(Known::load(&self.handle.table).await?.0);
        }
        let dataset = self.dataset().await?;
        let rows = dataset.count_rows(None).await.map_err(TableError::from)? as u64;
        let inventory = self.take_inventory(inventory::paths(&dataset).await?, dataset.manifest().version).await?;
        let (bytes, hash) = inventory.to_bytes();
        let path = self.folder.join(inventory::file_name(&hash));
        durable::replace(&path, &bytes).map_err(failed)?;
        let mark = Mark { schema: SCHEMA_VERSION, version: inventory.version, position: self.position, rows, inventory: hash };
        self.kept.push((mark.clone(), inventory));
        let surplus = self.kept.len().saturating_sub(MARKS_KEPT);
        self.kept.drain(..surplus);
        self.remove_old_lists().map_err(|source| CheckpointError::File { path: self.folder.clone(), source })?;
        Ok(mark)
    }

    /// The sizes and hashes of the files, the new ones of which are synced.
    async fn take_inventory(&self, paths: Vec<PathBuf>, version: u64) -> Result<Inventory, CheckpointError> {
        let mut files: BTreeMap<String, Content> = BTreeMap::new();
        let mut new = Vec::new();
        for path in paths {
            let name = path.to_string_lossy().into_owned();
            match self.kept.iter().rev().find_map(|(_, inventory)| inventory.files.get(&name)) {
                Some(content) => {
                    files.insert(name, content.clone());
                }
                None => new.push(name),
            }
        }
        let table_folder = self.table_folder();
        let folder = self.folder.clone();
        files.extend(blocking(move || hash_and_sync(&folder, &table_folder, new)).await.map_err(failed)?);
        Ok(Inventory { schema: SCHEMA_VERSION, version, models: (*self.handle.models()).clone(), files })
    }

    fn remove_old_lists(&self) -> io::Result<()> {
        let keep: Vec<_> = self.kept.iter().map(|(mark, _)| inventory::file_name(&mark.inventory)).collect();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("checkpoint-") && !keep.contains(&name) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// LanceDB's own view of the table's current version.
    pub(super) async fn dataset(&self) -> Result<std::sync::Arc<lance::Dataset>, TableError> {
        match self.handle.table.dataset() {
            Some(dataset) => Ok(dataset.get().await?),
            None => Err(lancedb::Error::NotSupported { message: "the table is not a local one".to_owned() }.into()),
        }
    }
}

fn hash_and_sync(folder: &Path, table_folder: &Path, names: Vec<String>) -> Result<Vec<(String, Content)>, durable::Failed> {
    let paths: Vec<_> = names.iter().map(|name| table_folder.join(name)).collect();
    durable::sync(folder, &paths)?;
    let hashed = names.into_iter().zip(paths).map(|(name, path)| match Content::of(&path) {
        Ok(content) => Ok((name, content)),
        Err(error) => Err((path, error)),
    });
    hashed.collect()
}

fn failed((path, source): durable::Failed) -> CheckpointError {
    CheckpointError::File { path, source }
}
