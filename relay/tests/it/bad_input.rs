//! What must not be taken: each kind has its code, and nothing of it is stored.

use std::time::Duration;

use nodespace_protocol::compress::{CompressionType, compress};
use nodespace_protocol::ids::UserId;
use nodespace_protocol::membership::Role;
use nodespace_protocol::op::Segment;
use nodespace_protocol::replica::LogRange;
use nodespace_protocol::view::{Cursor, Encoding, SyncPacket};
use nodespace_relay::clock;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{Device, TestRelay, foreign_segment, two_members};

/// A founder that has written a little and is logged in, and a packet of what is not pushed yet.
async fn founder(relay: &TestRelay) -> (Device, SyncPacket) {
    let (mut founder, _) = two_members(relay).await;
    founder.create("a", "some text");
    founder.create("b", "some more text");
    let packet = founder.packet(64);
    (founder, packet)
}

async fn refused(relay: &TestRelay, device: &Device, body: Vec<u8>, expected: (u16, &str)) {
    let before = relay.rows().await;
    let answer = relay.post("/v1/sync", Some(&device.token), body).await;
    assert_eq!(answer.refusal(), (expected.0, expected.1.to_owned()));
    assert!(answer.json()["error"]["message"].as_str().unwrap().len() > 10);
    assert_eq!(relay.rows().await, before, "nothing is stored");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_and_garbage_are_refused() {
    let relay = TestRelay::start().await;
    let (device, packet) = founder(&relay).await;
    // A kilobyte and a little that would unfold to ten gigabytes: one block of zstd repeats a byte as often as its header says.
    let zstd_bomb = {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68];
        let blocks = 10_u64 * (1 << 30) / (128 << 10);
        for block in 0..blocks.min(300) {
            // Run-length blocks of 128 KiB: four bytes each.
            let last = u32::from(block == 299);
            let header = last | 1 << 1 | (128 << 10) << 3;
            frame.extend_from_slice(&header.to_le_bytes()[..3]);
            frame.push(b'[');
        }
        frame
    };
    assert!(zstd_bomb.len() < 1_300);
    refused(&relay, &device, zstd_bomb, (413, "packet_too_large")).await;
    for compression in [CompressionType::Gzip, CompressionType::Zstd] {
        let bomb = compress(&vec![b' '; 256 << 20], compression).unwrap();
        refused(&relay, &device, bomb, (413, "packet_too_large")).await;
    }
    let gzip = packet.to_bytes(Encoding::Json).unwrap();
    for (body, expected) in [
        (Vec::new(), (400, "unknown_encoding")),
        (b"hello".to_vec(), (400, "unknown_encoding")),
        (b"{}".to_vec(), (400, "malformed_json")),
        (format!("{{\"x\":{}", "[".repeat(200_000)).into_bytes(), (400, "malformed_json")),
        (vec![0xbf; 100_000], (400, "malformed_cbor")),
        (vec![0x1f, 0x8b, 8, 0, 0], (400, "malformed_compression")),
        (gzip[..gzip.len() - 1].to_vec(), (400, "malformed_json")),
        ([gzip.as_slice(), b" {}"].concat(), (400, "malformed_json")),
        (vec![b' '; (8 << 20) + 1], (413, "body_too_large")),
    ] {
        refused(&relay, &device, body, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_of_too_much_are_refused() {
    let relay = TestRelay::start().await;
    let (device, packet) = founder(&relay).await;
    // A million operations, announced or there: the list ends at its bound.
    let one = serde_json::to_string(&packet.segments[0]).unwrap();
    let mut many = serde_json::to_value(packet.clone().without_views()).unwrap();
    many["segments"] = json!([]);
    let text = many.to_string().replace("\"segments\":[]", &format!("\"segments\":[{}]", vec![one.as_str(); 20_000].join(",")));
    refused(&relay, &device, text.into_bytes(), (400, "malformed_json")).await;
    let mut repeated = packet.clone().without_views();
    repeated.segments = vec![packet.segments[0].clone(); 16_385];
    repeated.compression = CompressionType::Zstd;
    let body = repeated.to_bytes(Encoding::Cbor).unwrap();
    let answer = relay.post("/v1/sync", Some(&device.token), body).await;
    assert!(["malformed_cbor", "packet_too_large"].contains(&answer.code().as_str()), "{answer:?}");
    // Within the list's bound, beyond that of operations.
    let mut repeated = packet.clone().without_views();
    repeated.segments = vec![packet.segments[0].clone(); 8_200];
    let operations = Segment::decode(&packet.segments[0].bytes).unwrap().ops.len() * 8_200;
    assert!(operations > 16_384);
    refused(&relay, &device, repeated.to_bytes(Encoding::Cbor).unwrap(), (413, "malformed_operation")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_altered_or_is_of_somebody_else_is_refused() {
    let relay = TestRelay::start().await;
    let (device, packet) = founder(&relay).await;
    let bytes = |packet: &SyncPacket| packet.to_bytes(Encoding::Cbor).unwrap();
    let altered = |change: &dyn Fn(&mut SyncPacket)| {
        let mut altered = packet.clone();
        change(&mut altered);
        bytes(&altered)
    };
    let last_byte = |packet: &mut SyncPacket| *packet.segments[0].bytes.last_mut().unwrap() ^= 1;
    refused(&relay, &device, altered(&last_byte), (422, "bad_signature")).await;
    let text = |packet: &mut SyncPacket| {
        let at = packet.segments[0].bytes.windows(4).position(|window| window == b"some").unwrap();
        packet.segments[0].bytes[at] ^= 1;
    };
    refused(&relay, &device, altered(&text), (422, "bad_signature")).await;
    refused(&relay, &device, altered(&|packet| packet.segments[0].bytes.truncate(40)), (422, "malformed_segment")).await;
    refused(&relay, &device, altered(&|packet| packet.segments[0].previous = None), (422, "wrong_previous")).await;
    refused(&relay, &device, altered(&|packet| packet.operations[0].version += 1), (422, "lying_view")).await;
    refused(&relay, &device, altered(&|packet| drop(packet.operations.pop())), (422, "view_count")).await;
    refused(&relay, &device, altered(&|packet| packet.user_id = UserId([1; 32])), (403, "unauthorized_operation")).await;
    refused(&relay, &device, altered(&|packet| packet.device_id.0[0] ^= 1), (403, "unauthorized_device")).await;
    // Authentic operations for this workspace, under the membership that everybody knows, by a key that nobody has let in.
    let foreign = foreign_segment(&device, &Device::found().author);
    let mut packet = SyncPacket::pull(device.sender(), device.cursor, clock::now());
    packet.segments = vec![foreign];
    refused(&relay, &device, bytes(&packet), (403, "not_authorised")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cursors_of_the_future_are_refused_and_of_another_epoch_begin_anew() {
    let relay = TestRelay::start().await;
    let (device, _) = founder(&relay).await;
    let epoch = relay.app.parts().database.epoch().current();
    let pull = |cursor| SyncPacket::pull(device.sender(), cursor, clock::now()).to_bytes(Encoding::Cbor).unwrap();
    for version in [4, 1 << 40, u64::MAX] {
        refused(&relay, &device, pull(Cursor { epoch, version }), (409, "cursor_ahead")).await;
    }
    for cursor in [Cursor { epoch: epoch + 1, version: 2 }, Cursor { epoch: 7, version: u64::MAX }, Cursor { epoch: 0, version: 5 }] {
        let response = relay.post("/v1/sync?views=false", Some(&device.token), pull(cursor)).await.sync();
        assert_eq!((response.epoch, response.latest_version), (epoch, 3), "from the beginning");
        let ops: usize = response.segments.iter().map(|packed| Segment::decode(&packed.bytes).unwrap().ops.len()).sum();
        assert_eq!(ops, 3);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sql_in_every_string_is_text() {
    const INJECTION: &str = "'; DROP TABLE operations; -- \u{1F4A3} $1 \\ \" %s";
    let relay = TestRelay::start().await;
    let (mut founder, mut joiner) = two_members(&relay).await;
    let now = clock::now();
    let id = nodespace_protocol::ids::NodeId::parse(INJECTION).unwrap();
    let new = nodespace_protocol::replica::NewNode {
        node_type: INJECTION.into(),
        metadata: json!({ INJECTION: INJECTION, "nul": "\u{0}" }),
        mentions: vec![id.clone()],
        ..nodespace_protocol::replica::NewNode::text(id.clone(), None, format!("{INJECTION}\u{0}"))
    };
    founder.replica.create(now, new).unwrap();
    let renamed = nodespace_protocol::membership::WorkspaceAction::SetName { name: INJECTION.into() };
    founder.replica.change_workspace(now, renamed).unwrap();
    founder.replica.commit().unwrap();
    founder.sync(&relay).await;
    joiner.sync(&relay).await;
    assert_eq!(joiner.replica.state_digest(), founder.replica.state_digest());
    assert_eq!(joiner.text(INJECTION), format!("{INJECTION}\u{0}"));
    let path = reqwest::Url::parse(&relay.url).unwrap();
    let mut path = path.join(&format!("/v1/workspaces/{}/nodes/", founder.workspace)).unwrap();
    path.path_segments_mut().unwrap().pop_if_empty().push(INJECTION);
    let answer = relay.get(&path.as_str()[relay.url.len()..], Some(&joiner.token)).await;
    assert_eq!(answer.json()["node"]["content"], format!("{INJECTION}\u{0}"));
    for path in ["'--", "..%2f..%2fetc", "%00", &"00".repeat(33)] {
        let answer = relay.get(&format!("/v1/workspaces/{path}/nodes/a"), Some(&joiner.token)).await;
        assert_eq!(answer.refusal(), (400, "bad_workspace_id".into()), "{path}");
        let answer = relay.get(&format!("/v1/workspaces/{}/attachments/{path}", founder.workspace), Some(&joiner.token)).await;
        assert_eq!(answer.refusal(), (400, "bad_hash".into()), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_an_hour_ahead_is_stored_and_has_no_effect_yet() {
    let relay = TestRelay::start().await;
    let (mut founder, mut joiner) = two_members(&relay).await;
    let ahead = clock::now().plus_ms(3_600_000);
    let id = nodespace_protocol::ids::NodeId::parse("later").unwrap();
    joiner.replica.create(ahead, nodespace_protocol::replica::NewNode::text(id, None, "from the future")).unwrap();
    joiner.replica.commit().unwrap();
    let response = joiner.sync(&relay).await;
    assert_eq!((response.left_out.len(), response.latest_version), (0, 4), "a valid operation is always stored");
    let path = format!("/v1/workspaces/{}/nodes/later", founder.workspace);
    assert_eq!(relay.get(&path, Some(&founder.token)).await.refusal(), (404, "unknown_node".into()));
    founder.sync(&relay).await;
    assert_eq!(founder.replica.counts().held, 1, "it reaches everybody, and waits there too");
    // Whoever writes after it is not drawn along.
    founder.create("now", "text");
    founder.sync(&relay).await;
    let path = format!("/v1/workspaces/{}/nodes/now", founder.workspace);
    assert_eq!(relay.get(&path, Some(&founder.token)).await.json()["node"]["content"], "text");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_without_end_and_without_haste_are_ended() {
    let relay = TestRelay::with(|config| {
        config.server.body_seconds = 1;
        config.server.head_seconds = 1;
    })
    .await;
    let (device, _) = founder(&relay).await;
    let address = relay.url.strip_prefix("http://").unwrap();
    let head = format!("POST /v1/sync HTTP/1.1\r\nhost: relay\r\nauthorization: Bearer {}\r\n", device.token);
    // Endless: chunk after chunk, beyond what is taken.
    let mut endless = TcpStream::connect(address).await.unwrap();
    endless.write_all(format!("{head}transfer-encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let chunk = [format!("{:x}\r\n", 1 << 20).into_bytes(), vec![b'['; 1 << 20], b"\r\n".to_vec()].concat();
    for _ in 0..20 {
        // Cut off while it is being written, or not: the answer is there.
        if endless.write_all(&chunk).await.is_err() {
            break;
        }
    }
    let mut answer = [0; 12];
    endless.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    // Slow: announced, and then nothing.
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(format!("{head}content-length: 100\r\n\r\n{{").as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    tokio::time::timeout(Duration::from_secs(20), slow.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    // Slower: not even a head.
    let mut silent = TcpStream::connect(address).await.unwrap();
    silent.write_all(b"POST /v1/sync HT").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), silent.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "the connection is ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_writes_nothing_and_carries_what_editors_wrote() {
    let relay = TestRelay::start().await;
    let (mut founder, _) = two_members(&relay).await;
    let ticket = founder.invite(Role::Viewer);
    founder.create("a", "text");
    founder.sync(&relay).await;
    let mut viewer = Device::joiner(&ticket);
    viewer.login(&relay).await;
    viewer.sync(&relay).await;
    viewer.join(&ticket);
    viewer.sync(&relay).await;
    let foreign = foreign_segment(&viewer, &viewer.author);
    let mut packet = SyncPacket::pull(viewer.sender(), viewer.cursor, clock::now());
    packet.segments = vec![foreign];
    refused(&relay, &viewer, packet.to_bytes(Encoding::Cbor).unwrap(), (403, "not_authorised")).await;
    founder.create("b", "carried by a viewer");
    let through = founder.replica.logs().get(&founder.author.log()).unwrap().last_seq();
    let mut packet = SyncPacket::pull(viewer.sender(), viewer.cursor, clock::now());
    packet.push(&founder.replica, &LogRange { log: founder.author.log(), branch: 0, after: through - 1, through }).unwrap();
    let response = viewer.send(&relay, &packet, Encoding::Cbor).await.sync();
    assert_eq!(response.applied_operations.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workspace_has_its_quota() {
    let relay = TestRelay::with(|config| config.quota.workspace_mib = 1).await;
    let mut device = Device::found();
    device.login(&relay).await;
    device.sync(&relay).await;
    let text = "x".repeat(50_000);
    (0..30).for_each(|number| device.create(&format!("n{number}"), &text));
    let mut packet = device.packet(64);
    // It would shrink suspiciously well.
    packet.compression = CompressionType::None;
    refused(&relay, &device, packet.to_bytes(Encoding::Cbor).unwrap(), (507, "quota_exceeded")).await;
}
