//! A state comes back as it was, and damage is an error.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn stamp() -> impl Strategy<Value = Stamp> {
    (any::<u64>(), any::<u64>(), any::<[u8; 32]>()).prop_map(|(timestamp, version, hash)| Stamp {
        timestamp: Timestamp(timestamp),
        version,
        hash: OpHash(hash),
    })
}

fn dots() -> impl Strategy<Value = SmallVec<[OpIndex; 1]>> {
    prop::collection::vec(any::<u32>().prop_map(OpIndex), 0..4).prop_map(SmallVec::from_vec)
}

fn id() -> impl Strategy<Value = NodeId> {
    let uuid = any::<u128>().prop_map(|bits| NodeId::Uuid(uuid::Uuid::from_u128(bits)));
    prop_oneof![uuid, "[a-z0-9ä-]{1,20}".prop_map(|text| NodeId::parse(&text).unwrap())]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![any::<i64>().prop_map(Value::from), any::<bool>().prop_map(Value::from), ".{0,8}".prop_map(Value::from)];
    leaf.prop_recursive(3, 12, 4, |inner| prop::collection::vec(inner, 0..4).prop_map(Value::from))
}

fn metadata() -> impl Strategy<Value = Metadata> {
    let path = prop::collection::vec("[a-c]{1,2}", 1..4);
    let leaf = (prop::option::of((stamp(), prop::option::of(value()))), prop::option::of(stamp()));
    let leaf = leaf.prop_map(|(value, object)| Box::new(Leaf { value, object }));
    prop::collection::btree_map(path, leaf, 0..5).prop_map(|leaves| Metadata { leaves })
}

fn embedding() -> impl Strategy<Value = Box<Embedding>> {
    (stamp(), any::<u32>(), any::<u32>(), any::<[u8; 32]>(), any::<([u8; 32], u32, u8)>()).prop_map(
        |(stamp, op, dimension, source, blob)| {
            let attachment = BlobRef { hash: blob.0, len: blob.1, encryption: blob.2 };
            Box::new(Embedding { stamp, op: OpIndex(op), dimension, source, attachment })
        },
    )
}

fn conflict() -> impl Strategy<Value = Conflict> {
    let status = prop_oneof![
        Just(ConflictStatus::Open),
        (0..5_usize).prop_map(|n| ConflictStatus::AutoResolved(ResolutionStrategy::ALL[n])),
        any::<[u8; 32]>().prop_map(|hash| ConflictStatus::Resolved(OpHash(hash))),
    ];
    let participants = prop::collection::vec(any::<[u8; 32]>().prop_map(OpHash), 0..4);
    (any::<[u8; 32]>(), 0..5_usize, "[a-z/]{0,12}", participants, status).prop_map(|(id, kind, field, participants, status)| Conflict {
        id: ConflictId(id),
        kind: ConflictType::ALL[kind],
        field,
        participants,
        status,
    })
}

prop_compose! {
    fn state()(
        heads in prop::collection::vec((any::<u32>(), stamp()), 0..4),
        node_type in prop::option::of((stamp(), "[a-z]{0,9}")),
        text in ".{0,200}",
        metadata in metadata(),
        mentions in prop::collection::btree_map(id(), dots(), 0..4),
        alive in dots(),
        (last_edit, created, modified) in (prop::option::of(stamp()), prop::option::of(stamp()), prop::option::of(stamp())),
        last_delete in prop::option::of((stamp(), any::<bool>())),
        embeddings in prop::collection::btree_map("[a-z]{0,9}", embedding(), 0..3),
        conflicts in prop::collection::vec(conflict(), 0..3),
        resolutions in prop::collection::btree_map(any::<[u8; 32]>().prop_map(ConflictId), stamp(), 0..3),
    ) -> NodeState {
        let chars = text.chars().count() as u32;
        let heads = heads.into_iter().map(|(op, stamp)| NodeHead { op: OpIndex(op), stamp }).collect();
        NodeState {
            heads, node_type, text, chars, metadata, mentions, alive, last_edit, last_delete, embeddings, created, modified, conflicts,
            resolutions,
        }
    }
}

proptest! {
    #[test]
    fn a_state_comes_back_as_it_was(state in state(), digest in any::<Option<[u8; 32]>>()) {
        let bytes = encode(&state, digest.as_ref());
        prop_assert_eq!(decode(&bytes), Ok((state, digest)));
    }

    #[test]
    fn damage_is_no_panic(state in state(), at in any::<prop::sample::Index>(), flip in 1..=255_u8, cut in any::<prop::sample::Index>()) {
        let mut bytes = encode(&state, None);
        prop_assert!(decode(&bytes[..cut.index(bytes.len())]).is_err());
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        // Whatever comes of it can be written again.
        if let Ok((state, digest)) = decode(&bytes) {
            prop_assert_eq!(decode(&encode(&state, digest.as_ref())), Ok((state, digest)));
        }
    }
}

#[test]
fn a_typical_node_takes_little_more_than_its_text() {
    let (first, last) = (stamp_of(1), stamp_of(2));
    let state = NodeState {
        heads: SmallVec::from_slice(&[NodeHead { op: OpIndex(900_000), stamp: last }]),
        node_type: Some((first, "text".into())),
        text: "x".repeat(100),
        chars: 100,
        alive: SmallVec::from_slice(&[OpIndex(900_000)]),
        last_edit: Some(last),
        created: Some(first),
        modified: Some(last),
        ..NodeState::default()
    };
    let bytes = encode(&state, Some(&[1; 32])).len();
    assert!(bytes < 260, "{bytes} bytes");
}

fn stamp_of(n: u64) -> Stamp {
    Stamp { timestamp: Timestamp::from_ms(1_700_000_000_000 + n), version: 1_000_000 + n, hash: OpHash([n as u8; 32]) }
}

#[test]
fn the_order_of_a_writers_map_does_not_matter() {
    let mut there = serde_json::Map::new();
    let mut back = serde_json::Map::new();
    for (n, key) in ["b", "a", "c"].iter().enumerate() {
        there.insert((*key).into(), json!(n));
    }
    for (n, key) in ["b", "a", "c"].iter().enumerate().rev() {
        back.insert((*key).into(), json!(n));
    }
    let bytes = |members| {
        let mut metadata = Metadata::default();
        metadata.apply(&json!({"list": [Value::Object(members)]}), stamp_of(1));
        encode(&NodeState { metadata, ..NodeState::default() }, None)
    };
    assert_eq!(bytes(there), bytes(back));
}
