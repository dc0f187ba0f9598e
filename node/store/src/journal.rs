//! The journal: every operation this device holds, in order of arrival, in append-only files.
//!
//! A group of records is one frame; frames are buffered, and [`Journal::sync`] writes all of them with one write and one `fdatasync`.
//! That is group commit: whoever shares a sync shares its price. Files are segments of some 64 MiB; a full one is never written
//! again. The forms are in [`format`] and `docs/STORAGE.md`; how a torn tail is told from damage is in `scan`.
//!
//! After a failed write or sync nothing is known about the disk, so nothing more is taken: the journal must be opened anew.

pub(crate) mod cache;
pub(crate) mod format;
mod group;
mod lookup;
mod open;
mod read;
mod record;
mod scan;
mod segment;
mod sidecar;
mod window;

use std::io;
use std::sync::{Arc, Mutex};

use nodespace_protocol::store::{OpIndex, Record, StoreError};

use crate::disk::Disk;
use crate::error::Cause;
use format::{FRAME_HEADER_BYTES, Fields, SegmentHeader};
use group::{GroupEncoder, Place, Written};
use lookup::Lookup;
use read::Reader;
use segment::{Contents, FOLDER, Segment};

/// The buffer is written to the file, without a sync, when it has grown beyond this.
const BUFFER_BYTES_MAX: usize = 8 << 20;
/// What is taken from the file system at a time, when writes are small: a sync then changes no metadata, and is a third cheaper.
const RESERVE_BYTES: u64 = 1 << 20;
/// Larger writes do not reserve: they pay for the metadata once for many groups.
const RESERVE_WRITE_MAX: usize = 64 << 10;
/// The list of the segment in use is written at a checkpoint when this much was written since: bounds what a restart reads.
const LIST_BYTES: u32 = 8 << 20;
/// The greatest segment: offsets, with the greatest group beyond it, fit 31 bits.
const SEGMENT_BYTES_MAX: u32 = 512 << 20;

/// How the journal is laid out and how much memory it takes.
#[derive(Clone, Copy, Debug)]
pub struct StoreOptions {
    /// A segment of the journal that has grown to this is closed. At most 512 MiB.
    pub segment_bytes: u32,
    /// Bytes of operations kept in memory.
    pub op_cache_bytes: usize,
    /// Bytes of decompressed blocks kept in memory.
    pub block_cache_bytes: usize,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, op_cache_bytes: 8 << 20, block_cache_bytes: 4 << 20 }
    }
}

/// A place in the journal up to which it is known to be durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// The segment.
    pub segment: u32,
    /// Bytes of that segment.
    pub offset: u32,
    /// Records up to there.
    pub records: u64,
    /// Operations up to there.
    pub ops: u32,
}

impl Mark {
    /// As the index keeps it: little-endian fields.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { segment, offset, records, ops } = *self;
        let mut out = [segment.to_le_bytes(), offset.to_le_bytes()].concat();
        out.extend_from_slice(&records.to_le_bytes());
        out.extend_from_slice(&ops.to_le_bytes());
        out
    }

    /// The inverse of [`Mark::encode`].
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let mut fields = Fields(bytes);
        Self { segment: fields.u32(), offset: fields.u32(), records: fields.u64(), ops: fields.u32() }
    }
}

/// A device's journal for one workspace.
#[derive(Debug)]
pub struct Journal {
    disk: Arc<dyn Disk>,
    options: StoreOptions,
    /// All segments; the last is written to.
    segments: Vec<Segment>,
    lookup: Lookup,
    encoder: GroupEncoder,
    /// Frames after `written` that are not in the file yet.
    buffer: Vec<u8>,
    /// Up to where the last segment's file has been written.
    written: u32,
    /// Up to where it is durable.
    synced: u32,
    /// The length of its file.
    reserved: u64,
    /// Up to where its list of blocks has been written.
    listed: u32,
    reader: Mutex<Reader>,
    failed: bool,
}

impl Journal {
    /// How many operations there are, durable or not.
    pub fn op_count(&self) -> u32 {
        let last = self.active();
        last.header.first_op + last.contents.ops
    }

    /// How many records there are, durable or not.
    pub fn record_count(&self) -> u64 {
        let last = self.active();
        last.header.first_record + u64::from(last.contents.records)
    }

    /// Where the journal ends, which is durable when nothing was appended since the last sync.
    pub fn end(&self) -> Mark {
        let last = self.active();
        Mark { segment: last.header.number, offset: last.contents.end, records: self.record_count(), ops: self.op_count() }
    }

    /// Bytes of all segments, without what is reserved.
    pub fn size_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| u64::from(segment.contents.end)).sum()
    }

    /// Bytes of memory for finding operations: grows with their number, unlike the caches.
    pub fn memory_bytes(&self) -> usize {
        let blocks: usize = self.segments.iter().map(|segment| segment.contents.blocks.capacity()).sum();
        self.lookup.memory_bytes() + blocks * size_of::<segment::Block>()
    }

    /// Bytes of the groups after the first `records` records, to within a block.
    pub fn bytes_after(&self, records: u64) -> u64 {
        let after = |segment: &Segment| {
            let contents = &segment.contents;
            let within = records.saturating_sub(segment.header.first_record);
            if within >= contents.records.into() {
                return 0;
            }
            let block = u32::try_from(within).ok().and_then(|within| segment.block_of_record(within));
            contents.end - block.map_or(contents.end, |block| contents.blocks[block].offset)
        };
        self.segments.iter().map(after).map(u64::from).sum()
    }

    fn active(&self) -> &Segment {
        self.segments.last().expect("a journal is opened with at least one segment")
    }

    fn active_mut(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a journal is opened with at least one segment")
    }

    fn place(&self) -> String {
        self.disk.place(&segment::name(self.active().header.number))
    }

    /// Appends a group as one frame. Buffered until [`Self::sync`].
    ///
    /// # Errors
    /// When an earlier write failed, the buffer had to be written and could not be, or the group is too large. Nothing of the group was
    /// appended then.
    pub fn append(&mut self, group: Vec<Record>) -> Result<(), StoreError> {
        const DOING: &str = "appending to the journal";
        self.check(DOING)?;
        if group.is_empty() {
            return Ok(());
        }
        if u64::from(self.op_count()) + group.len() as u64 >= u64::from(u32::MAX) {
            return Err(Cause::Full.while_doing(DOING));
        }
        if self.active().contents.end >= self.options.segment_bytes.min(SEGMENT_BYTES_MAX) {
            self.roll()?;
        }
        if self.buffer.len() > BUFFER_BYTES_MAX {
            self.write_buffer(DOING)?;
        }
        let before = self.op_count();
        self.push_frame(&group)?;
        let mut reader = self.reader.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let ops = group.into_iter().filter_map(|record| match record {
            Record::Op(op) => Some(op),
            Record::Signature { .. } => None,
        });
        for (index, op) in (before..).zip(ops) {
            self.lookup.push(self.lookup.tag(&op.hash));
            reader.keep(OpIndex(index), op);
        }
        Ok(())
    }

    /// Puts a frame into the buffer.
    fn push_frame(&mut self, group: &[Record]) -> Result<(), StoreError> {
        let Segment { header, contents, .. } = self.segments.last_mut().expect("a journal is opened with at least one segment");
        let place = Place {
            salt: header.salt,
            offset: contents.end,
            records_in_segment: contents.records,
            segment_first_record: header.first_record,
            ops_in_segment: contents.ops,
            synced: self.synced,
            previous: contents.last_crc,
        };
        let before = self.buffer.len();
        let Written { crc, blocks, ops } = self.encoder.encode(&mut self.buffer, place, group)?;
        contents.end += (self.buffer.len() - before) as u32;
        contents.last_crc = crc;
        contents.records += group.len() as u32;
        contents.ops += ops;
        contents.blocks.extend(blocks);
        Ok(())
    }

    /// Makes everything appended so far durable: one write and one `fdatasync`.
    ///
    /// # Errors
    /// When that cannot be promised; the journal takes nothing more then.
    pub fn sync(&mut self) -> Result<(), StoreError> {
        const DOING: &str = "making operations durable";
        self.check(DOING)?;
        if self.synced == self.active().contents.end {
            return Ok(());
        }
        self.reserve();
        if let Err(error) = self.write_buffer(DOING) {
            self.failed = true;
            // What a failed write left is no group anybody was told of; the room it took is what others may lack.
            if let Err(error) = self.active().file.set_size(self.synced.into()) {
                tracing::warn!(%error, "the unfinished end of the journal could not be cut; it will be when the store is opened");
            }
            return Err(error);
        }
        self.sync_file(DOING)?;
        self.synced = self.active().contents.end;
        if self.synced - self.listed >= LIST_BYTES {
            self.list();
        }
        Ok(())
    }

    fn sync_file(&mut self, doing: &'static str) -> Result<(), StoreError> {
        let result = self.active().file.sync_data();
        self.failed |= result.is_err();
        result.map_err(|error| Cause::io(self.place(), error).while_doing(doing))
    }

    fn reserve(&mut self) {
        let end = u64::from(self.active().contents.end);
        if end <= self.reserved || self.buffer.len() > RESERVE_WRITE_MAX {
            return;
        }
        let size = end + RESERVE_BYTES.min(self.options.segment_bytes.into());
        match self.active().file.reserve(size) {
            Ok(()) => self.reserved = size,
            // Room that is not there yet may be when it is needed, and where a file system cannot reserve the write itself is enough.
            Err(error) => tracing::debug!(%error, "no room reserved for the journal"),
        }
    }

    fn write_buffer(&mut self, doing: &'static str) -> Result<(), StoreError> {
        let result = self.active().file.write_at(self.written.into(), &self.buffer);
        result.map_err(|error| Cause::io(self.place(), error).while_doing(doing))?;
        self.written = self.active().contents.end;
        self.reserved = self.reserved.max(self.written.into());
        self.buffer.clear();
        self.buffer.shrink_to(RESERVE_WRITE_MAX);
        Ok(())
    }

    fn check(&self, doing: &'static str) -> Result<(), StoreError> {
        if self.failed { Err(Cause::Failed { place: self.place() }.while_doing(doing)) } else { Ok(()) }
    }

    /// Closes the full segment and begins the next.
    fn roll(&mut self) -> Result<(), StoreError> {
        const DOING: &str = "beginning a new segment of the journal";
        self.sync()?;
        self.list();
        let last = self.active();
        if self.reserved > u64::from(last.contents.end) {
            // Only room is at stake: the next segment's header says where this one ends.
            if let Err(error) = last.file.set_size(last.contents.end.into()) {
                tracing::debug!(%error, "room reserved for the journal was not given back");
            }
        }
        let header = SegmentHeader {
            number: last.header.number + 1,
            workspace: last.header.workspace,
            salt: random()?,
            first_record: self.record_count(),
            first_op: self.op_count(),
            previous_end: last.contents.end,
            previous_crc: last.contents.last_crc,
        };
        let made = make_segment(&*self.disk, header);
        let segment = made.map_err(|error| Cause::io(self.disk.place(&segment::name(header.number)), error).while_doing(DOING))?;
        self.active_mut().contents.blocks.shrink_to_fit();
        self.start(segment);
        Ok(())
    }

    fn start(&mut self, segment: Segment) {
        let end = segment.contents.end;
        (self.written, self.synced, self.reserved, self.listed) = (end, end, end.into(), end);
        self.segments.push(segment);
    }

    /// Writes the list of the last segment's blocks. Everything it lists must be durable.
    fn list(&mut self) {
        let Segment { header, contents, .. } = self.active();
        let tags = (header.first_op..header.first_op + contents.ops).map(|index| self.lookup.tag_of(index));
        let key = self.segments[0].header.salt;
        match sidecar::write(&*self.disk, header, key, contents, tags) {
            Ok(()) => self.listed = self.synced,
            Err(error) => tracing::warn!(%error, "the list of the journal's blocks was not written; the next start reads the journal"),
        }
    }

    /// Marks what is durable as durable and lists it, so that opening the journal reads no operations. What was appended and not synced
    /// is left alone.
    pub(crate) fn wind_up(&mut self) -> Result<(), StoreError> {
        const DOING: &str = "closing the journal";
        if self.failed || self.synced != self.active().contents.end || self.listed == self.synced {
            return Ok(());
        }
        // A frame without records, whose mark says that all before it is durable.
        debug_assert!(FRAME_HEADER_BYTES.is_multiple_of(format::FRAME_ALIGN));
        self.push_frame(&[])?;
        self.write_buffer(DOING)?;
        self.sync_file(DOING)?;
        self.synced = self.active().contents.end;
        self.list();
        Ok(())
    }
}

/// Makes a segment's file: complete and durable before it has its name, so that a segment with a bad header is damaged, never torn.
fn make_segment(disk: &dyn Disk, header: SegmentHeader) -> io::Result<Segment> {
    let name = segment::name(header.number);
    let fresh = format!("{name}.new");
    let file = disk.create(&fresh)?;
    file.write_at(0, &header.encode())?;
    file.sync_data()?;
    disk.rename(&fresh, &name)?;
    disk.sync_folder(FOLDER)?;
    Ok(Segment { header, file, contents: Contents::empty(&header) })
}

/// A random number for a segment: seeds its checksums.
fn random() -> Result<u64, StoreError> {
    let source = |error: getrandom::Error| Cause::io("random numbers", io::Error::other(error.to_string()));
    getrandom::u64().map_err(|error| source(error).while_doing("beginning a new segment of the journal"))
}

/// Opens or makes the journal of a workspace.
pub(crate) use open::open;
