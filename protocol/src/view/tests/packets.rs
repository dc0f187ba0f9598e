//! Packets: round trips, consistency, lies, bounds, security.

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::compress::{CompressionType, DecompressError, Limits};
use crate::ids::{DeviceId, OpHash, hex};
use crate::op::segment::{Position as LogPosition, WireOp};
use crate::op::{BlobRef, Op, OpType, attachment_hash};
use crate::view::encoding::{PACKET_LIMITS, PacketError};

const COMPRESSIONS: [CompressionType; 3] = [CompressionType::None, CompressionType::Gzip, CompressionType::Zstd];

fn everything() -> (Device, SyncPacket) {
    let (mut first, mut second) = two_devices();
    write_everything(&mut first);
    give(&mut first, &mut second);
    second.set_text(at(40), &id("b"), "from the second device").unwrap();
    second.commit().unwrap();
    let packet = packet_of(&second);
    (second, packet)
}

/// A packet of the founder's log up to the first operation that is `wanted`, which is changed and signed anew; and that operation.
fn altered(wanted: fn(&WireOp) -> bool, change: impl FnOnce(&mut WireOp)) -> (Device, SyncPacket, Op) {
    let (mut first, _) = two_devices();
    write_everything(&mut first);
    let mut packet = packet_of(&first);
    let segments = packet.decode_segments().unwrap();
    let index = segments.iter().position(|segment| segment.ops.iter().any(wanted)).unwrap();
    let mut segment = segments[index].clone();
    let at = segment.ops.iter().position(wanted).unwrap();
    segment.ops.truncate(at + 1);
    change(&mut segment.ops[at]);
    let previous = packet.segments[index].previous;
    let op = segment.chain(&first.workspace(), previous, &nothing).unwrap().pop().unwrap();
    segment.signature = key(1).sign(crate::crypto::Purpose::Operation, &[&op.hash.0]);
    packet.segments.truncate(index);
    packet.segments.push(PacketSegment::new(previous, &segment));
    packet.operations.truncate(packet.decode_segments().unwrap().iter().map(|segment| segment.ops.len()).sum::<usize>() - 1);
    packet.vector_checksums.clear();
    (first, packet, op)
}

fn nothing(_: &LogPosition) -> Option<OpHash> {
    None
}

fn sent_by(packet: &SyncPacket) -> AuthenticatedUser {
    AuthenticatedUser { user: packet.user_id, device: packet.device_id }
}

fn read(bytes: &[u8]) -> Result<SyncPacket, PacketError> {
    SyncPacket::from_bytes(bytes, PACKET_LIMITS).map(|(packet, _)| packet)
}

#[test]
fn a_packet_comes_back_equal_in_every_form() {
    let (_, mut packet) = everything();
    for kind in OpType::ALL {
        assert!(packet.operations.iter().any(|view| view.operation_type == kind), "the fixture lacks {kind:?}");
    }
    assert!(!packet.operations.iter().any(|view| matches!(view.data, OperationData::Opaque { .. })));
    assert_eq!(packet.vector_checksums.len(), 1);
    for encoding in [Encoding::Json, Encoding::Cbor] {
        for compression in COMPRESSIONS {
            packet.compression = compression;
            let bytes = packet.to_bytes(encoding).unwrap();
            let (read, framing) = SyncPacket::from_bytes(&bytes, PACKET_LIMITS).unwrap();
            assert_eq!(framing, Framing { encoding, compression });
            assert_eq!(read.segments, packet.segments);
            if encoding == Encoding::Cbor {
                assert_eq!(read, packet);
            }
            let verified = read.verify_consistency(&nothing).unwrap();
            assert_eq!(verified.iter().map(|segment| segment.ops.len()).sum::<usize>(), packet.operations.len());
        }
    }
}

#[test]
fn what_a_packet_brings_makes_the_same_state() {
    let (device, packet) = everything();
    let mut other = Device::open(device.workspace(), MemoryStore::new(), None, at(90_000)).unwrap();
    for verified in read(&packet.to_bytes(Encoding::Json).unwrap()).unwrap().verify_consistency(&nothing).unwrap() {
        other.ingest(&verified.segment, at(90_000)).unwrap();
    }
    let mut device = device;
    assert_eq!(other.state_digest(), device.state_digest());
    for node in device.node_ids() {
        assert_eq!(Node::read(&other, &node).unwrap(), Node::read(&device, &node).unwrap());
    }
    let vector = Node::read(&other, &id("b")).unwrap().embedding_vector.unwrap();
    assert_eq!(vector.len(), 384);
    assert!((vector[1] - 1.0_f32.sin() / 3.0).abs() < 0.002);
}

#[test]
fn what_was_verified_is_ingested_as_its_segment_is() {
    use crate::replica::{IngestError, Missing, Refusal};

    let (device, packet) = everything();
    let open = |workspace| Device::open(workspace, MemoryStore::new(), None, at(90_000)).unwrap();
    let (mut checked, mut trusted) = (open(device.workspace()), open(device.workspace()));
    let verified = packet.verify_consistency(&nothing).unwrap();
    assert!(verified.len() > 2);
    // Too early: it waits for the same thing.
    let early = trusted.ingest_verified(&verified[1].ops, at(90_000));
    assert!(matches!(early, Err(IngestError::Missing(Missing::Previous(_)))), "{early:?}");
    for VerifiedSegment { segment, ops } in &verified {
        assert_eq!(trusted.ingest_verified(ops, at(90_000)).unwrap(), checked.ingest(segment, at(90_000)).unwrap());
    }
    for VerifiedSegment { ops, .. } in &verified {
        let again = trusted.ingest_verified(ops, at(90_000)).unwrap();
        assert_eq!((again.stored, again.duplicates as usize), (0, ops.len()));
    }
    assert_eq!(trusted.state_digest(), checked.state_digest());
    assert_eq!(trusted.frontier_digest(), checked.frontier_digest());
    // Of another workspace nobody has signed them.
    let foreign = open(crate::ids::WorkspaceId([9; 32])).ingest_verified(&verified[0].ops, at(90_000));
    assert!(matches!(foreign, Err(IngestError::Refused(Refusal::Chain(_)))), "{foreign:?}");
}

#[test]
fn attachments_come_off_and_the_operations_still_name_them() {
    let (_, packet) = everything();
    let mut taken = Vec::new();
    for mut verified in packet.verify_consistency(&nothing).unwrap() {
        let hashes: Vec<OpHash> = verified.ops.iter().map(|op| op.hash).collect();
        taken.extend(verified.ops.take_attachments());
        assert!(verified.ops.iter().all(|op| op.attachment.is_none()));
        assert_eq!(verified.ops.iter().map(|op| op.hash).collect::<Vec<_>>(), hashes);
    }
    let [(hash, bytes)] = taken.as_slice() else { panic!("one attachment: {}", taken.len()) };
    assert_eq!(attachment_hash(bytes), *hash);
    assert_eq!(packet.vector_checksums.values().cloned().collect::<Vec<_>>(), [hex(hash)]);
}

#[test]
fn views_have_the_documents_shape_in_json() {
    let (_, packet) = everything();
    let json = serde_json::to_value(&packet).unwrap();
    let members: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    for documented in ["user_id", "device_id", "operations", "sync_timestamp", "last_known_version", "vector_checksums", "compression"] {
        assert!(members.contains(&documented), "{documented}");
    }
    let create = json["operations"].as_array().unwrap().iter().find(|view| view["operation_type"] == "Create").unwrap();
    assert_eq!(create["node_id"], "2025-08-30");
    assert_eq!(create["user_id"], hex(&user().0));
    assert_eq!(create["timestamp"], "1970-01-01T00:16:40.010Z");
    assert_eq!(create["parent_version"], serde_json::Value::Null);
    assert_eq!(create["data"]["Create"]["node"]["type"], "text");
    assert_eq!(create["checksum"].as_str().unwrap().len(), 64);
    let uuid: uuid::Uuid = serde_json::from_value(create["id"].clone()).unwrap();
    assert_eq!(uuid.get_version_num(), 8);
    let genesis = &json["operations"][0]["data"]["Workspace"]["action"]["Genesis"];
    assert_eq!(genesis["name"], "test");
    assert!(!genesis.to_string().contains(&hex(&[9; 32])), "the workspace secret is not shown");
}

#[test]
fn moved_nodes_show_the_sibling_before_them() {
    let (device, packet) = everything();
    let moved = packet.operations.iter().find(|view| view.operation_type == OpType::Move).unwrap();
    let expected = OperationData::Move { new_parent_id: None, new_before_sibling_id: device.tree().before_sibling(&id("b")) };
    assert_eq!(moved.data, expected);
    // The placement of its creation does not hold any more; the operation says what it was put behind.
    let created = packet.operations.iter().find(|view| view.operation_type == OpType::Create && view.node_id == Some(id("b")));
    let OperationData::Create { node, .. } = &created.unwrap().data else { panic!("a create shows a node") };
    assert_eq!(node.before_sibling_id, Some(id("00000000-0000-0000-0000-000000000007")));
}

#[test]
fn a_packet_without_views_or_without_anything_is_consistent() {
    let (device, packet) = everything();
    let empty = SyncPacket::pull(sender(&device), Cursor::default(), Timestamp(u64::MAX));
    for packet in [packet.without_views(), empty] {
        for encoding in [Encoding::Json, Encoding::Cbor] {
            let read = read(&packet.to_bytes(encoding).unwrap()).unwrap();
            assert_eq!(read, packet);
            read.verify_consistency(&nothing).unwrap();
        }
    }
}

#[test]
fn a_view_that_lies_is_named() {
    let (_, packet) = everything();
    let at_create = packet.operations.iter().position(|view| view.operation_type == OpType::Create).unwrap() + 1;
    type Lie = fn(&mut SyncOperation);
    let lies: [(&str, Lie); 11] = [
        ("checksum", |view| view.checksum.0[31] ^= 1),
        ("id", |view| view.id = uuid::Uuid::nil()),
        ("node_id", |view| view.node_id = Some(id("other"))),
        ("device_id", |view| view.device_id = DeviceId([1; 32])),
        ("operation_type", |view| view.operation_type = OpType::Delete),
        ("timestamp", |view| view.timestamp += TimeDelta::milliseconds(1)),
        ("version", |view| view.version += 1),
        ("parent_version", |view| view.parent_version = Some(1)),
        ("parents", |view| view.parents.push(OpHash([3; 32]))),
        ("resolves", |view| view.resolves.push(crate::ids::ConflictId([4; 32]))),
        ("data", |view| view.data = OperationData::Delete { soft_delete: true }),
    ];
    for (field, lie) in lies {
        let mut lying = packet.clone();
        lie(&mut lying.operations[at_create]);
        let named = lying.verify_consistency(&nothing).unwrap_err();
        let expected = ConsistencyError::Lie { index: at_create, id: lying.operations[at_create].id, field };
        assert_eq!(named, expected);
        assert_eq!(named.code(), "lying_view");
    }
    let mut fewer = packet.clone();
    fewer.operations.pop();
    assert!(matches!(fewer.verify_consistency(&nothing), Err(ConsistencyError::Count { .. })));
    let mut swapped = packet;
    swapped.operations.swap(3, 4);
    assert!(matches!(swapped.verify_consistency(&nothing), Err(ConsistencyError::Lie { index: 3, field: "checksum", .. })));
}

#[test]
fn a_lie_within_the_content_is_named_too() {
    let (_, packet) = everything();
    let (mut texts, mut numbers) = (0, 0);
    for index in 0..packet.operations.len() {
        let mut lying = packet.clone();
        match &mut lying.operations[index].data {
            OperationData::Create { node, .. } => node.content.push('x'),
            OperationData::Update { content_delta: Some(delta), .. } => delta.push(' '),
            OperationData::Update { embedding_delta: Some(vector), .. } => vector[1] += 0.01,
            OperationData::Metadata { changes } => changes["x"][0]["y"] = json!(0.31),
            _ => continue,
        }
        texts += usize::from(matches!(lying.operations[index].data, OperationData::Create { .. }));
        numbers += usize::from(matches!(lying.operations[index].data, OperationData::Metadata { .. }));
        let found = lying.verify_consistency(&nothing);
        assert!(matches!(found, Err(ConsistencyError::Lie { index: named, field: "data", .. }) if named == index), "{found:?}");
    }
    assert!(texts > 0 && numbers > 0);
}

#[test]
fn vector_checksums_are_exactly_those_of_the_operations() {
    let (_, packet) = everything();
    let wrong = |change: &dyn Fn(&mut SyncPacket)| {
        let mut packet = packet.clone();
        change(&mut packet);
        assert!(matches!(packet.verify_consistency(&nothing), Err(ConsistencyError::VectorChecksum(_))));
    };
    wrong(&|packet| packet.vector_checksums.clear());
    wrong(&|packet| packet.vector_checksums.values_mut().for_each(|hash| *hash = hex(&[0; 32])));
    wrong(&|packet| drop(packet.vector_checksums.insert(uuid::Uuid::nil(), String::new())));
}

#[test]
fn segments_that_do_not_hold_are_named() {
    let (_, packet) = everything();
    let refused = |change: &dyn Fn(&mut SyncPacket)| {
        let mut packet = packet.clone();
        change(&mut packet);
        packet.verify_consistency(&nothing).unwrap_err().code()
    };
    assert_eq!(refused(&|packet| packet.segments[0].bytes.truncate(40)), "malformed_segment");
    assert_eq!(refused(&|packet| packet.segments[0].previous = Some(OpHash([1; 32]))), "wrong_previous");
    assert_eq!(refused(&|packet| *packet.segments[0].bytes.last_mut().unwrap() ^= 1), "bad_signature");
    assert_eq!(refused(&|packet| packet.workspace_id.0[0] ^= 1), "bad_signature");
}

#[test]
fn a_later_part_of_a_log_is_checked_without_the_earlier_part() {
    let (device, _) = everything();
    let log = *device.logs().iter().max_by_key(|(_, log)| log.last_seq()).unwrap().0;
    let mut packet = SyncPacket::pull(sender(&device), Cursor::default(), at(99));
    let signed = *device.logs().get(&log).unwrap().branches()[0].signatures.keys().next().unwrap();
    let range = LogRange { after: signed, ..whole_log(&device, log) };
    packet.push(&device, &range).unwrap().expect("more than one signature");
    assert!(packet.segments[0].previous.is_some());
    packet.verify_consistency(&nothing).unwrap();
    packet.segments[0].previous.as_mut().unwrap().0[31] ^= 1;
    assert_eq!(packet.verify_consistency(&nothing).unwrap_err().code(), "bad_signature");
}

#[test]
fn security_judges_sender_author_rate_and_content() {
    struct Strict;
    impl Authority for Strict {
        fn allows_rate(&self, _: &AuthenticatedUser, operations: usize) -> bool {
            operations < 1000
        }
        fn user_of(&self, device: &DeviceId) -> Option<UserId> {
            Some(if *device == key(1).device() { key(150).user() } else { user() })
        }
        fn hash_at(&self, _: &LogPosition) -> Option<OpHash> {
            None
        }
    }
    let (_, packet) = everything();
    let security = SyncSecurity::default();
    let sent_by = sent_by(&packet);
    security.validate_sync_packet(&packet, &sent_by, &Offline).unwrap();
    let code = |security: &SyncSecurity, packet: &SyncPacket, user: &AuthenticatedUser| {
        security.validate_sync_packet(packet, user, &Strict).unwrap_err().code()
    };
    assert_eq!(code(&security, &packet, &AuthenticatedUser { user: key(9).user(), ..sent_by }), "unauthorized_operation");
    assert_eq!(code(&security, &packet, &AuthenticatedUser { device: key(9).device(), ..sent_by }), "unauthorized_device");
    // The first device is somebody else's by what the relay knows: its operations may be carried, but not be called this user's.
    assert_eq!(code(&security, &packet, &sent_by), "unauthorized_operation");
    assert!(security.validate_sync_packet(&packet.clone().without_views(), &sent_by, &Strict).is_ok());
    let own_only = SyncSecurity { authors: Authors::SenderOnly, ..security };
    assert_eq!(code(&own_only, &packet.clone().without_views(), &sent_by), "unauthorized_operation");
    assert_eq!(code(&SyncSecurity { operations_max: 3, ..security }, &packet, &sent_by), "malformed_operation");
    assert_eq!(code(&SyncSecurity { payload_bytes_max: 3, ..security }, &packet, &sent_by), "malformed_operation");
}

#[test]
fn no_more_operations_are_decoded_than_a_packet_may_have() {
    let (_, packet) = everything();
    let mut packet = packet.without_views();
    let lengths: Vec<usize> = packet.decode_segments().unwrap().iter().map(|segment| segment.ops.len()).collect();
    let (longest, operations) = lengths.into_iter().enumerate().max_by_key(|(_, operations)| *operations).unwrap();
    assert!(operations > 1);
    packet.segments = vec![packet.segments[longest].clone(); packet::PACKET_OPERATIONS_MAX];
    // What stands behind the first too many is not looked at: it is no segment.
    packet.segments.push(PacketSegment { previous: None, bytes: vec![0xff] });
    let max = packet::PACKET_OPERATIONS_MAX;
    let segment = max / operations;
    let found = (segment + 1) * operations;
    assert_eq!(packet.decode_segments(), Err(ConsistencyError::Operations { segment, found, max }));
    let refused = SyncSecurity::default().validate_sync_packet(&packet, &sent_by(&packet), &Offline);
    assert_eq!(refused, Err(SecurityError::MalformedOperation { what: "the packet's operations", found, max }));
}

#[test]
fn an_attachment_that_is_no_embedding_is_refused() {
    let bytes: std::sync::Arc<[u8]> = vec![1, 2, 3, 4, 5].into();
    let blob = BlobRef { hash: attachment_hash(&bytes), len: 5, encryption: 0 };
    let (_, mut packet, op) = altered(|op| op.attachment.is_some(), |op| op.attachment = Some((blob, Some(bytes))));
    packet.vector_checksums = [(op.hash.uuid(), hex(&blob.hash))].into();
    let packet = packet.without_views();
    let refused = SyncSecurity::default().validate_sync_packet(&packet, &sent_by(&packet), &Offline);
    assert_eq!(refused, Err(SecurityError::MaliciousContent(op.hash)));
}

#[test]
fn what_cannot_be_read_is_opaque_and_still_a_link_of_its_log() {
    let (device, mut opaque, op) = altered(|op| op.kind == OpType::Create, |op| op.encryption = 1);
    let view = SyncOperation::of(&op, &device).unwrap();
    assert!(matches!(view.data, OperationData::Opaque { encryption: 1, .. }));
    opaque.operations.push(view);
    for encoding in [Encoding::Json, Encoding::Cbor] {
        let read = read(&opaque.to_bytes(encoding).unwrap()).unwrap();
        SyncSecurity::default().validate_sync_packet(&read, &sent_by(&read), &Offline).unwrap();
    }
}

#[test]
fn numbers_that_are_none_can_neither_be_written_nor_read() {
    let (_, mut packet) = everything();
    let view = packet.operations.iter_mut().find_map(|view| match &mut view.data {
        OperationData::Update { embedding_delta: Some(vector), .. } => Some(vector),
        _ => None,
    });
    view.unwrap()[0] = f32::NAN;
    packet.compression = CompressionType::None;
    let cbor = packet.to_bytes(Encoding::Cbor).unwrap();
    assert!(matches!(read(&cbor), Err(PacketError::NotFinite { .. })));
    // JSON has no word for it and says null.
    let json = packet.to_bytes(Encoding::Json).unwrap();
    assert!(matches!(read(&json), Err(PacketError::Json(_))));
}

#[test]
fn bounds_are_kept_whatever_the_bytes_announce() {
    let (_, mut packet) = everything();
    packet.compression = CompressionType::Zstd;
    let bytes = packet.to_bytes(Encoding::Json).unwrap();
    let tight = |limits: Limits| SyncPacket::from_bytes(&bytes, limits).unwrap_err();
    let small = tight(Limits { encoded_max: bytes.len() - 1, ..PACKET_LIMITS });
    assert!(matches!(small, PacketError::Decompress(DecompressError::EncodedTooLarge { .. })));
    let short = tight(Limits { decoded_max: 1000, ..PACKET_LIMITS });
    assert!(matches!(short, PacketError::Decompress(DecompressError::DecodedTooLarge { .. })));
    for compression in [CompressionType::Gzip, CompressionType::Zstd] {
        let bomb = crate::compress::compress(&vec![b' '; 40 << 20], compression).unwrap();
        let refused = read(&bomb).unwrap_err();
        assert_eq!(refused.code(), "packet_too_large", "{compression:?}");
    }
    let small = packet.operations.iter().find(|view| view.operation_type == OpType::Delete).unwrap().clone();
    let many = vec![small; packet::PACKET_OPERATIONS_MAX + 1];
    let many = SyncPacket { operations: many, compression: CompressionType::None, ..packet };
    assert_eq!(read(&many.to_bytes(Encoding::Cbor).unwrap()).unwrap_err().code(), "malformed_cbor");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_and_number_round_trips(text in ".{0,200}", number in any::<f64>(), whole in any::<i64>()) {
        let (mut first, _) = two_devices();
        let metadata = json!({ text.clone(): [number, whole, text.clone()] });
        let new = NewNode { metadata, ..NewNode::text(id("a"), None, text.clone()) };
        first.create(at(5), new).unwrap();
        first.set_text(at(6), &id("a"), &format!("{text}{text}!")).unwrap();
        first.commit().unwrap();
        let packet = packet_of(&first);
        for encoding in [Encoding::Json, Encoding::Cbor] {
            let read = read(&packet.to_bytes(encoding).unwrap()).unwrap();
            prop_assert_eq!(&read.segments, &packet.segments);
            prop_assert!(read.verify_consistency(&nothing).is_ok());
        }
    }

    #[test]
    fn a_changed_byte_is_refused_or_changes_nothing_signed(place in any::<prop::sample::Index>(), bit in 0..8_u8, json in any::<bool>()) {
        let (mut first, _) = two_devices();
        first.create(at(5), NewNode::text(id("a"), None, "text")).unwrap();
        first.commit().unwrap();
        let packet = SyncPacket { compression: CompressionType::None, ..packet_of(&first) };
        let mut bytes = packet.to_bytes(if json { Encoding::Json } else { Encoding::Cbor }).unwrap();
        let at = place.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(read) = read(&bytes)
            && let Ok(verified) = read.verify_consistency(&nothing)
        {
            let signed = packet.verify_consistency(&nothing).unwrap();
            // What stays may be all of it or, where a list's name was hit, none; never something else.
            prop_assert!(verified.is_empty() || verified == signed);
        }
    }

    #[test]
    fn a_packet_cut_short_or_continued_is_refused(place in any::<prop::sample::Index>(), json in any::<bool>(), which in 0..3_usize) {
        let (mut first, _) = two_devices();
        first.create(at(5), NewNode::text(id("a"), None, "text")).unwrap();
        first.commit().unwrap();
        let packet = SyncPacket { compression: COMPRESSIONS[which], ..packet_of(&first) };
        let mut bytes = packet.to_bytes(if json { Encoding::Json } else { Encoding::Cbor }).unwrap();
        prop_assert!(read(&bytes[..place.index(bytes.len())]).is_err());
        bytes.push(b'}');
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn any_bytes_are_answered(mut bytes in prop::collection::vec(any::<u8>(), 0..300), first in 0..5_usize) {
        prop_assert!(read(&bytes).is_err());
        bytes.insert(0, [b'{', 0xa1, 0xbf, 0x1f, 0x28][first]);
        prop_assert!(read(&bytes).is_err());
        prop_assert!(SyncResponse::from_bytes(&bytes, PACKET_LIMITS).is_err());
    }
}
