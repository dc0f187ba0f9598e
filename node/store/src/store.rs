//! The store of one workspace: journal, index and local data behind the protocol's trait.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nodespace_protocol::ids::{NodeId, OpHash, WorkspaceId};
use nodespace_protocol::op::Op;
use nodespace_protocol::store::{Checkpoint, OpIndex, PartKey, Record, Saver, Store, StoreError};

use crate::disk::{Disk, RealDisk};
use crate::error::Cause;
use crate::index::Index;
use crate::journal::{self, Journal, Mark, StoreOptions};
use crate::local::{Local, VectorEntry};

/// Bytes of the index's pages kept in memory.
const INDEX_CACHE_BYTES: usize = 8 << 20;

/// A workspace's store on a disk.
///
/// Dropping it marks what is durable as such, so that the next opening reads no operations; what was appended and not synced is lost,
/// as after a crash.
#[derive(Debug)]
pub struct DiskStore {
    journal: Journal,
    local: Local,
    shared: Arc<Shared>,
}

/// What the saver of checkpoints needs, in whichever thread it works.
#[derive(Debug)]
struct Shared {
    index: Index,
    /// Up to where the journal is durable.
    durable: Mutex<Mark>,
    /// How many records the last checkpoint includes.
    checkpointed: AtomicU64,
}

impl DiskStore {
    /// Opens the store of a workspace in a folder, or makes it. A torn tail of the journal is cut; a damaged index is set aside, and the
    /// store opens without a checkpoint.
    ///
    /// # Errors
    /// When the journal is damaged, or the environment fails.
    pub fn open(folder: &Path, workspace: WorkspaceId, options: &StoreOptions) -> Result<Self, StoreError> {
        let failed = |error| Cause::io(folder.display().to_string(), error).while_doing("opening the store");
        let disk = RealDisk::new(folder).map_err(failed)?;
        Self::open_on(Arc::new(disk), workspace, options)
    }

    /// As [`Self::open`], on any disk.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_on(disk: Arc<dyn Disk>, workspace: WorkspaceId, options: &StoreOptions) -> Result<Self, StoreError> {
        let index = Index::open(Arc::clone(&disk), INDEX_CACHE_BYTES)?;
        let local = Local::open(Arc::clone(&disk))?;
        let anchor = index.anchor()?;
        let (mark, checkpointed) = (anchor.as_ref().map(|anchor| Mark::decode(&anchor.place)), anchor.map_or(0, |anchor| anchor.records));
        let journal = journal::open(disk, workspace, *options, mark)?;
        let shared = Shared { index, durable: Mutex::new(journal.end()), checkpointed: AtomicU64::new(checkpointed) };
        Ok(Self { journal, local, shared: Arc::new(shared) })
    }

    /// The journal.
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Bytes of journal that the last checkpoint does not include: what a restart folds.
    pub fn bytes_since_checkpoint(&self) -> u64 {
        self.journal.bytes_after(self.shared.checkpointed.load(Ordering::Relaxed))
    }

    /// Sets the index aside, so that the journal is folded again.
    ///
    /// # Errors
    /// When the environment fails.
    pub fn discard_checkpoint(&self) -> Result<(), StoreError> {
        if self.shared.index.records()?.is_none() {
            return Ok(());
        }
        self.shared.index.discard("the checkpoint was not wanted any more")?;
        self.shared.checkpointed.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Keeps a node's vector at full precision; durable with the next [`Store::sync`].
    ///
    /// # Errors
    /// When many vectors wait and cannot be written.
    pub fn put_vector(&self, node: &NodeId, model: &str, source: &[u8; 32], vector: &[f32]) -> Result<(), StoreError> {
        self.local.put_vector(node, model, source, vector)
    }

    /// A node's vector, when it was made from the text whose hash is `source`.
    ///
    /// # Errors
    /// When the file is damaged or the environment fails.
    pub fn vector(&self, node: &NodeId, model: &str, source: &[u8; 32]) -> Result<Option<Vec<f32>>, StoreError> {
        self.local.vector(node, model, source)
    }

    /// How many numbers the model's vectors have, when one was ever kept.
    ///
    /// # Errors
    /// When the file is damaged or the environment fails.
    pub fn dimension(&self, model: &str) -> Result<Option<usize>, StoreError> {
        self.local.dimension(model)
    }

    /// Vectors in order of node and model: at most `limit`, after the one named.
    ///
    /// # Errors
    /// When the file is damaged or the environment fails.
    pub fn vectors(&self, after: Option<(&NodeId, &str)>, limit: usize) -> Result<Vec<VectorEntry>, StoreError> {
        self.local.vectors(after, limit)
    }

    /// Forgets all vectors of a node.
    ///
    /// # Errors
    /// When the environment fails.
    pub fn forget_vectors(&self, node: &NodeId) -> Result<(), StoreError> {
        self.local.forget_vectors(node)
    }

    /// A local setting.
    ///
    /// # Errors
    /// When the file is damaged or the environment fails.
    pub fn value(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.local.value(key)
    }

    /// Keeps a local setting; durable on return.
    ///
    /// # Errors
    /// When the environment fails; the setting before holds then.
    pub fn put_value(&self, key: &str, value: &[u8]) -> Result<(), StoreError> {
        self.local.put_values(&[(key, Some(value))])
    }

    /// Keeps several settings, forgetting those without a value: all or nothing, durable on return.
    ///
    /// # Errors
    /// When the environment fails; the settings before hold then.
    pub fn put_values(&self, values: &[(&str, Option<&[u8]>)]) -> Result<(), StoreError> {
        self.local.put_values(values)
    }

    /// The settings whose keys begin with `prefix`, ascending.
    ///
    /// # Errors
    /// When the file is damaged or the environment fails.
    pub fn values(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        self.local.values(prefix)
    }
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        if let Err(error) = self.local.flush() {
            tracing::warn!(%error, "vectors were not kept at full precision");
        }
        if let Err(error) = self.journal.wind_up() {
            tracing::warn!(%error, "the journal was not marked as complete; the next start reads its end");
        }
    }
}

impl Store for DiskStore {
    fn append(&mut self, group: Vec<Record>) -> Result<(), StoreError> {
        self.journal.append(group)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        if let Err(error) = self.local.flush() {
            tracing::warn!(%error, "vectors are not kept at full precision yet; it is tried again");
        }
        self.journal.sync()?;
        *self.shared.durable.lock().unwrap_or_else(PoisonError::into_inner) = self.journal.end();
        Ok(())
    }

    fn op_count(&self) -> u32 {
        self.journal.op_count()
    }

    fn record_count(&self) -> u64 {
        self.journal.record_count()
    }

    fn op(&self, index: OpIndex) -> Result<Arc<Op>, StoreError> {
        self.journal.op(index)
    }

    fn find(&self, hash: &OpHash) -> Result<Option<OpIndex>, StoreError> {
        self.journal.find(hash)
    }

    fn replay(&self, from: u64, each: &mut dyn FnMut(Record) -> ControlFlow<()>) -> Result<(), StoreError> {
        self.journal.replay(from, each)
    }

    fn saver(&self) -> Box<dyn Saver> {
        Box::new(IndexSaver(Arc::clone(&self.shared)))
    }

    fn checkpoint(&self) -> Result<Option<u64>, StoreError> {
        self.shared.index.records()
    }

    fn parts(&self, each: &mut dyn FnMut(PartKey, &[u8])) -> Result<(), StoreError> {
        self.shared.index.parts(each)
    }

    fn node(&self, id: &NodeId) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.index.node(id)
    }
}

/// Writes checkpoints, in whichever thread; keeps the index open when the store is gone.
#[derive(Debug)]
struct IndexSaver(Arc<Shared>);

impl Saver for IndexSaver {
    fn save(&mut self, checkpoint: Checkpoint) -> Result<(), StoreError> {
        let Shared { index, durable, checkpointed } = &*self.0;
        let mark = *durable.lock().unwrap_or_else(PoisonError::into_inner);
        let records = checkpoint.records;
        if records > mark.records {
            return Err(Cause::NotDurable { included: records, durable: mark.records }.while_doing("saving a checkpoint"));
        }
        index.save(checkpoint, &mark.encode())?;
        checkpointed.store(records, Ordering::Relaxed);
        Ok(())
    }
}
