//! Payloads: every type of operation, every field.

use nodespace_protocol::delta::TextChange;
use nodespace_protocol::ids::{ConflictId, OpHash};
use nodespace_protocol::op::{EmbeddingNote, OpType, Payload, Place, PlaceAnchor, payload_hash};
use nodespace_protocol::text::TextPatch;
use nodespace_protocol::tree::Side;
use serde_json::{Value, json};

use super::{Case, check};
use crate::world::node;

fn create(place: Place) -> Payload {
    Payload {
        text: Some(TextChange::Replace("Grüße, 世界 👋\n".into())),
        node_type: Some("text".into()),
        place: Some(place),
        ..Payload::default()
    }
}

fn place(anchor: PlaceAnchor, side: Side) -> Place {
    Place { parent: None, anchor, side }
}

fn metadata(value: Value) -> Payload {
    Payload { metadata: Some(value), ..Payload::default() }
}

fn update(text: TextChange) -> Payload {
    Payload { text: Some(text), ..Payload::default() }
}

fn note() -> EmbeddingNote {
    EmbeddingNote { model: "all-minilm-l6-v2".into(), dimension: 384, source: [5; 32] }
}

fn creations() -> Vec<(&'static str, OpType, Payload)> {
    let below = Place { parent: Some(node("2025-08-30")), anchor: PlaceAnchor::Own(3), side: Side::Right };
    let beside =
        Place { parent: Some(node("00000000-0000-0000-0000-000000000007")), anchor: PlaceAnchor::Other(OpHash([9; 32])), side: Side::Left };
    let everything = Payload {
        metadata: Some(json!({"done": false})),
        mentions_added: vec![node("2025-08-30"), node("00000000-0000-0000-0000-000000000007")],
        embedding: Some(note()),
        ..create(below.clone())
    };
    vec![
        ("create at the beginning", OpType::Create, create(place(PlaceAnchor::Start, Side::Right))),
        ("create below a date, after our own", OpType::Create, create(below)),
        ("create below a node, before another's", OpType::Create, create(beside)),
        ("create with everything", OpType::Create, everything),
    ]
}

fn updates() -> Vec<(&'static str, OpType, Payload)> {
    let edits = vec![TextPatch::new(0, 0, "a"), TextPatch::new(23, 24, ""), TextPatch::new(u32::MAX, u32::MAX, "ü")];
    let deep = (0..14).fold(json!(1), |inner, _| json!([inner]));
    let json = json!({"": null, "b": [1, -2, 2.5, "x", true], "a": {"z": u64::MAX, "y": i64::MIN}, "deep": deep});
    vec![
        ("update of nothing: restores", OpType::Update, Payload::default()),
        ("update with edits", OpType::Update, update(TextChange::Edits(edits))),
        ("update with no edits", OpType::Update, update(TextChange::Edits(Vec::new()))),
        ("update with a whole text", OpType::Update, update(TextChange::Replace(String::new()))),
        ("update of the type", OpType::Update, Payload { node_type: Some("task".into()), ..Payload::default() }),
        ("update with metadata", OpType::Update, metadata(json)),
        ("update adds mentions", OpType::Update, Payload { mentions_added: vec![node("b"), node("a")], ..Payload::default() }),
        ("update removes mentions", OpType::Update, Payload { mentions_removed: vec![node("b")], ..Payload::default() }),
        ("update settles conflicts", OpType::Update, Payload { resolves: vec![ConflictId([4; 32])], ..Payload::default() }),
        ("update with an embedding", OpType::Update, Payload { embedding: Some(note()), ..Payload::default() }),
    ]
}

fn others() -> Vec<(&'static str, OpType, Payload)> {
    let resolves = vec![ConflictId([4; 32]), ConflictId([3; 32])];
    let delete = |soft| Payload { soft_delete: Some(soft), ..Payload::default() };
    let moved = Payload { place: Some(place(PlaceAnchor::Own(1), Side::Left)), ..Payload::default() };
    vec![
        ("soft delete", OpType::Delete, delete(true)),
        ("hard delete that settles", OpType::Delete, Payload { resolves: resolves.clone(), ..delete(false) }),
        ("move", OpType::Move, moved.clone()),
        ("move that settles", OpType::Move, Payload { resolves: resolves.clone(), ..moved }),
        ("metadata", OpType::Metadata, metadata(json!({}))),
        ("metadata that settles", OpType::Metadata, Payload { resolves, ..metadata(json!({"a": null})) }),
    ]
}

#[test]
fn payloads_keep_their_bytes() {
    let cases: Vec<_> = creations().into_iter().chain(updates()).chain(others()).collect();
    let case = |(name, kind, payload): &(&str, OpType, Payload)| {
        let bytes = payload.encode();
        assert_eq!(Payload::decode(*kind, &bytes).as_ref(), Ok(payload), "{name}");
        let hash = nodespace_protocol::ids::hex(&payload_hash(&bytes));
        Case::new(*name, &bytes).fact("type", kind.code()).fact("hash", hash)
    };
    let about = "Payloads by type (0 create, 1 update, 2 delete, 3 move, 4 metadata; 5 workspace is in action.json).";
    check("payload", about, cases.iter().map(case).collect(), |case, bytes| {
        let kind = OpType::from_code(case.facts["type"].parse().unwrap()).unwrap();
        Payload::decode(kind, bytes).unwrap_or_else(|error| panic!("{}: {error}", case.name)).encode()
    });
}
