//! One file of the journal: its header, where its blocks lie, and how blocks are read.

use std::borrow::Cow;
use std::sync::Arc;

use nodespace_protocol::store::StoreError;
use zstd::bulk::Decompressor;

use super::format::{BLOCK_HEADER_BYTES, BlockHeader, SegmentHeader, checksum};
use super::group::BLOCK_BYTES_MAX;
use crate::disk::DiskFile;

/// The folder of the journal.
pub(crate) const FOLDER: &str = "journal";

/// Where a block lies and what it begins with. Twelve bytes: with one edit a group there is one for each operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Where its header begins, in the file.
    pub(crate) offset: u32,
    /// Records of the segment before it.
    pub(crate) first_record: u32,
    /// Operations of the segment before it.
    pub(crate) first_op: u32,
}

/// One file.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) contents: Contents,
}

/// What a segment holds up to a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Where the last frame ends.
    pub(crate) end: u32,
    /// The checksum of the last frame, or of the segment's header.
    pub(crate) last_crc: u32,
    pub(crate) records: u32,
    pub(crate) ops: u32,
    pub(crate) blocks: Vec<Block>,
}

impl Contents {
    /// Those of a segment with nothing but its header.
    pub(crate) fn empty(header: &SegmentHeader) -> Self {
        let end = super::format::SEGMENT_HEADER_BYTES as u32;
        Self { end, last_crc: header.crc(), records: 0, ops: 0, blocks: Vec::new() }
    }
}

impl Segment {
    /// The block that holds the operation, given its place among the segment's operations.
    pub(crate) fn block_of_op(&self, op: u32) -> Option<usize> {
        self.contents.blocks.partition_point(|block| block.first_op <= op).checked_sub(1)
    }

    /// The block that holds the record, given its place among the segment's records.
    pub(crate) fn block_of_record(&self, record: u32) -> Option<usize> {
        self.contents.blocks.partition_point(|block| block.first_record <= record).checked_sub(1)
    }

    /// The bytes that hold a block: up to where the next begins, which may be some more than it has.
    pub(crate) fn extent(&self, block: usize) -> (u32, usize) {
        let blocks = &self.contents.blocks;
        let end = blocks.get(block + 1).map_or(self.contents.end, |next| next.offset);
        let offset = blocks[block].offset;
        (offset, end.saturating_sub(offset) as usize)
    }
}

/// The file name of a segment.
pub(crate) fn name(number: u32) -> String {
    format!("{FOLDER}/{number:08}.journal")
}

/// The number in a segment's file name.
pub(crate) fn number_in(name: &str) -> Option<u32> {
    name.strip_suffix(".journal").filter(|digits| digits.len() == 8)?.parse().ok()
}

/// Checks a block and answers its records' bytes. `bytes` begins with its header and may go on beyond it.
pub(crate) fn open_block<'a>(
    bytes: &'a [u8],
    salt: u64,
    offset: u32,
    decompressor: &mut Decompressor<'static>,
) -> Result<(BlockHeader, Cow<'a, [u8]>), &'static str> {
    let (header, rest) = bytes.split_first_chunk::<BLOCK_HEADER_BYTES>().ok_or("the file ends inside a block")?;
    let header = BlockHeader::decode(header);
    if header.raw as usize > BLOCK_BYTES_MAX || header.stored > header.raw {
        return Err("a block has lengths that are never written");
    }
    let stored = rest.get(..header.stored as usize).ok_or("a block reaches beyond its place")?;
    if header.crc != checksum(salt, offset.into(), &[stored]) {
        return Err("the checksum of a block does not fit its bytes");
    }
    if header.stored == header.raw {
        return Ok((header, Cow::Borrowed(stored)));
    }
    let raw = decompressor.decompress(stored, header.raw as usize).map_err(|_| "a block cannot be decompressed")?;
    if raw.len() != header.raw as usize {
        return Err("a block decompresses to another length than it says");
    }
    Ok((header, Cow::Owned(raw)))
}

/// A decompressor; there is none only when memory is exhausted.
pub(crate) fn decompressor() -> Result<Decompressor<'static>, StoreError> {
    Decompressor::new().map_err(|source| crate::error::Cause::io("zstd", source).while_doing("making room to decompress"))
}
