//! Which life of its folder a home lives: the epoch of the logs it writes.
//!
//! A device must never sign two operations with one sequence number. A folder that was copied, or put back from a backup, would do
//! just that if it went on where it stood; so it begins a new log. The file recognises itself: it holds its own inode number, the time
//! the inode was made, and a fingerprint of the machine. A copy has another inode, a restored folder as well. The number of the device
//! is left out on purpose, as it may change from one start of the machine to the next.
//!
//! What this cannot see is a file system taken back as a whole, such as a snapshot of a virtual machine: there the inode is the same.
//! Against that a device compares its own log with what its peers hold of it before it writes.

use std::fs::{File, Metadata};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::UNIX_EPOCH;

use super::{HomeError, files};

const NAME: &str = "incarnation";
const MACHINE_FILE: &str = "/etc/machine-id";

/// The epoch of this home; a new one is drawn when the folder is not where it was made.
pub(super) fn current(home: &Path) -> Result<u32, HomeError> {
    let path = home.join(NAME);
    let Some(text) = files::read(&path)? else {
        tracing::warn!(home = %home.display(), "the home has no incarnation, as after a restore: a new log is begun");
        return renew(home);
    };
    let metadata = path.metadata().map_err(files::failed(&path))?;
    let Some((epoch, rest)) = parse(&text) else {
        tracing::warn!(home = %home.display(), "the home's incarnation cannot be read: a new log is begun");
        return renew(home);
    };
    if rest == marks(&metadata) {
        return Ok(epoch);
    }
    tracing::warn!(home = %home.display(), "the home was copied or restored: a new log is begun, so that no sequence number is used twice");
    renew(home)
}

/// Draws a new epoch.
pub(super) fn renew(home: &Path) -> Result<u32, HomeError> {
    let path = home.join(NAME);
    let before = files::read(&path)?.as_deref().and_then(parse).map(|(epoch, _)| epoch);
    let mut epoch = 0;
    while epoch == 0 || Some(epoch) == before {
        epoch = u32::from_le_bytes(files::random()?);
    }
    let fresh = files::fresh(&path);
    let write = || {
        // Another inode each time, even where the file system would use the old one again.
        let mut file: File = files::create(&fresh)?;
        let marks = marks(&file.metadata()?);
        file.write_all(format!("epoch {epoch:08x}\n{marks}").as_bytes())?;
        files::publish(&file, &fresh, &path)
    };
    write().map_err(files::failed(&path))?;
    Ok(epoch)
}

fn parse(text: &str) -> Option<(u32, &str)> {
    let (first, rest) = text.split_once('\n')?;
    let epoch = u32::from_str_radix(first.strip_prefix("epoch ")?, 16).ok()?;
    (epoch != 0).then_some((epoch, rest))
}

/// What tells this file from a copy.
fn marks(metadata: &Metadata) -> String {
    let born = metadata.created().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let born = born.map_or_else(|| "unknown".to_owned(), |time| time.as_nanos().to_string());
    format!("inode {}\nborn {born}\nmachine {}\n", metadata.ino(), machine())
}

/// A fingerprint of the machine, which does not give its id away.
fn machine() -> String {
    match std::fs::read(MACHINE_FILE) {
        Ok(id) => format!("{:08x}", crc32fast::hash(&id)),
        Err(_) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_recognises_itself_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let epoch = renew(folder.path()).unwrap();
        assert_eq!(current(folder.path()).unwrap(), epoch);
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(folder.path().join(NAME), copy.path().join(NAME)).unwrap();
        let other = current(copy.path()).unwrap();
        assert_ne!(other, epoch, "a copy begins a new log");
        assert_eq!(current(copy.path()).unwrap(), other, "and keeps it");
        assert_eq!(current(folder.path()).unwrap(), epoch, "the original goes on");
        for text in ["", "epoch 0\n", "epoch 00000000\nx", "nonsense"] {
            std::fs::write(copy.path().join(NAME), text).unwrap();
            let renewed = current(copy.path()).unwrap();
            assert!(renewed != 0 && renewed != epoch, "{text:?} is no incarnation");
        }
        std::fs::remove_file(copy.path().join(NAME)).unwrap();
        assert_ne!(current(copy.path()).unwrap(), epoch, "a restored home has none");
    }
}
