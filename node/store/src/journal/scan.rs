//! Reading frames from a place on, and telling a torn tail from damage.
//!
//! What was written after the last sync may be there in any part after a power cut: some sectors of it, in any order. So that the
//! frame at some place is bad and a later one is good proves nothing. What does is the mark that every frame carries: up to where the
//! segment was durable *when the frame was made*. A bad frame below the greatest mark found anywhere lay in durable bytes, and is
//! damage; a bad frame above all marks is what a power cut leaves, and is cut off. Nobody was told that it was kept.
//!
//! Marks are also in the index, which syncs the journal before it commits, in the list of a segment's blocks ([`super::sidecar`]), and
//! in the header of the next segment, which is made after all of this one is durable. What remains undecidable is damage to the very
//! last batch of a process that was killed before it could write a mark after it; closing the store writes one.

use std::io;

use zstd::bulk::Decompressor;

use super::format::{BLOCK_HEADER_BYTES, BlockHeader, FRAME_ALIGN, FRAME_HEADER_BYTES, FRAME_MAGIC, FrameHeader, SegmentHeader, checksum};
use super::lookup::Lookup;
use super::record::Raw;
use super::segment::{Block, Contents, open_block};
use super::window::Window;

/// What is searched for later frames at a time; a multiple of [`FRAME_ALIGN`].
const PIECE_BYTES: u64 = 64 << 10;

/// Frames from some place of a segment on.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    header: SegmentHeader,
    window: Window<'a>,
    /// What was found so far.
    pub(crate) contents: Contents,
    /// The tags of the operations found, in order.
    pub(crate) tags: Vec<u32>,
    /// Up to where frames say that the segment was durable.
    pub(crate) synced: u32,
}

/// Why the scan stopped.
pub(crate) type Found = &'static str;

/// What lies beyond the last good frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Beyond {
    /// Where the last byte that is not zero ends; the last frame's end when all are.
    pub(crate) used: u64,
    /// The greatest mark of a frame there, and where that frame is.
    pub(crate) mark: Option<(u32, u64)>,
}

impl<'a> Scan<'a> {
    /// A scan that continues `contents`.
    pub(crate) fn new(header: SegmentHeader, window: Window<'a>, contents: Contents) -> Self {
        let synced = super::format::SEGMENT_HEADER_BYTES as u32;
        Self { header, window, contents, tags: Vec::new(), synced }
    }

    /// Takes frames until the limit or the first bad one; says what is wrong with that.
    pub(crate) fn run(&mut self, lookup: &Lookup, decompressor: &mut Decompressor<'static>) -> io::Result<Option<Found>> {
        loop {
            if u64::from(self.contents.end) == self.window.limit() {
                return Ok(None);
            }
            let before = (self.contents.blocks.len(), self.tags.len());
            if let Some(found) = self.frame(lookup, decompressor)? {
                self.contents.blocks.truncate(before.0);
                self.tags.truncate(before.1);
                return Ok(Some(found));
            }
        }
    }

    /// Takes one frame.
    fn frame(&mut self, lookup: &Lookup, decompressor: &mut Decompressor<'static>) -> io::Result<Option<Found>> {
        let offset = self.contents.end;
        let Some((frame, crc)) = self.frame_header(offset)? else { return Ok(Some("no frame begins here")) };
        if frame.previous != self.contents.last_crc {
            return Ok(Some("the frame here does not continue the one before"));
        }
        if frame.first_record != self.header.first_record + u64::from(self.contents.records) {
            return Ok(Some("the frame here counts another number of records before it"));
        }
        let end = u64::from(offset) + frame.frame_bytes();
        if end > self.window.limit() || end > u64::from(u32::MAX) {
            return Ok(Some("the file ends inside the frame here"));
        }
        let (mut records, mut ops, mut headers) = (0, 0, Vec::new());
        let mut at = u64::from(offset) + FRAME_HEADER_BYTES as u64;
        let body_end = at + u64::from(frame.body);
        for _ in 0..frame.blocks {
            let first = Block {
                offset: at as u32,
                first_record: self.contents.records.saturating_add(records),
                first_op: self.contents.ops.saturating_add(ops),
            };
            let room = (body_end - at) as usize;
            let header = match self.block(first, room, lookup, decompressor)? {
                Ok(header) => header,
                Err(found) => return Ok(Some(found)),
            };
            headers.extend_from_slice(&header.encode());
            records = records.saturating_add(header.records);
            ops = ops.saturating_add(header.ops);
            at += (BLOCK_HEADER_BYTES + header.stored as usize) as u64;
        }
        if at != body_end || records != frame.records || frame.body_crc != checksum(self.header.salt, offset.into(), &[&headers]) {
            return Ok(Some("the frame here does not have the blocks that its header counts"));
        }
        self.contents.end = end as u32;
        self.contents.last_crc = crc;
        self.contents.records = self.contents.records.saturating_add(records);
        self.contents.ops = self.contents.ops.saturating_add(ops);
        self.synced = self.synced.max(frame.synced);
        Ok(None)
    }

    fn frame_header(&mut self, offset: u32) -> io::Result<Option<(FrameHeader, u32)>> {
        let salt = self.header.salt;
        let bytes = self.window.get(offset.into(), FRAME_HEADER_BYTES)?;
        Ok(bytes.and_then(|bytes| bytes.first_chunk()).and_then(|bytes| FrameHeader::decode(bytes, salt, offset)))
    }

    /// Checks a block and takes its operations' tags.
    fn block(
        &mut self,
        block: Block,
        room: usize,
        lookup: &Lookup,
        decompressor: &mut Decompressor<'static>,
    ) -> io::Result<Result<BlockHeader, Found>> {
        const SHORT: Found = "a block reaches beyond its frame";
        if room < BLOCK_HEADER_BYTES {
            return Ok(Err(SHORT));
        }
        let Some(bytes) = self.window.get(block.offset.into(), BLOCK_HEADER_BYTES)? else { return Ok(Err(SHORT)) };
        let Some(header) = bytes.first_chunk().map(BlockHeader::decode) else { return Ok(Err(SHORT)) };
        if header.stored as usize > room - BLOCK_HEADER_BYTES {
            return Ok(Err(SHORT));
        }
        let Some(bytes) = self.window.get(block.offset.into(), BLOCK_HEADER_BYTES + header.stored as usize)? else {
            return Ok(Err(SHORT));
        };
        let raw = match open_block(bytes, self.header.salt, block.offset, decompressor) {
            Ok((_, raw)) => raw,
            Err(found) => return Ok(Err(found)),
        };
        let (mut rest, mut records, mut ops) = (&raw[..], 0, 0);
        while !rest.is_empty() {
            let record = match Raw::take(&mut rest) {
                Ok(record) => record,
                Err(found) => return Ok(Err(found)),
            };
            records += 1;
            if let Some(hash) = record.hash() {
                ops += 1;
                self.tags.push(lookup.tag(&hash));
            }
        }
        if (records, ops) != (header.records, header.ops) {
            return Ok(Err("a block does not have the records that its header counts"));
        }
        self.contents.blocks.push(block);
        Ok(Ok(header))
    }

    /// Looks at everything from the last good frame to the limit.
    pub(crate) fn beyond(&mut self) -> io::Result<Beyond> {
        let mut beyond = Beyond { used: self.contents.end.into(), mark: None };
        let mut at = u64::from(self.contents.end);
        while at < self.window.limit() {
            let len = (self.window.limit() - at).min(PIECE_BYTES);
            let Some(piece) = self.window.get(at, len as usize)? else { break };
            let Some(last) = piece.iter().rposition(|byte| *byte != 0) else {
                at += len;
                continue;
            };
            beyond.used = at + last as u64 + 1;
            let begins = |(_, bytes): &(u64, &[u8])| bytes.starts_with(&FRAME_MAGIC.to_le_bytes());
            let found: Vec<u64> =
                (at..).step_by(FRAME_ALIGN).zip(piece.chunks(FRAME_ALIGN)).filter(begins).map(|(place, _)| place).collect();
            for place in found {
                self.mark_at(place, &mut beyond)?;
            }
            at += len;
        }
        Ok(beyond)
    }

    /// Takes the mark of a frame that seems to begin at `place`.
    fn mark_at(&mut self, place: u64, beyond: &mut Beyond) -> io::Result<()> {
        if let Ok(offset) = u32::try_from(place)
            && let Some((frame, _)) = self.frame_header(offset)?
            && beyond.mark.is_none_or(|(mark, _)| mark < frame.synced)
        {
            beyond.mark = Some((frame.synced, place));
        }
        Ok(())
    }
}
