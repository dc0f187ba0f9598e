//! Small files of the home: written whole or not at all, readable by their owner only.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::HomeError;
use crate::disk::{FILE_MODE, FOLDER_MODE, sync_folder};
use crate::error::Cause;

/// The home's error for a failed call on a path.
pub(super) fn failed(path: &Path) -> impl Fn(io::Error) -> HomeError {
    let place = path.display().to_string();
    move |error| HomeError::Environment(Cause::io(place.clone(), error))
}

/// Makes a folder and those above it, unless it is there.
pub(super) fn make_folder(path: &Path) -> Result<(), HomeError> {
    if path.is_dir() {
        return Ok(());
    }
    let made = DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path);
    let synced = made.and_then(|()| path.parent().filter(|above| !above.as_os_str().is_empty()).map_or(Ok(()), sync_folder));
    synced.map_err(failed(path))
}

/// The names in a folder, ascending.
pub(super) fn names(path: &Path) -> Result<Vec<String>, HomeError> {
    let entries = fs::read_dir(path).map_err(failed(path))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let mut names = names.collect::<io::Result<Vec<String>>>().map_err(failed(path))?;
    names.sort_unstable();
    Ok(names)
}

/// The name under which a file is made before it takes its own.
pub(super) fn fresh(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Makes an empty file for its owner only.
pub(super) fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(path)
}

/// Gives a complete file its name, durably.
pub(super) fn publish(file: &File, from: &Path, to: &Path) -> io::Result<()> {
    file.sync_all()?;
    fs::rename(from, to)?;
    to.parent().map_or(Ok(()), sync_folder)
}

/// Writes a file so that after a crash either all of it is there, or what was there before.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), HomeError> {
    let fresh = fresh(path);
    let write = || {
        let mut file = create(&fresh)?;
        file.write_all(bytes)?;
        publish(&file, &fresh, path)
    };
    write().map_err(failed(path))
}

/// Reads a small text file; `None` when it is not there.
pub(super) fn read(path: &Path) -> Result<Option<String>, HomeError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(HomeError::Damaged { path: path.to_owned(), what: "it is not text".to_owned() })
        }
        Err(error) => Err(failed(path)(error)),
    }
}

/// Bytes from the system's source of randomness.
pub(super) fn random<const N: usize>() -> Result<[u8; N], HomeError> {
    let mut bytes = [0; N];
    let source = |error: getrandom::Error| Cause::io("random numbers", io::Error::other(error.to_string()));
    getrandom::fill(&mut bytes).map_err(|error| HomeError::Environment(source(error)))?;
    Ok(bytes)
}
