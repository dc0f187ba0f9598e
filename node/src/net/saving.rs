//! The address book's file.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::book::SavedPeers;

/// The largest file that is read.
const BYTES_MAX: u64 = 4 << 20;

/// Reads it; what cannot be read is as good as nothing, since peers are found otherwise.
pub(super) fn read(path: &Path) -> SavedPeers {
    let read = || -> io::Result<SavedPeers> {
        if fs::metadata(path)?.len() > BYTES_MAX {
            return Err(io::Error::other("it is too large"));
        }
        serde_json::from_slice(&fs::read(path)?).map_err(io::Error::other)
    };
    read().unwrap_or_else(|error| {
        if error.kind() != io::ErrorKind::NotFound {
            tracing::warn!(path = %path.display(), %error, "the address book cannot be read; peers are found otherwise");
        }
        SavedPeers::default()
    })
}

/// Writes it, whole or not at all.
pub(super) fn write(path: &Path, saved: &SavedPeers) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(&serde_json::to_vec(saved).map_err(io::Error::other)?)?;
    drop(file);
    fs::rename(&fresh, path)
}
