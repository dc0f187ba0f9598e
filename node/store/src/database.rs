//! A redb file on a [`Disk`]: opened when needed, set aside when damaged, never trusted to be empty.
//!
//! redb (copy-on-write B-trees) commits here in two phases with the allocator's state saved, so that a crash neither falls back by
//! two commits nor needs a repair that reads everything. Three of its habits are answered for:
//!
//! - it takes an empty file for a new database: so a file gets its name only after its first commit, which holds a head record, and
//!   a file without one is damaged;
//! - it trusts its pages: so every value carries a checksum of its own ([`value`]);
//! - it may panic on pages that make no sense: so calls are guarded, and a panic is reported as damage.
//!
//! A file in which damage was met is marked, and set aside at the next opening.

mod backend;
pub(crate) mod key;
pub(crate) mod value;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nodespace_protocol::store::StoreError;
use redb::{ReadTransaction, ReadableDatabase, TableDefinition, TableError, WriteTransaction};

use crate::disk::{Disk, folder_of, replace_file};
use crate::error::{Cause, corrupt};
use backend::Backend;

/// One record: that this file was made by us, and by which version.
const HEAD: TableDefinition<'_, &str, u32> = TableDefinition::new("head");
const HEAD_KEY: &str = "version";

/// What is known of a file before it is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileKind {
    /// Its name.
    pub(crate) name: &'static str,
    /// The version of what its tables hold.
    pub(crate) version: u32,
    /// Bytes of pages kept in memory.
    pub(crate) cache_bytes: usize,
}

/// A redb file; made at the first write.
pub(crate) struct Database {
    disk: Arc<dyn Disk>,
    kind: FileKind,
    state: Mutex<State>,
}

/// What is open. The file is never opened twice at once: two would not know of each other's writes.
enum State {
    /// Never written, or closed after the environment failed.
    Closed,
    Open(Arc<redb::Database>),
    /// Damage was met. Others may still be at work with it, so it stays as it is until the next start.
    Damaged(String),
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// What went wrong inside a guarded call.
pub(crate) enum Failure {
    Redb(redb::Error),
    /// A value's checksum does not fit, or it cannot be read.
    Damaged(&'static str),
    Panicked,
    /// As was found before.
    Known(String),
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Redb(error.into())
    }
}

impl Failure {
    /// Whether the file is to blame, rather than the environment.
    fn is_damage(&self) -> bool {
        match self {
            Self::Damaged(_) | Self::Panicked | Self::Known(_) => true,
            Self::Redb(redb::Error::Io(error)) => {
                matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
            }
            Self::Redb(redb::Error::PreviousIo | redb::Error::DatabaseClosed) => false,
            Self::Redb(_) => true,
        }
    }

    fn what(&self) -> String {
        match self {
            Self::Redb(error) => error.to_string(),
            Self::Damaged(what) => (*what).to_owned(),
            Self::Panicked => "its pages contradict each other".to_owned(),
            Self::Known(what) => what.clone(),
        }
    }
}

impl Database {
    /// Opens the file when it is there; a damaged one is set aside.
    pub(crate) fn open(disk: Arc<dyn Disk>, kind: FileKind) -> Result<Self, StoreError> {
        let database = Self { disk, kind, state: Mutex::new(State::Closed) };
        let doing = "opening an index";
        let names = database.disk.list(folder_of(kind.name)).map_err(|error| database.io(doing, error))?;
        database.remove_leftover(&names);
        if !names.iter().any(|name| name == kind.name) {
            return Ok(database);
        }
        let suspect = names.contains(&database.suspect());
        let opened = if suspect { Err(Failure::Damaged("damage was met in it")) } else { database.open_file() };
        match opened {
            Ok(open) => *database.lock() = State::Open(open),
            Err(failure) if failure.is_damage() => database.set_aside(&failure.what())?,
            Err(failure) => return Err(database.error(doing, failure)),
        }
        Ok(database)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn suspect(&self) -> String {
        format!("{}.suspect", self.kind.name)
    }

    fn fresh(&self) -> String {
        format!("{}.new", self.kind.name)
    }

    fn remove_leftover(&self, names: &[String]) {
        if names.contains(&self.fresh())
            && let Err(error) = self.disk.remove(&self.fresh())
        {
            tracing::debug!(%error, "a file that a crash left half made was not removed");
        }
    }

    fn io(&self, doing: &'static str, error: io::Error) -> StoreError {
        Cause::io(self.disk.place(self.kind.name), error).while_doing(doing)
    }

    /// The store's error for a failure; the file is marked when it is to blame.
    fn error(&self, doing: &'static str, failure: Failure) -> StoreError {
        let place = self.disk.place(self.kind.name);
        if failure.is_damage() {
            let what = failure.what();
            if !matches!(failure, Failure::Known(_))
                && let Err(error) = replace_file(&*self.disk, &self.suspect(), what.as_bytes())
            {
                tracing::warn!(%error, place, "a damaged index could not be marked for replacement");
            }
            return corrupt(place, format!("{what}; it is derived, and made anew when the store is opened again"));
        }
        match failure {
            Failure::Redb(redb::Error::Io(error)) => Cause::io(place, error).while_doing(doing),
            Failure::Redb(source) => Cause::Index { place, source: Box::new(source) }.while_doing(doing),
            Failure::Damaged(_) | Failure::Panicked | Failure::Known(_) => corrupt(place, failure.what()),
        }
    }

    /// Puts a damaged file out of the way, keeping it for whoever wants to look.
    pub(crate) fn set_aside(&self, why: &str) -> Result<(), StoreError> {
        let aside = format!("{}.damaged", self.kind.name);
        let place = self.disk.place(self.kind.name);
        tracing::warn!(place, why, aside, "a damaged file was set aside and is made anew");
        let doing = "setting a damaged file aside";
        *self.lock() = State::Closed;
        self.disk.rename(self.kind.name, &aside).map_err(|error| self.io(doing, error))?;
        self.disk.sync_folder(folder_of(self.kind.name)).map_err(|error| self.io(doing, error))?;
        match self.disk.remove(&self.suspect()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.io(doing, error)),
            _ => Ok(()),
        }
    }

    fn builder(&self) -> redb::Builder {
        let mut builder = redb::Database::builder();
        builder.set_cache_size(self.kind.cache_bytes);
        builder
    }

    fn open_file(&self) -> Result<Arc<redb::Database>, Failure> {
        let file = self.disk.open(self.kind.name).map_err(redb::Error::Io)?;
        if file.size().map_err(redb::Error::Io)? == 0 {
            return Err(Failure::Damaged("it is empty"));
        }
        guard(|| {
            let database = self.builder().create_with_backend(Backend::new(file))?;
            let read = database.begin_read()?;
            let version = match table(read.open_table(HEAD))? {
                Some(head) => head.get(HEAD_KEY)?.map(|value| value.value()),
                None => None,
            };
            drop(read);
            match version {
                Some(version) if version == self.kind.version => Ok(Arc::new(database)),
                Some(_) => Err(Failure::Damaged("another version of this program wrote it in another form")),
                None => Err(Failure::Damaged("it has no head record")),
            }
        })
    }

    /// Makes the file: complete and durable before it has its name.
    fn make(&self) -> Result<Arc<redb::Database>, Failure> {
        let fresh = self.fresh();
        let file = self.disk.create(&fresh).map_err(redb::Error::Io)?;
        let database = guard(|| {
            let database = self.builder().create_with_backend(Backend::new(file))?;
            let write = begin(&database)?;
            write.open_table(HEAD)?.insert(HEAD_KEY, self.kind.version)?;
            write.commit()?;
            Ok(Arc::new(database))
        })?;
        self.disk.rename(&fresh, self.kind.name).map_err(redb::Error::Io)?;
        self.disk.sync_folder(folder_of(self.kind.name)).map_err(redb::Error::Io)?;
        Ok(database)
    }

    /// The open file, opened anew after a failure of the environment. `None` when it was never written.
    fn current(&self) -> Result<Option<Arc<redb::Database>>, Failure> {
        let mut state = self.lock();
        match &*state {
            State::Open(database) => return Ok(Some(Arc::clone(database))),
            State::Damaged(what) => return Err(Failure::Known(what.clone())),
            State::Closed => {}
        }
        match self.open_file() {
            Err(Failure::Redb(redb::Error::Io(error))) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => {
                let database = opened?;
                *state = State::Open(Arc::clone(&database));
                Ok(Some(database))
            }
        }
    }

    /// Reads; `None` when nothing was ever written.
    pub(crate) fn read<T>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&ReadTransaction) -> Result<T, Failure>,
    ) -> Result<Option<T>, StoreError> {
        let read = || {
            let Some(database) = self.current()? else { return Ok(None) };
            guard(|| work(&database.begin_read()?)).map(Some)
        };
        read().map_err(|failure| self.failed(doing, failure))
    }

    /// Writes one transaction: all of it durable on return, or nothing of it.
    pub(crate) fn write(&self, doing: &'static str, work: impl FnOnce(&WriteTransaction) -> Result<(), Failure>) -> Result<(), StoreError> {
        let write = || {
            let database = match self.current()? {
                Some(database) => database,
                None => {
                    let made = self.make()?;
                    *self.lock() = State::Open(Arc::clone(&made));
                    made
                }
            };
            guard(|| {
                let write = begin(&database)?;
                work(&write)?;
                write.commit()?;
                Ok(())
            })
        };
        write().map_err(|failure| self.failed(doing, failure))
    }

    /// After a failure the handle is given up: redb refuses one that has seen an I/O error.
    fn failed(&self, doing: &'static str, failure: Failure) -> StoreError {
        let mut state = self.lock();
        let after = if failure.is_damage() { State::Damaged(failure.what()) } else { State::Closed };
        let unused = matches!(&*state, State::Open(database) if Arc::strong_count(database) == 1);
        if unused || failure.is_damage() {
            let before = std::mem::replace(&mut *state, after);
            drop(state);
            if matches!(failure, Failure::Panicked) {
                // Its own locks are poisoned; dropping it would panic again.
                std::mem::forget(before);
            } else {
                let close = || {
                    drop(before);
                    Ok(())
                };
                if guard(close).is_err() {
                    tracing::debug!("an index was closed in disorder");
                }
            }
        } else {
            drop(state);
        }
        self.error(doing, failure)
    }
}

/// A table that may never have been written.
pub(crate) fn table<T>(opened: Result<T, TableError>) -> Result<Option<T>, Failure> {
    match opened {
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        opened => Ok(Some(opened?)),
    }
}

fn begin(database: &redb::Database) -> Result<WriteTransaction, Failure> {
    let mut write = database.begin_write()?;
    write.set_two_phase_commit(true);
    write.set_quick_repair(true);
    Ok(write)
}

/// Runs what may panic on damaged pages.
fn guard<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or(Err(Failure::Panicked))
}
