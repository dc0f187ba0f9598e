//! Segments and fork proofs, of logs written with known keys.

use nodespace_protocol::delta::TextChange;
use nodespace_protocol::ids::{NodeId, OpHash, WorkspaceId};
use nodespace_protocol::log::fork::{ForkProof, SignedChain};
use nodespace_protocol::op::segment::{PREFIX_BYTES, Position, Resolve, WireParent};
use nodespace_protocol::op::{Header, Op, OpType, Payload, Place, PlaceAnchor, Segment};
use nodespace_protocol::text::TextPatch;
use nodespace_protocol::tree::Side;

use super::{Case, check};
use crate::world::{Pen, at, attach, key, log, node, signed};

const WORKSPACE: WorkspaceId = WorkspaceId([0xaa; 32]);

fn pen(n: u8) -> Pen {
    Pen { log: log(n), workspace: WORKSPACE, seq: 0, previous: None, timestamp: at(0), version: 0 }
}

fn creation() -> Payload {
    Payload {
        text: Some(TextChange::Replace("hello".into())),
        node_type: Some("text".into()),
        place: Some(Place { parent: None, anchor: PlaceAnchor::Start, side: Side::Right }),
        ..Payload::default()
    }
}

fn typed(position: u32, text: &str) -> Payload {
    Payload { text: Some(TextChange::Edits(vec![TextPatch::new(position, 0, text)])), ..Payload::default() }
}

fn under(cut: &[OpHash]) -> impl FnOnce(&mut Header) {
    let cut = Some(cut.into());
    move |header| header.cut = cut
}

/// What the fourth case's parent by position stands for.
fn at_position() -> (Position, OpHash) {
    (Position { log: log(2), seq: 5 }, OpHash([0x55; 32]))
}

fn single() -> Segment {
    let op = pen(1).sign_off(Some(&node("2025-08-30")), OpType::Create, creation().encode(), &[], under(&[OpHash([1; 32])]));
    signed(&key(1), &[op])
}

/// Several nodes, named again by different distances; a counter; time that stands still and leaps.
fn run() -> Segment {
    let mut pen = pen(1);
    let uuid = NodeId::Uuid(uuid::Uuid::from_u128(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff));
    let first = pen.sign_off(Some(&uuid), OpType::Create, creation().encode(), &[], under(&[OpHash([1; 32]), OpHash([2; 32])]));
    let second = pen.op(&uuid, OpType::Update, &typed(5, "!"), &[&first]);
    pen.timestamp = at(60_000);
    let third = pen.op(&node("page"), OpType::Create, &creation(), &[]);
    pen.version += 1_000;
    let fourth = pen.op(&uuid, OpType::Update, &typed(0, "¡"), &[&second]);
    let fifth = pen.op(&uuid, OpType::Delete, &Payload { soft_delete: Some(true), ..Payload::default() }, &[&fourth]);
    let sixth = pen.op(&node("page"), OpType::Update, &typed(0, "x"), &[&third]);
    signed(&key(1), &[first, second, third, fourth, fifth, sixth])
}

/// Parents of all three kinds: own, by hash, by position.
fn parents() -> Segment {
    let mut pen = pen(1);
    let first = pen.sign_off(Some(&node("page")), OpType::Create, creation().encode(), &[], under(&[OpHash([1; 32])]));
    let foreign = |hash| Op { hash, header: Header { log: log(2), version: 40, ..first.header.clone() }, ..first.clone() };
    let (by_hash, by_position) = (foreign(OpHash([0x44; 32])), foreign(at_position().1));
    let second = pen.op(&node("other"), OpType::Create, &creation(), &[]);
    pen.version = 40;
    let third = pen.op(&node("page"), OpType::Update, &typed(0, "x"), &[&first, &by_hash, &by_position]);
    let mut segment = signed(&key(1), &[first, second, third]);
    for parent in &mut segment.ops[2].parents {
        if *parent == WireParent::Hash(at_position().1) {
            *parent = WireParent::At(at_position().0);
        }
    }
    segment
}

/// A fresh operation that names its parent by the beginning of its hash.
fn prefixed() -> Segment {
    let mut segment = parents();
    for parent in &mut segment.ops[2].parents {
        if *parent == WireParent::Hash(OpHash([0x44; 32])) {
            *parent = WireParent::Prefix([0x44; PREFIX_BYTES]);
        }
    }
    segment
}

/// What the vectors' reader is supposed to hold.
struct Held;

impl Resolve for Held {
    fn hash_at(&self, position: &Position) -> Option<OpHash> {
        (*position == at_position().0).then_some(at_position().1)
    }

    fn hash_like(&self, _node: Option<&NodeId>, prefix: &[u8; PREFIX_BYTES]) -> Option<OpHash> {
        (*prefix == [0x44; PREFIX_BYTES]).then_some(OpHash([0x44; 32]))
    }
}

fn attachments(kept: bool) -> Segment {
    let (blob, bytes) = attach(&[0x3f, 0x80, 0, 0, 127, 129]);
    let change = |header: &mut Header| {
        header.cut = Some([OpHash([1; 32])].into());
        header.attachment = Some(blob);
    };
    let op = pen(1).sign_off(Some(&node("page")), OpType::Create, creation().encode(), &[], change);
    let attachment = kept.then_some(bytes);
    signed(&key(1), &[Op { attachment, ..op }])
}

fn encrypted() -> Segment {
    let op = pen(1).sign_off(Some(&node("page")), OpType::Update, vec![0xc0, 0xde], &[], |header| {
        header.cut = Some([OpHash([1; 32])].into());
        header.payload.encryption = 3;
    });
    signed(&key(1), &[op])
}

/// Further on in a log: a previous hash, a workspace operation at the beginning, and one under the membership that it makes.
fn continued() -> Segment {
    let mut pen = pen(1);
    (pen.seq, pen.version) = (511, 600);
    pen.previous = Some(OpHash([0x77; 32]));
    let action = nodespace_protocol::membership::WorkspaceAction::SetName { name: "Garden".into() };
    let payload = Payload { action: Some(Box::new(action)), ..Payload::default() };
    let template = pen.clone().op(&node("page"), OpType::Create, &creation(), &[]);
    let head = Op { hash: OpHash([0x66; 32]), header: Header { log: log(2), version: 1, ..template.header.clone() }, ..template };
    let first = pen.sign_off(None, OpType::Workspace, payload.encode(), &[&head], |_| {});
    let second = pen.op(&node("page"), OpType::Create, &creation(), &[]);
    signed(&key(1), &[first, second])
}

fn segments() -> Vec<(&'static str, Segment)> {
    vec![
        ("one creation under a cut", single()),
        ("a run of six", run()),
        ("parents: own, by hash, by position", parents()),
        ("the same with a parent by the beginning of its hash", prefixed()),
        ("an attachment", attachments(true)),
        ("an attachment that was declined", attachments(false)),
        ("an encrypted payload", encrypted()),
        ("the 512th operation, which is on the workspace, and the next", continued()),
    ]
}

fn hashes(segment: &Segment) -> Vec<String> {
    let previous = (segment.first_seq > 1).then_some(OpHash([0x77; 32]));
    let ops = segment.verify(&WORKSPACE, previous, &Held).expect("vectors are authentic");
    ops.iter().map(|op| op.hash.to_string()).collect()
}

#[test]
fn segments_keep_their_bytes_and_hashes() {
    let case = |(name, segment): (&str, Segment)| Case::new(name, &segment.encode()).fact("hashes", hashes(&segment).join(" "));
    let about = "Segments by the device of seed [1; 32] in workspace [0xaa; 32]; where the first operation is not the log's first, the one \
                 before has the hash [0x77; 32]; position 5 of the log of seed [2; 32], epoch 0x01000002, has the hash [0x55; 32]; what is \
                 named by eight bytes 0x44 has the hash [0x44; 32]. `hashes` are the operations'.";
    check("segment", about, segments().into_iter().map(case).collect(), |case, bytes| {
        let segment = Segment::decode(bytes).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(hashes(&segment).join(" "), case.facts["hashes"], "{}", case.name);
        segment.encode()
    });
}

/// A fork proof is two chains of headers with a signature each; the headers are what has a form.
#[test]
fn fork_proofs_keep_their_bytes() {
    let chain = |texts: &[&str]| {
        let mut pen = pen(1);
        (pen.seq, pen.previous) = (2, Some(OpHash([0x77; 32])));
        let ops: Vec<Op> = texts.iter().map(|text| pen.op(&node(text), OpType::Create, &creation(), &[])).collect();
        let signature = signed(&key(1), &ops).signature;
        (ops[0].hash, SignedChain { headers: ops.into_iter().map(|op| op.header).collect(), signature })
    };
    let mut branches = [chain(&["left"]), chain(&["right", "right again"])];
    branches.sort_unstable_by_key(|(hash, _)| *hash);
    let proof = ForkProof { log: log(1), branches: branches.map(|(_, chain)| chain) };
    assert_eq!(proof.verify(&WORKSPACE), Ok(()));
    let mut cases = Vec::new();
    for (branch, chain) in proof.branches.iter().enumerate() {
        for (at, header) in chain.headers.iter().enumerate() {
            let signature = nodespace_protocol::ids::hex(&chain.signature.0);
            let case = Case::new(format!("branch {branch}, header {at}"), &header.encode(&WORKSPACE));
            cases.push(case.fact("branch", branch).fact("signature", signature));
        }
    }
    let about = "The headers of a fork proof of the device of seed [1; 32] in workspace [0xaa; 32]; `signature` is over the hash of the \
                 branch's last header.";
    check("fork", about, cases, |case, bytes| {
        let (workspace, header) = Header::decode(bytes).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        header.encode(&workspace)
    });
}
