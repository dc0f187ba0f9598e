//! Where servers live: a folder of their own, which whoever they run as may write to.

use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::cluster::process::{Launch, User};

/// A folder for a server; removed with this value. It does not lie among the devices' homes: those are closed to others, and the path of a
/// socket has to be short.
#[derive(Debug)]
pub(super) struct Place {
    folder: TempDir,
    user: Option<User>,
}

impl Place {
    /// Makes it.
    ///
    /// # Errors
    /// When it cannot be made, or given to whoever the server runs as.
    pub(super) fn make(name: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("nst-{name}-")).tempdir().context("no temporary folder")?;
        let user = unprivileged()?;
        if let Some(user) = user {
            chown(folder.path(), Some(user.uid), Some(user.gid)).context("the servers' folder cannot be given away")?;
        }
        Ok(Self { folder, user })
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A run of a program as the server's user.
    pub(super) fn launch(&self, program: impl Into<PathBuf>, arguments: &[&str], log: &Path) -> Launch {
        Launch {
            program: program.into(),
            arguments: arguments.iter().map(Into::into).collect(),
            environment: Vec::new(),
            log: log.to_path_buf(),
            user: self.user,
        }
    }
}

/// Whom servers run as when we are root, whom PostgreSQL refuses: itself, or nobody.
fn unprivileged() -> Result<Option<User>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd").context("who is a user here cannot be read")?;
    let find = |name| users.lines().find_map(|line| user_of(line, name));
    find("postgres").or_else(|| find("nobody")).map(Some).context("PostgreSQL does not run as root, and there is no user `nobody`")
}

fn user_of(line: &str, name: &str) -> Option<User> {
    let mut fields = line.strip_prefix(name)?.strip_prefix(':')?.split(':').skip(1);
    Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_read_from_its_line_and_no_other() {
        assert_eq!(user_of("nobody:x:65534:65533:nobody:/:/bin/false", "nobody"), Some(User { uid: 65534, gid: 65533 }));
        assert_eq!(user_of("nobody2:x:1:2::/:", "nobody"), None);
        assert_eq!(user_of("nobody:x:what", "nobody"), None);
    }
}
