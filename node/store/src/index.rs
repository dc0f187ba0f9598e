//! The index: derived state as of a place in the journal.
//!
//! A checkpoint is one transaction: changed nodes and parts in ascending order of their keys, and a head that says how many records it
//! includes and where those end, in the words of whoever keeps the records (a device: up to where its journal is durable). It is derived: when
//! the file is damaged it is set aside and the operations are folded again.

use std::sync::{Arc, Mutex, PoisonError};

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::store::{Checkpoint, PartKey, StoreError};
use redb::{ReadableTable, TableDefinition};

use crate::database::key::node_key;
use crate::database::value::{Packer, Unpacker};
use crate::database::{Database, Failure, FileKind, table};
use crate::disk::Disk;

/// The file's name in its folder.
pub const INDEX_FILE: &str = "index.redb";
/// The version of what its tables hold.
const VERSION: u32 = 1;
/// Bytes of a count of records.
const RECORDS_BYTES: usize = 8;

const HEAD: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("checkpoint");
const NODES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("nodes");
const PARTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("parts");
const HEAD_KEY: &str = "head";

/// The index of one workspace: the checkpoint of its state, and nothing else.
#[derive(Debug)]
pub struct Index {
    database: Database,
    unpacker: Mutex<UnpackerCell>,
}

struct UnpackerCell(Unpacker);

impl std::fmt::Debug for UnpackerCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unpacker")
    }
}

/// What a checkpoint is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// How many records it includes.
    pub records: u64,
    /// Where those end, in the words of whoever saved it.
    pub place: Vec<u8>,
}

impl Index {
    /// Opens the index on a disk, or an empty one; `cache_bytes` of its pages stay in memory. A damaged file is set aside.
    ///
    /// # Errors
    /// When the environment fails.
    pub fn open(disk: Arc<dyn Disk>, cache_bytes: usize) -> Result<Self, StoreError> {
        let database = Database::open(disk, FileKind { name: INDEX_FILE, version: VERSION, cache_bytes })?;
        let index = Self { database, unpacker: Mutex::new(UnpackerCell(Unpacker::new())) };
        // A head that cannot be read: the rest cannot be trusted either.
        if let Err(StoreError::Corrupt { what, .. }) = index.anchor() {
            index.database.set_aside(&what)?;
        }
        Ok(index)
    }

    /// What the checkpoint is of; `None` when there is none.
    ///
    /// # Errors
    /// When the file is damaged or the environment fails.
    pub fn anchor(&self) -> Result<Option<Anchor>, StoreError> {
        let anchor = self.database.read("reading the checkpoint", |read| {
            let Some(table) = table(read.open_table(HEAD))? else { return Ok(None) };
            let Some(stored) = table.get(HEAD_KEY)? else { return Ok(None) };
            let bytes = Unpacker::new().unpack(HEAD_KEY.as_bytes(), stored.value())?;
            let head = bytes.split_first_chunk::<RECORDS_BYTES>();
            let (records, place) = head.ok_or(Failure::Damaged("the head of a checkpoint is too short"))?;
            Ok(Some(Anchor { records: u64::from_le_bytes(*records), place: place.to_vec() }))
        })?;
        Ok(anchor.flatten())
    }

    /// How many records the checkpoint includes.
    ///
    /// # Errors
    /// When the file is damaged or the environment fails.
    pub fn records(&self) -> Result<Option<u64>, StoreError> {
        Ok(self.anchor()?.map(|anchor| anchor.records))
    }

    /// Forgets everything, keeping the file for whoever wants to look.
    ///
    /// # Errors
    /// When the environment fails.
    pub fn discard(&self, why: &str) -> Result<(), StoreError> {
        self.database.set_aside(why)
    }

    /// Writes a checkpoint: all of it durable on return, or nothing of it. `place` says where its records end.
    ///
    /// # Errors
    /// When the file is damaged or the environment fails; the checkpoint before holds then.
    pub fn save(&self, mut checkpoint: Checkpoint, place: &[u8]) -> Result<(), StoreError> {
        // The trait promises this order; keys in order are half the price, and checking it is nothing.
        checkpoint.nodes.sort_by(|a, b| a.0.cmp(&b.0));
        checkpoint.parts.sort_by_key(|(key, _)| *key);
        let mut packer = Packer::new();
        let mut head = checkpoint.records.to_le_bytes().to_vec();
        head.extend_from_slice(place);
        self.database.write("saving a checkpoint", |write| {
            if checkpoint.whole {
                write.delete_table(NODES)?;
                write.delete_table(PARTS)?;
            }
            let mut nodes = write.open_table(NODES)?;
            for (id, bytes) in &checkpoint.nodes {
                let key = node_key(id);
                nodes.insert(&key[..], &packer.pack(&key, bytes)[..])?;
            }
            let mut parts = write.open_table(PARTS)?;
            for (key, bytes) in &checkpoint.parts {
                parts.insert(key.0, &packer.pack(&key.0.to_be_bytes(), bytes)[..])?;
            }
            write.open_table(HEAD)?.insert(HEAD_KEY, &packer.pack(HEAD_KEY.as_bytes(), &head)[..])?;
            Ok(())
        })
    }

    /// A node as of the checkpoint.
    ///
    /// # Errors
    /// When the file is damaged or the environment fails.
    pub fn node(&self, id: &NodeId) -> Result<Option<Vec<u8>>, StoreError> {
        let key = node_key(id);
        let node = self.database.read("reading a node", |read| {
            let Some(nodes) = table(read.open_table(NODES))? else { return Ok(None) };
            let Some(stored) = nodes.get(&key[..])? else { return Ok(None) };
            let mut unpacker = self.unpacker.lock().unwrap_or_else(PoisonError::into_inner);
            unpacker.0.unpack(&key, stored.value()).map(Some)
        })?;
        Ok(node.flatten())
    }

    /// Calls `each` with all parts, ascending.
    ///
    /// # Errors
    /// When the file is damaged or the environment fails.
    pub fn parts(&self, each: &mut dyn FnMut(PartKey, &[u8])) -> Result<(), StoreError> {
        self.database.read("reading the checkpoint", |read| {
            let Some(parts) = table(read.open_table(PARTS))? else { return Ok(()) };
            let mut unpacker = Unpacker::new();
            for entry in parts.iter()? {
                let (key, stored) = entry?;
                let key = key.value();
                each(PartKey(key), &unpacker.unpack(&key.to_be_bytes(), stored.value())?);
            }
            Ok(())
        })?;
        Ok(())
    }
}
