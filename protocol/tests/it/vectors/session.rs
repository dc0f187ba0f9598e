//! Session messages.

use nodespace_protocol::crypto::Purpose;
use nodespace_protocol::ids::{OpHash, WorkspaceId};
use nodespace_protocol::log::Head;
use nodespace_protocol::log::frontier::FrontierEntry;
use nodespace_protocol::membership::certificate::join_proof;
use nodespace_protocol::op::{Op, OpType, Payload};
use nodespace_protocol::replica::{Ladder, LogClaim};
use nodespace_protocol::session::message::{ByeCode, Credential, Message, Range, RangeContent};

use super::{Case, check};
use crate::world::{Pen, at, certificate, invite_key, key, log, node, signed};

fn head(seq: u64) -> Head {
    Head { seq, hash: OpHash([seq as u8; 32]) }
}

const WORKSPACE: WorkspaceId = WorkspaceId([0xaa; 32]);

/// The first two operations of a log.
fn written() -> [Op; 2] {
    let mut pen = Pen { log: log(1), workspace: WORKSPACE, seq: 0, previous: None, timestamp: at(0), version: 0 };
    let op = pen.sign_off(Some(&node("page")), OpType::Update, Payload::default().encode(), &[], |header| {
        header.cut = Some([OpHash([1; 32])].into());
    });
    let next = pen.op(&node("page"), OpType::Update, &Payload::default(), &[&op]);
    [op, next]
}

fn greetings() -> Vec<(&'static str, Message)> {
    let certificate = certificate(1);
    let proof = join_proof(&invite_key(5), &WORKSPACE, &certificate);
    let claim = |op: Op| LogClaim { workspace: WORKSPACE, signature: key(1).sign(Purpose::Operation, &[&op.hash.0]), header: op.header };
    let claims = written().map(claim).to_vec();
    vec![
        ("hello", Message::Hello { versions: (1, 1), attachments: true, boot_nonce: 0x0102_0304_0506_0708, salt: [3; 16], tag: [4; 16] }),
        ("who are you", Message::WhoAreYou),
        ("credential: a join", Message::Credential(Credential::Join { invite: OpHash([6; 32]), certificate, proof })),
        ("credential: a device", Message::Credential(Credential::Device(certificate))),
        ("summary of nothing", Message::Summary { frontier: [0; 32], state: [0; 8], unfolded: 0 }),
        ("summary", Message::Summary { frontier: [1; 32], state: [2; 8], unfolded: 300 }),
        ("claims", Message::Claims(claims)),
    ]
}

fn comparisons() -> Vec<(&'static str, Message)> {
    let entries = vec![
        FrontierEntry { log: log(1), heads: vec![head(9)] },
        FrontierEntry { log: log(2), heads: Vec::new() },
        FrontierEntry { log: log(3), heads: vec![head(4), head(5)] },
    ];
    let ranges = vec![
        Range { from: log(1), to: Some(log(2)), content: RangeContent::Fingerprint([8; 16], 1_000) },
        Range { from: log(2), to: None, content: RangeContent::Entries(entries) },
    ];
    vec![
        ("frontier without ranges", Message::Frontier { reply: true, ranges: Vec::new() }),
        ("frontier", Message::Frontier { reply: false, ranges }),
        ("ladder", Message::Ladder { want: true, ladder: Ladder { log: log(1), rungs: vec![head(9), head(8), head(1)] } }),
        ("plan", Message::Plan { ops: 1_000_000, bytes: 1 << 40 }),
    ]
}

fn transfers() -> Vec<(&'static str, Message)> {
    let segments = written().map(|op| signed(&key(1), &[op]));
    vec![
        ("segments, not compressed", Message::Segments(segments[..1].to_vec())),
        ("no segments", Message::Segments(Vec::new())),
        ("ack", Message::Ack { frames: 3, frontier: [1; 32] }),
        ("done", Message::Done { frontier: [1; 32] }),
        ("bye", Message::Bye { code: ByeCode::Overload, reason: "zu viel 👋".into() }),
    ]
}

/// Compressed frames have no vector: what a compressor writes differs between its releases, and is neither hashed nor signed.
#[test]
fn messages_keep_their_bytes() {
    let cases: Vec<_> = greetings().into_iter().chain(comparisons()).chain(transfers()).collect();
    let case = |(name, message): &(&str, Message)| {
        let bytes = message.encode();
        assert_eq!(Message::decode(&bytes).as_ref(), Ok(message), "{name}");
        Case::new(*name, &bytes)
    };
    check("session", "Frames of a sync session, one for each message.", cases.iter().map(case).collect(), |case, bytes| {
        Message::decode(bytes).unwrap_or_else(|error| panic!("{}: {error}", case.name)).encode()
    });
}
