//! Small forms: quantised vectors, conflict ids, content deltas.

use nodespace_protocol::conflict::{Conflict, ConflictType, ResolutionStrategy};
use nodespace_protocol::delta::{ContentDelta, TextChange};
use nodespace_protocol::ids::OpHash;
use nodespace_protocol::text::TextPatch;
use nodespace_protocol::vector::QuantisedVector;

use super::{Case, check};

#[test]
fn quantised_vectors_keep_their_bytes() {
    let vectors: [(&str, Vec<f32>); 5] = [
        ("nothing", vec![]),
        ("zeros", vec![0.0, -0.0, 0.0]),
        ("halves", vec![1.0, -1.0, 0.5, -0.25, 0.004]),
        ("greatest", vec![f32::MAX, -f32::MAX, 1.0]),
        ("a wave", (0..32).map(|n| (n as f32 - 15.5) / 31.0).collect()),
    ];
    let cases = vectors.map(|(name, vector)| Case::new(name, &QuantisedVector::quantise(&vector).unwrap().to_bytes()));
    check(
        "vector",
        "Quantised embeddings: a 32-bit float scale, little endian, and a signed byte a dimension.",
        cases.to_vec(),
        |case, bytes| QuantisedVector::from_bytes(bytes).unwrap_or_else(|error| panic!("{}: {error}", case.name)).to_bytes(),
    );
}

#[test]
fn conflicts_keep_their_ids() {
    let fields = [
        (ConflictType::ConcurrentEdit, "content"),
        (ConflictType::StructuralConflict, "type"),
        (ConflictType::DeleteConflict, "life"),
        (ConflictType::MoveConflict, "place"),
        (ConflictType::MetadataConflict, "metadata/a~1b/c"),
    ];
    let cases = fields.map(|(kind, field)| {
        let participants = vec![OpHash([2; 32]), OpHash([1; 32]), OpHash([2; 32])];
        let conflict = Conflict::new(kind, field.into(), participants, ResolutionStrategy::UserChooses);
        Case::new(format!("{kind:?}"), field.as_bytes()).fact("type", kind as u8).fact("id", conflict.id)
    });
    check("conflict", "Conflict ids; the bytes are the field's, the participants [1; 32] and [2; 32].", cases.to_vec(), |_, bytes| {
        bytes.to_vec()
    });
}

#[test]
fn content_deltas_keep_their_text() {
    let edits = TextChange::Edits(vec![TextPatch::new(0, 1, "ü"), TextPatch::new(7, 0, "\"\\\n")]);
    let deltas = [
        ("lines", ContentDelta::lines("a\nb\nc", "a\nB\nc")),
        ("a replacement", ContentDelta::replace("new")),
        ("edits", ContentDelta::from(&edits)),
    ];
    let cases = deltas.map(|(name, delta)| Case::new(name, delta.to_json_text().as_bytes()).fact("text", delta.to_json_text()));
    check("delta", "Content deltas of the documented view; the bytes are those of the JSON text.", cases.to_vec(), |case, bytes| {
        let delta = ContentDelta::parse(std::str::from_utf8(bytes).unwrap()).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        delta.to_json_text().into_bytes()
    });
}
