//! Checkpoints: derived state at rest, so that a restart reads it instead of folding everything again.
//!
//! A checkpoint holds what changed since the one before: the states of nodes, and numbered *parts* of the rest (chunks of the directory of
//! nodes, of the tree, of the logs). So its size follows what changed, not what there is. It is made in three steps, of which only
//! the first and the last need the replica:
//!
//! 1. [`Replica::prepare_checkpoint`] takes up what changed: node states by reference or packed, the parts as bytes;
//! 2. [`PreparedCheckpoint::save`] turns states into bytes and keeps it all, in another thread if wanted, while the replica goes on;
//! 3. [`Replica::finish_checkpoint`] tells the replica whether it was kept. If not, everything in it counts as changed again.
//!
//! Checkpoints are local and versioned: a program that does not know the version, or finds one damaged, folds the operations
//! instead. Their form is therefore free to change.

pub(crate) mod base;

use super::Replica;
use super::nodes::Unsaved;
use crate::fold::record::put_node_id;
use crate::store::{Checkpoint, PartKey, Saver, Store, StoreError};
use base::Base;

/// What a part is of. Parts are read in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Base = 0,
    Log = 1,
    Positions = 2,
    Directory = 3,
    TreeNodes = 4,
    TreePlaces = 5,
    TextLens = 6,
}

impl Kind {
    const ALL: [Self; 7] = [Self::Base, Self::Log, Self::Positions, Self::Directory, Self::TreeNodes, Self::TreePlaces, Self::TextLens];

    /// The key of a part: its kind in the upper 8 bits, a log's number in the next 24, a chunk's in the lower 32.
    fn key(self, log: u32, chunk: u32) -> PartKey {
        PartKey(u64::from(self as u8) << 56 | u64::from(log & 0xff_ffff) << 32 | u64::from(chunk))
    }

    /// The inverse of [`Kind::key`].
    pub(crate) fn of(key: PartKey) -> Option<(Self, u32, u32)> {
        let kind = *Self::ALL.get((key.0 >> 56) as usize)?;
        Some((kind, (key.0 >> 32) as u32 & 0xff_ffff, key.0 as u32))
    }
}

/// A checkpoint on its way to the disk.
#[derive(Debug)]
pub struct PreparedCheckpoint {
    records: u64,
    whole: bool,
    nodes: Vec<Unsaved>,
    parts: Vec<(PartKey, Vec<u8>)>,
}

impl PreparedCheckpoint {
    /// How many nodes it takes up.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// The checkpoint as stores keep it.
    pub fn encode(self) -> Checkpoint {
        let mut nodes: Vec<_> = self.nodes.into_iter().map(Unsaved::pack).collect();
        nodes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Checkpoint { records: self.records, whole: self.whole, nodes, parts: self.parts }
    }

    /// Keeps it. Tell the replica what came of it by [`Replica::finish_checkpoint`].
    ///
    /// # Errors
    /// When the store fails; the checkpoint before holds then.
    pub fn save(self, saver: &mut dyn Saver) -> Result<(), StoreError> {
        saver.save(self.encode())
    }
}

impl<S: Store> Replica<S> {
    /// Makes a checkpoint of everything folded so far, all in one go. While one is being saved elsewhere it does nothing.
    ///
    /// # Errors
    /// When the store fails; the checkpoint before holds then.
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        let Some(prepared) = self.prepare_checkpoint()? else { return Ok(()) };
        let saved = prepared.save(&mut *self.store.saver());
        self.finish_checkpoint(saved.is_ok());
        saved
    }

    /// Takes up everything that changed since the last checkpoint, and makes durable the operations it comes from. `None` while a
    /// checkpoint is being saved: [`Replica::finish_checkpoint`] comes first.
    ///
    /// # Errors
    /// When the store fails.
    pub fn prepare_checkpoint(&mut self) -> Result<Option<PreparedCheckpoint>, StoreError> {
        if self.is_saving {
            return Ok(None);
        }
        self.settle()?;
        self.commit()?;
        // Digests of all that changed, so that no state needs to stay in memory for its digest alone.
        self.state_digest();
        let base = Base::of(self)?;
        self.is_saving = true;
        let (nodes, directory) = self.nodes.begin_save();
        let mut parts = vec![(Kind::Base.key(0, 0), base.encode())];
        let logs = self.logs.begin_save();
        parts.extend(logs.iter().map(|log| (Kind::Log.key(log.number, 0), log.head.clone())));
        let positions = logs.into_iter().flat_map(|log| log.chunks.into_iter().map(move |(chunk, bytes)| (log.number, chunk, bytes)));
        parts.extend(positions.map(|(log, chunk, bytes)| (Kind::Positions.key(log, chunk), bytes)));
        parts.extend(directory.into_iter().map(|chunk| (Kind::Directory.key(0, chunk), self.directory_chunk(chunk))));
        let tree = self.tree.begin_save();
        for (kind, chunks) in
            [(Kind::TreeNodes, tree.nodes), (Kind::TreePlaces, tree.places), (Kind::TextLens, self.text_lens.begin_save())]
        {
            parts.extend(chunks.into_iter().map(|(chunk, bytes)| (kind.key(0, chunk), bytes)));
        }
        Ok(Some(PreparedCheckpoint { records: self.store.record_count(), whole: !self.nodes.has_checkpoint(), nodes, parts }))
    }

    /// The checkpoint that was prepared last is kept, or is not. Nothing happens when none is being saved.
    pub fn finish_checkpoint(&mut self, saved: bool) {
        if !std::mem::take(&mut self.is_saving) {
            return;
        }
        self.nodes.finish_save(saved);
        self.logs.finish_save(saved);
        self.tree.finish_save(saved);
        self.text_lens.finish_save(saved);
    }

    /// Ids, facts, and the digests of the order below each node.
    fn directory_chunk(&self, number: u32) -> Vec<u8> {
        let mut out = Vec::with_capacity(20 * super::nodes::DIRECTORY_CHUNK);
        let first = number * super::nodes::DIRECTORY_CHUNK as u32;
        for (slot, (id, facts)) in (first..).zip(self.nodes.chunk(number)) {
            let order = self.orders.by_node.get(&slot);
            out.push(facts.0 | if order.is_some() { HAS_ORDER } else { 0 });
            put_node_id(&mut out, id);
            out.extend(order.into_iter().flatten());
        }
        out
    }
}

/// Beside a node's facts: the digest of the order below it follows.
pub(crate) const HAS_ORDER: u8 = 128;
