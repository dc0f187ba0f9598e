//! A group of records as one frame: blocks of about 16 KiB, compressed one by one where that pays, so that reading one operation
//! later decompresses one block.

use nodespace_protocol::ids::WorkspaceId;
use nodespace_protocol::store::{Record, StoreError};
use zstd::bulk::Compressor;

use super::format::{BLOCK_HEADER_BYTES, BlockHeader, FRAME_ALIGN, FRAME_HEADER_BYTES, FrameHeader, checksum};
use super::record;
use super::segment::Block;
use crate::error::Cause;

/// A block is closed when its records have this many bytes.
pub(crate) const BLOCK_BYTES: usize = 16 * 1024;
/// The most bytes a block's records can have: one less than [`BLOCK_BYTES`] and then the greatest operation. More is damage.
pub(crate) const BLOCK_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Smaller blocks are stored as they are: a lone edit saves little, and the time to compress it is on the path of its acknowledgement.
const COMPRESS_BYTES_MIN: usize = 4 * 1024;
/// The most bytes of one group's records; a larger one is refused. A segment's operations stay far below.
pub(crate) const GROUP_BYTES_MAX: usize = 1 << 30;
/// Level 1 of zstd: two thirds of the bytes at 250 MB/s; higher levels save little more of what is mostly hashes.
const LEVEL: i32 = 1;

/// Where a frame goes and what it continues.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) salt: u64,
    pub(crate) offset: u32,
    /// Records in the segment before this frame, and before the segment.
    pub(crate) records_in_segment: u32,
    pub(crate) segment_first_record: u64,
    /// Operations in the segment before this frame.
    pub(crate) ops_in_segment: u32,
    pub(crate) synced: u32,
    pub(crate) previous: u32,
}

/// What was written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) crc: u32,
    pub(crate) blocks: Vec<Block>,
    pub(crate) ops: u32,
}

/// Turns groups into frames.
pub(crate) struct GroupEncoder {
    workspace: WorkspaceId,
    compressor: Option<Compressor<'static>>,
    raw: Vec<u8>,
}

impl std::fmt::Debug for GroupEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GroupEncoder").field("workspace", &self.workspace).finish_non_exhaustive()
    }
}

impl GroupEncoder {
    pub(crate) fn new(workspace: WorkspaceId) -> Self {
        // Without a compressor (out of memory) blocks are stored as they are.
        Self { workspace, compressor: Compressor::new(LEVEL).ok(), raw: Vec::new() }
    }

    /// Appends the frame of `group` to `out`; with an empty group, a mark of what is durable.
    pub(crate) fn encode(&mut self, out: &mut Vec<u8>, place: Place, group: &[Record]) -> Result<Written, StoreError> {
        let start = out.len();
        out.resize(start + FRAME_HEADER_BYTES, 0);
        let mut frame = Frame { place, start, blocks: Vec::new(), headers: Vec::new(), records: 0, ops: 0 };
        self.raw.clear();
        let (mut total, mut records, mut ops) = (0, 0, 0);
        for (at, record) in group.iter().enumerate() {
            let before = self.raw.len();
            record::encode(&mut self.raw, &self.workspace, record);
            total += self.raw.len() - before;
            if total > GROUP_BYTES_MAX || self.raw.len() > BLOCK_BYTES_MAX {
                out.truncate(start);
                return Err(Cause::GroupTooLarge { max: GROUP_BYTES_MAX }.while_doing("appending a group of records"));
            }
            records += 1;
            ops += u32::from(matches!(record, Record::Op(_)));
            if self.raw.len() >= BLOCK_BYTES || at + 1 == group.len() {
                frame.push_block(out, &mut self.compressor, &self.raw, records, ops);
                self.raw.clear();
                (records, ops) = (0, 0);
            }
        }
        self.raw.shrink_to(BLOCK_BYTES * 2);
        Ok(frame.finish(out))
    }
}

/// A frame being made.
struct Frame {
    place: Place,
    start: usize,
    blocks: Vec<Block>,
    headers: Vec<u8>,
    records: u32,
    ops: u32,
}

impl Frame {
    fn push_block(&mut self, out: &mut Vec<u8>, compressor: &mut Option<Compressor<'static>>, raw: &[u8], records: u32, ops: u32) {
        let offset = self.place.offset + (out.len() - self.start) as u32;
        let header_at = out.len();
        out.resize(header_at + BLOCK_HEADER_BYTES, 0);
        let compressed = compressor.as_mut().filter(|_| raw.len() >= COMPRESS_BYTES_MIN).and_then(|c| c.compress(raw).ok());
        let stored = compressed.as_deref().filter(|bytes| bytes.len() < raw.len()).unwrap_or(raw);
        out.extend_from_slice(stored);
        let crc = checksum(self.place.salt, offset.into(), &[stored]);
        let header = BlockHeader { raw: raw.len() as u32, stored: stored.len() as u32, records, ops, crc }.encode();
        out[header_at..header_at + BLOCK_HEADER_BYTES].copy_from_slice(&header);
        self.headers.extend_from_slice(&header);
        self.blocks.push(Block {
            offset,
            first_record: self.place.records_in_segment + self.records,
            first_op: self.place.ops_in_segment + self.ops,
        });
        self.records += records;
        self.ops += ops;
    }

    fn finish(self, out: &mut Vec<u8>) -> Written {
        let Place { salt, offset, .. } = self.place;
        let header = FrameHeader {
            body: (out.len() - self.start - FRAME_HEADER_BYTES) as u32,
            blocks: self.blocks.len() as u32,
            records: self.records,
            first_record: self.place.segment_first_record + u64::from(self.place.records_in_segment),
            synced: self.place.synced,
            previous: self.place.previous,
            body_crc: checksum(salt, offset.into(), &[&self.headers]),
        };
        let bytes = header.encode(salt, offset);
        out[self.start..self.start + FRAME_HEADER_BYTES].copy_from_slice(&bytes);
        out.resize((out.len() - self.start).next_multiple_of(FRAME_ALIGN) + self.start, 0);
        let crc = u32::from_le_bytes([bytes[36], bytes[37], bytes[38], bytes[39]]);
        Written { crc, blocks: self.blocks, ops: self.ops }
    }
}
