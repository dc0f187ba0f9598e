//! Properties of the wire forms.
//!
//! For segments, headers, payloads, session messages, tickets, device tickets and quantised vectors:
//!
//! 1. Round trip: what was encoded decodes to the same value.
//! 2. No panic: any bytes, and any damage to good bytes, give a value or a typed error.
//! 3. Truncation: no proper prefix of an encoding decodes.
//! 4. Trailing bytes: nothing decodes with something behind it.
//! 5. One encoding: whatever decodes encodes to the very same bytes.
//! 6. Tampering: with any one bit of a signed segment flipped it is refused, or waits, or says exactly the same.

use std::sync::Arc;

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::crypto::Signature;
use nodespace_protocol::delta::TextChange;
use nodespace_protocol::ids::{ConflictId, DeviceId, LogId, NodeId, OpHash, WorkspaceId, unhex};
use nodespace_protocol::membership::{DeviceTicket, DeviceWorkspace, Role, Ticket};
use nodespace_protocol::op::segment::{Position, WireOp, WireParent};
use nodespace_protocol::op::{BlobRef, EmbeddingNote, Header, OpType, Payload, Place, PlaceAnchor, Segment, attachment_hash};
use nodespace_protocol::replica::IngestError;
use nodespace_protocol::session::Message;
use nodespace_protocol::text::TextPatch;
use nodespace_protocol::tree::Side;
use nodespace_protocol::vector::QuantisedVector;
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

use crate::world::*;

fn hash() -> impl Strategy<Value = OpHash> {
    any::<[u8; 32]>().prop_map(OpHash)
}

fn log_id() -> impl Strategy<Value = LogId> {
    (0..4_u8, 1..3_u32).prop_map(|(device, epoch)| LogId { device: DeviceId([device; 32]), epoch })
}

fn node_id() -> impl Strategy<Value = NodeId> {
    prop_oneof![
        (0..6_u128).prop_map(|n| NodeId::Uuid(uuid::Uuid::from_u128(n))),
        (0..90_u32).prop_map(|n| node(&format!("node {n}"))),
        "[a-zé世0-9 ./-]{1,40}".prop_map(|text| node(&text)),
    ]
}

fn wire_parent() -> impl Strategy<Value = WireParent> {
    prop_oneof![
        (1..1_000_u64).prop_map(WireParent::Own),
        hash().prop_map(WireParent::Hash),
        any::<[u8; 8]>().prop_map(WireParent::Prefix),
        (log_id(), any::<u64>()).prop_map(|(log, seq)| WireParent::At(Position { log, seq })),
    ]
}

fn attachment() -> impl Strategy<Value = (BlobRef, Option<Arc<[u8]>>)> {
    (vec(any::<u8>(), 0..40), any::<bool>()).prop_map(|(bytes, kept)| {
        let blob = BlobRef { hash: attachment_hash(&bytes), len: bytes.len() as u32, encryption: 0 };
        (blob, kept.then(|| bytes.into()))
    })
}

prop_compose! {
    fn wire_op()(
        kind in 0..5_u8,
        node in node_id(),
        ms in 0..1_u64 << 48,
        counter in prop_oneof![Just(0), any::<u16>()],
        version in 1..u64::MAX,
        back in 1..u64::MAX,
        parents in vec(wire_parent(), 0..4),
        cut in option::weighted(0.2, vec(hash(), 0..3)),
        encryption in prop_oneof![Just(0), any::<u8>()],
        payload in vec(any::<u8>(), 0..60),
        attachment in option::weighted(0.2, attachment()),
    ) -> WireOp {
        WireOp {
            node: Some(node),
            kind: OpType::from_code(kind).unwrap(),
            timestamp: Timestamp(ms << 16 | u64::from(counter)),
            version,
            parent_version: (!parents.is_empty()).then(|| version.wrapping_sub(back)),
            parents: parents.into_iter().collect(),
            cut: cut.map(Vec::into_boxed_slice),
            encryption,
            payload: payload.into(),
            attachment,
        }
    }
}

prop_compose! {
    fn segment()(
        log in log_id(),
        first_seq in prop_oneof![Just(1), 2..u64::MAX - 10_000],
        prefix in any::<[u8; 8]>(),
        ops in vec(wire_op(), 1..40),
        // Runs of one node and of plain successions, which have short forms.
        repeats in vec((any::<prop::sample::Index>(), any::<bool>()), 0..20),
        signature in any::<[u8; 32]>(),
    ) -> Segment {
        let mut ops = ops;
        ops.iter_mut().skip(1).for_each(|op| op.cut = None);
        for (index, same) in repeats {
            let at = index.index(ops.len());
            if at > 0 && same {
                ops[at].node = ops[at - 1].node.clone();
            }
            ops[at].parents = [WireParent::Own(1)].into_iter().collect();
            ops[at].parent_version = Some(ops[at].version - 1);
        }
        let previous_prefix = if first_seq == 1 { [0; 8] } else { prefix };
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&signature);
        Segment { log, first_seq, previous_prefix, ops, signature: Signature(bytes) }
    }
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,30}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 8, |inner| {
        prop_oneof![vec(inner.clone(), 0..8).prop_map(Value::from), btree_map(".{0,8}", inner, 0..8).prop_map(object)]
    })
}

fn object(members: std::collections::BTreeMap<String, Value>) -> Value {
    Value::Object(members.into_iter().collect())
}

fn metadata() -> impl Strategy<Value = Value> {
    btree_map(".{0,8}", json(), 0..6).prop_map(object)
}

fn text_change() -> impl Strategy<Value = TextChange> {
    let patch =
        (any::<u32>(), any::<u32>(), ".{0,12}").prop_map(|(position, delete, insert)| TextPatch::new(position, delete, insert.as_str()));
    prop_oneof![".{0,200}".prop_map(TextChange::Replace), vec(patch, 0..12).prop_map(TextChange::Edits)]
}

fn place() -> impl Strategy<Value = Place> {
    let anchor = prop_oneof![Just(PlaceAnchor::Start), any::<u64>().prop_map(PlaceAnchor::Own), hash().prop_map(PlaceAnchor::Other)];
    (option::of(node_id()), anchor, any::<bool>()).prop_map(|(parent, anchor, right)| Place {
        parent,
        anchor,
        side: if right { Side::Right } else { Side::Left },
    })
}

fn note() -> impl Strategy<Value = EmbeddingNote> {
    ("[a-z0-9-]{1,40}", any::<u32>(), any::<[u8; 32]>()).prop_map(|(model, dimension, source)| EmbeddingNote { model, dimension, source })
}

fn payload() -> impl Strategy<Value = (OpType, Payload)> {
    let resolves = || vec(any::<[u8; 32]>().prop_map(ConflictId), 0..3);
    let update = (
        option::of(text_change()),
        option::of("[a-z]{1,20}"),
        option::of(metadata()),
        vec(node_id(), 0..4),
        option::of(note()),
        resolves(),
    )
        .prop_map(|(text, node_type, metadata, mentions, embedding, resolves)| {
            let mentions_removed = mentions.iter().take(1).cloned().collect();
            Payload { text, node_type, metadata, mentions_added: mentions, mentions_removed, embedding, resolves, ..Payload::default() }
        });
    let create = (".{0,100}", "[a-z]{1,20}", place(), option::of(metadata())).prop_map(|(text, node_type, place, metadata)| Payload {
        text: Some(TextChange::Replace(text)),
        node_type: Some(node_type),
        place: Some(place),
        metadata,
        ..Payload::default()
    });
    let delete =
        (any::<bool>(), resolves()).prop_map(|(soft, resolves)| Payload { soft_delete: Some(soft), resolves, ..Payload::default() });
    let moved = (place(), resolves()).prop_map(|(place, resolves)| Payload { place: Some(place), resolves, ..Payload::default() });
    prop_oneof![
        create.prop_map(|payload| (OpType::Create, payload)),
        update.prop_map(|payload| (OpType::Update, payload)),
        delete.prop_map(|payload| (OpType::Delete, payload)),
        moved.prop_map(|payload| (OpType::Move, payload)),
    ]
}

/// Properties 3 and 4 for one encoding.
fn whole_or_nothing<T, E: std::fmt::Debug>(bytes: &[u8], decode: impl Fn(&[u8]) -> Result<T, E>) {
    for len in 0..bytes.len() {
        assert!(decode(&bytes[..len]).is_err(), "the first {len} of {} bytes decode", bytes.len());
    }
    for behind in [0, 0x40, 0xf6, 0xff] {
        assert!(decode(&[bytes, &[behind]].concat()).is_err(), "with {behind:#04x} behind it still decodes");
    }
}

/// Decodes bytes in every form there is, and checks property 5 for each that takes them.
fn in_every_form(bytes: &[u8]) {
    let form = |name: &str, again: Option<Vec<u8>>| {
        if let Some(again) = again {
            assert_eq!(again, bytes, "{name}: what decodes has one encoding");
        }
    };
    form("segment", Segment::decode(bytes).ok().map(|segment| segment.encode()));
    form("header", Header::decode(bytes).ok().map(|(workspace, header)| header.encode(&workspace)));
    for kind in OpType::ALL {
        form("payload", Payload::decode(kind, bytes).ok().map(|payload| payload.encode()));
    }
    form("vector", QuantisedVector::from_bytes(bytes).ok().map(|vector| vector.to_bytes()));
    match Message::decode(bytes) {
        // Frames of segments may be compressed, and a reason loses its control characters.
        Err(_) | Ok(Message::Segments(_) | Message::Bye { .. }) => {}
        Ok(message) => form("message", Some(message.encode())),
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let forgiven = text.trim().to_ascii_lowercase();
        if let Ok(ticket) = Ticket::parse(text) {
            assert_eq!(ticket.to_text(), forgiven, "ticket: what decodes has one encoding");
        }
        if let Ok(ticket) = DeviceTicket::parse(text) {
            assert_eq!(ticket.to_text(), forgiven, "device ticket: what decodes has one encoding");
        }
    }
}

/// One way in which bytes get damaged.
#[derive(Clone, Debug)]
enum Damage {
    Flip(prop::sample::Index, u8),
    Set(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        at().prop_map(Damage::Remove),
    ]
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        let len = bytes.len();
        match damage {
            Damage::Flip(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Damage::Set(at, byte) => bytes[at.index(len)] = *byte,
            Damage::Insert(at, byte) => bytes.insert(at.index(len), *byte),
            Damage::Remove(at) => drop(bytes.remove(at.index(len))),
        }
    }
    bytes
}

/// The bytes of all golden vectors.
fn golden() -> Vec<Vec<u8>> {
    let files = [
        include_str!("../vectors/header.json"),
        include_str!("../vectors/payload.json"),
        include_str!("../vectors/action.json"),
        include_str!("../vectors/segment.json"),
        include_str!("../vectors/ticket.json"),
        include_str!("../vectors/device_ticket.json"),
        include_str!("../vectors/vector.json"),
        include_str!("../vectors/session.json"),
    ];
    let mut all = Vec::new();
    for file in files {
        let file: Value = serde_json::from_str(file).unwrap();
        for case in file["cases"].as_array().unwrap() {
            all.push(unhex(case["bytes"].as_str().unwrap()).unwrap());
        }
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn segments_round_trip(segment in segment()) {
        let bytes = segment.encode();
        prop_assert_eq!(Segment::decode(&bytes), Ok(segment));
    }

    #[test]
    fn payloads_round_trip((kind, payload) in payload()) {
        let bytes = payload.encode();
        prop_assert_eq!(Payload::decode(kind, &bytes), Ok(payload));
        whole_or_nothing(&bytes, |bytes| Payload::decode(kind, bytes));
    }

    #[test]
    fn messages_with_segments_round_trip(segments in vec(segment(), 0..4)) {
        let message = Message::Segments(segments);
        prop_assert_eq!(Message::decode(&message.encode()), Ok(message));
    }

    #[test]
    fn vectors_round_trip(vector in vec(any::<f32>().prop_filter("finite", |value| value.is_finite()), 0..64)) {
        let quantised = QuantisedVector::quantise(&vector).unwrap();
        prop_assert_eq!(QuantisedVector::from_bytes(&quantised.to_bytes()), Ok(quantised));
    }

    #[test]
    fn tickets_round_trip(
        bytes in any::<[u8; 32]>(),
        role in 0..3_usize,
        expires in any::<u64>(),
        addresses in vec("[ -~]{0,60}", 0..16),
        relay in option::of("[ -~]{0,60}"),
    ) {
        let ticket = Ticket {
            workspace: WorkspaceId(bytes),
            invite: OpHash(bytes),
            key: invite_key(bytes[0]),
            secret: bytes,
            role: Role::ALL[role],
            expires: Timestamp(expires),
            addresses,
            relay,
        };
        let text = ticket.to_text();
        prop_assert_eq!(Ticket::parse(&text).map(|ticket| ticket.to_text()), Ok(text));
    }

    #[test]
    fn device_tickets_round_trip(
        user in 1..20_u8,
        secrets in btree_map(any::<[u8; 32]>(), any::<[u8; 32]>(), 1..=32),
        addresses in vec("[ -~]{0,60}", 0..16),
        relay in option::of("[ -~]{0,60}"),
    ) {
        let entry = |(workspace, secret)| DeviceWorkspace { workspace: WorkspaceId(workspace), secret };
        let workspaces = secrets.into_iter().map(entry).collect();
        let ticket = DeviceTicket { certificate: certificate(user), workspaces, addresses, relay };
        let text = ticket.to_text();
        prop_assert_eq!(DeviceTicket::parse(&text), Ok(ticket));
        for len in (0..text.len()).step_by(17) {
            prop_assert!(DeviceTicket::parse(&text[..len]).is_err(), "cut to {} characters", len);
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in vec(any::<u8>(), 0..300)) {
        in_every_form(&bytes);
    }

    #[test]
    fn damaged_bytes_are_answered(which in any::<prop::sample::Index>(), damages in vec(damage(), 1..4)) {
        let golden = golden();
        in_every_form(&damaged(golden[which.index(golden.len())].clone(), &damages));
    }

    #[test]
    fn damaged_segments_are_answered(segment in segment(), damages in vec(damage(), 1..4)) {
        in_every_form(&damaged(segment.encode(), &damages));
    }

    #[test]
    fn damaged_payloads_are_answered((_, payload) in payload(), damages in vec(damage(), 1..4)) {
        in_every_form(&damaged(payload.encode(), &damages));
    }

    #[test]
    fn parents_are_a_set(distances in btree_set(1..500_u64, 0..20)) {
        // The bound on parents is the decoder's, for whatever an encoder was made to write.
        let op = WireOp { parents: distances.iter().copied().map(WireParent::Own).collect(), parent_version: Some(1), ..plain() };
        let segment = Segment { log: log(1), first_seq: 600, previous_prefix: [1; 8], ops: vec![op], signature: Signature([0; 64]) };
        let expected = !distances.is_empty() && distances.len() <= 16;
        prop_assert_eq!(Segment::decode(&segment.encode()).is_ok_and(|read| read == segment), expected);
    }
}

fn plain() -> WireOp {
    WireOp {
        node: Some(node("page")),
        kind: OpType::Update,
        timestamp: at(1),
        version: 2,
        parent_version: None,
        parents: [].into_iter().collect(),
        cut: None,
        encryption: 0,
        payload: [].into(),
        attachment: None,
    }
}

#[test]
fn golden_bytes_are_whole_or_nothing() {
    for bytes in golden() {
        in_every_form(&bytes);
        whole_or_nothing(&bytes, |bytes| Header::decode(bytes).map(drop));
        whole_or_nothing(&bytes, Segment::decode);
        for kind in OpType::ALL {
            whole_or_nothing(&bytes, |bytes| Payload::decode(kind, bytes));
        }
    }
}

#[test]
fn a_flipped_bit_changes_nothing_or_is_refused() {
    let mut owner = found(1);
    let mut reader = stranger(9, owner.workspace());
    let mut expected = stranger(9, owner.workspace());
    exchange(&mut owner, &mut reader, at(5));
    exchange(&mut owner, &mut expected, at(5));
    write_node(&mut owner, "page", "hello", at(10));
    owner.set_text(at(20), &node("page"), "hello there").unwrap();
    let all = segments(&mut owner, &reader);
    assert_eq!(all.len(), 1);
    let good = all[0].encode();
    let before = segments_state(&mut reader);
    take(&mut expected, &all[0], at(30));
    let after = segments_state(&mut expected);
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let Ok(segment) = Segment::decode(&bytes) else { continue };
        match reader.ingest(&segment, at(30)) {
            Err(IngestError::Refused(_) | IngestError::Missing(_)) => assert_eq!(segments_state(&mut reader), before, "bit {bit}"),
            Err(IngestError::Store(error)) => panic!("memory failed: {error}"),
            Ok(_) => {
                assert_eq!(segments_state(&mut reader), after, "bit {bit} changed what the segment says");
                panic!("bit {bit} of the bytes says nothing");
            }
        }
    }
    take(&mut reader, &all[0], at(30));
    assert_eq!(segments_state(&mut reader), after);
}

fn segments_state(device: &mut Device) -> ([u8; 32], [u8; 32]) {
    (device.frontier_digest(), device.state_digest())
}
