//! Opening: the table is what the mark says, or it is made anew.
//!
//! 1. Lock the folder.
//! 2. Read the inventory that the mark names, and check its hash.
//! 3. Remove the manifests of all other versions. Their data may never have reached the disk: an empty newest one keeps LanceDB from opening
//!    the table at all, an empty old one from ever pruning it. What later ones held is in the log after the mark's position.
//! 4. Check the version's files: each is there with its size, and, unless they are many bytes, each byte.
//! 5. Open the table, and read every id: as many rows as the mark says, no id twice.
//!
//! Whatever fails from 2 on is a [`Doubt`], not an error: the folder's table is removed and an empty one made, for the caller to fill.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use lancedb::{ObjectStoreRegistry, Session, Table, connect};

use super::{MODELS_FILE, Projection, Settings, TABLE, TABLE_FOLDER, known::Known};
use crate::{
    columns::{self, SCHEMA_VERSION},
    error::{OpenError, TableError, WriteError},
    handle::Handle,
    inventory::{self, Damage, Inventory},
    mark::Mark,
    models::Models,
    schedule::Schedule,
};

/// The file whose lock says that somebody writes.
const LOCK_FILE: &str = "writer.lock";

/// A projection, and what the caller has to do so that it shows the log.
#[derive(Debug)]
pub struct Opened {
    /// The projection.
    pub projection: Projection,
    /// What it shows.
    pub state: State,
}

/// What a projection shows after it was opened.
#[derive(Debug)]
pub enum State {
    /// The log up to the mark's position: apply what comes after it.
    Current,
    /// Nothing: rebuild it.
    Empty(Doubt),
}

/// Why a table is not used as it is found.
#[derive(Debug, thiserror::Error)]
pub enum Doubt {
    /// There is no mark to hold it against.
    #[error("there is no mark of a table")]
    NoMark,
    /// The table has columns of another version.
    #[error("the table has columns of version {found}, this program writes version {SCHEMA_VERSION}")]
    Schema {
        /// The mark's version.
        found: u32,
    },
    /// The list of the table's files cannot be read, or is not the one that the mark names.
    #[error("the list of the table's files in {} is missing or damaged", path.display())]
    Inventory {
        /// The list.
        path: PathBuf,
    },
    /// A file of the table is missing or damaged.
    #[error("a file of the table is damaged")]
    Damage(#[from] Damage),
    /// A file or folder of the table cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// LanceDB cannot read the table.
    #[error("the table cannot be read")]
    Table(#[from] TableError),
    /// The table opens as something else than the mark's version.
    #[error("the table has {rows} rows with {ids} ids in version {version}; the mark says {expected} rows in version {expected_version}")]
    Rows {
        /// The rows found.
        rows: u64,
        /// How many different ids they have.
        ids: u64,
        /// The version found.
        version: u64,
        /// The mark's rows.
        expected: u64,
        /// The mark's version.
        expected_version: u64,
    },
}

/// A table that was found as its mark says.
struct Found {
    table: Table,
    inventory: Inventory,
    known: Known,
}

impl Projection {
    /// Opens the table in `folder` at the version of the last mark that the caller stored.
    ///
    /// Without a mark, or in doubt, the table is emptied; [`Opened::state`] says why. The folder and its parents are made if needed.
    pub async fn open(folder: &Path, mark: Option<Mark>, settings: Settings) -> Result<Opened, OpenError> {
        let folder = make_folder(folder)?;
        let lock = lock(&folder)?;
        let found = match &mark {
            Some(mark) => find(&folder, mark, &settings).await,
            None => Err(Doubt::NoMark),
        };
        let (found, state) = match found {
            Ok(found) => (found, State::Current),
            Err(doubt) => {
                match doubt {
                    // The first start, or a caller who wants it so.
                    Doubt::NoMark => tracing::info!(folder = %folder.display(), "the LanceDB table is made"),
                    _ => tracing::warn!(folder = %folder.display(), reason = %chain(&doubt), "the LanceDB table is made anew"),
                }
                (make(&folder, &settings).await?, State::Empty(doubt))
            }
        };
        let current = mark.filter(|_| matches!(state, State::Current));
        let mut projection = Self {
            handle: Handle::new(found.table, found.inventory.models.clone()),
            schedule: Schedule::new(settings.rhythm.clone()),
            settings,
            position: current.as_ref().map_or(0, |mark| mark.position),
            known: Some(found.known),
            kept: current.into_iter().map(|mark| (mark, found.inventory.clone())).collect(),
            folder,
            _lock: lock,
        };
        projection.finish_opening().await?;
        Ok(Opened { projection, state })
    }

    /// What a table needs whether it was found or made.
    async fn finish_opening(&mut self) -> Result<(), OpenError> {
        let folder = self.folder.clone();
        self.make_text_index().await.map_err(|source| OpenError::Table { folder: folder.clone(), source })?;
        self.write_models().map_err(|error| match error {
            WriteError::File { path, source } => OpenError::Folder { path, source },
            WriteError::Table(source) => OpenError::Table { folder, source },
            WriteError::Row(_) => OpenError::Folder { path: folder, source: io::ErrorKind::InvalidData.into() },
        })
    }
}

/// Makes the folder for this user alone, and gives its absolute path.
fn make_folder(folder: &Path) -> Result<PathBuf, OpenError> {
    let failed = |source| OpenError::Folder { path: folder.to_owned(), source };
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(failed)?;
    folder.canonicalize().map_err(failed)
}

fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK_FILE);
    let failed = |source| OpenError::Folder { path: path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { folder: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// The table as the mark says, or why not.
async fn find(folder: &Path, mark: &Mark, settings: &Settings) -> Result<Found, Doubt> {
    if mark.schema != SCHEMA_VERSION {
        return Err(Doubt::Schema { found: mark.schema });
    }
    let inventory = read_inventory(folder, mark)?;
    let table_folder = folder.join(TABLE_FOLDER);
    inventory.check_sizes(&table_folder)?;
    if inventory.bytes() <= settings.verify_at_open_bytes {
        let (inventory, table_folder) = (inventory.clone(), table_folder.clone());
        blocking(move || inventory.check_hashes(&table_folder)).await?;
    }
    drop_other_versions(&table_folder, mark.version)?;
    let table = open_table(folder, settings).await?;
    let (known, rows) = Known::load(&table).await?;
    let version = table.version().await.map_err(TableError::from)?;
    if (rows, known.len(), version) != (mark.rows, mark.rows, mark.version) {
        return Err(Doubt::Rows { rows, ids: known.len(), version, expected: mark.rows, expected_version: mark.version });
    }
    Ok(Found { table, inventory, known })
}

fn read_inventory(folder: &Path, mark: &Mark) -> Result<Inventory, Doubt> {
    let path = folder.join(inventory::file_name(&mark.inventory));
    let bytes = fs::read(&path).ok().filter(|bytes| *blake3::hash(bytes).as_bytes() == mark.inventory);
    let inventory = bytes.and_then(|bytes| serde_json::from_slice::<Inventory>(&bytes).ok());
    inventory.filter(|inventory| inventory.version == mark.version && inventory.schema == mark.schema).ok_or(Doubt::Inventory { path })
}

/// Removes the manifests of all versions but `version`, and the hint that names the latest.
fn drop_other_versions(table_folder: &Path, version: u64) -> Result<(), Doubt> {
    let folder = table_folder.join("_versions");
    let unreadable = |source| Doubt::Unreadable { path: folder.clone(), source };
    for entry in fs::read_dir(&folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        let other = inventory::manifest_version(&name.to_string_lossy()) != Some(version);
        if other && entry.file_type().map_err(unreadable)?.is_file() {
            fs::remove_file(entry.path()).map_err(unreadable)?;
        }
    }
    Ok(())
}

async fn open_table(folder: &Path, settings: &Settings) -> Result<Table, TableError> {
    let connection = connection(folder, settings).await?;
    Ok(connection.open_table(TABLE).execute().await?)
}

async fn connection(folder: &Path, settings: &Settings) -> Result<lancedb::Connection, TableError> {
    let registry = Arc::new(ObjectStoreRegistry::default());
    let session = Session::new(settings.index_cache_bytes, settings.metadata_cache_bytes, registry);
    Ok(connect(&folder.to_string_lossy()).session(Arc::new(session)).execute().await?)
}

/// Removes whatever table is there and makes an empty one.
async fn make(folder: &Path, settings: &Settings) -> Result<Found, OpenError> {
    remove_table(folder)?;
    let models = Models::default();
    let create = async {
        let connection = connection(folder, settings).await?;
        Ok(connection.create_empty_table(TABLE, columns::schema(&models)).execute().await?)
    };
    let table = create.await.map_err(|source| OpenError::Table { folder: folder.to_owned(), source })?;
    Ok(Found { table, inventory: Inventory::default(), known: Known::default() })
}

/// Removes this crate's files, and no others.
fn remove_table(folder: &Path) -> Result<(), OpenError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Folder { path, source }
    };
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let path = entry.map_err(failed(folder))?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let removed = match name.as_str() {
            TABLE_FOLDER if path.is_dir() => fs::remove_dir_all(&path),
            TABLE_FOLDER | MODELS_FILE => fs::remove_file(&path),
            name if name.starts_with("checkpoint-") => fs::remove_file(&path),
            _ => Ok(()),
        };
        removed.map_err(failed(&path))?;
    }
    Ok(())
}

/// Runs what waits for the disk without holding up other tasks.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is shutting down; nobody waits for the answer.
            Err(_) => futures::future::pending().await,
        },
    }
}

/// An error with its causes, for the log.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
