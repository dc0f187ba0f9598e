//! The index: derived state as of a place in the journal.
//!
//! A checkpoint is one transaction: changed nodes and parts in ascending order of their keys, and a head that says how much of the
//! journal it includes and up to where the journal is durable. It is derived: when the file is damaged it is set aside and the
//! journal is folded again.

use std::sync::{Arc, Mutex, PoisonError};

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::store::{Checkpoint, PartKey, StoreError};
use redb::{ReadableTable, TableDefinition};

use crate::database::key::node_key;
use crate::database::value::{Packer, Unpacker};
use crate::database::{Database, FileKind, table};
use crate::disk::Disk;
use crate::journal::Mark;
use crate::journal::format::Fields;

/// The file.
pub(crate) const FILE: FileKind = FileKind { name: "index.redb", version: 1, cache_bytes: 16 << 20 };

const HEAD: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("checkpoint");
const NODES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("nodes");
const PARTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("parts");
const HEAD_KEY: &str = "head";

/// The index of one workspace.
#[derive(Debug)]
pub(crate) struct Index {
    database: Database,
    unpacker: Mutex<UnpackerCell>,
}

struct UnpackerCell(Unpacker);

impl std::fmt::Debug for UnpackerCell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unpacker")
    }
}

#[derive(Clone, Copy)]
struct Head {
    records: u64,
    mark: Mark,
}

impl Index {
    pub(crate) fn open(disk: Arc<dyn Disk>) -> Result<Self, StoreError> {
        let database = Database::open(disk, FILE)?;
        let index = Self { database, unpacker: Mutex::new(UnpackerCell(Unpacker::new())) };
        // A head that cannot be read: the rest cannot be trusted either.
        if let Err(StoreError::Corrupt { what, .. }) = index.head() {
            index.database.set_aside(&what)?;
        }
        Ok(index)
    }

    fn head(&self) -> Result<Option<Head>, StoreError> {
        let head = self.database.read("reading the checkpoint", |read| {
            let Some(table) = table(read.open_table(HEAD))? else { return Ok(None) };
            let Some(stored) = table.get(HEAD_KEY)? else { return Ok(None) };
            let bytes = Unpacker::new().unpack(HEAD_KEY.as_bytes(), stored.value())?;
            let mut fields = Fields(&bytes);
            let records = fields.u64();
            let mark = Mark { segment: fields.u32(), offset: fields.u32(), records: fields.u64(), ops: fields.u32() };
            Ok(Some(Head { records, mark }))
        })?;
        Ok(head.flatten())
    }

    /// How many records the checkpoint includes.
    pub(crate) fn records(&self) -> Result<Option<u64>, StoreError> {
        Ok(self.head()?.map(|head| head.records))
    }

    /// Up to where the journal was durable at the checkpoint.
    pub(crate) fn mark(&self) -> Result<Option<Mark>, StoreError> {
        Ok(self.head()?.map(|head| head.mark))
    }

    /// Forgets everything, keeping the file for whoever wants to look.
    pub(crate) fn discard(&self, why: &str) -> Result<(), StoreError> {
        self.database.set_aside(why)
    }

    /// Writes a checkpoint.
    /// `mark` says up to where the journal is durable.
    pub(crate) fn save(&self, mut checkpoint: Checkpoint, mark: Mark) -> Result<(), StoreError> {
        // The trait promises this order; keys in order are half the price, and checking it is nothing.
        checkpoint.nodes.sort_by(|a, b| a.0.cmp(&b.0));
        checkpoint.parts.sort_by_key(|(key, _)| *key);
        let mut packer = Packer::new();
        let Mark { segment, offset, records, ops } = mark;
        let mut head = checkpoint.records.to_le_bytes().to_vec();
        head.extend_from_slice(&segment.to_le_bytes());
        head.extend_from_slice(&offset.to_le_bytes());
        head.extend_from_slice(&records.to_le_bytes());
        head.extend_from_slice(&ops.to_le_bytes());
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
    pub(crate) fn node(&self, id: &NodeId) -> Result<Option<Vec<u8>>, StoreError> {
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
    pub(crate) fn parts(&self, each: &mut dyn FnMut(PartKey, &[u8])) -> Result<(), StoreError> {
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
