//! The list of a segment's blocks and tags beside it, so that opening reads no operations.
//!
//! Derived: written when a segment is full, when the store is closed, and now and then for the segment in use. Missing, stale or
//! damaged means that the segment is read instead. What it covers was durable before it was written, so it is also a mark.

use std::io;

use super::format::{Fields, SegmentHeader, checksum};
use super::segment::{Block, Contents, FOLDER};
use crate::disk::{Disk, replace_file};

const MAGIC: [u8; 8] = *b"NSINDEX\x01";
const HEADER_BYTES: usize = 8 + 4 + 8 + 8 + 5 * 4;
const BLOCK_BYTES: usize = 12;

/// The file name of a segment's list.
pub(crate) fn name(number: u32) -> String {
    format!("{FOLDER}/{number:08}.idx")
}

/// Writes the list of what a segment holds; `tags` are those of its operations, made with `key`.
pub(crate) fn write(
    disk: &dyn Disk,
    header: &SegmentHeader,
    key: u64,
    contents: &Contents,
    tags: impl Iterator<Item = u32>,
) -> io::Result<()> {
    let mut out = Vec::with_capacity(HEADER_BYTES + contents.blocks.len() * BLOCK_BYTES + contents.ops as usize * 4 + 4);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&header.number.to_le_bytes());
    out.extend_from_slice(&header.salt.to_le_bytes());
    out.extend_from_slice(&key.to_le_bytes());
    for field in [contents.end, contents.last_crc, contents.records, contents.ops, contents.blocks.len() as u32] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    for block in &contents.blocks {
        for field in [block.offset, block.first_record, block.first_op] {
            out.extend_from_slice(&field.to_le_bytes());
        }
    }
    tags.for_each(|tag| out.extend_from_slice(&tag.to_le_bytes()));
    out.extend_from_slice(&checksum(header.salt, 0, &[&out]).to_le_bytes());
    replace_file(disk, &name(header.number), &out)
}

/// Reads the list of a segment; `None` when there is none that can be used.
pub(crate) fn read(disk: &dyn Disk, header: &SegmentHeader, key: u64) -> io::Result<Option<(Contents, Vec<u32>)>> {
    let file = match disk.open(&name(header.number)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let size = file.size()?;
    // A list is never longer than what it lists; a longer file is none, and is not read.
    if size > u64::from(u32::MAX) {
        return Ok(None);
    }
    let mut bytes = vec![0; size as usize];
    file.read_at(0, &mut bytes)?;
    Ok(decode(&bytes, header, key))
}

fn decode(bytes: &[u8], header: &SegmentHeader, key: u64) -> Option<(Contents, Vec<u32>)> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    if body.len() < HEADER_BYTES || u32::from_le_bytes(*crc) != checksum(header.salt, 0, &[body]) {
        return None;
    }
    let mut fields = Fields(body);
    if fields.array() != MAGIC || fields.u32() != header.number || fields.u64() != header.salt || fields.u64() != key {
        return None;
    }
    let (end, last_crc, records, ops, count) = (fields.u32(), fields.u32(), fields.u32(), fields.u32(), fields.u32());
    let expected = HEADER_BYTES as u64 + u64::from(count) * BLOCK_BYTES as u64 + u64::from(ops) * 4;
    if body.len() as u64 != expected {
        return None;
    }
    let block = |_| Block { offset: fields.u32(), first_record: fields.u32(), first_op: fields.u32() };
    let blocks = (0..count).map(block).collect();
    let tags = (0..ops).map(|_| fields.u32()).collect();
    Some((Contents { end, last_crc, records, ops, blocks }, tags))
}
