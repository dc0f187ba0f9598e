//! Scripted workloads: groups, syncs, checkpoints, segment rolls, clean and unclean stops, failing calls.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::crypto::Signature;
use nodespace_protocol::ids::{DeviceId, LogId, NodeId, OpHash};
use nodespace_protocol::op::{BlobRef, Header, Op, OpType, payload_hash};
use nodespace_protocol::store::{Checkpoint, PartKey, Record, Store, StoreError};
use nodespace_store::disk::SimulatedDisk;
use nodespace_store::disk::simulated::{Broken, Fault};
use nodespace_store::{DiskStore, StoreOptions};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

use crate::enumerate::{WORKSPACE, open};

/// A promise broken on purpose, which the enumerator must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Syncing a file does nothing.
    NoFileSync,
    /// Syncing a folder does nothing.
    NoFolderSync,
    /// Groups are acknowledged before the sync.
    EarlyAcknowledgement,
    /// A stop cuts the journal back to its beginning, and nothing is left that says that more was durable.
    CutAtStop,
}

impl Mutant {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::NoFileSync, Self::NoFolderSync, Self::EarlyAcknowledgement, Self::CutAtStop];
}

/// What had been promised at a place of the trace.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Note {
    pub(crate) acknowledged: usize,
    /// The last checkpoint.
    pub(crate) checkpoint: Option<usize>,
    history: usize,
}

/// What was appended, in the order of the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) records: Vec<Record>,
    /// Where groups end; begins with 0.
    pub(crate) ends: Vec<usize>,
}

/// One checkpoint.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) records: u64,
    pub(crate) nodes: Vec<(NodeId, Vec<u8>)>,
}

/// A workload that was run, and the disk it ran on.
pub(crate) struct Script {
    pub(crate) disk: SimulatedDisk,
    pub(crate) options: StoreOptions,
    pub(crate) checkpoints: Vec<Saved>,
    notes: Vec<Note>,
    /// A stop may take what was appended and not synced, and others follow: each stop begins a history.
    histories: Vec<History>,
    mutant: Option<Mutant>,
}

impl Script {
    pub(crate) fn run(random: &mut ChaCha8Rng, mutant: Option<Mutant>) -> Result<Self, String> {
        let disk = SimulatedDisk::new();
        disk.set_broken(match mutant {
            Some(Mutant::NoFileSync) => Some(Broken::SyncFile),
            Some(Mutant::NoFolderSync) => Some(Broken::SyncFolder),
            _ => None,
        });
        let segment_bytes = [1500, 3000, 8000, 60_000][random.next_u32() as usize % 4];
        let options = StoreOptions { segment_bytes, op_cache_bytes: 0, block_cache_bytes: 0 };
        let histories = vec![History { records: Vec::new(), ends: vec![0] }];
        let mut script = Self { disk, options, checkpoints: Vec::new(), notes: vec![Note::default()], histories, mutant };
        // Checkpoints cost more to try than all else; most scripts leave them out.
        let with_checkpoints = random.next_u32().is_multiple_of(5);
        let steps = if with_checkpoints { 12 } else { 40 };
        let mut store = open(&script.disk, &options)?;
        for _ in 0..steps {
            store = script.step(store, random, with_checkpoints)?;
        }
        drop(store);
        Ok(script)
    }

    pub(crate) fn note(&self, which: u64) -> Note {
        self.notes[which as usize]
    }

    pub(crate) fn history(&self, note: u64) -> &History {
        &self.histories[self.note(note).history]
    }

    fn step(&mut self, mut store: DiskStore, random: &mut ChaCha8Rng, with_checkpoints: bool) -> Result<DiskStore, String> {
        match random.next_u32() % 16 {
            0..=7 => {
                self.append(&mut store, random)?;
                Ok(store)
            }
            8..=12 => {
                self.sync(&mut store)?;
                Ok(store)
            }
            13 if with_checkpoints => {
                self.checkpoint(&mut store, random)?;
                Ok(store)
            }
            13 | 14 => self.stop(store, random.next_u32().is_multiple_of(2)),
            _ => self.fail(store, random),
        }
    }

    fn append(&mut self, store: &mut DiskStore, random: &mut ChaCha8Rng) -> Result<(), String> {
        let bytes = [80, 80, 600, 9000][random.next_u32() as usize % 4];
        let count = 1 + random.next_u32() % if bytes > 600 { 4 } else { 6 };
        let group: Vec<Record> = (0..count).map(|at| record(random, bytes, u64::from(at) + 1)).collect();
        // On the record first: the call may write some of it.
        let history = self.histories.last_mut().expect("there is always a history");
        history.records.extend(group.iter().cloned());
        history.ends.push(history.records.len());
        store.append(group).map_err(|error| error.to_string())
    }

    fn sync(&mut self, store: &mut DiskStore) -> Result<(), String> {
        if self.mutant == Some(Mutant::EarlyAcknowledgement) {
            self.acknowledge(store);
        }
        store.sync().map_err(|error| error.to_string())?;
        self.acknowledge(store);
        Ok(())
    }

    fn acknowledge(&mut self, store: &DiskStore) {
        let before = self.last();
        self.push(Note { acknowledged: store.record_count() as usize, ..before });
    }

    fn last(&self) -> Note {
        self.notes.last().copied().unwrap_or_default()
    }

    fn push(&mut self, note: Note) {
        self.disk.note(self.notes.len() as u64);
        self.notes.push(note);
    }

    fn checkpoint(&mut self, store: &mut DiskStore, random: &mut ChaCha8Rng) -> Result<(), String> {
        let which = self.checkpoints.len();
        let node = |number: u32| NodeId::Uuid(uuid::Uuid::from_u128(number.into()));
        let nodes = (0..5).map(|_| (node(random.next_u32() % 12), noise(random, 700))).collect::<std::collections::BTreeMap<_, _>>();
        let nodes: Vec<(NodeId, Vec<u8>)> = nodes.into_iter().collect();
        let records = store.record_count();
        self.checkpoints.push(Saved { records, nodes: nodes.clone() });
        save(store, records, nodes, vec![which as u8; 900]).map_err(|error| error.to_string())?;
        self.push(Note { acknowledged: records as usize, checkpoint: Some(which), ..self.last() });
        Ok(())
    }

    /// Stops the process, clean or killed, and starts it again on the same disk.
    fn stop(&mut self, store: DiskStore, clean: bool) -> Result<DiskStore, String> {
        if clean {
            drop(store);
        } else {
            std::mem::forget(store);
        }
        if self.mutant == Some(Mutant::CutAtStop) {
            self.cut_last();
        }
        self.start()
    }

    fn start(&mut self) -> Result<DiskStore, String> {
        let store = open(&self.disk, &self.options)?;
        let held = store.record_count() as usize;
        let mut history = self.histories.last().cloned().unwrap_or_default();
        history.records.truncate(held);
        history.ends.retain(|end| *end <= held);
        self.histories.push(history);
        let before = self.last();
        // Opening makes durable what it found.
        self.push(Note { history: self.histories.len() - 1, acknowledged: held.max(before.acknowledged), ..before });
        Ok(store)
    }

    /// Lets a call fail, then stops and starts.
    fn fail(&mut self, mut store: DiskStore, random: &mut ChaCha8Rng) -> Result<DiskStore, String> {
        let kind = if random.next_u32().is_multiple_of(2) { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
        let fault = Fault { after: u64::from(random.next_u32() % 6), kind, lasting: random.next_u32().is_multiple_of(2) };
        self.disk.set_fault(Some(fault));
        for _ in 0..4 {
            if self.append(&mut store, random).is_err() || self.sync(&mut store).is_err() {
                break;
            }
        }
        std::mem::forget(store);
        self.disk.set_fault(None);
        self.start()
    }

    fn cut_last(&self) {
        use nodespace_store::disk::Disk;
        let names = self.disk.list("journal").unwrap_or_default();
        if let Some(name) = names.iter().rfind(|name| name.ends_with(".journal"))
            && let Ok(file) = self.disk.open(&format!("journal/{name}"))
        {
            file.set_size(80).ok();
            names.iter().filter(|name| name.ends_with(".idx")).for_each(|name| drop(self.disk.remove(&format!("journal/{name}"))));
        }
    }
}

/// A record with some `bytes` of payload that do not compress.
pub(crate) fn record(random: &mut ChaCha8Rng, bytes: u32, seq: u64) -> Record {
    let log = LogId { device: DeviceId([random.next_u32() as u8; 32]), epoch: 1 };
    if random.next_u32().is_multiple_of(4) {
        let mut signature = [0; 64];
        random.fill_bytes(&mut signature);
        return Record::Signature { log, seq, hash: OpHash([seq as u8; 32]), signature: Signature(signature) };
    }
    let payload: Arc<[u8]> = noise(random, bytes).into();
    let header = Header {
        log,
        seq,
        previous: (seq > 1).then_some(OpHash([3; 32])),
        node: Some(NodeId::Uuid(uuid::Uuid::from_u128(seq.into()))),
        kind: OpType::Update,
        timestamp: Timestamp::from_ms(seq),
        version: seq,
        parent_version: None,
        parents: [].into_iter().collect(),
        cut: None,
        payload: BlobRef { hash: payload_hash(&payload), len: payload.len() as u32, encryption: 0 },
        attachment: None,
    };
    Record::Op(Arc::new(Op::new(&WORKSPACE, header, payload, None)))
}

/// Up to `max` random bytes, never none.
fn noise(random: &mut ChaCha8Rng, max: u32) -> Vec<u8> {
    let mut bytes = vec![0; 8 + (random.next_u32() % max) as usize];
    random.fill_bytes(&mut bytes);
    bytes
}

fn save(store: &mut DiskStore, records: u64, nodes: Vec<(NodeId, Vec<u8>)>, part: Vec<u8>) -> Result<(), StoreError> {
    store.sync()?;
    let nodes = nodes.into_iter().map(|(id, bytes)| (id, bytes.into())).collect();
    store.saver().save(Checkpoint { records, whole: false, nodes, parts: vec![(PartKey(0), part)] })
}

/// The records and the part of a store's checkpoint.
pub(crate) fn checkpoint_of(store: &DiskStore) -> Result<Option<(u64, Vec<u8>)>, String> {
    let Some(records) = store.checkpoint().map_err(|error| error.to_string())? else { return Ok(None) };
    let mut found = Vec::new();
    store.parts(&mut |_, bytes| found = bytes.to_vec()).map_err(|error| error.to_string())?;
    Ok(Some((records, found)))
}

pub(crate) fn replayed(store: &DiskStore) -> Result<Vec<Record>, StoreError> {
    let mut records = Vec::new();
    let mut push = |record| {
        records.push(record);
        ControlFlow::Continue(())
    };
    store.replay(0, &mut push)?;
    Ok(records)
}
