//! Where servers live: a folder of their own, which whoever they run as may write to.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::guard::{Guard, Keep, Watch};
use crate::process::{Launch, Process, User};

/// The file that is locked by who uses a folder that stays. That it is there shows that the folder is one of ours.
const LOCK_FILE: &str = "servers.lock";

/// A folder for servers, at most one of a kind. Clones are the same folder; with the last of them and the last server in it, a temporary one
/// is removed.
#[derive(Clone, Debug)]
pub struct Place {
    folder: Arc<Folder>,
    logs: PathBuf,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    user: Option<User>,
    keep: Keep,
    /// Nobody watches over a folder that is somebody else's.
    _guard: Option<Guard>,
    /// Held while we use a folder that stays; the last to go.
    _lock: Option<File>,
}

impl Place {
    /// A temporary folder, which ends with us. It lies where the system has such: not everybody gets into a test's own folder, and the path of
    /// a socket has to be short.
    ///
    /// # Errors
    /// When it cannot be made, or given to whoever the servers run as.
    pub fn temporary() -> Result<Self> {
        Self::watched(&new_folder()?, Watch::Gone, Keep::Nothing, None)
    }

    /// A folder that stays, made if it is not there. Whoever servers run as when we are root must be able to get there.
    ///
    /// # Errors
    /// As [`Place::temporary`]; when another process uses it; when there is something in it, and it was not made here.
    pub fn kept(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        check_ours(folder)?;
        let lock = lock_file(folder, LOCK_FILE)?;
        // Servers that both started would be taken for each other's.
        lock.try_lock().with_context(|| format!("{} is in use", folder.display()))?;
        Self::watched(folder, Watch::Gone, Keep::Folder, Some(lock))
    }

    /// A temporary folder that ends with the last who holds a lock, see [`Watch::Unused`].
    pub(crate) fn shared(state: &Path) -> Result<Self> {
        Self::watched(&new_folder()?, Watch::Unused(state), Keep::Nothing, None)
    }

    /// A folder that others started servers in, and end.
    pub(crate) fn of_others(folder: &Path) -> Result<Self> {
        Ok(Self::of(Folder { path: folder.to_path_buf(), user: unprivileged()?, keep: Keep::Folder, _guard: None, _lock: None }))
    }

    fn watched(folder: &Path, watch: Watch<'_>, keep: Keep, lock: Option<File>) -> Result<Self> {
        let path = folder.canonicalize()?;
        let user = unprivileged()?;
        give(&path, user)?;
        let guard = Guard::start(watch, &path, keep, user)?;
        Ok(Self::of(Folder { path, user, keep, _guard: Some(guard), _lock: lock }))
    }

    fn of(folder: Folder) -> Self {
        Self { logs: folder.path.clone(), folder: Arc::new(folder) }
    }

    /// Has logs written elsewhere than into the folder itself.
    #[must_use]
    pub fn with_logs(self, folder: &Path) -> Self {
        Self { logs: folder.to_path_buf(), ..self }
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder.path
    }

    /// Whether it stays when we end.
    pub(crate) fn is_kept(&self) -> bool {
        self.folder.keep == Keep::Folder
    }

    /// Starts a server's process, and notes its number for who watches over it.
    pub(crate) fn start(&self, server: &str, program: impl Into<PathBuf>, arguments: &[&str]) -> Result<Process> {
        let process = Process::start(self.launch(server, program, arguments))?;
        let file = self.path().join(format!("{server}.pid"));
        fs::write(&file, format!("{}\n", process.pid())).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(process)
    }

    /// Runs a program for a server to its end, as the server's user.
    pub(crate) async fn run(&self, server: &str, program: impl Into<PathBuf>, arguments: &[&str], within: Duration) -> Result<()> {
        Process::run(self.launch(server, program, arguments), within).await
    }

    fn launch(&self, server: &str, program: impl Into<PathBuf>, arguments: &[&str]) -> Launch {
        Launch {
            program: program.into(),
            arguments: arguments.iter().map(Into::into).collect(),
            environment: Vec::new(),
            log: self.logs.join(format!("{server}.log")),
            folder: Some(self.path().to_path_buf()),
            user: self.folder.user,
        }
    }
}

/// Servers close their folder to all others and, when we are root, get it for their own: that is done to no folder that is used for anything
/// else.
fn check_ours(folder: &Path) -> Result<()> {
    let is_empty = || fs::read_dir(folder).map(|mut entries| entries.next().is_none());
    let is_ours = folder.join(LOCK_FILE).is_file() || is_empty().with_context(|| format!("cannot read {}", folder.display()))?;
    ensure!(
        is_ours,
        "{} is in use for something else: its owner and mode would be changed. Name an empty folder, a new one, or one that servers were kept \
         in before (it has a file {LOCK_FILE})",
        folder.display()
    );
    Ok(())
}

/// A file to be locked, made if it is not there.
pub(crate) fn lock_file(folder: &Path, name: &str) -> Result<File> {
    let path = folder.join(name);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

fn new_folder() -> Result<PathBuf> {
    let folder = tempfile::Builder::new().prefix("nodespace-servers-").tempdir().context("no temporary folder")?;
    Ok(folder.keep())
}

/// Gives something to whoever servers run as; a folder is closed to all others.
pub(crate) fn give(path: &Path, user: Option<User>) -> Result<()> {
    if path.is_dir() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).with_context(|| format!("{} cannot be closed", path.display()))?;
    }
    let Some(user) = user else { return Ok(()) };
    chown(path, Some(user.uid), Some(user.gid)).with_context(|| format!("{} cannot be given away", path.display()))
}

/// Whom servers run as when we are root, whom PostgreSQL refuses: itself, or nobody.
pub(crate) fn unprivileged() -> Result<Option<User>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").context("who is a user here cannot be read")?;
    let find = |name| users.lines().find_map(|line| user_of(line, name));
    find("postgres").or_else(|| find("nobody")).map(Some).context("PostgreSQL does not run as root, and there is no user `nobody`")
}

fn user_of(line: &str, name: &str) -> Option<User> {
    let mut fields = line.strip_prefix(name)?.strip_prefix(':')?.split(':').skip(1);
    Some(User { uid: fields.next()?.parse().ok()?, gid: fields.next()?.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn a_user_is_read_from_its_line_and_no_other() {
        assert_eq!(user_of("nobody:x:65534:65533:nobody:/:/bin/false", "nobody"), Some(User { uid: 65534, gid: 65533 }));
        assert_eq!(user_of("nobody2:x:1:2::/:", "nobody"), None);
        assert_eq!(user_of("nobody:x:what", "nobody"), None);
    }

    /// Waits for the end of a process that was ended: it works nowhere any more a moment before the system says that it has ended.
    fn ends(process: &mut Process) {
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        while process.status().unwrap().is_none() {
            assert!(std::time::Instant::now() < deadline, "it goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[test]
    fn a_temporary_folder_is_gone_with_its_last_clone_and_what_works_in_it() {
        let place = Place::temporary().unwrap();
        let (path, clone) = (place.path().to_path_buf(), place.clone());
        drop(place);
        // As if whoever started it had been killed: nobody ends the process but who watches over the folder.
        let mut left = clone.start("sleeper", "sleep", &["600"]).unwrap();
        drop(clone);
        assert!(!path.exists());
        ends(&mut left);
    }

    #[test]
    fn what_was_frozen_is_not_left_behind() {
        let place = Place::temporary().unwrap();
        let note = place.path().join("child");
        let mut parent = place.start("parent", "sh", &["-c", "sh -c 'echo $$ >child; kill -STOP $$' & wait"]).unwrap();
        let is_frozen = |child: &str| fs::read_to_string(format!("/proc/{child}/stat")).is_ok_and(|stat| stat.contains(") T "));
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let child = loop {
            let child = fs::read_to_string(&note).unwrap_or_default().trim().to_owned();
            if is_frozen(&child) {
                break child;
            }
            assert!(std::time::Instant::now() < deadline, "the child did not stop");
            std::thread::sleep(Duration::from_millis(10));
        };
        drop(place);
        ends(&mut parent);
        assert!(!is_frozen(&child));
    }

    #[test]
    fn a_kept_folder_stays_and_is_used_by_one() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("kept");
        let place = Place::kept(&folder).unwrap();
        assert!(Place::kept(&folder).is_err());
        drop(place);
        assert!(folder.is_dir());
        fs::write(folder.join("kept"), "by the servers").unwrap();
        Place::kept(&folder).unwrap();
    }

    #[test]
    fn a_folder_with_something_else_in_it_is_left_as_it_is() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("documents");
        fs::create_dir(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        let before = || fs::metadata(&folder).map(|found| (found.mode(), found.uid(), found.gid())).unwrap();
        fs::write(folder.join("letter"), "").unwrap();
        let (found, refused) = (before(), Place::kept(&folder).unwrap_err().to_string());
        assert!(refused.contains("something else") && refused.contains(LOCK_FILE), "{refused}");
        assert_eq!(before(), found);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing was put there");
        fs::remove_file(folder.join("letter")).unwrap();
        Place::kept(&folder).unwrap();
    }
}
