//! Operations as bytes: what encoding, decoding and verifying cost, and how many bytes an operation takes on the wire.
//!
//! The byte tables say what they consist of, because an average hides whose workload it is: typing in runs is what people do, an
//! operation on another random node each time is the worst the form can meet.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark prints what it found, and reads its arguments")]

#[path = "support/workspace.rs"]
mod workspace;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group};
use nodespace_protocol::compress::{CompressionType, compress};
use nodespace_protocol::ids::{LogId, OpHash};
use nodespace_protocol::op::segment::{Position, WireOp};
use nodespace_protocol::op::{Header, Op, ParentRef, Payload, Segment};
use nodespace_protocol::replica::{LogRange, NewNode};
use nodespace_protocol::session::Message;
use nodespace_protocol::text::TextPatch;
use nodespace_protocol::tree::Position as Place;
use workspace::{Device, Dice, at, founded, lacking, late, node};

/// Characters of the update that gossip is measured by.
const UPDATE_CHARS: usize = 60;
/// Operations in a bulk segment.
const BULK_OPS: usize = 512;

/// Someone writes an outline: a new line, typed in bursts of 20 to 60 characters; now and then indented, moved up, marked as done.
fn outlining(replica: &mut Device, lines: u64, dice: &mut Dice) {
    let mut now = 1_000;
    for line in 0..lines {
        let id = node(line);
        let parent = (line > 0 && dice.below(3) > 0).then(|| node(line - 1 - dice.below(line.min(10))));
        now += 400 + dice.below(2_000);
        replica.create(at(now), NewNode::text(id.clone(), parent, "")).expect("a new id");
        for _ in 0..3 + dice.below(5) {
            now += 1_000 + dice.below(3_000);
            let chars = replica.node(&id).expect("the store is whole").expect("just made").content_chars();
            let length = 20 + dice.below(41) as usize;
            let typed = dice.words(length);
            replica.edit_text(at(now), &id, vec![TextPatch::new(chars, 0, typed)]).expect("at the end");
        }
        now += 500;
        match dice.below(10) {
            0 => drop(replica.move_node(at(now), &id, None, &Place::First).expect("to the top")),
            1 => drop(replica.patch_metadata(at(now), &id, serde_json::json!({ "done": true })).expect("an object")),
            _ => {}
        }
    }
    replica.commit().expect("memory does not fail");
}

/// Every operation is on another node, out of so many that hardly any is met twice in a segment, by somebody else each time.
fn scattered(nodes: u64, updates: u64, dice: &mut Dice) -> (Device, Device) {
    let mut first = founded(2);
    for n in 0..nodes {
        first.create(at(1_000 + n), NewNode::text(node(n), None, "")).expect("a new id");
    }
    first.commit().expect("memory does not fail");
    let mut second = workspace::joined(&first, 1);
    let order: Vec<u64> = (0..updates).map(|_| dice.below(nodes)).collect();
    for (n, at_node) in (0..).zip(order) {
        let patch = TextPatch::new(0, 0, dice.words(UPDATE_CHARS));
        second.edit_text(at(1_000_000 + n * 1_700), &node(at_node), vec![patch]).expect("at the start");
    }
    second.commit().expect("memory does not fail");
    (first, second)
}

/// The content of an operation: the characters typed, titles and metadata a person would recognise; not their framing.
fn content_bytes(op: &WireOp) -> usize {
    use nodespace_protocol::delta::TextChange;
    let payload = Payload::decode(op.kind, &op.payload).expect("our own payload");
    let text = match &payload.text {
        Some(TextChange::Replace(text)) => text.len(),
        Some(TextChange::Edits(patches)) => patches.iter().map(|patch| patch.insert.len()).sum(),
        None => 0,
    };
    text + payload.metadata.map_or(0, |value| value.to_string().len())
}

/// What a run of operations takes, part by part.
#[derive(Default)]
struct Bytes {
    ops: usize,
    all: usize,
    content: usize,
    payload_framing: usize,
    compressed: usize,
}

impl Bytes {
    fn of(segments: &[Segment]) -> Self {
        let mut bytes = Self::default();
        let mut joined = Vec::new();
        for segment in segments {
            bytes.ops += segment.ops.len();
            bytes.content += segment.ops.iter().map(content_bytes).sum::<usize>();
            bytes.payload_framing += segment.ops.iter().map(|op| op.payload.len() - content_bytes(op)).sum::<usize>();
            segment.encode_into(&mut joined);
        }
        bytes.all = joined.len();
        bytes.compressed = compress(&joined, CompressionType::Zstd).expect("memory suffices").len();
        bytes
    }

    fn row(&self, name: &str) {
        let each = |bytes: usize| bytes as f64 / self.ops as f64;
        let over = self.all - self.content;
        println!(
            "| {name} | {} | {:.1} | {:.1} | **{:.1}** | {:.1} | {:.1} | {:.1} |",
            self.ops,
            each(self.all),
            each(self.content),
            each(over),
            each(over - self.payload_framing),
            each(self.payload_framing),
            each(self.compressed),
        );
    }
}

fn bulk(replica: &Device, log: LogId, positions: bool) -> Vec<Segment> {
    let last = replica.logs().get(&log).expect("a log").last_seq();
    let mut range = LogRange { log, branch: 0, after: 0, through: last };
    let known = |_: &LogId| if positions { u64::MAX } else { 0 };
    let mut segments = Vec::new();
    while let Some(segment) = replica.segment(&range, true, &known).expect("memory does not fail") {
        range.after = segment.last_seq();
        segments.push(segment);
    }
    segments
}

fn gossip_row(name: &str, segment: &Segment) {
    let op = &segment.ops[0];
    let (all, content) = (segment.encode().len(), content_bytes(op));
    let frame = Message::Segments(vec![segment.clone()]).encode().len();
    let wrapper = 1 + 32 + 4 + 8 + 1 + 1 + 64;
    println!(
        "| {name} | {all} | {content} | **{}** | {wrapper} | {} | {} | {frame} |",
        all - content,
        all - op.payload.len() - wrapper,
        op.payload.len() - content,
    );
}

/// Segments of one operation: a 60-character update of a node, after one's own operation or somebody else's.
fn gossip_table(replica: &Device, other: &Device) {
    println!("\n### Gossip form of a {UPDATE_CHARS}-character update, bytes\n");
    println!("| Case | all | content | over content | log, key, signature | header fields | payload framing | as a frame |");
    println!("|---|---|---|---|---|---|---|---|");
    let gossip = |replica: &Device| {
        let log = replica.logs().get(&replica.own_log().expect("an author")).expect("a log");
        let last = log.branches()[0].last.expect("something was written");
        replica.gossip(&last).expect("memory does not fail").expect("our own operation")
    };
    let by_hash = |replica: &Device| {
        let log = replica.own_log().expect("an author");
        let last = replica.logs().get(&log).expect("a log").last_seq();
        let range = LogRange { log, branch: 0, after: last - 1, through: last };
        replica.segment(&range, true, &|_| 0).expect("memory does not fail").expect("one operation")
    };
    gossip_row("after an operation of one's own", &gossip(replica));
    gossip_row("after another's", &gossip(other));
    gossip_row("(the same with the parent's whole hash)", &by_hash(other));
}

fn byte_tables() -> (Device, Vec<Segment>) {
    let mut dice = Dice(42);
    let lines = if workspace::quick() { 2_000 } else { 20_000 };
    let mut outline = founded(1);
    outlining(&mut outline, lines, &mut dice);
    let log = outline.own_log().expect("an author");
    let outline_segments = bulk(&outline, log, true);
    let (first, second) = scattered(lines, lines, &mut dice);
    let scattered_log = second.own_log().expect("an author");
    let mut one = founded(1);
    one.create(at(1_000), NewNode::text(node(1), None, "")).expect("a new id");
    for n in 0..lines {
        let patch = TextPatch::new(n as u32 * UPDATE_CHARS as u32, 0, dice.words(UPDATE_CHARS));
        if n * UPDATE_CHARS as u64 > 20_000 {
            break;
        }
        one.edit_text(at(2_000 + n * 2_000), &node(1), vec![patch]).expect("at the end");
    }
    one.commit().expect("memory does not fail");

    println!("\n### Bulk form, bytes an operation (segments of up to {BULK_OPS}, before compression; last column zstd-1)\n");
    println!("| Workload | ops | all | content | over content | header fields and segment | payload framing | compressed |");
    println!("|---|---|---|---|---|---|---|---|");
    Bytes::of(&bulk(&one, one.own_log().expect("an author"), true)).row("typing in one node");
    Bytes::of(&outline_segments).row("writing an outline");
    Bytes::of(&bulk(&second, scattered_log, true)).row("worst: each on another's node at random, parents by position");
    Bytes::of(&bulk(&second, scattered_log, false)).row("worst of all: the same, parents by hash");
    gossip_table(&updated(one), &answering(&first));
    (outline, outline_segments)
}

/// Ends with a 60-character update of a node this device changed before, 100 operations later.
fn updated(mut replica: Device) -> Device {
    let mut dice = Dice(7);
    replica.create(at(1 << 30), NewNode::text(node(2), None, "")).expect("a new id");
    for n in 0..100 {
        replica.edit_text(at((1 << 30) + 10 + n), &node(1), vec![TextPatch::new(0, 0, "x")]).expect("at the start");
    }
    replica.edit_text(late(), &node(2), vec![TextPatch::new(0, 0, dice.words(UPDATE_CHARS))]).expect("at the start");
    replica.commit().expect("memory does not fail");
    replica
}

/// Another device that ends with a 60-character update of a node the first one made.
fn answering(first: &Device) -> Device {
    let mut second = workspace::joined(first, 1);
    for n in 0..100 {
        second.edit_text(at((1 << 30) + n), &node(2), vec![TextPatch::new(0, 0, "x")]).expect("at the start");
    }
    second.edit_text(late(), &node(3), vec![TextPatch::new(0, 0, Dice(9).words(UPDATE_CHARS))]).expect("at the start");
    second.commit().expect("memory does not fail");
    debug_assert!(!lacking(&second, first).is_empty());
    second
}

/// An operation in the middle of the outline that types 20 to 60 characters.
fn typed(replica: &Device, segments: &[Segment]) -> Op {
    let segment = &segments[1];
    let nth = segment.ops.iter().position(|op| op.payload.len() > 60).expect("typing is most of it");
    let log = replica.logs().get(&segment.log).expect("a log");
    let index = log.only(segment.first_seq + nth as u64).expect("held");
    use nodespace_protocol::store::Store as _;
    Op::clone(&replica.store().op(index).expect("held"))
}

fn codecs(criterion: &mut Criterion) {
    let (replica, segments) = byte_tables();
    let workspace = replica.workspace();
    let op = typed(&replica, &segments);
    let mut foreign = op.clone();
    foreign.header.parents = std::iter::once(ParentRef::Other(OpHash([3; 32]))).collect();
    let mut scratch = Vec::new();
    let mut group = criterion.benchmark_group("op");
    group.throughput(Throughput::Elements(1));
    for (name, header) in [("own parent", &op.header), ("other's parent", &foreign.header)] {
        let bytes = header.encode(&workspace);
        group.bench_function(format!("header encode and hash, {name}, {} B", bytes.len()), |bench| {
            bench.iter(|| black_box(header).hash(&workspace, &mut scratch));
        });
        group.bench_function(format!("header decode (strict), {name}"), |bench| bench.iter(|| Header::decode(black_box(&bytes))));
    }
    let payload = op.decode_payload().expect("our own payload");
    group.bench_function(format!("payload encode, {} B", op.payload.len()), |bench| bench.iter(|| black_box(&payload).encode()));
    group.bench_function("payload decode", |bench| bench.iter(|| Payload::decode(op.header.kind, black_box(&op.payload))));
    group.finish();
    segment_codecs(criterion, &replica, &segments[1]);
}

fn segment_codecs(criterion: &mut Criterion, replica: &Device, bulk: &Segment) {
    let workspace = replica.workspace();
    let log = replica.logs().get(&bulk.log).expect("a log");
    let previous = |segment: &Segment| -> Option<OpHash> {
        use nodespace_protocol::store::Store as _;
        let index = log.only(segment.first_seq - 1)?;
        replica.store().op(index).ok().map(|op| op.hash)
    };
    let range = LogRange { log: bulk.log, branch: 0, after: bulk.first_seq, through: bulk.first_seq + 1 };
    let single = replica.segment(&range, true, &|_| 0).expect("memory does not fail").expect("one operation");
    let unknown = |_: &Position| None;
    let mut group = criterion.benchmark_group("segment");
    for segment in [&single, bulk] {
        let count = segment.ops.len();
        let (bytes, before) = (segment.encode(), previous(segment));
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("encode/{count}"), |bench| bench.iter(|| black_box(segment).encode()));
        group.bench_function(format!("decode/{count}"), |bench| bench.iter(|| Segment::decode(black_box(&bytes))));
        segment.verify(&workspace, before, &unknown).expect("our own signature");
        group.bench_function(format!("verify/{count}"), |bench| {
            bench.iter(|| black_box(segment).verify(&workspace, before, &unknown));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(2)).warm_up_time(std::time::Duration::from_millis(500));
    targets = codecs
}

fn main() {
    benches();
    Criterion::default().configure_from_args().final_summary();
}
