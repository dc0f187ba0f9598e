//! Making sure that what LanceDB wrote is on the disk.
//!
//! LanceDB leaves its files in the page cache. A few new files are synced one by one, which takes as long as they take; for many, on Linux,
//! one `syncfs` is less work than a call for each, though it also waits for what others wrote. A failed sync is never tried again: the
//! kernel may have dropped the data and say yes the next time (Rebello et al., *Can Applications Recover from fsync Failures?*, ATC 2020).

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

/// With more new files than this the whole file system is synced at once.
#[cfg(target_os = "linux")]
const FILES_ONE_BY_ONE: usize = 256;

/// What failed, and where.
pub(crate) type Failed = (PathBuf, io::Error);

/// Makes `files` and the folders from each of them up to `root` durable.
pub(crate) fn sync(root: &Path, files: &[PathBuf]) -> Result<(), Failed> {
    #[cfg(target_os = "linux")]
    if files.len() > FILES_ONE_BY_ONE {
        let folder = File::open(root).map_err(|error| (root.to_owned(), error))?;
        return rustix::fs::syncfs(folder).map_err(|error| (root.to_owned(), error.into()));
    }
    let mut folders = BTreeSet::from([root]);
    for file in files {
        sync_one(file)?;
        folders.extend(file.ancestors().skip(1).take_while(|folder| folder.starts_with(root)));
    }
    folders.into_iter().try_for_each(sync_one)
}

fn sync_one(path: &Path) -> Result<(), Failed> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|error| (path.to_owned(), error))
}

/// Writes a file so that after a crash it has either its old bytes or these.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), Failed> {
    let new = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    };
    write().map_err(|error| (path.to_owned(), error))
}
