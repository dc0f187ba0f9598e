//! The journal's bytes: the header of a segment, of a frame, of a block. Integers are little-endian; `docs/STORAGE.md` has the tables.
//!
//! Checksums are CRC-32 seeded with the segment's salt, a random number that never leaves the device. So bytes inside an operation,
//! which somebody else may have chosen, cannot pass for a frame.

use nodespace_protocol::ids::WorkspaceId;

/// The first bytes of every segment.
pub(crate) const SEGMENT_MAGIC: [u8; 8] = *b"NSJOURN\x01";
/// The version of the journal's form.
pub(crate) const JOURNAL_VERSION: u32 = 1;
/// Bytes of a segment's header.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 80;
/// The first bytes of every frame.
pub(crate) const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"NSfr");
/// Bytes of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 40;
/// Bytes of a block's header.
pub(crate) const BLOCK_HEADER_BYTES: usize = 20;
/// Frames begin at multiples of this.
pub(crate) const FRAME_ALIGN: usize = 8;

/// A seeded checksum.
pub(crate) fn checksum(salt: u64, place: u64, parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(&place.to_le_bytes());
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}

/// Reads little-endian fields one after the other; the caller has checked the length.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl Fields<'_> {
    pub(crate) fn array<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((taken, rest)) => {
                self.0 = rest;
                *taken
            }
            None => [0; N],
        }
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }
}

/// What a segment says about itself and the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u32,
    pub(crate) workspace: WorkspaceId,
    /// Seeds this segment's checksums.
    pub(crate) salt: u64,
    /// Records before this segment.
    pub(crate) first_record: u64,
    /// Operations before this segment.
    pub(crate) first_op: u32,
    /// Where the last frame of the segment before ends: all of it was durable when this segment was made. 0 in the first.
    pub(crate) previous_end: u32,
    /// The checksum of the last frame of the segment before.
    pub(crate) previous_crc: u32,
}

/// Why a segment's header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadHeader {
    /// Not a header, or damaged.
    Damaged(&'static str),
    /// A later form.
    Newer(u32),
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        out.extend_from_slice(&SEGMENT_MAGIC);
        out.extend_from_slice(&JOURNAL_VERSION.to_le_bytes());
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.workspace.0);
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&self.first_record.to_le_bytes());
        out.extend_from_slice(&self.first_op.to_le_bytes());
        out.extend_from_slice(&self.previous_end.to_le_bytes());
        out.extend_from_slice(&self.previous_crc.to_le_bytes());
        out.extend_from_slice(&checksum(self.salt, 0, &[&out]).to_le_bytes());
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        bytes.copy_from_slice(&out);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; SEGMENT_HEADER_BYTES]) -> Result<Self, BadHeader> {
        let mut fields = Fields(bytes);
        if fields.array() != SEGMENT_MAGIC {
            return Err(BadHeader::Damaged("it does not begin as a journal segment does"));
        }
        let version = fields.u32();
        let header = Self {
            number: fields.u32(),
            workspace: WorkspaceId(fields.array()),
            salt: fields.u64(),
            first_record: fields.u64(),
            first_op: fields.u32(),
            previous_end: fields.u32(),
            previous_crc: fields.u32(),
        };
        if fields.u32() != checksum(header.salt, 0, &[&bytes[..SEGMENT_HEADER_BYTES - 4]]) {
            return Err(BadHeader::Damaged("the checksum of its header does not fit"));
        }
        if version == JOURNAL_VERSION { Ok(header) } else { Err(BadHeader::Newer(version)) }
    }

    /// The checksum that the first frame names as the one before it.
    pub(crate) fn crc(&self) -> u32 {
        let bytes = self.encode();
        checksum(self.salt, 0, &[&bytes[..SEGMENT_HEADER_BYTES - 4]])
    }
}

/// What stands before the blocks of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Bytes of the blocks with their headers, without the padding after them.
    pub(crate) body: u32,
    /// How many blocks; 0 in a frame that only marks what is durable.
    pub(crate) blocks: u32,
    /// How many records.
    pub(crate) records: u32,
    /// Records before this frame.
    pub(crate) first_record: u64,
    /// Up to where the segment was durable when this frame was made.
    pub(crate) synced: u32,
    /// The checksum of the frame before, or of the segment's header.
    pub(crate) previous: u32,
    /// The checksum over the headers of all blocks, which hold those of their contents.
    pub(crate) body_crc: u32,
}

impl FrameHeader {
    /// The header's bytes; the last four are its checksum.
    pub(crate) fn encode(&self, salt: u64, offset: u32) -> [u8; FRAME_HEADER_BYTES] {
        let mut bytes = [0; FRAME_HEADER_BYTES];
        bytes[0..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.body.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.blocks.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.records.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_record.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.synced.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.previous.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.body_crc.to_le_bytes());
        let crc = checksum(salt, offset.into(), &[&bytes[..36]]);
        bytes[36..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads a header that was written at `offset`, with its checksum; `None` when these bytes are none.
    pub(crate) fn decode(bytes: &[u8; FRAME_HEADER_BYTES], salt: u64, offset: u32) -> Option<(Self, u32)> {
        let mut fields = Fields(bytes);
        if fields.u32() != FRAME_MAGIC {
            return None;
        }
        let header = Self {
            body: fields.u32(),
            blocks: fields.u32(),
            records: fields.u32(),
            first_record: fields.u64(),
            synced: fields.u32(),
            previous: fields.u32(),
            body_crc: fields.u32(),
        };
        let crc = fields.u32();
        (crc == checksum(salt, offset.into(), &[&bytes[..36]])).then_some((header, crc))
    }

    /// Bytes of the whole frame, padding included.
    pub(crate) const fn frame_bytes(&self) -> u64 {
        (FRAME_HEADER_BYTES as u64 + self.body as u64).next_multiple_of(FRAME_ALIGN as u64)
    }
}

/// What stands before the bytes of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    /// Bytes of the records.
    pub(crate) raw: u32,
    /// Bytes as they are stored: fewer when compressed, else as many.
    pub(crate) stored: u32,
    pub(crate) records: u32,
    pub(crate) ops: u32,
    /// The checksum of the stored bytes.
    pub(crate) crc: u32,
}

impl BlockHeader {
    pub(crate) fn encode(&self) -> [u8; BLOCK_HEADER_BYTES] {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        let fields = [self.raw, self.stored, self.records, self.ops, self.crc];
        for (target, field) in bytes.chunks_exact_mut(4).zip(fields) {
            target.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; BLOCK_HEADER_BYTES]) -> Self {
        let mut fields = Fields(bytes);
        Self { raw: fields.u32(), stored: fields.u32(), records: fields.u32(), ops: fields.u32(), crc: fields.u32() }
    }
}
