//! From bytes to state: ingesting streams of segments, on the fast path and on the general one.
//!
//! Not a criterion benchmark: each figure needs a replica built for it, and some take seconds. Instead, the fastest of a few rounds: what else runs on the machine only ever
//! adds.
//!
//! 1. *Stream*: one author's segments from memory, decoded, verified, stored and folded into an empty replica; beside it, in turns,
//!    BLAKE3 and CBOR decoding of the same headers and payloads and nothing else.
//! 2. *Concurrent*: two authors on the same nodes, long apart or in turns.
//! 3. *Meeting*: an operation that follows 1 to 16 heads.
//! 4. *Late*: a node with a long history, an operation that branches off 1 to 10,000 operations back.
//! 5. *Crowd*: many devices insert at one place.
//! 6. *Restart*: opening from a checkpoint and from operations alone.
#![allow(clippy::print_stdout, clippy::disallowed_methods, clippy::disallowed_types, reason = "a benchmark reads the clock and prints")]

#[path = "support/workspace.rs"]
mod workspace;

use std::hint::black_box;
use std::time::Duration;

use nodespace_protocol::crypto::Domain;
use nodespace_protocol::ids::WorkspaceId;
use nodespace_protocol::op::segment::Position;
use nodespace_protocol::op::{Op, OpType, Payload, Segment};
use nodespace_protocol::replica::{NewNode, Replica};
use nodespace_protocol::store::{MemoryStore, OpIndex, Store as _};
use nodespace_protocol::text::TextPatch;
use workspace::{Device, Dice, Parent, Scribe, at, author, founded, insert, joined, key, lacking, late, node, segments, timed};

/// Characters of an update.
const UPDATE_CHARS: usize = 60;
/// Rounds of each measurement; the fastest counts.
const ROUNDS: usize = 5;

fn main() {
    let quick = workspace::quick();
    let only: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| only.is_empty() || only.iter().any(|argument| argument == name);
    if wanted("stream") {
        stream_table(quick);
    }
    if wanted("concurrent") {
        concurrent_table(quick);
    }
    if wanted("meeting") {
        meeting_table(quick);
    }
    if wanted("late") {
        late_tables(quick);
    }
    if wanted("crowd") {
        crowd_table(quick);
    }
    if wanted("restart") {
        restart_table(quick);
    }
}

fn fastest(times: impl IntoIterator<Item = Duration>) -> Duration {
    times.into_iter().min().unwrap_or_default()
}

fn per_op(time: Duration, ops: u64) -> String {
    format!("{:.2} us", time.as_secs_f64() * 1e6 / ops as f64)
}

fn rate(time: Duration, ops: u64) -> String {
    format!("{:.0}k ops/s", ops as f64 / time.as_secs_f64() / 1e3)
}

/// A replica without a key, of the workspace of another.
fn empty(workspace: WorkspaceId) -> Device {
    Replica::open(workspace, MemoryStore::new(), None, late()).expect("an empty store opens")
}

/// Takes a segment that has all it builds on.
fn take(replica: &mut Device, segment: &Segment) {
    let ingested = replica.ingest(segment, late()).expect("an honest segment");
    assert!(ingested.waiting == 0, "in order, nothing waits");
}

// ---- 1. stream

/// In which order nodes are updated.
#[derive(Clone, Copy)]
enum Order {
    /// Another random node each time.
    Random,
    /// Ten in a row on one node.
    Runs,
}

/// Creates of so many nodes, then updates of 60 characters at the end of their texts.
fn written(nodes: u64, updates: u64, order: Order) -> Device {
    let mut dice = Dice(42);
    let mut replica = founded(1);
    for n in 0..nodes {
        let parent = (n > 0).then(|| node(n / 5));
        replica.create(at(1_000 + n), NewNode::text(node(n), parent, "")).expect("a new id");
    }
    let mut chosen = 0;
    for n in 0..updates {
        if matches!(order, Order::Random) || n.is_multiple_of(10) {
            chosen = dice.below(nodes);
        }
        append(&mut replica, chosen, 1_000_000 + n * 1_300, &mut dice);
    }
    replica.commit().expect("memory does not fail");
    replica
}

/// Types 60 characters at the end of a node's text.
fn append(replica: &mut Device, n: u64, ms: u64, dice: &mut Dice) {
    let id = node(n);
    let chars = replica.node(&id).expect("the store is whole").expect("it was made").content_chars();
    replica.edit_text(at(ms), &id, vec![TextPatch::new(chars, 0, dice.words(UPDATE_CHARS))]).expect("at the end");
}

/// All a replica holds, as its peers would receive it.
fn encoded(replica: &Device) -> Vec<Vec<u8>> {
    let ranges = lacking(replica, &empty(replica.workspace()));
    ranges.iter().flat_map(|range| segments(replica, range)).map(|segment| segment.encode()).collect()
}

/// Decode, verify, store, fold.
fn ingest_bytes(workspace: WorkspaceId, stream: &[Vec<u8>]) -> Device {
    let mut replica = empty(workspace);
    for bytes in stream {
        let segment = Segment::decode(bytes).expect("our own bytes");
        replica.ingest(&segment, late()).expect("our own segment");
    }
    replica.commit().expect("memory does not fail");
    replica
}

/// The headers and payloads of everything held, encoded.
fn raw(replica: &Device) -> Vec<(OpType, Vec<u8>, Vec<u8>)> {
    let workspace = replica.workspace();
    let op = |index| replica.store().op(OpIndex(index)).expect("held");
    let ops = (0..replica.store().op_count()).map(op);
    ops.map(|op| (op.header.kind, op.header.encode(&workspace), op.payload.to_vec())).collect()
}

/// The floor: every header and payload hashed and its CBOR read, nothing checked or kept.
fn hash_and_decode(raw: &[(OpType, Vec<u8>, Vec<u8>)]) {
    for (kind, header, payload) in raw {
        black_box(Domain::Header.hash(header));
        black_box(Domain::Payload.hash(payload));
        black_box(read_header(header).expect("our own header"));
        black_box(Payload::decode(*kind, payload).expect("our own payload"));
    }
}

/// A header's fields as they stand, without the rules that [`nodespace_protocol::op::Header::decode`] checks.
fn read_header(bytes: &[u8]) -> Result<(u64, [u8; 32], u64), minicbor::decode::Error> {
    let mut d = minicbor::Decoder::new(bytes);
    let items = d.array()?.unwrap_or_default();
    let (mut sum, mut last) = (0_u64, [0; 32]);
    for _ in 0..items {
        match d.datatype()? {
            minicbor::data::Type::Bytes => {
                let bytes = d.bytes()?;
                let len = bytes.len().min(32);
                last[..len].copy_from_slice(&bytes[..len]);
            }
            minicbor::data::Type::Null => d.null()?,
            minicbor::data::Type::Array => {
                for _ in 0..d.array()?.unwrap_or_default() {
                    d.skip()?;
                }
            }
            minicbor::data::Type::String => sum += d.str()?.len() as u64,
            _ => sum = sum.wrapping_add(d.u64()?),
        }
    }
    Ok((items, last, sum))
}

fn stream_table(quick: bool) {
    let (nodes, updates) = if quick { (1_000, 10_000) } else { (10_000, 100_000) };
    println!("\n### Fast path: one author's stream, {nodes} creates and {updates} updates of {UPDATE_CHARS} characters, segments of 512\n");
    println!("| Updates | decode segments | + hash and verify | + store and fold | rate | BLAKE3 and CBOR alone | ratio |");
    println!("|---|---|---|---|---|---|---|");
    for (name, order) in [("another random node each time", Order::Random), ("runs of ten on a node", Order::Runs)] {
        let source = written(nodes, updates, order);
        let (stream, raw) = (encoded(&source), raw(&source));
        let ops = u64::from(source.store().op_count());
        let mut times: [Vec<Duration>; 4] = Default::default();
        for _ in 0..ROUNDS {
            times[0].push(timed(|| stream.iter().for_each(|bytes| drop(Segment::decode(black_box(bytes))))).0);
            times[1].push(timed(|| verify_all(&source, &stream)).0);
            let (time, replica) = timed(|| ingest_bytes(source.workspace(), &stream));
            times[2].push(time);
            drop(replica);
            times[3].push(timed(|| hash_and_decode(&raw)).0);
        }
        let [decode, verify, all, floor] = times.map(fastest);
        let mut replica = ingest_bytes(source.workspace(), &stream);
        let mut source = source;
        assert!(replica.state_digest() == source.state_digest(), "the stream makes another state");
        println!(
            "| {name} | {} | {} | {} | **{}** | {} | **{:.2}x** |",
            per_op(decode, ops),
            per_op(verify, ops),
            per_op(all, ops),
            rate(all, ops),
            per_op(floor, ops),
            all.as_secs_f64() / floor.as_secs_f64(),
        );
    }
}

/// Decode, hash, check signatures; nothing kept.
fn verify_all(source: &Device, stream: &[Vec<u8>]) {
    let unknown = |_: &Position| None;
    let mut previous = None;
    for bytes in stream {
        let segment = Segment::decode(bytes).expect("our own bytes");
        let ops: Vec<Op> = segment.verify(&source.workspace(), previous, &unknown).expect("our own signature");
        previous = ops.last().map(|op| op.hash);
    }
}

// ---- 2. concurrent

/// Two authors on the same nodes.
struct Pair {
    /// Holds the nodes and nothing else.
    base: Device,
    /// What both wrote, in the order a third one hears of it.
    stream: Vec<Vec<Segment>>,
    digest: [u8; 32],
}

/// Each of two devices updates every node once a round. They exchange after each round, or once at the end.
fn pair(nodes: u64, rounds: u64, exchange_each: bool) -> Pair {
    let mut a = founded(2);
    for n in 0..nodes {
        a.create(at(1_000 + n), NewNode::text(node(n), None, "")).expect("a new id");
    }
    a.commit().expect("memory does not fail");
    let mut b = joined(&a, 1);
    let base = joined(&a, 0);
    let mut dice = Dice(42);
    let mut stream: Vec<Vec<Segment>> = Vec::new();
    for round in 0..rounds {
        for n in 0..nodes {
            append(&mut a, n, 1_000_000 + round * 100_000 + n, &mut dice);
            append(&mut b, n, 1_000_000 + round * 100_000 + n, &mut dice);
        }
        a.commit().expect("memory does not fail");
        b.commit().expect("memory does not fail");
        if exchange_each || round + 1 == rounds {
            let ours: Vec<Segment> = lacking(&a, &b).iter().flat_map(|range| segments(&a, range)).collect();
            let theirs: Vec<Segment> = lacking(&b, &a).iter().flat_map(|range| segments(&b, range)).collect();
            workspace::ingest_all(&mut b, vec![ours.clone()]);
            workspace::ingest_all(&mut a, vec![theirs.clone()]);
            stream.extend([ours, theirs]);
        }
    }
    let digest = a.state_digest();
    assert!(digest == b.state_digest(), "states differ");
    Pair { base, stream, digest }
}

fn concurrent_table(quick: bool) {
    println!("\n### General path: two authors on the same nodes, one update of {UPDATE_CHARS} characters each, of every node, a round\n");
    println!("| Exchange | nodes | rounds | ops | time | an op | rate |");
    println!("|---|---|---|---|---|---|---|");
    let all = if quick { 2_000 } else { 20_000 };
    for (name, exchange_each, rounds) in [
        ("at the end", false, 10),
        ("each round", true, 10),
        ("each round", true, 100),
        ("each round", true, if quick { 200 } else { 1_000 }),
    ] {
        let nodes = all / rounds;
        let pair = pair(nodes, rounds, exchange_each);
        let ops = 2 * all;
        let times = (0..if rounds > 100 { 1 } else { 3 }).map(|_| {
            let mut reader = workspace::reopened(&pair.base, 0);
            let time = timed(|| pair.stream.iter().flatten().for_each(|segment| take(&mut reader, segment))).0;
            assert!(reader.state_digest() == pair.digest, "states differ");
            time
        });
        let time = fastest(times);
        println!(
            "| {name} | {nodes} | {rounds} | {ops} | {:.0} ms | {} | {} |",
            time.as_secs_f64() * 1e3,
            per_op(time, ops),
            rate(time, ops)
        );
    }
}

// ---- 3. meeting

fn meeting_table(quick: bool) {
    let nodes = if quick { 50 } else { 500 };
    println!("\n### An operation that follows several heads ({nodes} nodes of 600 characters, one operation each, one segment)\n");
    println!("| heads | the heads, each | the operation that meets them |");
    println!("|---|---|---|");
    let mut base = founded(18);
    for n in 0..nodes {
        base.create(at(1_000 + n), NewNode::text(node(n), None, Dice(n + 1).words(600))).expect("a new id");
    }
    base.commit().expect("memory does not fail");
    for heads in [1, 2, 4, 8, 16] {
        let (mut apart, mut met) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (one, two) = meeting(&base, nodes, heads);
            apart.push(one);
            met.push(two);
        }
        println!("| {heads} | {} | {} |", per_op(fastest(apart), nodes * u64::from(heads)), per_op(fastest(met), nodes));
    }
}

/// Times for `heads` concurrent updates of every node, and for the operations that follow them all.
fn meeting(base: &Device, nodes: u64, heads: u32) -> (Duration, Duration) {
    let mut parents: Vec<Vec<Parent>> = vec![Vec::new(); nodes as usize];
    let mut parts: Vec<Segment> = Vec::new();
    for device in 1..=heads {
        let mut scribe = Scribe::new(base, device);
        for n in 0..nodes {
            let head = Parent::head(base, &node(n));
            let text = Dice(u64::from(device)).words(UPDATE_CHARS);
            parents[n as usize].push(scribe.update(&node(n), &[head], &insert(30 * device, &text)));
        }
        parts.push(scribe.segment());
    }
    let mut scribe = Scribe::new(base, 17);
    for n in 0..nodes {
        scribe.update(&node(n), &parents[n as usize], &insert(5, "met"));
    }
    let meeting = scribe.segment();
    let mut reader = workspace::reopened(base, 0);
    let apart = timed(|| parts.iter().for_each(|segment| take(&mut reader, segment))).0;
    let met = timed(|| reader.ingest(&meeting, late()).expect("all parents are there"));
    assert!(met.1.waiting == 0 && reader.node(&node(0)).expect("the store is whole").expect("it is there").heads().len() == 1);
    (apart, met.0)
}

// ---- 4. late

/// One node with a chain of so many updates by device 0, and all of them as parents to branch off from.
fn chained(history: u64) -> (Device, Vec<Parent>) {
    let mut replica = founded(2);
    replica.create(at(1_000), NewNode::text(node(0), None, "")).expect("a new id");
    let mut chain = vec![Parent::head(&replica, &node(0))];
    let mut dice = Dice(42);
    for n in 0..history {
        let chars = replica.node(&node(0)).expect("the store is whole").expect("it was made").content_chars();
        let position = dice.below(u64::from(chars) + 1) as u32;
        let patch = TextPatch::new(position, 0, dice.words(10));
        let hash = replica.edit_text(at(2_000 + n), &node(0), vec![patch]).expect("within the text");
        let op = replica.op(&hash).expect("memory does not fail").expect("just written");
        chain.push(Parent::of(&op));
    }
    replica.commit().expect("memory does not fail");
    (replica, chain)
}

/// Times for a first operation that branches off `back` operations before the end, a second that follows it, and one that meets both.
fn branching(base: &Device, chain: &[Parent], back: usize) -> [Duration; 3] {
    let mut scribe = Scribe::new(base, 1);
    let first = scribe.update(&node(0), &[chain[chain.len() - 1 - back]], &insert(0, "late"));
    let one = scribe.segment();
    let second = scribe.update(&node(0), &[first], &insert(4, " and on"));
    let two = scribe.segment();
    scribe.update(&node(0), &[second, chain[chain.len() - 1]], &insert(0, "met "));
    let three = scribe.segment();
    let mut reader = workspace::reopened(base, 0);
    [one, two, three].map(|segment| {
        let (time, ingested) = timed(|| reader.ingest(&segment, late()).expect("in order"));
        assert!(ingested.stored == 1 && ingested.waiting == 0);
        time
    })
}

fn late_tables(quick: bool) {
    let signature = signature_time();
    println!("\n### A late operation on a node with a long history (single segments; each includes one signature, {signature:.0} us)\n");
    println!(
        "| history | concurrent with | first that branches off | a second after it | one that meets both | first, for each concurrent |"
    );
    println!("|---|---|---|---|---|---|");
    let long = if quick { 2_000 } else { 10_000 };
    let mut cases: Vec<(u64, usize)> =
        [1, 10, 100, 1_000, 10_000].iter().filter(|back| **back <= long as usize).map(|back| (long, *back)).collect();
    cases.extend([(100, 100), (1_000, 100)]);
    if !quick {
        cases.extend([(100_000, 100), (100_000, 1)]);
    }
    let mut built: Option<(u64, Device, Vec<Parent>)> = None;
    for (history, back) in cases {
        if built.as_ref().is_none_or(|(known, ..)| *known != history) {
            let (base, chain) = chained(history);
            built = Some((history, base, chain));
        }
        let (_, base, chain) = built.as_ref().expect("just built");
        let rounds: Vec<[Duration; 3]> = (0..ROUNDS).map(|_| branching(base, chain, back)).collect();
        let [one, two, three] = [0, 1, 2].map(|step| fastest(rounds.iter().map(|round| round[step])).as_secs_f64() * 1e6);
        println!("| {history} | {back} | {one:.0} us | {two:.0} us | {three:.0} us | {:.2} us |", (one - signature) / back as f64);
    }
}

/// What one strict signature check costs here, in microseconds.
fn signature_time() -> f64 {
    use nodespace_protocol::crypto::{Purpose, verify};
    let signature = key(1).sign(Purpose::Operation, &[&[5; 32]]);
    let public = key(1).public();
    let check = |_| timed(|| verify(&public, Purpose::Operation, &[&[5; 32]], black_box(&signature))).0;
    fastest((0..200).map(check)).as_secs_f64() * 1e6
}

// ---- 5. crowd

fn crowd_table(quick: bool) {
    println!("\n### A crowd: every device inserts at the start of one text, unaware of the others\n");
    println!("| devices | all of it | of this, signatures | the rest, a device | adding the devices to the workspace |");
    println!("|---|---|---|---|---|");
    let signature = signature_time();
    for devices in if quick { vec![100] } else { vec![250, 500, 1_000] } {
        let (setup, mut base) = timed(|| founded(devices + 1));
        base.create(at(1_000), NewNode::text(node(0), None, "")).expect("a new id");
        base.commit().expect("memory does not fail");
        let head = Parent::head(&base, &node(0));
        let write = |device| {
            let mut scribe = Scribe::new(&base, device);
            scribe.update(&node(0), &[head], &insert(0, "word "));
            scribe.segment()
        };
        let crowd: Vec<Segment> = (1..=devices).map(write).collect();
        // The base itself takes it: opening it again would judge the membership again.
        let (time, ()) = timed(|| crowd.iter().for_each(|segment| take(&mut base, segment)));
        let text = base.node(&node(0)).expect("the store is whole").expect("it is there").content_chars();
        assert!(text == devices * 5, "an insert was lost");
        let signatures = signature * f64::from(devices) / 1e3;
        let all = time.as_secs_f64() * 1e3;
        println!(
            "| {devices} | {all:.0} ms | {signatures:.0} ms | {:.0} us | {:.1} s |",
            (all - signatures) * 1e3 / f64::from(devices),
            setup.as_secs_f64()
        );
    }
}

// ---- 6. restart

fn restart_table(quick: bool) {
    let (nodes, updates) = if quick { (1_000, 10_000) } else { (10_000, 100_000) };
    println!("\n### A restart: {nodes} nodes, {updates} updates\n");
    println!("| From | time |");
    println!("|---|---|");
    let mut source = written(nodes, updates, Order::Random);
    println!("| operations alone | {:.0} ms |", opening_ms(&source));
    let (write, ()) = timed(|| source.checkpoint().expect("memory does not fail"));
    println!("| a checkpoint (no operation folded again) | {:.0} ms |", opening_ms(&source));
    println!("| (writing that checkpoint) | {:.0} ms |", write.as_secs_f64() * 1e3);
}

/// What opening the store of a replica takes.
fn opening_ms(source: &Device) -> f64 {
    let rounds = (0..3).map(|_| {
        let store = source.store().clone();
        timed(|| Replica::open(source.workspace(), store, Some(author(0)), late()).expect("the store is whole")).0
    });
    fastest(rounds).as_secs_f64() * 1e3
}
