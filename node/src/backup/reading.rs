//! Reading a backup back, and believing none of it before it is proved.
//!
//! The frames' hashes tell damage. They do not tell forgery: whoever alters a backup can compute them anew. So every operation is hashed
//! again, every signature checked, and every operation must be proved by one: signed itself, or come before one that is in the same log
//! ([`Proof`]). What is left to a forger is to leave out the end of somebody's log, which is as if the backup were older.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use nodespace_protocol::compress::{CompressionType, Limits, decompress};
use nodespace_protocol::crypto::{Purpose, verify};
use nodespace_protocol::ids::{NodeId, OpHash};
use nodespace_protocol::store::Record;
use serde::de::DeserializeOwned;

use super::BackupError;
use super::archive::{END, FORMAT, MAGIC, MANIFEST, Manifest, RECORDS, Totals, VECTORS};
use super::entry::{Entry, VectorEntry, array};

/// The most bytes of one frame, packed and unpacked: far beyond what is written, so that a damaged length does not cost gigabytes.
const FRAME_BYTES_MAX: usize = 1 << 30;

/// A part of a backup.
#[derive(Debug)]
pub enum Part {
    /// Operations and signatures.
    Records(Vec<Record>),
    /// Vectors: node, model, hash of the text, numbers.
    Vectors(Vec<(NodeId, String, [u8; 32], Vec<f32>)>),
    /// The end: everything before it is whole.
    End(Totals),
}

/// Reads a backup front to back.
#[derive(Debug)]
pub struct BackupReader {
    path: PathBuf,
    file: BufReader<File>,
    hasher: blake3::Hasher,
    at: u64,
    manifest: Manifest,
    totals: Totals,
}

impl BackupReader {
    /// Opens a backup and reads its manifest.
    ///
    /// # Errors
    /// When it is none, is of a newer format, or is damaged.
    pub fn open(path: &Path) -> Result<Self, BackupError> {
        let file = File::open(path).map_err(|source| BackupError::Io { path: path.to_owned(), source })?;
        let manifest = Manifest {
            workspace: nodespace_protocol::ids::WorkspaceId([0; 32]),
            program: String::new(),
            created_at: String::new(),
            records: 0,
            operations: 0,
            state_digest: None,
        };
        let (file, hasher) = (BufReader::new(file), blake3::Hasher::new());
        let mut reader = Self { path: path.to_owned(), file, hasher, at: 0, manifest, totals: Totals::default() };
        let magic: [u8; 16] =
            reader.array().map_err(|error| if matches!(error, BackupError::Truncated { .. }) { BackupError::NotABackup } else { error })?;
        if magic != *MAGIC {
            return Err(BackupError::NotABackup);
        }
        let found = u32::from_le_bytes(reader.array()?);
        if found > FORMAT {
            return Err(BackupError::Future { found });
        }
        match reader.frame()? {
            (MANIFEST, body) if found == FORMAT => reader.manifest = reader.decode(&body)?,
            _ => return Err(reader.damaged("it does not begin with a manifest")),
        }
        Ok(reader)
    }

    /// What it is of.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The next part; [`Part::End`] is the last.
    ///
    /// # Errors
    /// When the file is damaged or cut off there.
    pub fn next_part(&mut self) -> Result<Part, BackupError> {
        let (kind, body) = self.frame()?;
        match kind {
            RECORDS => self.records(&body),
            VECTORS => self.vectors(&body),
            END => self.end(&body),
            _ => Err(self.damaged("a part of an unknown kind")),
        }
    }

    fn records(&mut self, body: &[u8]) -> Result<Part, BackupError> {
        let entries: Vec<Entry> = self.decode(body)?;
        let mut records = Vec::with_capacity(entries.len());
        for entry in entries {
            let record = entry.record(&self.manifest.workspace).map_err(|what| BackupError::Untrue(what.to_owned()))?;
            match &record {
                Record::Op(_) => self.totals.operations += 1,
                Record::Signature { .. } => self.totals.signatures += 1,
            }
            records.push(record);
        }
        Ok(Part::Records(records))
    }

    fn vectors(&mut self, body: &[u8]) -> Result<Part, BackupError> {
        let entries: Vec<VectorEntry> = self.decode(body)?;
        self.totals.vectors += entries.len() as u64;
        let mut vectors = Vec::with_capacity(entries.len());
        for VectorEntry(node, model, source, numbers) in entries {
            let (numbers, rest) = numbers.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(self.damaged("a vector of odd length"));
            }
            let numbers = numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
            vectors.push((node, model, array(source).map_err(|what| BackupError::Untrue(what.to_owned()))?, numbers));
        }
        Ok(Part::Vectors(vectors))
    }

    fn end(&mut self, body: &[u8]) -> Result<Part, BackupError> {
        let totals: Totals = self.decode(body)?;
        if totals != self.totals {
            return Err(self.damaged("it does not hold as much as it says"));
        }
        let mut rest = [0; 1];
        match self.file.read(&mut rest) {
            Ok(0) => Ok(Part::End(totals)),
            Ok(_) => Err(self.damaged("something follows its end")),
            Err(source) => Err(BackupError::Io { path: self.path.clone(), source }),
        }
    }

    /// Reads one frame and checks its hash.
    fn frame(&mut self) -> Result<(u8, Vec<u8>), BackupError> {
        let [kind] = self.array()?;
        let length = u32::from_le_bytes(self.array()?) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(self.damaged("a part of impossible length"));
        }
        let mut packed = Vec::new();
        let read = (&mut self.file).take(length as u64).read_to_end(&mut packed);
        read.map_err(|source| BackupError::Io { path: self.path.clone(), source })?;
        if packed.len() < length {
            return Err(BackupError::Truncated { bytes: self.at + packed.len() as u64 });
        }
        self.hasher.update(&packed);
        self.at += length as u64;
        let expected = *self.hasher.finalize().as_bytes();
        if self.array::<32>()? != expected {
            return Err(self.damaged("a checksum does not fit"));
        }
        let limits = Limits { encoded_max: FRAME_BYTES_MAX, decoded_max: FRAME_BYTES_MAX, ratio_max: usize::MAX };
        let body = decompress(&packed, CompressionType::Zstd, limits).map_err(|_| self.damaged("a part cannot be unpacked"))?;
        Ok((kind, body))
    }

    fn decode<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, BackupError> {
        ciborium::from_reader(body).map_err(|_| self.damaged("a part cannot be read"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut bytes = [0; N];
        match self.file.read_exact(&mut bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(BackupError::Truncated { bytes: self.at }),
            Err(source) => return Err(BackupError::Io { path: self.path.clone(), source }),
        }
        self.hasher.update(&bytes);
        self.at += N as u64;
        Ok(bytes)
    }

    const fn damaged(&self, what: &'static str) -> BackupError {
        BackupError::Damaged { at: self.at, what }
    }
}

/// Proves that operations were signed by those they name.
#[derive(Debug, Default)]
pub struct Proof {
    /// Operations that nothing proves yet, with the one before each in its log.
    open: HashMap<OpHash, Option<OpHash>>,
}

impl Proof {
    /// Takes the next record.
    ///
    /// # Errors
    /// When a signature is not that of the device it names.
    pub fn take(&mut self, record: &Record) -> Result<(), BackupError> {
        match record {
            Record::Op(op) => drop(self.open.insert(op.hash, op.header.previous)),
            Record::Signature { log, hash, signature, .. } => {
                verify(&log.device.0, Purpose::Operation, &[&hash.0], signature)
                    .map_err(|_| BackupError::Untrue(format!("a signature of device {} is false", log.device.short())))?;
                // Everything before a signed operation is named in it, through its predecessor.
                let mut proved = Some(*hash);
                while let Some(hash) = proved {
                    proved = self.open.remove(&hash).flatten();
                }
            }
        }
        Ok(())
    }

    /// Ends the proof.
    ///
    /// # Errors
    /// When an operation was signed by nobody.
    pub fn finish(self) -> Result<(), BackupError> {
        match self.open.len() {
            0 => Ok(()),
            count => Err(BackupError::Untrue(format!("nobody signed {count} of its operations"))),
        }
    }
}
