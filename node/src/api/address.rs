//! Where the running daemon listens: a small file in the home folder, so that the command line finds it.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::token::write_private;

/// The file's name in the home folder.
pub const ADDRESS_FILE: &str = "api.json";

/// Where a daemon listens. The file may outlive a daemon that was killed: check that the process lives and that `/health` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiAddress {
    /// Address and port.
    pub address: SocketAddr,
    /// The daemon's process.
    pub pid: u32,
}

impl ApiAddress {
    /// What the home folder says; `None` when no daemon runs, or the file is not one of ours.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn read(home: &Path) -> io::Result<Option<Self>> {
        match fs::read(home.join(ADDRESS_FILE)) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// The file, there as long as this value.
#[derive(Debug)]
pub(super) struct Announcement {
    home: PathBuf,
    said: ApiAddress,
}

impl Announcement {
    pub(super) fn write(home: &Path, address: SocketAddr) -> io::Result<Self> {
        let said = ApiAddress { address, pid: std::process::id() };
        let text = serde_json::to_string(&said)?;
        write_private(home, ADDRESS_FILE, &text)?;
        Ok(Self { home: home.to_path_buf(), said })
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // Another daemon may have said otherwise since, if somebody took the lock from us: then the file is not ours to remove.
        if matches!(ApiAddress::read(&self.home), Ok(Some(said)) if said == self.said)
            && let Err(error) = fs::remove_file(self.home.join(ADDRESS_FILE))
        {
            tracing::warn!(%error, "the file that says where the API listens could not be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_there_while_the_api_is() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(ApiAddress::read(home.path()).unwrap(), None);
        let address = "127.0.0.1:4242".parse().unwrap();
        let announcement = Announcement::write(home.path(), address).unwrap();
        assert_eq!(ApiAddress::read(home.path()).unwrap(), Some(ApiAddress { address, pid: std::process::id() }));
        drop(announcement);
        assert_eq!(ApiAddress::read(home.path()).unwrap(), None);
    }

    #[test]
    fn what_another_daemon_said_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        let announcement = Announcement::write(home.path(), "127.0.0.1:4242".parse().unwrap()).unwrap();
        let other = r#"{"address":"127.0.0.1:4343","pid":1}"#;
        fs::write(home.path().join(ADDRESS_FILE), other).unwrap();
        drop(announcement);
        assert_eq!(fs::read_to_string(home.path().join(ADDRESS_FILE)).unwrap(), other);
        fs::write(home.path().join(ADDRESS_FILE), "{").unwrap();
        assert_eq!(ApiAddress::read(home.path()).unwrap(), None);
    }
}
