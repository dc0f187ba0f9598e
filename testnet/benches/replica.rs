//! A large workspace on one device: how fast it comes in, how small it is at rest, how fast it opens, how much memory it takes.
//!
//! Everything over the store in memory, so that the figures are the replica's own. `--bench` runs it on a million operations of a
//! hundred thousand nodes, anything else on a hundredth of it.
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark reads the clock and prints")]

use std::time::Instant;

use nodespace_protocol::op::Segment;
use nodespace_protocol::replica::Replica;
use nodespace_protocol::store::{Checkpoint, MemoryStore, Store as _};
use nodespace_protocol::text::TextPatch;
use nodespace_testnet::generate::{Generator, Workload};

type Device = Replica<MemoryStore>;

/// Operations between two checkpoints while the workload comes in.
const CHECKPOINT_OPS: u64 = 50_000;
/// Replicas opened side by side to weigh one.
const WEIGHED: usize = 8;

fn main() {
    let whole = std::env::args().any(|argument| argument == "--bench");
    let workload = if whole { Workload::default() } else { Workload { ops: 10_000, nodes: 1_000, ..Workload::default() } };
    let generator = Generator::new(&workload).expect("the workload is one");
    println!("{workload:?}\n");
    let batches: Vec<Vec<Vec<u8>>> = generator.map(|batch| batch.segments).collect();
    let bytes: usize = batches.iter().flatten().map(Vec::len).sum();
    println!("| received | {:.1} MB, {:.0} bytes an operation |", mega(bytes), bytes as f64 / workload.ops as f64);
    let mut device = received(&workload, &batches, bytes);
    drop(batches);
    checkpoints(&mut device, &workload);
    opened(&device, &workload);
}

fn open(workload: &Workload, store: MemoryStore) -> Device {
    let generator = Generator::new(workload).expect("the workload is one");
    let author = generator.founder();
    Replica::open(generator.workspace(), store, Some(author), generator.now()).expect("the store is whole")
}

/// Takes the workload in, with checkpoints on the way.
fn received(workload: &Workload, batches: &[Vec<Vec<u8>>], bytes: usize) -> Device {
    let now = Generator::new(workload).expect("the workload is one").now();
    let mut device = open(workload, MemoryStore::new());
    let (mut ops, mut since, mut at_rest, mut longest) = (0_u64, 0_u64, 0, 0.0_f64);
    let start = busy();
    for segments in batches {
        for bytes in segments {
            let segment = Segment::decode(bytes).expect("a segment of the workload");
            let taken = device.ingest(&segment, now).expect("a segment of the workload is taken");
            (ops, since) = (ops + u64::from(taken.stored), since + u64::from(taken.stored));
        }
        device.commit().expect("memory does not fail");
        if since >= CHECKPOINT_OPS {
            since = 0;
            let (size, prepare, _) = checkpoint(&mut device);
            (at_rest, longest) = (at_rest + size.0 + size.1, longest.max(prepare));
        }
    }
    let seconds = busy() - start;
    println!("| taken in | {:.0} ops/s with {} checkpoints |", ops as f64 / seconds, workload.ops / CHECKPOINT_OPS);
    println!("| checkpoints on the way | {:.1} MB, {:.2} of the bytes received |", mega(at_rest), at_rest as f64 / bytes as f64);
    println!("| longest pause for one | {longest:.1} ms |");
    device
}

/// Makes a checkpoint; answers the bytes of nodes and of parts, and milliseconds of preparing and of the rest.
fn checkpoint(device: &mut Device) -> ((usize, usize), f64, f64) {
    let start = busy();
    let prepared = device.prepare_checkpoint().expect("memory does not fail").expect("none is being saved");
    let prepare = (busy() - start) * 1e3;
    let start = busy();
    let checkpoint = prepared.encode();
    let size = size_of(&checkpoint);
    device.store().saver().save(checkpoint).expect("memory does not fail");
    let rest = (busy() - start) * 1e3;
    device.finish_checkpoint(true);
    (size, prepare, rest)
}

fn size_of(checkpoint: &Checkpoint) -> (usize, usize) {
    (checkpoint.nodes.iter().map(|(_, bytes)| bytes.len()).sum(), checkpoint.parts.iter().map(|(_, bytes)| bytes.len()).sum())
}

/// What a checkpoint of everything and one of ten operations take.
fn checkpoints(device: &mut Device, workload: &Workload) {
    checkpoint(device);
    let mut few = Vec::new();
    let generator = Generator::new(workload).expect("the workload is one");
    for round in 0..20 {
        for n in 0..10 {
            let id = generator.node((round * 9_973 + n * 7_919) % workload.nodes);
            let edit = vec![TextPatch::new(0, 0, "a word ")];
            device.edit_text(generator.now(), &id, edit).expect("the founder may write");
        }
        device.commit().expect("memory does not fail");
        few.push(checkpoint(device));
    }
    few.sort_by(|a, b| a.1.total_cmp(&b.1));
    let (size, prepare, rest) = few[few.len() / 2];
    println!("| after ten edits | nodes {} bytes, parts {} bytes; {prepare:.2} ms, elsewhere {rest:.2} ms |", size.0, size.1);
    let anew = Replica::open_anew(generator.workspace(), device.store().clone(), Some(generator.founder()), generator.now());
    let mut anew = anew.expect("the store is whole");
    let (size, prepare, rest) = checkpoint(&mut anew);
    println!(
        "| all of it | nodes {:.1} MB, {} bytes each, parts {:.1} MB; {prepare:.0} ms, elsewhere {rest:.0} ms |",
        mega(size.0),
        size.0 as u64 / workload.nodes,
        mega(size.1)
    );
    assert!(anew.state_digest() == device.state_digest(), "folding anew gives another state");
}

/// Opening, memory, and a node by id.
fn opened(device: &Device, workload: &Workload) {
    let generator = Generator::new(workload).expect("the workload is one");
    let (mut times, mut grown, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..WEIGHED {
        let store = device.store().clone();
        let before = resident();
        let start = busy();
        let opened = open(workload, store);
        times.push((busy() - start) * 1e3);
        grown.push(resident().saturating_sub(before));
        kept.push(opened);
    }
    println!("| opened | {:.0} ms |", times.iter().copied().fold(f64::MAX, f64::min));
    // The first ones take up what the process had and did not use.
    let fresh = &grown[WEIGHED / 2..];
    println!("| memory, opened | {:.1} MB on average of {} |", mega(fresh.iter().sum::<usize>() / fresh.len()), fresh.len());
    let Some(opened) = kept.first_mut() else { return };
    let mut micros: Vec<f64> = (0..10_000)
        .map(|n| {
            let id = generator.node(n * 7_919 % workload.nodes);
            let start = Instant::now();
            opened.view(&id).expect("it is there");
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    micros.sort_by(f64::total_cmp);
    println!("| a node by id | p50 {:.1} us, p99 {:.1} us |", micros[micros.len() / 2], micros[micros.len() * 99 / 100]);
}

/// Seconds that this thread has kept a core busy, where the system tells (Linux): a shared machine's clock on the wall measures the
/// neighbours too. Elsewhere seconds by the wall.
fn busy() -> f64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok());
    nanos.map_or_else(|| START.get_or_init(Instant::now).elapsed().as_secs_f64(), |nanos| nanos / 1e9)
}

/// Bytes of memory that the process has, where the system tells (Linux).
fn resident() -> usize {
    const PAGE: usize = 4096;
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * PAGE
}

fn mega(bytes: usize) -> f64 {
    bytes as f64 / 1e6
}
