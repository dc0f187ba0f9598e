//! What is this device's alone and is never synced: vectors at full precision, and small settings such as cursors.
//!
//! Not derived from the journal, so it has a file of its own: a damaged index does not take it along. Vectors are gathered and written
//! with the next sync, many in one transaction; the operation that brought one carries its 8-bit form, so that what a crash loses here
//! is precision. Settings are durable at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::store::StoreError;
use redb::{ReadableTable, TableDefinition};

use crate::database::key::{named_key, named_of, node_prefix};
use crate::database::value::{Packer, Unpacker};
use crate::database::{Database, Failure, FileKind, table};
use crate::disk::Disk;

/// The file.
const FILE: FileKind = FileKind { name: "local.redb", version: 1, cache_bytes: 4 << 20 };

const VECTORS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("vectors");
const MODELS: TableDefinition<'_, &str, u32> = TableDefinition::new("models");
const SETTINGS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("settings");

/// Bytes of vectors gathered before they are written without waiting for a sync.
const GATHERED_BYTES_MAX: usize = 8 << 20;
const HASH_BYTES: usize = 32;

/// A vector that this device keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorEntry {
    /// Whose.
    pub node: NodeId,
    /// Which model made it.
    pub model: String,
    /// The hash of the text it was made from.
    pub source: [u8; 32],
    /// The vector.
    pub vector: Vec<f32>,
}

/// The local half of a workspace's store.
#[derive(Debug)]
pub(crate) struct Local {
    database: Database,
    gathered: Mutex<Gathered>,
}

#[derive(Debug, Default)]
struct Gathered {
    /// Vectors by key, as they will be stored.
    vectors: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Dimensions of models that were met, written or not.
    models: BTreeMap<String, u32>,
    bytes: usize,
}

impl Local {
    pub(crate) fn open(disk: Arc<dyn Disk>) -> Result<Self, StoreError> {
        Ok(Self { database: Database::open(disk, FILE)?, gathered: Mutex::default() })
    }

    fn gathered(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a vector; durable after [`Self::flush`].
    pub(crate) fn put_vector(&self, node: &NodeId, model: &str, source: &[u8; 32], vector: &[f32]) -> Result<(), StoreError> {
        let mut value = source.to_vec();
        vector.iter().for_each(|number| value.extend_from_slice(&number.to_le_bytes()));
        let mut gathered = self.gathered();
        gathered.bytes += value.len();
        gathered.models.insert(model.to_owned(), vector.len() as u32);
        gathered.vectors.insert(named_key(node, model), value);
        let full = gathered.bytes > GATHERED_BYTES_MAX;
        drop(gathered);
        if full { self.flush() } else { Ok(()) }
    }

    /// Makes the vectors gathered so far durable, in one transaction. When it fails they stay gathered.
    pub(crate) fn flush(&self) -> Result<(), StoreError> {
        let mut gathered = self.gathered();
        if gathered.vectors.is_empty() {
            return Ok(());
        }
        let mut packer = Packer::new();
        self.database.write("keeping vectors", |write| {
            let mut models = write.open_table(MODELS)?;
            for (model, dimension) in &gathered.models {
                models.insert(model.as_str(), dimension)?;
            }
            let mut vectors = write.open_table(VECTORS)?;
            for (key, value) in &gathered.vectors {
                vectors.insert(&key[..], &packer.pack(key, value)[..])?;
            }
            Ok(())
        })?;
        gathered.vectors.clear();
        gathered.bytes = 0;
        Ok(())
    }

    /// A node's vector, when it was made from the text with this hash.
    pub(crate) fn vector(&self, node: &NodeId, model: &str, source: &[u8; 32]) -> Result<Option<Vec<f32>>, StoreError> {
        let key = named_key(node, model);
        let gathered = self.gathered().vectors.get(&key).cloned();
        let found = match gathered {
            Some(value) => Some(value),
            None => self.stored(&key)?,
        };
        Ok(found.as_deref().and_then(split).filter(|(of, _)| of == source).map(|(_, vector)| vector))
    }

    fn stored(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let stored = self.database.read("reading a vector", |read| {
            let Some(vectors) = table(read.open_table(VECTORS))? else { return Ok(None) };
            let Some(stored) = vectors.get(key)? else { return Ok(None) };
            Unpacker::new().unpack(key, stored.value()).map(Some)
        })?;
        Ok(stored.flatten())
    }

    /// How many numbers the model's vectors have, when one was ever kept.
    pub(crate) fn dimension(&self, model: &str) -> Result<Option<usize>, StoreError> {
        if let Some(dimension) = self.gathered().models.get(model) {
            return Ok(Some(*dimension as usize));
        }
        let found = self.database.read("reading a model", |read| {
            let Some(models) = table(read.open_table(MODELS))? else { return Ok(None) };
            Ok(models.get(model)?.map(|dimension| dimension.value()))
        })?;
        let found = found.flatten();
        if let Some(dimension) = found {
            self.gathered().models.entry(model.to_owned()).or_insert(dimension);
        }
        Ok(found.map(|dimension| dimension as usize))
    }

    /// Vectors in order of node and model, at most `limit`, from after `after` on.
    pub(crate) fn vectors(&self, after: Option<(&NodeId, &str)>, limit: usize) -> Result<Vec<VectorEntry>, StoreError> {
        self.flush()?;
        let start = after.map_or_else(Vec::new, |(node, model)| [&named_key(node, model)[..], &[0]].concat());
        let entries = self.database.read("reading vectors", |read| {
            let Some(vectors) = table(read.open_table(VECTORS))? else { return Ok(Vec::new()) };
            let mut unpacker = Unpacker::new();
            let mut entries = Vec::new();
            for entry in vectors.range(&start[..]..)?.take(limit) {
                let (key, stored) = entry?;
                let value = unpacker.unpack(key.value(), stored.value())?;
                let (node, model) = named_of(key.value()).ok_or(Failure::Damaged("a key is no node with a model"))?;
                let (source, vector) = split(&value).ok_or(Failure::Damaged("a vector is shorter than its hash"))?;
                entries.push(VectorEntry { node, model: model.to_owned(), source, vector });
            }
            Ok(entries)
        })?;
        Ok(entries.unwrap_or_default())
    }

    /// Forgets all vectors of a node.
    pub(crate) fn forget_vectors(&self, node: &NodeId) -> Result<(), StoreError> {
        self.flush()?;
        let start = node_prefix(node);
        self.database.write("forgetting vectors", |write| {
            let mut vectors = write.open_table(VECTORS)?;
            let mut keys = Vec::new();
            for entry in vectors.range(&start[..]..)? {
                let key = entry?.0.value().to_vec();
                if !key.starts_with(&start) {
                    break;
                }
                keys.push(key);
            }
            for key in keys {
                vectors.remove(&key[..])?;
            }
            Ok(())
        })
    }

    /// A setting.
    pub(crate) fn value(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let key = key.as_bytes();
        let stored = self.database.read("reading a setting", |read| {
            let Some(settings) = table(read.open_table(SETTINGS))? else { return Ok(None) };
            let Some(stored) = settings.get(key)? else { return Ok(None) };
            Unpacker::new().unpack(key, stored.value()).map(Some)
        })?;
        Ok(stored.flatten())
    }

    /// Keeps settings, or with `None` forgets them: all or nothing, durable on return.
    pub(crate) fn put_values(&self, values: &[(&str, Option<&[u8]>)]) -> Result<(), StoreError> {
        let mut packer = Packer::new();
        self.database.write("keeping settings", |write| {
            let mut settings = write.open_table(SETTINGS)?;
            for (key, value) in values {
                let key = key.as_bytes();
                match value {
                    Some(value) => settings.insert(key, &packer.pack(key, value)[..])?,
                    None => settings.remove(key)?,
                };
            }
            Ok(())
        })
    }

    /// The settings whose keys begin with `prefix`, ascending.
    pub(crate) fn values(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let values = self.database.read("reading settings", |read| {
            let Some(settings) = table(read.open_table(SETTINGS))? else { return Ok(Vec::new()) };
            let mut unpacker = Unpacker::new();
            let mut values = Vec::new();
            for entry in settings.range(prefix.as_bytes()..)? {
                let (key, stored) = entry?;
                if !key.value().starts_with(prefix.as_bytes()) {
                    break;
                }
                let value = unpacker.unpack(key.value(), stored.value())?;
                let key = std::str::from_utf8(key.value()).map_err(|_| Failure::Damaged("a key is no text"))?;
                values.push((key.to_owned(), value));
            }
            Ok(values)
        })?;
        Ok(values.unwrap_or_default())
    }
}

/// The hash and the numbers of a stored vector.
fn split(value: &[u8]) -> Option<([u8; 32], Vec<f32>)> {
    let (source, numbers) = value.split_first_chunk::<HASH_BYTES>()?;
    let numbers = numbers.chunks_exact(4).map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    Some((*source, numbers.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimulatedDisk;

    fn node(number: u128) -> NodeId {
        NodeId::Uuid(uuid::Uuid::from_u128(number))
    }

    #[test]
    fn vectors_are_there_at_once_and_after_a_flush_for_good() {
        let disk = SimulatedDisk::new();
        let local = Local::open(Arc::new(disk.clone())).unwrap();
        let text = NodeId::Text("2025-08-30".into());
        for number in 0..20 {
            local.put_vector(&node(number), "small", &[number as u8; 32], &[number as f32, 0.5]).unwrap();
        }
        local.put_vector(&text, "large", &[1; 32], &[0.25; 384]).unwrap();
        let check = |local: &Local| {
            assert_eq!(local.vector(&node(3), "small", &[3; 32]).unwrap(), Some(vec![3.0, 0.5]));
            assert_eq!(local.vector(&node(3), "small", &[4; 32]).unwrap(), None, "made from another text");
            assert_eq!(local.vector(&node(3), "large", &[3; 32]).unwrap(), None, "of another model");
            assert_eq!(local.dimension("large").unwrap(), Some(384));
            assert_eq!(local.dimension("other").unwrap(), None);
        };
        check(&local);
        local.flush().unwrap();
        drop(local);
        let local = Local::open(Arc::new(disk.snapshot())).unwrap();
        check(&local);
        let (mut all, mut after) = (Vec::new(), None::<(NodeId, String)>);
        loop {
            let page = local.vectors(after.as_ref().map(|(node, model)| (node, model.as_str())), 7).unwrap();
            let Some(last) = page.last() else { break };
            after = Some((last.node.clone(), last.model.clone()));
            all.extend(page);
        }
        assert_eq!(all.len(), 21);
        assert_eq!(all[20].node, text);
        local.forget_vectors(&node(3)).unwrap();
        assert_eq!(local.vector(&node(3), "small", &[3; 32]).unwrap(), None);
        assert_eq!(local.vectors(None, 100).unwrap().len(), 20);
    }

    #[test]
    fn settings_are_durable_at_once() {
        let disk = SimulatedDisk::new();
        let local = Local::open(Arc::new(disk.clone())).unwrap();
        assert_eq!(local.value("mark").unwrap(), None);
        local.put_values(&[("mark", Some(b"7")), ("import/a.md", Some(b"")), ("import/b.md", Some(&[9; 5000]))]).unwrap();
        let mut crashes = disk.crashes();
        while crashes.advance() {}
        let local = Local::open(Arc::new(crashes.image(&[]))).unwrap();
        assert_eq!(local.value("mark").unwrap().as_deref(), Some(&b"7"[..]));
        let imported = local.values("import/").unwrap();
        assert_eq!(imported, vec![("import/a.md".to_owned(), vec![]), ("import/b.md".to_owned(), vec![9; 5000])]);
        local.put_values(&[("import/a.md", None)]).unwrap();
        assert_eq!(local.values("import/").unwrap().len(), 1);
    }
}
