//! One process a home.
//!
//! The lock is `flock`'s: the system lets go of it when the process ends, however it ends, so there is no stale lock. The file holds
//! the process id only for the message to whoever comes second.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{HomeError, files};
use crate::disk::FILE_MODE;

const NAME: &str = "lock";
/// More than a process id takes; a longer file says nothing.
const PID_BYTES_MAX: u64 = 20;

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(home: &Path) -> Result<Self, HomeError> {
        let path = home.join(NAME);
        let failed = files::failed(&path);
        let mut options = OpenOptions::new();
        let mut file = options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(&path).map_err(&failed)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => {
                let mut text = String::new();
                let read = (&file).take(PID_BYTES_MAX).read_to_string(&mut text);
                let pid = read.ok().and_then(|_| text.trim().parse().ok());
                return Err(HomeError::Locked { path: home.to_owned(), pid });
            }
            locked => locked.map_err(|errno| failed(errno.into()))?,
        }
        let mut write_pid = || {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        // The lock holds without it; only the message to others would lack the id, and a full disk must not keep a person from reading.
        if let Err(error) = write_pid() {
            tracing::debug!(%error, "the process id was not written to the lock");
        }
        Ok(Self { _file: file })
    }
}
