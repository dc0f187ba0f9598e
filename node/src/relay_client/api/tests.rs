use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::view::{Cursor, PacketSegment, RunningHash, Sender};

use super::super::damage::rounds;
use super::*;

#[test]
fn a_token_holds_as_long_whatever_the_clocks_show() {
    const QUARTER_MS: u64 = 900_000;
    // The relay's clock is not looked at: only the time between its two answers.
    for relay_ms in [CHALLENGE_LIFE_MS, 1_700_000_000_000, u64::MAX / 2] {
        assert_eq!(token_life_ms(relay_ms + CHALLENGE_LIFE_MS, relay_ms + QUARTER_MS), QUARTER_MS);
    }
    assert_eq!(token_life_ms(u64::MAX, 5), 0, "one that has ended is drawn anew");
    assert_eq!(token_life_ms(0, u64::MAX), TOKEN_LIFE_MS_MAX);
}

#[test]
fn what_shrinks_suspiciously_well_goes_as_it_is() {
    let sender = Sender { workspace: WorkspaceId([1; 32]), user: UserId([2; 32]), device: DeviceId([3; 32]) };
    let packet = |bytes: Vec<u8>| {
        let mut packet = SyncPacket::pull(sender, Cursor::default(), Timestamp::from_ms(1));
        packet.segments = vec![PacketSegment { previous: None, bytes }];
        packet.compression = CompressionType::Zstd;
        packet
    };
    for bytes in [vec![b'a'; 1 << 20], (0..1_u32 << 16).flat_map(u32::to_le_bytes).collect()] {
        let packet = packet(bytes);
        let written = written(&packet).unwrap();
        assert_eq!(SyncPacket::from_bytes(&written, PACKET_LIMITS).unwrap().0, packet, "a relay takes it");
    }
}

#[test]
fn of_attachments_only_what_was_asked_for_and_is_what_its_hash_says_is_taken() {
    let entry = |bytes: &[u8]| AttachmentEntry { hash: OpHash(attachment_hash(bytes)), bytes: bytes.to_vec() };
    let (good, other, unasked) = (entry(b"good"), entry(b"other"), entry(b"unasked"));
    let wanted = [good.hash, other.hash, OpHash([9; 32])];
    let wrong = AttachmentEntry { hash: other.hash, bytes: b"something else".to_vec() };
    let batch = AttachmentBatch { attachments: vec![good, unasked, wrong], left: vec![wanted[2], OpHash([8; 32]), wanted[2]] };
    let given = Given::of(&wanted, batch).unwrap();
    assert_eq!((given.attachments, given.left), ([(wanted[0], b"good".to_vec())].into(), vec![wanted[2]]));
    // One that names everything as left would be asked for ever.
    let batch = AttachmentBatch { attachments: vec![entry(b"good")], left: wanted.to_vec() };
    assert_eq!(Given::of(&wanted, batch), None);
}

/// One good answer of each kind.
fn answers() -> Vec<serde_json::Value> {
    let key = "5a".repeat(32);
    let node = CanonicalNode {
        id: NodeId::parse("a").unwrap(),
        node_type: "text".into(),
        content: "text".into(),
        metadata: json!({ "due": [1.5, null] }),
        mentions: vec![NodeId::parse("b").unwrap()],
        parent_id: None,
        deleted: false,
        created_at: Timestamp::from_ms(1),
        modified_at: Timestamp::from_ms(2),
        version: 3,
        heads: vec![OpHash([4; 32])],
    };
    let checkpoint = Checkpoint::sign(&KeyPair::from_seed(&[1; 32]), WorkspaceId([2; 32]), Cursor::default(), RunningHash::default());
    vec![
        json!({ "challenge": "00ff", "relay_id": key, "expires_at_ms": 1_700_000_060_000_u64 }),
        json!({ "token": "a1b2", "expires_at_ms": 1_700_000_900_000_u64, "user_id": key, "as": "member", "epoch": 1 }),
        json!({ "relay_id": key, "version": "0.1.0", "epoch": 1, "time_ms": 1_700_000_000_000_u64 }),
        json!({ "workspace_id": key, "version": 7, "epoch": 1, "bytes": 4_096, "role": "editor" }),
        json!({ "members": [{ "device_id": key, "addresses": ["/ip4/192.0.2.1/tcp/4001"], "seconds_left": 9 }], "circuit": ["/dns4/a/tcp/1"] }),
        json!({ "node": node, "epoch": 1, "as_of_version": 7 }),
        json!({ "missing": [key, key] }),
        json!({ "error": { "code": "too_slow", "message": "later", "retry_after_ms": 1_000 } }),
        json!(checkpoint),
    ]
}

/// Reads bytes as an answer of each kind, one of which they are, and goes as far with it as can be gone without a relay. How many it was.
fn read(bytes: &[u8]) -> usize {
    fn is<T: DeserializeOwned>(bytes: &[u8]) -> usize {
        serde_json::from_slice::<T>(bytes).is_ok().into()
    }
    let drawn = serde_json::from_slice::<Challenge>(bytes).ok();
    if let Some(drawn) = &drawn {
        assert!(unhex(&drawn.challenge).is_none_or(|read| hex(&read) == drawn.challenge.to_lowercase()));
        assert!(token_life_ms(drawn.expires_at_ms, u64::MAX) <= TOKEN_LIFE_MS_MAX);
    }
    let granted = serde_json::from_slice::<Granted>(bytes).ok();
    if let Some(granted) = &granted {
        assert!(token_life_ms(0, granted.expires_at_ms) <= TOKEN_LIFE_MS_MAX);
    }
    let others = is::<RelayInfo>(bytes) + is::<WorkspaceInfo>(bytes) + is::<Directory>(bytes) + is::<Canonical>(bytes);
    let more = is::<MissingAttachments>(bytes) + is::<Refused>(bytes) + is::<Checkpoint>(bytes);
    usize::from(drawn.is_some()) + usize::from(granted.is_some()) + others + more
}

#[test]
fn damaged_answers_are_read_or_not_understood() {
    for good in answers() {
        let good = good.to_string();
        assert!(read(good.as_bytes()) >= 1, "{good}");
        rounds(good.as_bytes(), |bytes| {
            read(bytes);
        });
    }
    let entry = AttachmentEntry { hash: OpHash([1; 32]), bytes: vec![1, 2, 3] };
    let batch = encoding::encode(&AttachmentBatch { attachments: vec![entry], left: vec![OpHash([2; 32])] }, CBOR).unwrap();
    rounds(&batch, |bytes| drop(encoding::decode_any::<AttachmentBatch>(bytes, PACKET_LIMITS)));
}
