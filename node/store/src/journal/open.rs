//! Opening a journal: find its segments, know what they hold, cut a torn tail, refuse damage.
//!
//! All segments but the last were durable as a whole before the next was made, so anything wrong in them is damage. The last one is
//! read from where its list of blocks ends. What is found good beyond every mark is there and may not be durable: the process may
//! have been killed before its sync, and after a sync that failed the system may even hold pages that it takes for clean. So those
//! bytes are written once more and synced before anything is built on them.

use std::io;
use std::sync::{Arc, Mutex};

use nodespace_protocol::ids::WorkspaceId;
use nodespace_protocol::store::StoreError;

use super::format::{BadHeader, JOURNAL_VERSION, SEGMENT_HEADER_BYTES, SegmentHeader};
use super::group::GroupEncoder;
use super::lookup::Lookup;
use super::read::Reader;
use super::scan::Scan;
use super::segment::{self, Contents, FOLDER, Segment};
use super::window::Window;
use super::{Journal, Mark, StoreOptions, make_segment, random, sidecar};
use crate::disk::{Disk, DiskFile};
use crate::error::{Cause, corrupt};

const DOING: &str = "opening the journal";
/// What is written again at a time.
const REWRITE_BYTES: usize = 1 << 20;

/// Opens the journal of a workspace, or makes it. `durable` is what the index knows to be durable.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    workspace: WorkspaceId,
    options: StoreOptions,
    durable: Option<Mark>,
) -> Result<Journal, StoreError> {
    disk.make_folder(FOLDER).map_err(|error| Cause::io(disk.place(FOLDER), error).while_doing(DOING))?;
    let numbers = segment_numbers(&*disk)?;
    check_numbers(&*disk, &numbers, durable)?;
    let mut headers = Vec::new();
    for number in &numbers {
        headers.push(read_header(&*disk, *number, &workspace)?);
    }
    if headers.is_empty() {
        let header = first_header(workspace)?;
        let made = make_segment(&*disk, header);
        made.map_err(|error| Cause::io(disk.place(&segment::name(1)), error).while_doing(DOING))?;
        headers.push(read_header(&*disk, 1, &workspace)?);
    }
    let key = headers[0].0.salt;
    let ops = headers.last().map_or(0, |(header, _)| header.first_op as usize);
    let mut opening =
        Opening { lookup: Lookup::new(key, ops), disk: &*disk, key, decompressor: segment::decompressor()?, segments: Vec::new() };
    for at in 0..headers.len() - 1 {
        let ((header, file), (next, _)) = (headers[at].clone(), &headers[at + 1]);
        opening.sealed(header, file, next)?;
    }
    let (header, file) = headers[headers.len() - 1].clone();
    let Active { reserved, listed } = opening.active(header, file, durable)?;
    let Opening { lookup, segments, .. } = opening;
    let end = segments.last().map_or(0, |segment| segment.contents.end);
    Ok(Journal {
        reader: Mutex::new(Reader::new(&options)?),
        encoder: GroupEncoder::new(workspace),
        disk,
        options,
        segments,
        lookup,
        buffer: Vec::new(),
        written: end,
        synced: end,
        reserved,
        listed,
        failed: false,
    })
}

fn first_header(workspace: WorkspaceId) -> Result<SegmentHeader, StoreError> {
    Ok(SegmentHeader { number: 1, workspace, salt: random()?, first_record: 0, first_op: 0, previous_end: 0, previous_crc: 0 })
}

/// The numbers of the segments that are there; what a crash left half made is removed.
fn segment_numbers(disk: &dyn Disk) -> Result<Vec<u32>, StoreError> {
    let names = disk.list(FOLDER).map_err(|error| Cause::io(disk.place(FOLDER), error).while_doing(DOING))?;
    for name in names.iter().filter(|name| name.ends_with(".new")) {
        if let Err(error) = disk.remove(&format!("{FOLDER}/{name}")) {
            tracing::debug!(%error, name, "a file that a crash left half made was not removed");
        }
    }
    Ok(names.iter().filter_map(|name| segment::number_in(name)).collect())
}

fn check_numbers(disk: &dyn Disk, numbers: &[u32], durable: Option<Mark>) -> Result<(), StoreError> {
    for (expected, found) in (1..).zip(numbers) {
        if expected != *found {
            return Err(corrupt(disk.place(&segment::name(expected)), "this segment of the journal is missing, later ones are there"));
        }
    }
    match durable {
        Some(mark) if mark.segment > numbers.len() as u32 => Err(corrupt(
            disk.place(&segment::name(numbers.len() as u32 + 1)),
            "this segment of the journal is missing: a checkpoint was made after it. Restore a backup, or remove the index to go on without it",
        )),
        _ => Ok(()),
    }
}

type Headed = (SegmentHeader, Arc<dyn DiskFile>);

fn read_header(disk: &dyn Disk, number: u32, workspace: &WorkspaceId) -> Result<Headed, StoreError> {
    let name = segment::name(number);
    let failed = |error| Cause::io(disk.place(&name), error).while_doing(DOING);
    let file = disk.open(&name).map_err(failed)?;
    let mut bytes = [0; SEGMENT_HEADER_BYTES];
    match file.read_at(0, &mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(corrupt(format!("{} at byte 0", disk.place(&name)), "the file is shorter than its header"));
        }
        read => read.map_err(failed)?,
    }
    let place = || format!("{} at byte 0", disk.place(&name));
    let header = SegmentHeader::decode(&bytes).map_err(|bad| match bad {
        BadHeader::Damaged(what) => corrupt(place(), what),
        BadHeader::Newer(found) => {
            let what = format!("it has format {found}, this program knows {JOURNAL_VERSION}: a newer program wrote it, use that one");
            corrupt(place(), what)
        }
    })?;
    if header.number != number {
        return Err(corrupt(place(), format!("its header says that it is segment {}: a file was renamed", header.number)));
    }
    if header.workspace != *workspace {
        return Err(corrupt(place(), format!("it belongs to workspace {}, not {}", header.workspace, workspace)));
    }
    Ok((header, file))
}

struct Active {
    reserved: u64,
    listed: u32,
}

struct Opening<'a> {
    disk: &'a dyn Disk,
    key: u64,
    lookup: Lookup,
    decompressor: zstd::bulk::Decompressor<'static>,
    segments: Vec<Segment>,
}

impl Opening<'_> {
    fn place(&self, number: u32, offset: u32) -> String {
        format!("{} at byte {offset}", self.disk.place(&segment::name(number)))
    }

    fn failed(&self, number: u32) -> impl Fn(io::Error) -> StoreError + use<> {
        let place = self.disk.place(&segment::name(number));
        move |error| Cause::io(place.clone(), error).while_doing(DOING)
    }

    /// A segment that was full: by its list of blocks, else by reading it.
    fn sealed(&mut self, header: SegmentHeader, file: Arc<dyn DiskFile>, next: &SegmentHeader) -> Result<(), StoreError> {
        let size = file.size().map_err(self.failed(header.number))?;
        if size < next.previous_end.into() {
            let what = format!("the file has {size} bytes, the next segment says that it had {}", next.previous_end);
            return Err(corrupt(self.place(header.number, 0), what));
        }
        let fits = |contents: &Contents| {
            (contents.end, contents.last_crc) == (next.previous_end, next.previous_crc)
                && header.first_record + u64::from(contents.records) == next.first_record
                && header.first_op.checked_add(contents.ops) == Some(next.first_op)
        };
        let (contents, tags) = match self.list(&header).filter(|(contents, _)| fits(contents)) {
            Some(listed) => listed,
            None => {
                let read = self.read_sealed(header, &*file, next)?;
                if !fits(&read.0) {
                    return Err(corrupt(self.place(header.number, read.0.end), "it does not hold what the next segment says that it held"));
                }
                self.relist(&header, &read);
                read
            }
        };
        self.take(header, file, contents, &tags);
        Ok(())
    }

    fn list(&self, header: &SegmentHeader) -> Option<(Contents, Vec<u32>)> {
        sidecar::read(self.disk, header, self.key).unwrap_or_else(|error| {
            tracing::warn!(%error, segment = header.number, "the list of a segment's blocks cannot be read; the segment is read instead");
            None
        })
    }

    fn relist(&self, header: &SegmentHeader, (contents, tags): &(Contents, Vec<u32>)) {
        tracing::info!(segment = header.number, "the list of a segment's blocks was missing or stale and is made anew");
        if let Err(error) = sidecar::write(self.disk, header, self.key, contents, tags.iter().copied()) {
            tracing::warn!(%error, segment = header.number, "the list of a segment's blocks was not written");
        }
    }

    fn read_sealed(
        &mut self,
        header: SegmentHeader,
        file: &dyn DiskFile,
        next: &SegmentHeader,
    ) -> Result<(Contents, Vec<u32>), StoreError> {
        let window = Window::new(file, next.previous_end.into());
        let mut scan = Scan::new(header, window, Contents::empty(&header));
        let found = scan.run(&self.lookup, &mut self.decompressor).map_err(self.failed(header.number))?;
        match found {
            Some(what) => Err(corrupt(self.place(header.number, scan.contents.end), format!("{what}, in a segment that was complete"))),
            None => Ok((scan.contents, scan.tags)),
        }
    }

    /// The last segment: what follows its list is read, and what a crash left of unfinished groups is cut.
    fn active(&mut self, header: SegmentHeader, file: Arc<dyn DiskFile>, durable: Option<Mark>) -> Result<Active, StoreError> {
        let failed = self.failed(header.number);
        let size = file.size().map_err(&failed)?;
        let listed = self.list(&header).filter(|(contents, _)| u64::from(contents.end) <= size);
        let (start, mut tags) = listed.unwrap_or_else(|| (Contents::empty(&header), Vec::new()));
        let listed = start.end;
        let mut scan = Scan::new(header, Window::new(&*file, size), start);
        let found = scan.run(&self.lookup, &mut self.decompressor).map_err(&failed)?;
        let from_index = durable.filter(|mark| mark.segment == header.number).map_or(0, |mark| mark.offset);
        let mut known = scan.synced.max(listed).max(from_index);
        let mut reserved = size;
        if let Some(what) = found {
            let beyond = scan.beyond().map_err(&failed)?;
            let end = scan.contents.end;
            known = known.max(beyond.mark.map_or(0, |(mark, _)| mark));
            if known > end {
                return Err(corrupt(self.place(header.number, end), damage(what, known, beyond.mark)));
            }
            if beyond.used > end.into() {
                let (place, bytes) = (self.place(header.number, end), beyond.used - u64::from(end));
                tracing::warn!(place, bytes, "the end of the journal was not complete, as after a power cut, and is cut off");
                file.set_size(end.into()).map_err(&failed)?;
                reserved = end.into();
            }
        } else if known > scan.contents.end {
            return Err(corrupt(self.place(header.number, scan.contents.end), damage("the file ends here", known, None)));
        }
        let (contents, fresh) = (scan.contents, scan.tags);
        rewrite(&*file, known, contents.end).map_err(&failed)?;
        tags.extend(fresh);
        self.take(header, file, contents, &tags);
        Ok(Active { reserved, listed })
    }

    fn take(&mut self, header: SegmentHeader, file: Arc<dyn DiskFile>, contents: Contents, tags: &[u32]) {
        tags.iter().for_each(|tag| self.lookup.push(*tag));
        self.segments.push(Segment { header, file, contents });
    }
}

fn damage(what: &str, known: u32, mark: Option<(u32, u64)>) -> String {
    let by = match mark {
        Some((mark, at)) if mark == known => format!(", as the frame at byte {at} says"),
        _ => String::new(),
    };
    format!("{what}, but everything before byte {known} was durable{by}. Restore a backup, or fetch the workspace from a peer")
}

/// Writes the bytes of `from..end` again and makes the file as it is durable: also that an earlier process cut it, so that what it cut
/// cannot come back under what is written next.
fn rewrite(file: &dyn DiskFile, from: u32, end: u32) -> io::Result<()> {
    let mut bytes = Vec::new();
    let (mut at, end) = (u64::from(from), u64::from(end));
    while at < end {
        bytes.resize((end - at).min(REWRITE_BYTES as u64) as usize, 0);
        file.read_at(at, &mut bytes)?;
        file.write_at(at, &bytes)?;
        at += bytes.len() as u64;
    }
    file.sync_data()
}
