//! Peers that mean no good: each is refused with a reason and a counter, and nobody else is disturbed.

use std::time::Duration;

use futures::io::AsyncWriteExt as _;
use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::NodeId;
use nodespace_protocol::op::Segment;
use nodespace_protocol::replica::{LogRange, NewNode};
use nodespace_protocol::session::message::FRAME_BYTES_MAX;
use nodespace_protocol::session::{ByeCode, Message, Role, Session, SessionConfig};

use super::company::{Somebody, agree, company};
use crate::engine::{Device, DeviceReplica, OpenOptions};
use crate::net::address::Source;
use crate::net::admission::Roll;
use crate::net::frames::{read_frame, write_frame};
use crate::net::{NetEvent, NetEvents, NetHandle, NetOptions, SYNC_PROTOCOL, Stream, start};
use crate::peers::GossipUse;

const RECEIVED: &str = "nodespace_sync_operations_total{direction=\"received\"}";

/// Somebody with a network and nothing else.
pub(super) struct Stranger {
    net: NetHandle,
    events: NetEvents,
}

impl Stranger {
    pub(super) async fn at(victim: &Somebody, seed: u8) -> Self {
        let net = NetOptions {
            key: KeyPair::from_seed(&[seed; 32]),
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            announce: Vec::new(),
            peers: Vec::new(),
            carriers: Vec::new(),
            mdns: false,
            explicit_only: false,
            connections_max: 16,
            book: None,
            seed: seed.into(),
        };
        let metrics = crate::net::NetMetrics::new(&mut prometheus_client::registry::Registry::default());
        let (net, events) = start(net, metrics).unwrap();
        net.set_roll(Roll { hosts: [victim.id()].into(), has_workspace: true, ..Roll::default() }).await;
        net.learn(victim.id(), vec![victim.listening().await], Source::Explicit, true).await;
        Self { net, events }
    }

    /// A stream to the victim.
    pub(super) async fn stream(&mut self, victim: &Somebody) -> Stream {
        self.sees(|event| matches!(event, NetEvent::Connected { .. })).await;
        self.net.open(victim.id(), SYNC_PROTOCOL).await.unwrap()
    }

    /// Waits for an event.
    async fn sees(&mut self, wanted: impl Fn(&NetEvent) -> bool) {
        let seen = async {
            while let Some(event) = self.events.next().await {
                if wanted(&event) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), seen).await.unwrap();
    }
}

/// The victim still works with its friend.
pub(super) async fn undisturbed(all: &[Somebody], id: &str) {
    all[1].write(id, "undisturbed").await;
    all[0].sees(id, "undisturbed").await;
    agree(all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_huge_frames_and_other_workspaces_are_refused() {
    let all = company(1).await;
    let mut garbage = Stranger::at(&all[0], 21).await;
    let mut stream = garbage.stream(&all[0]).await;
    write_frame(&mut stream, &[0xff; 100]).await.unwrap();
    all[0].refused("malformed_hello").await;

    let mut huge = Stranger::at(&all[0], 22).await;
    let mut stream = huge.stream(&all[0]).await;
    stream.write_all(&u32::try_from(FRAME_BYTES_MAX + 1).unwrap().to_be_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    assert!(read_frame(&mut stream, 100).await.is_err(), "it is dropped");

    let mut other = Stranger::at(&all[0], 23).await;
    let mut stream = other.stream(&all[0]).await;
    let hello = Message::Hello { versions: (1, 1), attachments: true, boot_nonce: 1, salt: [2; 16], tag: [3; 16] };
    write_frame(&mut stream, &hello.encode()).await.unwrap();
    let answer = Message::decode(&read_frame(&mut stream, 1_000).await.unwrap()).unwrap();
    assert!(matches!(answer, Message::Bye { .. }), "it is told, and told nothing else: {answer:?}");
    all[0].refused("stranger").await;
    undisturbed(&all, "a").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_turned_away_is_not_let_in_again_at_once() {
    let all = company(1).await;
    let mut stranger = Stranger::at(&all[0], 31).await;
    let mut stream = stranger.stream(&all[0]).await;
    write_frame(&mut stream, b"nonsense").await.unwrap();
    stranger.sees(|event| matches!(event, NetEvent::Disconnected(_))).await;
    stranger.net.dial(all[0].id()).await;
    all[0].refused("turned_away").await;
    undisturbed(&all, "b").await;
}

/// Linux, as only there all of 127.0.0.0/8 is this machine.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_never_say_who_they_are_disturb_nobody() {
    let all = company(1).await;
    let address = all[0].listening().await.to_string();
    let port: u16 = address.split('/').nth(4).unwrap().parse().unwrap();
    // More than the door has places, from another address than everybody else's, and again and again: places become free after a while.
    let crowd = tokio::spawn(async move {
        let mut half_open = std::collections::VecDeque::new();
        loop {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
            half_open.push_back(socket.connect(([127, 0, 0, 1], port).into()).await.unwrap());
            if half_open.len() > 100 {
                half_open.pop_front();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    all[0].refused("too_many_connections").await;
    undisturbed(&all, "h").await;
    // One who comes now is served as well, though others hang in the door.
    let late = Somebody::empty().await;
    late.join(&all[0].invite(1).await).await.unwrap();
    crowd.abort();
    all[0].refused("handshake").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_of_the_protocol_is_told_so() {
    let all = company(1).await;
    agree(&all).await;
    let mut hello = Message::decode(&hello(&all[1], &all[0]).await).unwrap();
    let Message::Hello { versions, .. } = &mut hello else { panic!("a session begins with a hello: {hello:?}") };
    *versions = (200, 201);
    let saying = async {
        let mut is_told = false;
        while !is_told || !all[0].has_refused("protocol_version").await {
            let Ok(mut stream) = all[1].peers.net().open(all[0].id(), SYNC_PROTOCOL).await else {
                // They connect anew just now.
                tokio::task::yield_now().await;
                continue;
            };
            // A stream that is gone says so when it is read.
            write_frame(&mut stream, &hello.encode()).await.ok();
            let Ok(answer) = read_frame(&mut stream, 1_000).await else { continue };
            let answer = Message::decode(&answer).unwrap();
            // Its honest half opens a stream as well, and of two the newer one counts: the other one is closed, and its end is not counted.
            assert!(matches!(answer, Message::Bye { code: ByeCode::Version | ByeCode::Closing, .. }), "{answer:?}");
            is_told |= matches!(answer, Message::Bye { code: ByeCode::Version, .. });
        }
    };
    tokio::time::timeout(Duration::from_secs(60), saying).await.unwrap();
    undisturbed(&all, "v").await;
}

/// The first frame of a member's session.
pub(super) async fn hello(member: &Somebody, victim: &Somebody) -> Vec<u8> {
    let (config, now, peer) = (SessionConfig::member(77, [4; 16]), member.device.clock().now(), victim.id());
    let begin = move |replica: &mut DeviceReplica, _| {
        let mut session = Session::new(Role::Initiator, peer, config, now);
        session.start(replica, now).unwrap();
        Ok(session.poll_frame(replica).unwrap().unwrap())
    };
    member.workspace().write(None, begin).await.unwrap()
}

/// Says hello as a member, and then the same thing over and over.
async fn flood(member: &Somebody, victim: &Somebody) {
    let Ok(mut stream) = member.peers.net().open(victim.id(), SYNC_PROTOCOL).await else { return };
    let hello = hello(member, victim).await;
    let done = Message::Done { frontier: [1; 32] }.encode();
    let said = async {
        write_frame(&mut stream, &hello).await?;
        for _ in 0..10_000 {
            write_frame(&mut stream, &done).await?;
        }
        Ok::<_, crate::net::frames::FrameError>(())
    };
    // Dropped, or not read any more: either will do.
    tokio::time::timeout(Duration::from_secs(3), said).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_floods_is_dropped_and_taken_again() {
    let all = company(1).await;
    agree(&all).await;
    // Its honest half opens a stream as well and may get in before the flood is noticed.
    for _ in 0..30 {
        flood(&all[1], &all[0]).await;
        if all[0].has_refused("protocol_broken").await {
            break;
        }
    }
    all[0].refused("protocol_broken").await;
    // In an attempt or between two: it is told among the failures.
    all[0].counts("nodespace_sync_failures_total{target=\"peer\",code=\"protocol_broken\"}", |failures| failures > 0).await;
    undisturbed(&all, "c").await;
}

/// What a member wrote, that went before it told anybody. The member is another one than those that are here.
pub(super) async fn untold(all: &mut Vec<Somebody>, id: &str, text: &str) -> Segment {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("home");
    Device::create_empty(&path).unwrap();
    let author = Somebody::open(home, GossipUse::WhenUseful, Vec::new()).await;
    author.join(&all[0].invite(1).await).await.unwrap();
    all.push(author);
    agree(all).await;
    let author = all.pop().unwrap();
    author.device.close().await.unwrap();
    // The same device, without a network.
    let device = Device::open(OpenOptions { projection: false, ..OpenOptions::new(path) }).await.unwrap();
    let new = NewNode::text(NodeId::parse(id).unwrap(), None, text);
    device.workspace(None).unwrap().write(None, move |replica, now| Ok(replica.create(now, new)?)).await.unwrap();
    let segment = device.workspace(None).unwrap().read(last_written).await.unwrap();
    device.close().await.unwrap();
    segment
}

pub(super) fn last_written(replica: &DeviceReplica) -> Segment {
    let log = replica.own_log().unwrap();
    let through = replica.logs().get(&log).unwrap().last_seq();
    let range = LogRange { log, branch: 0, after: through - 1, through };
    replica.segment(&range, true, &|_| 0).unwrap().unwrap()
}

/// The same operation with another word in it, and the signature as it was.
pub(super) fn altered(segment: &Segment, word: &[u8], other: &[u8]) -> Segment {
    let mut altered = segment.clone();
    let mut payload = altered.ops[0].payload.to_vec();
    let at = payload.windows(word.len()).position(|window| window == word).unwrap();
    payload[at..at + other.len()].copy_from_slice(other);
    altered.ops[0].payload = payload.into();
    altered
}

/// Says hello as a member and hands over a segment, until something has come of it: its honest half opens streams as well, and of two the
/// newer one counts.
async fn hand_over(member: &Somebody, victim: &Somebody, segment: &Segment, came: impl AsyncFn() -> bool) {
    let segments = Message::Segments(vec![segment.clone()]).encode();
    let handing = async {
        while !came().await {
            let Ok(mut stream) = member.peers.net().open(victim.id(), SYNC_PROTOCOL).await else {
                // It was disconnected, and connects anew.
                tokio::task::yield_now().await;
                continue;
            };
            for frame in [&hello(member, victim).await, &segments] {
                // A stream that is gone says so when it is read.
                write_frame(&mut stream, frame).await.ok();
            }
            let answers = |frame: &[u8]| matches!(Message::decode(frame).unwrap(), Message::Ack { .. } | Message::Bye { .. });
            while let Ok(frame) = read_frame(&mut stream, FRAME_BYTES_MAX).await {
                if answers(&frame) {
                    break;
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), handing).await.unwrap();
}

pub(super) async fn knows(somebody: &Somebody, id: &str) -> bool {
    let id = NodeId::parse(id).unwrap();
    somebody.workspace().read(move |replica| replica.view(&id).is_ok()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_altered_of_another_is_refused_and_what_is_genuine_is_taken() {
    let mut all = company(2).await;
    let segment = untold(&mut all, "word", "the truth").await;
    agree(&all).await;
    let held = |replica: &DeviceReplica| replica.frontier_digest();
    let before = all[0].workspace().read(held).await.unwrap();
    let lie = altered(&segment, b"truth", b"lies!");
    hand_over(&all[1], &all[0], &lie, async || all[0].has_refused("operations").await).await;
    assert!(!knows(&all[0], "word").await);
    assert_eq!(all[0].workspace().read(held).await.unwrap(), before, "nothing of it is stored");
    undisturbed(&all, "o").await;
    // The same operation by the same way, as its author wrote it: it was the alteration that was refused. A stream that is cut after it, with
    // nothing confirmed, counts as far as it came.
    let received = all[0].metric(RECEIVED);
    hand_over(&all[1], &all[0], &segment, async || knows(&all[0], "word").await).await;
    all[0].counts(RECEIVED, |operations| operations > received).await;
    for somebody in &all {
        somebody.sees("word", "the truth").await;
    }
    agree(&all).await;
}
