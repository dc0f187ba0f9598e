//! What must not be taken: each kind has its code, and nothing of it is stored.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::DeflateEncoder;
use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::compress::{CompressionType, compress};
use nodespace_protocol::conflict::Policy;
use nodespace_protocol::crypto::Purpose;
use nodespace_protocol::ids::{NodeId, UserId};
use nodespace_protocol::membership::Role;
use nodespace_protocol::op::segment::{SEGMENT_OPS_MAX, WireOp, WireParent};
use nodespace_protocol::op::{Op, OpType, Segment};
use nodespace_protocol::replica::{Founding, LogRange, NewNode, Replica};
use nodespace_protocol::store::MemoryStore;
use nodespace_protocol::view::encoding::PACKET_ENCODED_BYTES_MAX;
use nodespace_protocol::view::{Cursor, Encoding, PacketSegment, SyncPacket};
use nodespace_relay::clock;
use nodespace_relay::config::ServerConfig;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::servers::Shared;
use crate::world::{Answer, Device, TestRelay, foreign_segment, seed, two_members};

/// How much memory a relay may take for something bad, whatever that unfolds to: a packet as it travels, and once unfolded, and some more.
const MEMORY_MAX: u64 = 64 << 20;

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

/// The same relay once more, as a process of its own: what that takes of memory is nobody else's.
struct Apart {
    child: Child,
    url: String,
}

impl Apart {
    fn of(relay: &TestRelay) -> Self {
        Self::with(relay, &[])
    }

    /// The same, with some settings more.
    fn with(relay: &TestRelay, more: &[(&str, u64)]) -> Self {
        let many = || "{ per_second = 1e6, burst = 1000000 }".to_owned();
        let settings = [
            ("SERVER_ADDRESS", "127.0.0.1:0".to_owned()),
            ("SERVER_DATA", relay.config.server.data.display().to_string()),
            ("DATABASE_URL", relay.config.database.url.reveal().to_owned()),
            ("REDIS_URL", Shared::get().redis().to_owned()),
            ("LIMITS_ADDRESS_REQUESTS", many()),
            ("LIMITS_DEVICE_REQUESTS", many()),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_nodespace-relay"));
        command.arg("serve").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.envs(settings.map(|(name, value)| (format!("NODESPACE_RELAY_{name}"), value)));
        command.envs(more.iter().map(|(name, value)| (format!("NODESPACE_RELAY_{name}"), value.to_string())));
        // Buffers that it lets go of are given back at once: what is measured is what it holds, not what its allocator saves up.
        command.env("MALLOC_MMAP_THRESHOLD_", "1048576");
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("relay    ").unwrap().to_owned();
        Self { child, url }
    }

    async fn sync(&self, relay: &TestRelay, device: &Device, body: Vec<u8>) -> Answer {
        let request = relay.http.post(format!("{}/v1/sync", self.url)).bearer_auth(&device.token).body(body);
        Answer::of(request.send().await.unwrap()).await
    }

    /// A line of what the system says of its memory (`VmRSS:` now, `VmHWM:` the most ever), in bytes.
    fn memory(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let said = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
        said.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// A frame of zstd that unfolds to so many bytes: blocks that repeat one byte, of 128 KiB, the most that a block may have. The format
/// says that in four bytes each and has nothing shorter, so ten gigabytes take 320 KiB, and a kilobyte unfolds to 32 MiB. (A frame inside
/// a frame would be shorter; but what was unfolded is not unfolded again.)
fn zstd_bomb(unfolded: u64) -> Vec<u8> {
    const BLOCK_BYTES: u32 = 128 << 10;
    let blocks = unfolded / u64::from(BLOCK_BYTES);
    // Neither size nor checksum; a window of 8 MiB.
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x68];
    for block in 1..=blocks {
        let is_last = u32::from(block == blocks);
        let header = is_last | 1 << 1 | BLOCK_BYTES << 3;
        frame.extend_from_slice(&header.to_le_bytes()[..3]);
        frame.push(b'[');
    }
    frame
}

/// The longest member of gzip that is taken, and to how many bytes it unfolds: about a thousand for one, the most that the format can.
/// The same compressed part stands in it over and over. Its checksum is wrong, which nobody must come to see.
fn gzip_bomb() -> (Vec<u8>, u64) {
    const PART_BYTES: usize = 4 << 20;
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![b'['; PART_BYTES]).unwrap();
    // Flushed, it ends with a whole byte and without the mark of the end: anything may follow.
    encoder.flush().unwrap();
    let part = encoder.get_ref().as_slice();
    let mut bomb: Vec<u8> = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    // An empty block that is the last, a checksum, a length.
    let end: [u8; 13] = [1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0];
    let parts = (PACKET_ENCODED_BYTES_MAX - bomb.len() - end.len()) / part.len();
    bomb.extend(part.repeat(parts));
    bomb.extend(end);
    (bomb, (parts * PART_BYTES) as u64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_of_ten_gigabytes_are_refused_and_take_no_memory() {
    let relay = TestRelay::start().await;
    let (device, packet) = founder(&relay).await;
    let kilobyte = zstd_bomb(38 << 20);
    let (zstd, (gzip, unfolded)) = (zstd_bomb(10 << 30), gzip_bomb());
    assert!(kilobyte.len() < 1_300 && zstd.len() < 330_000, "{} and {} bytes", kilobyte.len(), zstd.len());
    assert!(gzip.len() <= PACKET_ENCODED_BYTES_MAX && unfolded > 4 << 30, "{} bytes unfold to {unfolded}", gzip.len());
    let apart = Apart::of(&relay);
    // It has its caches and connections.
    assert_eq!(apart.sync(&relay, &device, packet.to_bytes(Encoding::Cbor).unwrap()).await.status, 200);
    let (rows, held) = (relay.rows().await, apart.memory("VmRSS:"));
    for (name, bomb) in [("a kilobyte", kilobyte), ("zstd", zstd), ("gzip", gzip)] {
        let answer = apart.sync(&relay, &device, bomb).await;
        assert_eq!(answer.refusal(), (413, "packet_too_large".into()), "{name}");
        let most = apart.memory("VmHWM:");
        assert!(most < held + MEMORY_MAX, "{name}: it held {held} bytes, and then {most}");
        assert_eq!(relay.rows().await, rows, "{name}: nothing is stored");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_is_refused() {
    let relay = TestRelay::start().await;
    let (device, packet) = founder(&relay).await;
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
    // Twenty thousand segments: the list ends at its bound.
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

/// A packet of a million operations, in as few bytes as they can have: segments of as many as one may hold, five bytes for each that follows
/// the one before. Nothing of it is signed, which nobody must come to see.
fn million(packet: &SyncPacket) -> SyncPacket {
    let mut segment = Segment::decode(&packet.segments[0].bytes).unwrap();
    let first = segment.ops[0].clone();
    let following = |number: u64| WireOp {
        kind: OpType::Update,
        timestamp: Timestamp::from_ms(first.timestamp.ms() + number),
        version: first.version + number,
        parent_version: Some(first.version + number - 1),
        parents: std::iter::once(WireParent::Own(1)).collect(),
        cut: None,
        payload: Vec::new().into(),
        ..first.clone()
    };
    segment.ops = (1..=SEGMENT_OPS_MAX as u64).map(following).collect();
    let packed = PacketSegment { previous: packet.segments[0].previous, bytes: segment.encode() };
    let segments = vec![packed; 1_000_000_usize.div_ceil(SEGMENT_OPS_MAX)];
    SyncPacket { segments, compression: CompressionType::None, ..packet.clone().without_views() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_of_a_million_operations_is_refused_and_takes_no_memory() {
    let relay = TestRelay::start().await;
    let (device, packet) = founder(&relay).await;
    let million = million(&packet);
    let operations: usize = million.segments.iter().map(|packed| Segment::decode(&packed.bytes).unwrap().ops.len()).sum();
    assert!(operations >= 1_000_000, "{operations} operations");
    let body = million.to_bytes(Encoding::Cbor).unwrap();
    assert!(body.len() <= PACKET_ENCODED_BYTES_MAX, "{} bytes", body.len());
    let apart = Apart::of(&relay);
    // It has its caches and connections.
    assert_eq!(apart.sync(&relay, &device, packet.to_bytes(Encoding::Cbor).unwrap()).await.status, 200);
    let (rows, held) = (relay.rows().await, apart.memory("VmRSS:"));
    let answer = apart.sync(&relay, &device, body).await;
    assert_eq!(answer.refusal(), (413, "malformed_operation".into()));
    let most = apart.memory("VmHWM:");
    assert!(most < held + MEMORY_MAX, "it held {held} bytes, and then {most}");
    assert_eq!(relay.rows().await, rows, "nothing is stored");
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
    let id = NodeId::parse(INJECTION).unwrap();
    let new = NewNode {
        node_type: INJECTION.into(),
        metadata: json!({ INJECTION: INJECTION, "nul": "\u{0}" }),
        mentions: vec![id.clone()],
        ..NewNode::text(id.clone(), None, format!("{INJECTION}\u{0}"))
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

/// By how much clocks are wrong here, in milliseconds.
const HOUR_MS: u64 = 3_600_000;

/// Refusing it would cut its author's log in two, and time tells by itself whether the clock was right: it is held back until then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_an_hour_ahead_is_stored_and_has_no_effect_yet() {
    let relay = TestRelay::start().await;
    let (mut founder, mut joiner) = two_members(&relay).await;
    let ahead = clock::now().plus_ms(HOUR_MS);
    let id = NodeId::parse("later").unwrap();
    joiner.replica.create(ahead, NewNode::text(id, None, "from the future")).unwrap();
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

/// A clock that is an hour late is not told from an hour without a network: what it dates is stored, and shows at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_an_hour_behind_is_stored_and_shows_at_once() {
    let relay = TestRelay::start().await;
    let behind = Timestamp::from_ms(clock::now_ms() - HOUR_MS);
    let mut founder = Device::found();
    let founding = Founding { name: "test".into(), policy: Policy::default(), secret: seed() };
    founder.replica = Replica::found(MemoryStore::new(), founder.author.clone(), founder.certificate(), founding, behind).unwrap();
    founder.workspace = founder.replica.workspace();
    let id = NodeId::parse("late").unwrap();
    founder.replica.create(behind, NewNode::text(id, None, "an hour ago")).unwrap();
    founder.replica.commit().unwrap();
    founder.login(&relay).await;
    let response = founder.sync(&relay).await;
    assert_eq!((response.left_out.len(), response.latest_version), (0, 2), "a valid operation is always stored");
    let path = format!("/v1/workspaces/{}/nodes/late", founder.workspace);
    let shown = relay.get(&path, Some(&founder.token)).await.json();
    assert_eq!(shown["node"]["content"], "an hour ago");
    let modified = Timestamp(shown["node"]["modified_at"].as_u64().unwrap());
    assert!(modified.ms() - behind.ms() < HOUR_MS / 2, "the relay does not date it anew: {modified:?}, by a clock that said {behind:?}");
}

/// Whoever has seen what is there writes after it, however late the clock is: it loses to nothing that it replaces.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_an_hour_behind_writes_after_what_it_has_seen() {
    let relay = TestRelay::start().await;
    let (mut founder, mut joiner) = two_members(&relay).await;
    founder.create("a", "by a good clock");
    founder.sync(&relay).await;
    joiner.sync(&relay).await;
    let path = format!("/v1/workspaces/{}/nodes/a", founder.workspace);
    let shown = async || relay.get(&path, Some(&founder.token)).await.json()["node"].clone();
    let before = shown().await;
    let behind = Timestamp::from_ms(clock::now_ms() - HOUR_MS);
    joiner.replica.set_text(behind, &NodeId::parse("a").unwrap(), "by a clock an hour behind").unwrap();
    joiner.replica.commit().unwrap();
    assert_eq!(joiner.sync(&relay).await.left_out.len(), 0);
    let after = shown().await;
    assert_eq!(after["content"], "by a clock an hour behind");
    assert!(after["modified_at"].as_u64() > before["modified_at"].as_u64(), "{before} and {after}");
}

/// The one thing that is wrong with a clock for certain: what it dates before the operation that it follows in its own log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_goes_back_within_a_log_is_refused() {
    let relay = TestRelay::start().await;
    let (device, packet) = founder(&relay).await;
    let mut packet = packet.without_views();
    let packed = &mut packet.segments[0];
    let mut segment = Segment::decode(&packed.bytes).unwrap();
    let ops = segment.verify(&device.workspace, packed.previous, &|_: &_| None).unwrap();
    let [.., before, last] = ops.as_slice() else { panic!("two operations are in one segment") };
    let mut header = last.header.clone();
    header.timestamp = Timestamp::from_ms(before.header.timestamp.ms() - HOUR_MS);
    let back = Op::new(&device.workspace, header, Arc::clone(&last.payload), None);
    *segment.ops.last_mut().unwrap() = WireOp::of(&back, true, |_| None);
    segment.signature = device.author.key.sign(Purpose::Operation, &[&back.hash.0]);
    packed.bytes = segment.encode();
    refused(&relay, &device, packet.to_bytes(Encoding::Cbor).unwrap(), (403, "bad_clock")).await;
}

async fn connect(relay: &TestRelay) -> TcpStream {
    TcpStream::connect(relay.url.strip_prefix("http://").unwrap()).await.unwrap()
}

/// Another instance, without patience for one part of a request. For the others it has some: on a busy machine none comes at once.
async fn hasty_instance(relay: &TestRelay, change: impl FnOnce(&mut ServerConfig)) -> TestRelay {
    let mut config = relay.config.clone();
    change(&mut config.server);
    TestRelay::run(config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_without_end_and_without_haste_are_ended() {
    let relay = TestRelay::start().await;
    let (device, _) = founder(&relay).await;
    let rows = relay.rows().await;
    let head = format!("POST /v1/sync HTTP/1.1\r\nhost: relay\r\nauthorization: Bearer {}\r\n", device.token);
    // Endless: chunk after chunk, beyond what is taken.
    let mut endless = connect(&relay).await;
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
    assert_eq!(relay.rows().await, rows, "nothing is stored of what did not end");
    // Slow: announced, and then nothing.
    let hasty = hasty_instance(&relay, |server| server.body_seconds = 1).await;
    let mut slow = connect(&hasty).await;
    slow.write_all(format!("{head}content-length: 100\r\n\r\n{{").as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    tokio::time::timeout(Duration::from_secs(20), slow.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, b"HTTP/1.1 408");
    assert_eq!(relay.rows().await, rows, "nothing is stored of what did not come");
    // Slower: not even a head.
    let hasty = hasty_instance(&relay, |server| server.head_seconds = 1).await;
    let mut silent = connect(&hasty).await;
    silent.write_all(b"POST /v1/sync HT").await.unwrap();
    let mut rest = Vec::new();
    // Broken off, when what was said came too late even for that.
    tokio::time::timeout(Duration::from_secs(20), silent.read_to_end(&mut rest)).await.unwrap().ok();
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "the connection is ended");
    assert_eq!(relay.rows().await, rows);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workspace_that_is_not_here_is_not_made_by_asking_for_it() {
    let relay = TestRelay::start().await;
    let mut stranger = Device::found();
    stranger.create("a", "text");
    stranger.login(&relay).await;
    let mut packet = SyncPacket::pull(stranger.sender(), Cursor::default(), clock::now());
    refused(&relay, &stranger, packet.to_bytes(Encoding::Cbor).unwrap(), (404, "unknown_workspace")).await;
    // Operations without the one that founds it.
    let log = stranger.author.log();
    let through = stranger.replica.logs().get(&log).unwrap().last_seq();
    packet.push(&stranger.replica, &LogRange { log, branch: 0, after: 1, through }).unwrap();
    refused(&relay, &stranger, packet.to_bytes(Encoding::Cbor).unwrap(), (404, "unknown_workspace")).await;
    for path in ["", "/checkpoint", "/nodes/a", "/addresses", &format!("/attachments/{}", "00".repeat(32))] {
        let answer = relay.get(&format!("/v1/workspaces/{}{path}", stranger.workspace), Some(&stranger.token)).await;
        assert_eq!(answer.refusal(), (404, "unknown_workspace".into()), "{path}");
    }
    let upload =
        relay.put(&format!("/v1/workspaces/{}/attachments/{}", stranger.workspace, "00".repeat(32)), &stranger.token, vec![1]).await;
    assert_eq!(upload.refusal(), (404, "unknown_workspace".into()));
    assert_eq!(relay.rows().await, [0; 7], "there is nothing of it");
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

/// Brings a body of the greatest size but for its last byte. Answers with what the relay has to say of that, as far as it can be read.
async fn bring_all_but_the_last_byte(address: String, head: String) -> Option<[u8; 12]> {
    let mut sender = TcpStream::connect(address).await.unwrap();
    sender.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b'['; 64 << 10];
    let mut left = PACKET_ENCODED_BYTES_MAX - 1;
    while left > 0 {
        let next = left.min(piece.len());
        // Cut off while it is being written, or not: the answer is there.
        if sender.write_all(&piece[..next]).await.is_err() {
            break;
        }
        left -= next;
    }
    let mut answer = [0; 12];
    sender.read_exact(&mut answer).await.ok().map(|_| answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_large_bodies_that_never_end_hold_so_much_in_all() {
    /// Whole bodies that fit into what there is for large ones.
    const FIT: usize = 6;
    const SENDERS: usize = 32;
    let relay = TestRelay::start().await;
    let (device, packet) = founder(&relay).await;
    let body = packet.to_bytes(Encoding::Cbor).unwrap();
    let settings =
        [("SERVER_BODIES_MIB", 64), ("SERVER_BODY_SECONDS", 600), ("SERVER_REQUEST_SECONDS", 600), ("SERVER_CONNECTIONS_PER_ADDRESS", 0)];
    let apart = Apart::with(&relay, &settings);
    // It has its caches and connections.
    assert_eq!(apart.sync(&relay, &device, body.clone()).await.status, 200);
    let held = apart.memory("VmRSS:");
    let address = apart.url.strip_prefix("http://").unwrap().to_owned();
    let head = format!(
        "POST /v1/sync HTTP/1.1\r\nhost: relay\r\nauthorization: Bearer {}\r\ncontent-length: {PACKET_ENCODED_BYTES_MAX}\r\n\r\n",
        device.token
    );
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..SENDERS {
        senders.spawn(bring_all_but_the_last_byte(address.clone(), head.clone()));
    }
    let mut answers = Vec::new();
    while answers.len() < SENDERS - FIT {
        let ended = tokio::time::timeout(Duration::from_secs(60), senders.join_next()).await.expect("more are held than fit");
        answers.push(ended.unwrap().unwrap());
    }
    assert!(answers.iter().any(Option::is_some), "what became of them can be read");
    for answer in answers.into_iter().flatten() {
        assert_eq!(&answer, b"HTTP/1.1 503");
    }
    // Small ones have memory of their own.
    assert_eq!(apart.sync(&relay, &device, body).await.status, 200);
    let most = apart.memory("VmHWM:");
    assert!(most < held + (64 << 20) + MEMORY_MAX, "it held {held} bytes, and then {most}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_may_unfold_to_more_than_there_is_room_for_is_not_unfolded() {
    let relay = TestRelay::with(|config| config.server.bodies_mib = 64).await;
    let (device, _) = founder(&relay).await;
    // An eighth of it as it travels. It is no packet, which nobody comes to see.
    let mut text = vec![0xff; 4 << 20];
    getrandom::fill(&mut text[1..512 << 10]).unwrap();
    let body = compress(&text, CompressionType::Zstd).unwrap();
    let memory = &relay.app.parts().memory;
    // Two megabytes are left of what there is for large ones.
    let mut others = memory.share();
    others.grow_to(46 << 20).unwrap();
    let paths = ["/v1/sync".to_owned(), format!("/v1/workspaces/{}/attachments", device.workspace)];
    for path in &paths {
        let answer = relay.post(path, Some(&device.token), body.clone()).await;
        assert_eq!(answer.refusal(), (503, "relay_busy".into()), "{path}");
    }
    drop(others);
    for path in &paths {
        let answer = relay.post(path, Some(&device.token), body.clone()).await;
        assert_eq!(answer.refusal(), (400, "unknown_encoding".into()), "{path}");
    }
    crate::world::eventually("all of it is given back", async || (memory.held() == 0).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_in_a_queue_is_counted_though_nobody_waits_for_its_answer() {
    const TEXT_BYTES: usize = 50_000;
    let relay = TestRelay::start().await;
    let (mut device, _) = founder(&relay).await;
    device.create("long", &"x".repeat(TEXT_BYTES));
    // It would shrink suspiciously well.
    let packet = SyncPacket { compression: CompressionType::None, ..device.packet(64).without_views() };
    // Its turn waits for the workspace's row, and whoever asked is told that this takes too long.
    let mut row = relay.app.parts().database.write().begin().await.unwrap();
    sqlx::query("SELECT number FROM workspaces FOR UPDATE").execute(&mut *row).await.unwrap();
    let hasty = hasty_instance(&relay, |server| server.request_seconds = 4).await;
    let memory = &hasty.app.parts().memory;
    assert_eq!(device.send(&hasty, &packet, Encoding::Cbor).await.refusal(), (503, "too_slow".into()));
    assert!(memory.held() > TEXT_BYTES as u64, "{} bytes are held", memory.held());
    row.rollback().await.unwrap();
    crate::world::eventually("its turn is over", async || (memory.held() == 0).then_some(())).await;
    assert_eq!(device.send(&relay, &packet, Encoding::Cbor).await.sync().applied_operations.len(), 3);
}
