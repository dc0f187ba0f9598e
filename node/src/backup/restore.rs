//! A backup becomes a workspace again: proved first, then built beside its place, opened and audited there, and only then put where a
//! device finds it.
//!
//! Whatever fails on the way, nothing is left behind: what is built lies in a folder that no device looks into until it is renamed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::ids::hex;
use nodespace_protocol::replica::{Author, Replica};
use nodespace_protocol::store::{Record, Store};
use nodespace_store::{DiskStore, Home, StoreOptions};

use super::reading::Proof;
use super::{BackupError, BackupReader, Manifest, Part, Totals};
use crate::doctor::state;
use crate::model::{ErrorCode, Progress, RestoreReport, ServiceError};

/// How many records go into the store as one group, at most.
const GROUP_RECORDS_MAX: usize = 256;

impl From<BackupError> for ServiceError {
    fn from(error: BackupError) -> Self {
        let code = match &error {
            BackupError::Exists { .. } => ErrorCode::AlreadyExists,
            BackupError::Io { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorCode::DiskFull,
                io::ErrorKind::NotFound => ErrorCode::NotFound,
                _ => ErrorCode::Internal,
            },
            BackupError::NotABackup
            | BackupError::Future { .. }
            | BackupError::Truncated { .. }
            | BackupError::Damaged { .. }
            | BackupError::Untrue(_) => ErrorCode::InvalidValue,
        };
        Self::new(code, error.to_string())
    }
}

/// Restores a backup into a new or empty folder, which becomes a home with new keys, or into a home that has not this workspace, which keeps
/// its keys and begins a new log. No device may have that home open.
///
/// # Errors
/// When the backup is damaged, altered or of a newer format; when the home cannot be used or has the workspace already.
pub fn restore(archive: &Path, home: &Path, now: Timestamp, progress: &mut dyn FnMut(Progress)) -> Result<RestoreReport, ServiceError> {
    check(archive, progress)?;
    let is_new = match fs::read_dir(home) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(failed(home, error).into()),
    };
    if is_new { into_new(archive, home, now, progress) } else { into_existing(archive, home, now, progress) }
}

/// Reads all of it and proves it, and writes nothing.
fn check(archive: &Path, progress: &mut dyn FnMut(Progress)) -> Result<(), BackupError> {
    let mut reader = BackupReader::open(archive)?;
    let (mut proof, mut tally) = (Proof::default(), Tally::new("checking the backup", reader.manifest()));
    loop {
        match reader.next_part()? {
            Part::Records(records) => {
                records.iter().try_for_each(|record| proof.take(record))?;
                progress(tally.after(records.len()));
            }
            Part::Vectors(_) => {}
            Part::End(totals) => {
                let manifest = reader.manifest();
                if totals.operations != manifest.operations {
                    return Err(BackupError::Untrue("it does not hold the operations it announces".to_owned()));
                }
                return proof.finish();
            }
        }
    }
}

/// Builds a home beside its place.
fn into_new(archive: &Path, home: &Path, now: Timestamp, progress: &mut dyn FnMut(Progress)) -> Result<RestoreReport, ServiceError> {
    let folder = home.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let name = home.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.ok_or_else(|| ServiceError::new(ErrorCode::InvalidRequest, format!("{} names no folder", home.display())))?;
    let building = Scaffold::at(folder.join(format!(".{name}.restoring.{}", std::process::id())))?;
    let made = Home::create(&building.path).map_err(home_refusal)?;
    let workspace = BackupReader::open(archive)?.manifest().workspace;
    let store = made.create_workspace(workspace).map_err(home_refusal)?;
    let report = build(archive, &store, &made, now, progress)?;
    made.set_default_workspace(workspace).map_err(home_refusal)?;
    drop(made);
    // An empty folder in the place of the home; one that has something in it by now stays, and the rename fails.
    match fs::remove_dir(home) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(home, error).into()),
        _ => building.put_at(home)?,
    }
    Ok(RestoreReport { home: home.display().to_string(), new_identity: true, ..report }.advised())
}

/// Builds a workspace within a home.
fn into_existing(archive: &Path, home: &Path, now: Timestamp, progress: &mut dyn FnMut(Progress)) -> Result<RestoreReport, ServiceError> {
    let mut opened = Home::open(home).map_err(home_refusal)?;
    let workspace = BackupReader::open(archive)?.manifest().workspace;
    let place = opened.workspace_folder(workspace);
    if place.exists() {
        let message = format!(
            "the home {} has the workspace {} already; restore into a new folder, or move {} away first",
            home.display(),
            workspace.short(),
            place.display()
        );
        return Err(ServiceError::new(ErrorCode::AlreadyExists, message));
    }
    let folder = place.parent().unwrap_or(home);
    let building = Scaffold::at(folder.join(format!(".{}.restoring", hex(&workspace.0))))?;
    // A new log: what was written here after the backup may be held by others under the old one.
    opened.renew_incarnation().map_err(home_refusal)?;
    let report = build(archive, &building.path, &opened, now, progress)?;
    building.put_at(&place)?;
    if opened.default_workspace().is_none() {
        opened.set_default_workspace(workspace).map_err(home_refusal)?;
    }
    Ok(RestoreReport { home: home.display().to_string(), new_identity: false, ..report }.advised())
}

/// Fills a store, opens what it holds and folds it again in another order.
fn build(
    archive: &Path,
    folder: &Path,
    home: &Home,
    now: Timestamp,
    progress: &mut dyn FnMut(Progress),
) -> Result<RestoreReport, ServiceError> {
    let mut reader = BackupReader::open(archive)?;
    let manifest = reader.manifest().clone();
    let mut store = DiskStore::open(folder, manifest.workspace, &StoreOptions::default())?;
    let totals = fill(&mut reader, &mut store, progress)?;
    let author = Author { key: home.device_key().clone(), epoch: home.incarnation() };
    let mut replica = Replica::open(manifest.workspace, store, Some(author), now)?;
    audit(&mut replica, &manifest, progress)?;
    replica.commit()?;
    replica.checkpoint()?;
    let counts = replica.counts();
    let role = replica.membership().role(&home.device_key().device());
    Ok(RestoreReport {
        workspace: manifest.workspace.to_string(),
        name: replica.membership().name().to_owned(),
        epoch: home.incarnation(),
        operations: counts.ops,
        nodes: counts.nodes,
        vectors: totals.vectors,
        role: role.map(|role| format!("{role:?}").to_lowercase()),
        ..RestoreReport::default()
    })
}

fn fill(reader: &mut BackupReader, store: &mut DiskStore, progress: &mut dyn FnMut(Progress)) -> Result<Totals, ServiceError> {
    let mut tally = Tally::new("restoring", reader.manifest());
    loop {
        match reader.next_part()? {
            Part::Records(records) => {
                let count = records.len();
                append(store, records)?;
                progress(tally.after(count));
            }
            Part::Vectors(vectors) => {
                for (node, model, source, vector) in vectors {
                    store.put_vector(&node, &model, &source, &vector)?;
                }
            }
            Part::End(totals) => {
                store.sync()?;
                return Ok(totals);
            }
        }
    }
}

/// Into a store that is thrown away when anything fails: groups need not keep together what arrived together.
fn append(store: &mut impl Store, records: Vec<Record>) -> Result<(), ServiceError> {
    let mut records = records.into_iter().peekable();
    while records.peek().is_some() {
        store.append(records.by_ref().take(GROUP_RECORDS_MAX).collect())?;
    }
    Ok(store.sync()?)
}

/// What was folded must be what the device that made the backup had, and what another order of folding gives: nodes, their order, and the
/// sums that other devices will compare.
pub(super) fn audit<S: Store>(
    replica: &mut Replica<S>,
    manifest: &Manifest,
    progress: &mut dyn FnMut(Progress),
) -> Result<(), ServiceError> {
    let nodes = replica.counts().nodes;
    progress(Progress { step: "auditing".to_owned(), done: 0, total: Some(nodes) });
    if let Some(doubt) = replica.audit()?.first() {
        return Err(BackupError::Untrue(state::finding_of(doubt).message).into());
    }
    // What waited for its time when the backup was made may have had it since.
    if manifest.state_digest.as_ref().is_some_and(|expected| expected.as_slice() != replica.state_digest().as_slice()) {
        return Err(BackupError::Untrue("its operations do not make the state it was made from".to_owned()).into());
    }
    progress(Progress { step: "auditing".to_owned(), done: nodes, total: Some(nodes) });
    Ok(())
}

impl RestoreReport {
    fn advised(self) -> Self {
        let advice = match (&self.role, self.new_identity) {
            (Some(role), false) if role != "viewer" => {
                "This device goes on writing, in a new log. Sync before you write much: what it had written after the backup may still be \
                 held by others, and comes back then."
            }
            (Some(_), false) => "This device may read, as before. Sync to get what came after the backup.",
            (_, true) => {
                "This home has new keys, so it is no member of the workspace: reading, searching and exporting work, writing does not. Ask \
                 an owner for an invite. If no owner's device is left, export the notes and import them into a new workspace."
            }
            (None, false) => {
                "This home's keys are no member of the workspace: reading, searching and exporting work, writing does not. Ask an owner \
                 for an invite."
            }
        };
        Self { advice: advice.to_owned(), ..self }
    }
}

/// A folder that is removed again, unless it is put where it belongs.
#[derive(Debug)]
struct Scaffold {
    path: PathBuf,
}

impl Scaffold {
    fn at(path: PathBuf) -> Result<Self, BackupError> {
        // Left by a restore that was killed.
        if path.exists() {
            fs::remove_dir_all(&path).map_err(|error| failed(&path, error))?;
        }
        fs::create_dir(&path).map_err(|error| failed(&path, error))?;
        let scaffold = Self { path };
        let only_owner = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(&scaffold.path, only_owner).map_err(|error| failed(&scaffold.path, error))?;
        Ok(scaffold)
    }

    fn put_at(self, place: &Path) -> Result<(), BackupError> {
        fs::rename(&self.path, place).map_err(|error| failed(place, error))?;
        let folder = place.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| failed(folder, error))
    }
}

impl Drop for Scaffold {
    fn drop(&mut self) {
        // Not there any more when it was put in its place.
        fs::remove_dir_all(&self.path).ok();
    }
}

/// Counts records for the progress.
struct Tally {
    step: &'static str,
    done: u64,
    total: u64,
}

impl Tally {
    const fn new(step: &'static str, manifest: &Manifest) -> Self {
        Self { step, done: 0, total: manifest.records }
    }

    fn after(&mut self, records: usize) -> Progress {
        self.done += records as u64;
        // The signatures made for the backup were not counted.
        Progress { step: self.step.to_owned(), done: self.done.min(self.total), total: Some(self.total) }
    }
}

fn failed(path: &Path, source: io::Error) -> BackupError {
    BackupError::Io { path: path.to_owned(), source }
}

fn home_refusal(error: nodespace_store::HomeError) -> ServiceError {
    use nodespace_store::HomeError;
    let code = match &error {
        HomeError::Exists { .. } | HomeError::NotEmpty { .. } => ErrorCode::AlreadyExists,
        HomeError::NotAHome { .. } => ErrorCode::NotFound,
        HomeError::Locked { .. } => ErrorCode::Unavailable,
        HomeError::Certificate { .. } => ErrorCode::InviteRefused,
        HomeError::Future { .. } | HomeError::Exposed { .. } | HomeError::Damaged { .. } | HomeError::Environment(_) => {
            ErrorCode::StoreFailed
        }
    };
    ServiceError::new(code, error.to_string())
}
