//! What a power cut may leave: everything synced, and any part of the rest.
//!
//! The walk goes through the trace once and keeps two things: the disk as it surely is, and the events since that no sync has
//! covered. An image applies some of those events in some order; a write may be applied in part, by sectors.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::Content;
use super::{Event, FileId, SimulatedDisk, folder_of};

/// What a disk writes whole or not at all.
pub const SECTOR_BYTES: u64 = 512;

/// What becomes of one event that no sync has covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// It never reached the disk.
    Lost,
    /// It did.
    Kept,
    /// A write of which only the sectors reached it whose bit is set; sectors beyond the 64th go by the bits from the first again.
    /// For other events as [`Choice::Kept`].
    Sectors(u64),
}

/// A walk through a trace that can be asked at each place what a power cut there may leave.
#[derive(Clone, Debug)]
pub struct Crashes {
    trace: Arc<[Event]>,
    at: usize,
    note: u64,
    names: BTreeMap<String, FileId>,
    files: BTreeMap<FileId, Content>,
    pending: Vec<Event>,
}

impl Crashes {
    /// A walk that stands before the first event.
    pub(crate) fn new((names, files): (BTreeMap<String, FileId>, BTreeMap<FileId, Content>), trace: Vec<Event>) -> Self {
        Self { trace: trace.into(), at: 0, note: 0, names, files, pending: Vec::new() }
    }

    /// Takes the next event; `false` at the end.
    pub fn advance(&mut self) -> bool {
        let Some(event) = self.trace.get(self.at).cloned() else { return false };
        self.at += 1;
        match event {
            Event::Note(note) => self.note = note,
            Event::SyncFile { file } => self.settle(|event| is_of_file(event, file)),
            Event::SyncFolder { folder } => self.settle(|event| is_of_folder(event, &folder)),
            event => self.pending.push(event),
        }
        true
    }

    /// How many events were taken.
    pub const fn place(&self) -> usize {
        self.at
    }

    /// The last mark the workload made.
    pub const fn note(&self) -> u64 {
        self.note
    }

    /// How many events no sync has covered.
    pub const fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The disk after a power cut here: the unsynced events named by `order`, each with its fate, applied in that order.
    pub fn image(&self, order: &[(usize, Choice)]) -> SimulatedDisk {
        let (mut names, mut files) = (self.names.clone(), self.files.clone());
        for (which, choice) in order {
            if let Some(event) = self.pending.get(*which) {
                apply(&mut names, &mut files, event, *choice);
            }
        }
        SimulatedDisk::with_files(names, files)
    }

    /// Makes the pending events that `covers` names durable, in order.
    fn settle(&mut self, covers: impl Fn(&Event) -> bool) {
        for event in std::mem::take(&mut self.pending) {
            if covers(&event) {
                apply(&mut self.names, &mut self.files, &event, Choice::Kept);
            } else {
                self.pending.push(event);
            }
        }
    }
}

const fn is_of_file(event: &Event, which: FileId) -> bool {
    matches!(event, Event::Write { file, .. } | Event::SetSize { file, .. } if *file == which)
}

fn is_of_folder(event: &Event, folder: &str) -> bool {
    match event {
        Event::Create { name, .. } | Event::Remove { name } | Event::Rename { to: name, .. } => folder_of(name) == folder,
        _ => false,
    }
}

fn apply(names: &mut BTreeMap<String, FileId>, files: &mut BTreeMap<FileId, Content>, event: &Event, choice: Choice) {
    if choice == Choice::Lost {
        return;
    }
    match event {
        Event::Write { file, offset, bytes } => {
            let content = files.entry(*file).or_default();
            match choice {
                Choice::Sectors(bits) => write_sectors(content, *offset, bytes, bits),
                _ => content.write_at(*offset, bytes),
            }
        }
        Event::SetSize { file, size } => files.entry(*file).or_default().set_size(*size),
        Event::Create { name, file } => {
            files.entry(*file).or_default();
            names.insert(name.clone(), *file);
        }
        Event::Rename { from, to, file } => {
            if names.get(from) == Some(file) {
                names.remove(from);
            }
            names.insert(to.clone(), *file);
        }
        Event::Remove { name } => {
            names.remove(name);
        }
        Event::SyncFile { .. } | Event::SyncFolder { .. } | Event::Note(_) => {}
    }
}

/// Writes the sectors whose bit is set; those of the others keep what they had.
fn write_sectors(content: &mut Content, offset: u64, bytes: &[u8], bits: u64) {
    let mut done = 0;
    while done < bytes.len() {
        let at = offset + done as u64;
        let room = (SECTOR_BYTES - at % SECTOR_BYTES) as usize;
        let len = room.min(bytes.len() - done);
        if bits >> (at / SECTOR_BYTES % 64) & 1 == 1 {
            content.write_at(at, &bytes[done..done + len]);
        }
        done += len;
    }
}
