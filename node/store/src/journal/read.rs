//! Reading the journal: one operation, an operation by hash, everything in order.

use std::ops::ControlFlow;
use std::sync::{Arc, MutexGuard, PoisonError};

use nodespace_protocol::ids::OpHash;
use nodespace_protocol::op::Op;
use nodespace_protocol::store::{OpIndex, Record, StoreError};
use zstd::bulk::Decompressor;

use super::cache::Cache;
use super::record::Raw;
use super::segment::{self, Segment, open_block};
use super::window::Window;
use super::{Journal, StoreOptions};
use crate::error::{Cause, corrupt};

/// What an operation takes in memory beside its bytes.
const OP_OVERHEAD_BYTES: usize = 420;

/// What reading needs and keeps.
pub(crate) struct Reader {
    decompressor: Decompressor<'static>,
    ops: Cache<u32, Arc<Op>>,
    /// Decompressed blocks by segment number and offset.
    blocks: Cache<(u32, u32), Arc<[u8]>>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    pub(crate) fn new(options: &StoreOptions) -> Result<Self, StoreError> {
        let decompressor = segment::decompressor()?;
        Ok(Self { decompressor, ops: Cache::new(options.op_cache_bytes), blocks: Cache::new(options.block_cache_bytes) })
    }

    /// Keeps an operation for a while.
    pub(crate) fn keep(&mut self, index: OpIndex, op: Arc<Op>) {
        let bytes = OP_OVERHEAD_BYTES + op.payload.len() + op.attachment.as_ref().map_or(0, |bytes| bytes.len());
        self.ops.insert(index.0, op, bytes);
    }
}

impl Journal {
    fn reader(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operation.
    ///
    /// # Errors
    /// When the index was never given out, the journal is damaged there, or the environment fails.
    pub fn op(&self, index: OpIndex) -> Result<Arc<Op>, StoreError> {
        if index.0 >= self.op_count() {
            return Err(StoreError::NoSuchOp(index));
        }
        let mut reader = self.reader();
        if let Some(op) = reader.ops.get(&index.0) {
            return Ok(op);
        }
        let which = self.segments.partition_point(|segment| segment.header.first_op <= index.0).saturating_sub(1);
        let segment = &self.segments[which];
        let within = index.0 - segment.header.first_op;
        let Some(block) = segment.block_of_op(within) else {
            return Err(self.damaged(which, segment.contents.end, "no block holds an operation that is counted"));
        };
        let raw = self.read_block(&mut reader, which, block)?;
        let skip = within - segment.contents.blocks[block].first_op;
        let op = nth_op(&raw, skip).map_err(|what| self.damaged(which, segment.contents.blocks[block].offset, what))?;
        reader.keep(index, Arc::clone(&op));
        Ok(op)
    }

    /// The index of an operation by hash.
    ///
    /// # Errors
    /// When a candidate cannot be read.
    pub fn find(&self, hash: &OpHash) -> Result<Option<OpIndex>, StoreError> {
        for index in self.lookup.candidates(self.lookup.tag(hash)).map(OpIndex) {
            if self.op(index)?.hash == *hash {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Calls `each` with the records from `from` on, in order, until it breaks.
    ///
    /// # Errors
    /// When the journal is damaged; `each` has seen what lies before the damage.
    pub fn replay(&self, from: u64, each: &mut dyn FnMut(Record) -> ControlFlow<()>) -> Result<(), StoreError> {
        if from >= self.record_count() {
            return Ok(());
        }
        let mut decompressor = segment::decompressor()?;
        let first = self.segments.partition_point(|segment| segment.header.first_record <= from).saturating_sub(1);
        for which in first..self.segments.len() {
            let segment = &self.segments[which];
            let within = from.saturating_sub(segment.header.first_record);
            let Ok(within) = u32::try_from(within) else { continue };
            let mut window = Window::new(&*segment.file, self.file_end(which).into());
            let Some(start) = segment.block_of_record(within) else { continue };
            for block in start..segment.contents.blocks.len() {
                let skip = within.saturating_sub(segment.contents.blocks[block].first_record);
                if self.replay_block(&mut window, &mut decompressor, (which, block), skip, each)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn replay_block(
        &self,
        window: &mut Window<'_>,
        decompressor: &mut Decompressor<'static>,
        (which, block): (usize, usize),
        skip: u32,
        each: &mut dyn FnMut(Record) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, StoreError> {
        let segment = &self.segments[which];
        let (offset, len) = segment.extent(block);
        let bytes = match self.buffered(which, offset, len) {
            Some(bytes) => bytes,
            None => {
                let read = window.get(offset.into(), len).map_err(|error| self.unread(which, error))?;
                read.ok_or_else(|| self.damaged(which, offset, "the file ends before a block that is counted"))?
            }
        };
        let damaged = |what| self.damaged(which, offset, what);
        let (_, raw) = open_block(bytes, segment.header.salt, offset, decompressor).map_err(damaged)?;
        let (mut rest, mut at) = (&raw[..], 0);
        while !rest.is_empty() {
            let record = Raw::take(&mut rest).map_err(damaged)?;
            if at >= skip && each(record.record().map_err(damaged)?).is_break() {
                return Ok(ControlFlow::Break(()));
            }
            at += 1;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The records' bytes of a block.
    fn read_block(&self, reader: &mut Reader, which: usize, block: usize) -> Result<Arc<[u8]>, StoreError> {
        let segment = &self.segments[which];
        let (offset, len) = segment.extent(block);
        let key = (segment.header.number, offset);
        if let Some(raw) = reader.blocks.get(&key) {
            return Ok(raw);
        }
        let read;
        let bytes = match self.buffered(which, offset, len) {
            Some(bytes) => bytes,
            None => {
                read = self.read_bytes(which, offset, len)?;
                &read
            }
        };
        let opened = open_block(bytes, segment.header.salt, offset, &mut reader.decompressor);
        let (header, raw) = opened.map_err(|what| self.damaged(which, offset, what))?;
        let raw: Arc<[u8]> = raw.into();
        if header.ops > 1 {
            reader.blocks.insert(key, Arc::clone(&raw), raw.len());
        }
        Ok(raw)
    }

    /// Bytes that are not in the file yet.
    fn buffered(&self, which: usize, offset: u32, len: usize) -> Option<&[u8]> {
        if which + 1 != self.segments.len() {
            return None;
        }
        let start = offset.checked_sub(self.written)? as usize;
        self.buffer.get(start..start + len)
    }

    /// Up to where a segment's file has been written.
    fn file_end(&self, which: usize) -> u32 {
        if which + 1 == self.segments.len() { self.written } else { self.segments[which].contents.end }
    }

    fn read_bytes(&self, which: usize, offset: u32, len: usize) -> Result<Vec<u8>, StoreError> {
        let mut bytes = vec![0; len];
        self.segments[which].file.read_at(offset.into(), &mut bytes).map_err(|error| self.unread(which, error))?;
        Ok(bytes)
    }

    fn place_of(&self, segment: &Segment) -> String {
        self.disk.place(&segment::name(segment.header.number))
    }

    fn unread(&self, which: usize, error: std::io::Error) -> StoreError {
        let segment = &self.segments[which];
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            return self.damaged(which, segment.contents.end, "the file is shorter than it was");
        }
        Cause::io(self.place_of(segment), error).while_doing("reading the journal")
    }

    fn damaged(&self, which: usize, offset: u32, what: &str) -> StoreError {
        corrupt(format!("{} at byte {offset}", self.place_of(&self.segments[which])), what)
    }
}

/// The nth operation of a block.
fn nth_op(raw: &[u8], mut skip: u32) -> Result<Arc<Op>, &'static str> {
    let mut rest = raw;
    while !rest.is_empty() {
        let record = Raw::take(&mut rest)?;
        if matches!(record, Raw::Op { .. }) {
            if skip == 0 {
                return match record.record()? {
                    Record::Op(op) => Ok(op),
                    Record::Signature { .. } => Err("an operation turned into a signature"),
                };
            }
            skip -= 1;
        }
    }
    Err("a block holds fewer operations than are counted")
}
