//! The backup's file, written front to back.
//!
//! ```text
//! "NODESPACE BACKUP"  16 bytes
//! format              u32, little endian
//! frames, each:       kind u8 | length u32 | zstd-compressed CBOR | BLAKE3 over all bytes of the file before this hash, 32 bytes
//!     1  manifest: what is in the file; the first frame
//!     2  records: operations and signatures, in order of arrival
//!     3  vectors
//!     4  end: how many of each there were; the last frame, nothing follows
//! ```
//!
//! Each frame's hash covers everything before it, so a frame that was altered, left out, doubled or put elsewhere is found where it stands,
//! and a file without an end frame is cut off. The file gets its name only when all of it is durable.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nodespace_protocol::compress::{CompressionType, compress};
use nodespace_protocol::ids::{NodeId, WorkspaceId};
use nodespace_protocol::store::Record;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::BackupError;
use super::entry::{Entry, VectorEntry};

/// The first bytes of a backup.
pub(super) const MAGIC: &[u8; 16] = b"NODESPACE BACKUP";

/// The newest format this program reads, and the one it writes.
pub const FORMAT: u32 = 1;

/// A frame's kind.
pub(super) const MANIFEST: u8 = 1;
pub(super) const RECORDS: u8 = 2;
pub(super) const VECTORS: u8 = 3;
pub(super) const END: u8 = 4;

/// What a backup is of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The program that wrote it.
    pub program: String,
    /// When (RFC 3339).
    pub created_at: String,
    /// How many records the store had, without the signatures that were made for the backup.
    pub records: u64,
    /// How many operations.
    pub operations: u64,
    /// The digest over all nodes, when no operation waited for its time: a restored store must come to the same.
    pub state_digest: Option<ByteBuf>,
}

/// What was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Operations.
    pub operations: u64,
    /// Signatures.
    pub signatures: u64,
    /// Vectors.
    pub vectors: u64,
}

/// A vector to be kept: node, model, hash of the text it was made from, numbers.
pub type Vector<'a> = (&'a NodeId, &'a str, &'a [u8; 32], &'a [f32]);

/// Writes a backup.
#[derive(Debug)]
pub struct BackupWriter {
    path: PathBuf,
    /// The name it has until it is whole. Removed when the writer is dropped before.
    unfinished: PathBuf,
    file: BufWriter<File>,
    hasher: blake3::Hasher,
    workspace: WorkspaceId,
    totals: Totals,
    bytes: u64,
    whole: bool,
}

impl BackupWriter {
    /// Begins a backup in a new file that only its owner can read.
    ///
    /// # Errors
    /// When the file exists or cannot be written.
    pub fn create(path: &Path, manifest: &Manifest) -> Result<Self, BackupError> {
        if path.symlink_metadata().is_ok() {
            return Err(BackupError::Exists { path: path.to_owned() });
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.unfinished", std::process::id()));
        let unfinished = path.with_file_name(name);
        let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished);
        let file = BufWriter::new(open.map_err(|source| BackupError::Io { path: unfinished.clone(), source })?);
        let mut writer = Self {
            path: path.to_owned(),
            unfinished,
            file,
            hasher: blake3::Hasher::new(),
            workspace: manifest.workspace,
            totals: Totals::default(),
            bytes: 0,
            whole: false,
        };
        writer.put(MAGIC)?;
        writer.put(&FORMAT.to_le_bytes())?;
        writer.frame(MANIFEST, manifest)?;
        Ok(writer)
    }

    /// Writes some records; a few hundred at a time make good frames.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn records(&mut self, records: &[Record]) -> Result<(), BackupError> {
        let ops = records.iter().filter(|record| matches!(record, Record::Op(_))).count() as u64;
        self.totals.operations += ops;
        self.totals.signatures += records.len() as u64 - ops;
        let entries: Vec<Entry> = records.iter().map(|record| Entry::of(record, &self.workspace)).collect();
        self.frame(RECORDS, &entries)
    }

    /// Writes some vectors.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn vectors(&mut self, vectors: &[Vector<'_>]) -> Result<(), BackupError> {
        self.totals.vectors += vectors.len() as u64;
        let entry = |(node, model, source, vector): &Vector<'_>| {
            let numbers = vector.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
            VectorEntry((*node).clone(), (*model).to_owned(), ByteBuf::from(source.to_vec()), ByteBuf::from(numbers))
        };
        self.frame(VECTORS, &vectors.iter().map(entry).collect::<Vec<_>>())
    }

    /// Ends the backup, makes it durable and gives it its name. Answers what is in it, and its size.
    ///
    /// # Errors
    /// When that cannot be promised. Nothing is left behind then.
    pub fn finish(mut self) -> Result<(Totals, u64), BackupError> {
        self.frame(END, &self.totals.clone())?;
        let failed = |source| BackupError::Io { path: self.path.clone(), source };
        self.file.flush().map_err(failed)?;
        self.file.get_ref().sync_all().map_err(failed)?;
        // A link, because it refuses to replace what came there meanwhile.
        match std::fs::hard_link(&self.unfinished, &self.path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(BackupError::Exists { path: self.path.clone() }),
            Err(_) => {
                // Some file systems have no links; what is lost is only the refusal.
                std::fs::rename(&self.unfinished, &self.path).map_err(failed)?;
                self.whole = true;
            }
            Ok(()) => {}
        }
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok((self.totals, self.bytes))
    }

    fn frame(&mut self, kind: u8, content: &impl Serialize) -> Result<(), BackupError> {
        let mut plain = Vec::new();
        ciborium::into_writer(content, &mut plain).expect("memory takes every byte, and nothing written here is beyond CBOR");
        let packed = compress(&plain, CompressionType::Zstd)
            .map_err(|error| BackupError::Io { path: self.path.clone(), source: io::Error::other(error) })?;
        let length = u32::try_from(packed.len())
            .map_err(|_| BackupError::Io { path: self.path.clone(), source: io::Error::other("a frame of more than 4 GiB") })?;
        self.put(&[kind])?;
        self.put(&length.to_le_bytes())?;
        self.put(&packed)?;
        let hash = *self.hasher.finalize().as_bytes();
        self.put(&hash)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), BackupError> {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
        self.file.write_all(bytes).map_err(|source| BackupError::Io { path: self.unfinished.clone(), source })
    }
}

impl Drop for BackupWriter {
    fn drop(&mut self) {
        if !self.whole {
            // Its other name, or half a backup that nobody could use. When even this fails, the name says what it is.
            std::fs::remove_file(&self.unfinished).ok();
        }
    }
}
