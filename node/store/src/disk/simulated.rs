//! A disk in memory that remembers every call, so that a test can ask what a power cut at any of them may leave.
//!
//! The idea is ALICE's (Pillai et al., OSDI 2014) cut to what the store uses: run a workload once and keep the trace of its calls;
//! then, for each place in the trace, what was synced is there, and of the rest any part may be ([`Crashes`]). It can also fail:
//! a [`Fault`] makes a later call report a full disk, a failed sync, or whatever else is to be tried.

mod content;
mod crash;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use crash::{Choice, Crashes, SECTOR_BYTES};

use super::{Disk, DiskFile, folder_of};
use content::Content;

/// Names a file across renames.
pub(crate) type FileId = u64;

/// One call that changed the disk or made something durable.
#[derive(Clone, Debug)]
pub enum Event {
    /// Bytes were written.
    Write {
        /// Which file.
        file: u64,
        /// Where.
        offset: u64,
        /// What.
        bytes: Arc<[u8]>,
    },
    /// A file was cut or lengthened.
    SetSize {
        /// Which file.
        file: u64,
        /// Its new length.
        size: u64,
    },
    /// A file's bytes became durable.
    SyncFile {
        /// Which file.
        file: u64,
    },
    /// A file was made.
    Create {
        /// Its name.
        name: String,
        /// Its identity.
        file: u64,
    },
    /// A file was renamed.
    Rename {
        /// Its name before.
        from: String,
        /// Its name after.
        to: String,
        /// Which file: a directory entry leads to a file, whatever else reached the disk.
        file: u64,
    },
    /// A file was removed.
    Remove {
        /// Its name.
        name: String,
    },
    /// The names in a folder became durable.
    SyncFolder {
        /// Which folder.
        folder: String,
    },
    /// The workload says how far it has got: what it was promised up to here must survive.
    Note(u64),
}

/// A call that is to fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// How many calls that write or sync succeed before.
    pub after: u64,
    /// How it fails.
    pub kind: io::ErrorKind,
    /// Whether every later such call fails too.
    pub lasting: bool,
}

/// Promises that a deliberately broken disk does not keep: what the crash enumerator must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Syncing a file does nothing.
    SyncFile,
    /// Syncing a folder does nothing.
    SyncFolder,
}

/// The disk; clones share it.
#[derive(Clone, Debug, Default)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    names: BTreeMap<String, FileId>,
    files: BTreeMap<FileId, Content>,
    next: FileId,
    /// What was there, durable, before the trace began.
    base: (BTreeMap<String, FileId>, BTreeMap<FileId, Content>),
    trace: Vec<Event>,
    fault: Option<Fault>,
    broken: Option<Broken>,
}

impl SimulatedDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk with these files, all of them durable.
    pub(crate) fn with_files(names: BTreeMap<String, FileId>, files: BTreeMap<FileId, Content>) -> Self {
        let next = files.keys().next_back().map_or(0, |last| last + 1);
        let base = (names.clone(), files.clone());
        Self { state: Arc::new(Mutex::new(State { names, files, next, base, ..State::default() })) }
    }

    /// Makes a later call fail; `None` heals the disk.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.state().fault = fault;
    }

    /// Breaks a promise from now on.
    pub fn set_broken(&self, broken: Option<Broken>) {
        self.state().broken = broken;
    }

    /// Puts a mark into the trace.
    pub fn note(&self, mark: u64) {
        self.state().trace.push(Event::Note(mark));
    }

    /// The states that a power cut may leave, over the trace so far.
    pub fn crashes(&self) -> Crashes {
        let state = self.state();
        Crashes::new(state.base.clone(), state.trace.clone())
    }

    /// A copy of the disk as it is seen now, synced or not: what a killed process leaves.
    #[must_use]
    pub fn snapshot(&self) -> Self {
        let state = self.state();
        Self::with_files(state.names.clone(), state.files.clone())
    }

    /// Changes the bytes of a file in place, as decay does: no event, no fault.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let mut state = self.state();
        let file = state.named(name)?;
        let mut bytes = state.content(file)?.to_vec();
        change(&mut bytes);
        state.files.insert(file, Content::from_bytes(&bytes));
        Ok(())
    }

    /// The bytes of a file.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn bytes(&self, name: &str) -> io::Result<Vec<u8>> {
        let state = self.state();
        let file = state.named(name)?;
        Ok(state.content(file)?.to_vec())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, file: FileId) -> Arc<dyn DiskFile> {
        Arc::new(SimulatedFile { disk: self.clone(), file })
    }
}

impl State {
    fn named(&self, name: &str) -> io::Result<FileId> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn content(&self, file: FileId) -> io::Result<&Content> {
        self.files.get(&file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn content_mut(&mut self, file: FileId) -> io::Result<&mut Content> {
        self.files.get_mut(&file).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Counts a call that may fail.
    fn step(&mut self) -> io::Result<()> {
        let Some(fault) = &mut self.fault else { return Ok(()) };
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(());
        }
        let kind = fault.kind;
        if !fault.lasting {
            self.fault = None;
        }
        Err(kind.into())
    }
}

impl Disk for SimulatedDisk {
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.state().named(name)?;
        Ok(self.file(file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        state.step()?;
        let file = state.next;
        state.next += 1;
        state.files.insert(file, Content::default());
        state.names.insert(name.to_owned(), file);
        state.trace.push(Event::Create { name: name.to_owned(), file });
        drop(state);
        Ok(self.file(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        let file = state.named(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), file);
        state.trace.push(Event::Rename { from: from.to_owned(), to: to.to_owned(), file });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        state.named(name)?;
        state.names.remove(name);
        state.trace.push(Event::Remove { name: name.to_owned() });
        Ok(())
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = state.names.keys().filter(|name| folder_of(name) == folder);
        Ok(inside.map(|name| name.rsplit_once('/').map_or(name.as_str(), |(_, last)| last).to_owned()).collect())
    }

    /// Folders are made once, before anything of worth is written; that their names are durable is taken for granted.
    fn make_folder(&self, _folder: &str) -> io::Result<()> {
        self.state().step()
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut state = self.state();
        state.step()?;
        if state.broken != Some(Broken::SyncFolder) {
            state.trace.push(Event::SyncFolder { folder: folder.to_owned() });
        }
        Ok(())
    }

    fn place(&self, name: &str) -> String {
        format!("simulated:{name}")
    }
}

struct SimulatedFile {
    disk: SimulatedDisk,
    file: FileId,
}

impl std::fmt::Debug for SimulatedFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SimulatedFile({})", self.file)
    }
}

impl DiskFile for SimulatedFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.state().content(self.file)?.size())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.disk.state().content(self.file)?.read_at(offset, out)
    }

    /// A write that fails has written half: the worst a full disk does.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.state();
        let step = state.step();
        let bytes = if step.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        state.content_mut(self.file)?.write_at(offset, bytes);
        state.trace.push(Event::Write { file: self.file, offset, bytes: bytes.into() });
        step
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step()?;
        state.content_mut(self.file)?.set_size(size);
        state.trace.push(Event::SetSize { file: self.file, size });
        Ok(())
    }

    fn reserve(&self, size: u64) -> io::Result<()> {
        if size > self.size()? { self.set_size(size) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.step()?;
        if state.broken != Some(Broken::SyncFile) {
            state.trace.push(Event::SyncFile { file: self.file });
        }
        Ok(())
    }
}
