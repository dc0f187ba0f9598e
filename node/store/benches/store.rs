//! What the store costs, beside what the disk costs: `cargo bench -p nodespace-store --profile sim`.
//!
//! Single edits are measured in turns with a bare append and `fdatasync` of the same number of bytes on the same disk, so that both
//! meet the same weather. `NODESPACE_BENCH_FOLDER` names the folder to work in (a real disk: `/tmp` may be memory).

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::crypto::Signature;
use nodespace_protocol::ids::{DeviceId, LogId, NodeId, OpHash, WorkspaceId};
use nodespace_protocol::op::{BlobRef, Header, Op, OpType, ParentRef, payload_hash};
use nodespace_protocol::store::{OpIndex, Record, Store};
use nodespace_store::{DiskStore, StoreOptions};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

type Outcome = Result<(), Box<dyn std::error::Error>>;

const WORKSPACE: WorkspaceId = WorkspaceId([7; 32]);
const SINGLE_EDITS: usize = 2000;
const OPS: u64 = 1_000_000;
const BATCH: u64 = 1000;
const READS: u32 = 100_000;

fn main() -> Outcome {
    let root = std::env::var_os("NODESPACE_BENCH_FOLDER").map_or_else(|| std::env::current_dir().unwrap_or_default(), Into::into);
    let folder = tempfile::tempdir_in(root)?;
    single_edits(&folder.path().join("single"))?;
    many_groups(&folder.path().join("groups"))?;
    million(&folder.path().join("million"))
}

/// One edit at a time, in turns with the bare disk.
fn single_edits(folder: &Path) -> Outcome {
    let mut store = DiskStore::open(folder, WORKSPACE, &StoreOptions::default())?;
    let mut bare = Bare { file: OpenOptions::new().create(true).append(true).open(folder.join("bare"))?, times: Vec::new() };
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut times = Vec::new();
    for seq in 1..=SINGLE_EDITS as u64 {
        let before = store.journal().size_bytes();
        let group = vec![op(&mut random, 1, seq), signature(seq)];
        let start = Instant::now();
        store.append(group)?;
        store.sync()?;
        times.push(start.elapsed());
        bare.append((store.journal().size_bytes() - before) as usize)?;
    }
    let bytes = store.journal().size_bytes() / SINGLE_EDITS as u64;
    say(&format!("one edit, durable ({bytes} bytes): {}", percentiles(&mut times)))?;
    say(&format!("bare append + fdatasync of as many bytes: {}", percentiles(&mut bare.times)))
}

struct Bare {
    file: File,
    times: Vec<Duration>,
}

impl Bare {
    fn append(&mut self, bytes: usize) -> io::Result<()> {
        let bytes = vec![0xa5; bytes];
        let start = Instant::now();
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.times.push(start.elapsed());
        Ok(())
    }
}

/// A thousand groups of one edit, one sync: what concurrent writers share.
fn many_groups(folder: &Path) -> Outcome {
    let mut store = DiskStore::open(folder, WORKSPACE, &StoreOptions::default())?;
    let mut random = ChaCha8Rng::seed_from_u64(2);
    let groups: Vec<Vec<Record>> = (1..=20 * BATCH).map(|seq| vec![op(&mut random, 1, seq), signature(seq)]).collect();
    let start = Instant::now();
    for batch in groups.chunks(BATCH as usize) {
        for group in batch {
            store.append(group.clone())?;
        }
        store.sync()?;
    }
    let rate = groups.len() as f64 / start.elapsed().as_secs_f64();
    say(&format!("groups of one edit, {BATCH} a sync: {rate:.0} groups/s"))
}

/// A million operations in groups of a thousand: writing, opening, reading.
fn million(folder: &Path) -> Outcome {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let mut store = DiskStore::open(folder, WORKSPACE, &StoreOptions::default())?;
    let (mut spent, mut raw) = (Duration::ZERO, 0_u64);
    for batch in 0..OPS / BATCH {
        let mut group: Vec<Record> = (0..BATCH).map(|at| op(&mut random, 1, batch * BATCH + at + 1)).collect();
        raw += group.iter().map(|record| if let Record::Op(op) = record { 280 + op.payload.len() as u64 } else { 0 }).sum::<u64>();
        group.push(signature((batch + 1) * BATCH));
        let start = Instant::now();
        store.append(group)?;
        store.sync()?;
        spent += start.elapsed();
    }
    let (journal, memory) = (store.journal().size_bytes(), store.journal().memory_bytes());
    let rate = OPS as f64 / spent.as_secs_f64();
    say(&format!("{OPS} operations, {BATCH} a group and sync: {rate:.0} ops/s, journal {} MB of {} MB", journal >> 20, raw >> 20))?;
    say(&format!("memory for finding them: {:.1} bytes an operation", memory as f64 / OPS as f64))?;
    drop(store);
    let store = opened(folder, "after a clean stop")?;
    reads(&store, &mut random)?;
    std::mem::forget(store);
    for name in std::fs::read_dir(folder.join("journal"))? {
        let path = name?.path();
        if path.extension().is_some_and(|extension| extension == "idx") {
            std::fs::remove_file(path)?;
        }
    }
    opened(folder, "without the lists of blocks")?;
    Ok(())
}

fn opened(folder: &Path, when: &str) -> Result<DiskStore, Box<dyn std::error::Error>> {
    let before = resident_bytes();
    let start = Instant::now();
    let store = DiskStore::open(folder, WORKSPACE, &StoreOptions::default())?;
    let took = start.elapsed();
    let grown = resident_bytes().saturating_sub(before) >> 20;
    say(&format!("open with {} operations {when}: {:.1} ms, memory +{grown} MiB", store.op_count(), took.as_secs_f64() * 1e3))?;
    Ok(store)
}

fn reads(store: &DiskStore, random: &mut ChaCha8Rng) -> Outcome {
    let mut times = Vec::new();
    let mut hashes = Vec::new();
    for _ in 0..READS {
        let index = OpIndex(random.next_u32() % store.op_count());
        let start = Instant::now();
        let op = store.op(index)?;
        times.push(start.elapsed());
        hashes.push(op.hash);
    }
    say(&format!("an operation by index, at random: {}", percentiles(&mut times)))?;
    let mut times = Vec::new();
    for at in 0..READS {
        let missing = OpHash([at as u8, (at >> 8) as u8, (at >> 16) as u8, 9, 8, 7, 6, 5].repeat(4).try_into().unwrap_or([1; 32]));
        let hash = if at % 2 == 0 { missing } else { hashes[at as usize] };
        let start = Instant::now();
        store.find(&hash)?;
        times.push(start.elapsed());
    }
    say(&format!("an operation by hash, half of them not there: {}", percentiles(&mut times)))?;
    let start = Instant::now();
    let mut count = 0_u64;
    store.replay(0, &mut |_| {
        count += 1;
        std::ops::ControlFlow::Continue(())
    })?;
    say(&format!("all {count} records in order: {:.0} records/s", count as f64 / start.elapsed().as_secs_f64()))
}

fn percentiles(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    format!("p50 {:.1} us, p99 {:.1} us", at(0.5), at(0.99))
}

/// An operation as a device writes it: its device, its parent, some 120 bytes of text.
fn op(random: &mut ChaCha8Rng, device: u8, seq: u64) -> Record {
    const WORDS: [&str; 12] = ["note", "about", "the", "river", "and", "its", "old", "bridge", "with", "seven", "stone", "arches "];
    let text: Vec<&str> = (0..20).map(|_| WORDS[random.next_u32() as usize % WORDS.len()]).collect();
    let payload: Arc<[u8]> = text.join(" ").into_bytes().into();
    let mut previous = [0; 32];
    random.fill_bytes(&mut previous);
    let header = Header {
        log: LogId { device: DeviceId([device; 32]), epoch: 1 },
        seq,
        previous: (seq > 1).then_some(OpHash(previous)),
        node: Some(NodeId::Uuid(uuid::Uuid::from_u128(u128::from(random.next_u64() % 100_000) << 64 | 7))),
        kind: OpType::Update,
        timestamp: Timestamp::from_ms(1_700_000_000_000 + seq),
        version: seq + 1,
        parent_version: (seq > 1).then_some(seq),
        parents: if seq > 1 { [ParentRef::Own(1)].into_iter().collect() } else { [].into_iter().collect() },
        cut: None,
        payload: BlobRef { hash: payload_hash(&payload), len: payload.len() as u32, encryption: 0 },
        attachment: None,
    };
    Record::Op(Arc::new(Op::new(&WORKSPACE, header, payload, None)))
}

fn signature(seq: u64) -> Record {
    let log = LogId { device: DeviceId([1; 32]), epoch: 1 };
    Record::Signature { log, seq, hash: OpHash([3; 32]), signature: Signature([seq as u8; 64]) }
}

/// This process's memory, where the system says it.
fn resident_bytes() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|text| text.split(' ').nth(1)?.parse::<u64>().ok()).unwrap_or(0) * 4096
}

fn say(line: &str) -> Outcome {
    Ok(writeln!(io::stdout(), "{line}")?)
}
