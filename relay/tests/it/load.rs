//! Writers for load: each signs a log of its own, without a replica behind it, as fast as it can.
//!
//! What they write is what typing and outlining write: nodes are made, and their texts edited. A writer keeps the hashes of what was
//! acknowledged, and the checker holds the log against them: nothing lost, nothing twice, nothing skipped.
#![allow(dead_code, reason = "tests and benchmarks each use a part")]

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::compress::CompressionType;
use nodespace_protocol::conflict::Policy;
use nodespace_protocol::crypto::{KeyPair, Purpose};
use nodespace_protocol::delta::TextChange;
use nodespace_protocol::ids::{LogId, NodeId, OpHash, RelayId, WorkspaceId, hex};
use nodespace_protocol::membership::{Certificate, WorkspaceAction};
use nodespace_protocol::op::segment::{PREFIX_BYTES, WireOp};
use nodespace_protocol::op::{BlobRef, Header, Op, OpType, ParentRef, Payload, Place, PlaceAnchor, Segment, payload_hash};
use nodespace_protocol::replica::{Author, Founding, LogRange, Replica};
use nodespace_protocol::session::Credential;
use nodespace_protocol::store::MemoryStore;
use nodespace_protocol::text::TextPatch;
use nodespace_protocol::tree::Side;
use nodespace_protocol::view::encoding::PACKET_LIMITS;
use nodespace_protocol::view::{Cursor, Encoding, LoginCredential, PacketSegment, Sender, SyncPacket, SyncResponse, login};
use nodespace_relay::clock;
use nodespace_relay::hex::unhex;
use reqwest::Client;
use serde_json::json;
use tokio::task::JoinSet;

/// How long a request is tried again before the load gives up: longer than any fault lasts.
const PATIENCE: Duration = Duration::from_secs(180);
/// How a packet is sent that only brings operations.
const WITHOUT_PULL: &str = "views=false&pull=false";
/// Operations on one node before the next is made.
const EDITS_PER_NODE: usize = 9;

/// Operations that were acknowledged to anybody in this process: for whoever wants to see how it goes on.
pub(crate) static ACKNOWLEDGED: AtomicUsize = AtomicUsize::new(0);

/// A workspace with its writers.
#[derive(Debug)]
pub(crate) struct Team {
    pub(crate) workspace: WorkspaceId,
    /// What founds it and lets the writers in.
    pub(crate) founding: Vec<PacketSegment>,
    pub(crate) founding_ops: usize,
    pub(crate) writers: Vec<Writer>,
    /// A member that only reads.
    pub(crate) reader: Session,
}

/// Who talks to a relay, and how it shows that it may.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) http: Client,
    pub(crate) url: String,
    pub(crate) relay: RelayId,
    pub(crate) key: KeyPair,
    pub(crate) sender: Sender,
    credential: LoginCredential,
    token: Option<String>,
}

/// One log that is written.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) session: Session,
    log: LogId,
    cut: Box<[OpHash]>,
    seq: u64,
    previous: Option<OpHash>,
    version: u64,
    timestamp: u64,
    /// The node that is edited: its id, sequence number and version of its last operation, how often it was.
    node: Option<(NodeId, u64, u64, usize)>,
    random: u64,
    /// Packets that were written before they are pushed.
    ready: VecDeque<Ready>,
    /// What was acknowledged.
    pub(crate) acknowledged: Vec<OpHash>,
}

/// A packet as it is sent, and the operations in it.
#[derive(Debug)]
struct Ready {
    hashes: Vec<OpHash>,
    body: Bytes,
}

impl Team {
    /// A workspace drawn from a seed, with so many writers.
    pub(crate) fn new(seed: u64, writers: usize, http: &Client, url: &str, relay: RelayId) -> Self {
        let key = |what: &str, number: usize| {
            KeyPair::from_seed(&blake3::derive_key("nodespace-relay load", format!("{seed} {what} {number}").as_bytes()))
        };
        let user = key("user", 0);
        let founder = Author { key: key("device", 0), epoch: 1 };
        let certificate = Certificate::issue(&user, founder.key.device());
        let founding = Founding { name: "load".into(), policy: Policy::default(), secret: [7; 32] };
        let now = clock::now();
        let mut replica = Replica::found(MemoryStore::new(), founder.clone(), certificate, founding, now).unwrap();
        for number in 1..=writers {
            let certificate = Certificate::issue(&user, key("device", number).device());
            replica.change_workspace(now, WorkspaceAction::AddDevice { certificate }).unwrap();
        }
        replica.commit().unwrap();
        let workspace = replica.workspace();
        let cut: Box<[OpHash]> = replica.membership().heads().into();
        let session = |key: KeyPair| Session {
            http: http.clone(),
            url: url.to_owned(),
            relay,
            sender: Sender { workspace, user: user.user(), device: key.device() },
            credential: LoginCredential::from(&Credential::Device(Certificate::issue(&user, key.device()))),
            key,
            token: None,
        };
        let writer = |number: usize| {
            let key = key("device", number);
            Writer {
                log: LogId { device: key.device(), epoch: number as u32 },
                session: session(key),
                cut: cut.clone(),
                seq: 0,
                previous: None,
                version: 1_000,
                timestamp: now.0 + 1_000,
                node: None,
                random: seed.wrapping_mul(1_000_003).wrapping_add(number as u64) | 1,
                ready: VecDeque::new(),
                acknowledged: Vec::new(),
            }
        };
        let writers = (1..=writers).map(writer).collect();
        let reader = session(founder.key.clone());
        let founding = segments_of(&replica, founder.log());
        Self { workspace, founding_ops: replica.logs().get(&founder.log()).unwrap().last_seq() as usize, founding, writers, reader }
    }

    /// Brings the workspace to the relay.
    pub(crate) async fn found(&mut self) {
        for segments in self.founding.chunks(64) {
            let mut packet = SyncPacket::pull(self.reader.sender, Cursor::default(), clock::now());
            packet.segments = segments.to_vec();
            let response = self.reader.sync(&packet).await;
            assert!(response.left_out.is_empty(), "{:?}", response.left_out);
        }
    }
}

fn segments_of(replica: &Replica<MemoryStore>, log: LogId) -> Vec<PacketSegment> {
    let through = replica.logs().get(&log).unwrap().last_seq();
    let mut packet = SyncPacket::pull(
        Sender { workspace: replica.workspace(), user: KeyPair::from_seed(&[0; 32]).user(), device: log.device },
        Cursor::default(),
        clock::now(),
    );
    let mut range = LogRange { log, branch: 0, after: 0, through };
    while let Some(reached) = packet.push(replica, &range).unwrap() {
        range.after = reached;
    }
    packet.segments
}

impl Session {
    /// Logs in; `None` when the relay did not answer.
    async fn login(&mut self) -> Option<()> {
        let Sender { workspace, device, .. } = self.sender;
        let request = json!({ "device_id": device, "workspace_id": workspace }).to_string();
        let drawn = self.http.post(format!("{}/v1/challenge", self.url)).body(request).send().await.ok()?;
        let drawn: serde_json::Value = serde_json::from_slice(&drawn.bytes().await.ok()?).ok()?;
        let challenge = drawn["challenge"].as_str()?.to_owned();
        let answer = login::answer(&self.key, &self.relay, &workspace, &unhex(&challenge)?);
        let request = json!({ "challenge": challenge, "signature": hex(&answer.0), "credential": self.credential }).to_string();
        let granted = self.http.post(format!("{}/v1/token", self.url)).body(request).send().await.ok()?;
        let granted: serde_json::Value = serde_json::from_slice(&granted.bytes().await.ok()?).ok()?;
        self.token = Some(granted["token"].as_str()?.to_owned());
        Some(())
    }

    /// Sends a packet until it is answered, whatever happens to the relay meanwhile.
    pub(crate) async fn sync(&mut self, packet: &SyncPacket) -> SyncResponse {
        let bytes = packet.to_bytes(Encoding::Cbor).unwrap().into();
        // Who brings operations here has no interest in those of others: readers have.
        self.send(bytes, if packet.segments.is_empty() { "views=false" } else { WITHOUT_PULL }).await
    }

    /// Sends the bytes of a packet until they are answered.
    async fn send(&mut self, body: Bytes, query: &str) -> SyncResponse {
        let started = Instant::now();
        loop {
            if let Some(response) = self.attempt(body.clone(), query).await {
                return response;
            }
            assert!(started.elapsed() < PATIENCE, "the relay did not answer for {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn attempt(&mut self, body: Bytes, query: &str) -> Option<SyncResponse> {
        if self.token.is_none() {
            self.login().await?;
        }
        let request = self.http.post(format!("{}/v1/sync?{query}", self.url)).bearer_auth(self.token.as_deref()?);
        let answer = request.body(body).send().await.ok()?;
        let status = answer.status().as_u16();
        let body = answer.bytes().await.ok()?;
        match status {
            200 => Some(SyncResponse::from_bytes(&body, PACKET_LIMITS).unwrap().0),
            401 => {
                self.token = None;
                None
            }
            // Away, busy, or too much for now.
            429 | 500..=599 => None,
            _ => panic!("{status}: {}", String::from_utf8_lossy(&body)),
        }
    }

    /// The token, once there is one.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// A packet that asks for what comes after a cursor.
    pub(crate) fn pull(&self, cursor: Cursor) -> SyncPacket {
        SyncPacket::pull(self.sender, cursor, clock::now())
    }
}

impl Writer {
    fn draw(&mut self, below: u64) -> u64 {
        // xorshift64*: what is written only has to look like writing.
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) % below
    }

    /// Writes so many operations as one segment; answers their hashes and the packet.
    pub(crate) fn packet(&mut self, ops: usize) -> (Vec<OpHash>, SyncPacket) {
        let (first_seq, before) = (self.seq + 1, self.previous);
        let written: Vec<Op> = (0..ops).map(|_| self.write()).collect();
        let hashes: Vec<OpHash> = written.iter().map(|op| op.hash).collect();
        let mut previous_prefix = [0; PREFIX_BYTES];
        if let Some(before) = before {
            previous_prefix.copy_from_slice(&before.0[..PREFIX_BYTES]);
        }
        let last = hashes.last().copied().unwrap();
        let segment = Segment {
            log: self.log,
            first_seq,
            previous_prefix,
            ops: written.iter().map(|op| WireOp::of(op, true, |_| None)).collect(),
            signature: self.session.key.sign(Purpose::Operation, &[&last.0]),
        };
        let mut packet = SyncPacket::pull(self.session.sender, Cursor::default(), clock::now());
        packet.segments = vec![PacketSegment::new(before, &segment)];
        packet.compression = CompressionType::None;
        (hashes, packet)
    }

    fn write(&mut self) -> Op {
        self.seq += 1;
        self.version += 1;
        self.timestamp += 1;
        let edits = self.node.as_ref().map_or(usize::MAX, |(.., edits)| *edits);
        let (node, kind, payload, parent) = if edits >= EDITS_PER_NODE { self.create() } else { self.edit() };
        let payload = payload.encode();
        let header = Header {
            log: self.log,
            seq: self.seq,
            previous: self.previous,
            node: Some(node.clone()),
            kind,
            timestamp: Timestamp(self.timestamp),
            version: self.version,
            parent_version: parent.map(|(_, version)| version),
            parents: parent.iter().map(|(seq, _)| ParentRef::Own(self.seq - seq)).collect(),
            cut: (self.seq == 1).then(|| self.cut.clone()),
            payload: BlobRef { hash: payload_hash(&payload), len: payload.len() as u32, encryption: 0 },
            attachment: None,
        };
        let op = Op::new(&self.session.sender.workspace, header, payload.into(), None);
        self.previous = Some(op.hash);
        let edits = if kind == OpType::Create { 0 } else { edits + 1 };
        self.node = Some((node, self.seq, self.version, edits));
        op
    }

    fn create(&mut self) -> (NodeId, OpType, Payload, Option<(u64, u64)>) {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.draw(u64::MAX).to_le_bytes());
        id[8..].copy_from_slice(&self.draw(u64::MAX).to_le_bytes());
        let node = NodeId::Uuid(uuid::Builder::from_random_bytes(id).into_uuid());
        let payload = Payload {
            text: Some(TextChange::Replace("a node of some sixty characters, as most nodes of an outline are".into())),
            node_type: Some("text".into()),
            place: Some(Place { parent: None, anchor: PlaceAnchor::Start, side: Side::Right }),
            ..Payload::default()
        };
        (node, OpType::Create, payload, None)
    }

    fn edit(&mut self) -> (NodeId, OpType, Payload, Option<(u64, u64)>) {
        let at = self.draw(60) as u32;
        let (node, seq, version, _) = self.node.clone().expect("a node is made before it is edited");
        let patch = TextPatch { position: at, delete: 0, insert: "a few words ".into() };
        let payload = Payload { text: Some(TextChange::Edits(vec![patch])), ..Payload::default() };
        (node, OpType::Update, payload, Some((seq, version)))
    }

    fn written(&mut self, ops: usize) -> Ready {
        let (hashes, packet) = self.packet(ops);
        Ready { hashes, body: packet.to_bytes(Encoding::Cbor).unwrap().into() }
    }

    /// Writes so many packets that are pushed later: signing them is the work of as many devices, which do not share a relay's processor.
    pub(crate) fn prepare(&mut self, packets: usize, ops: usize) {
        for _ in 0..packets {
            let ready = self.written(ops);
            self.ready.push_back(ready);
        }
    }

    /// Pushes so many packets, each until it is acknowledged; those that are ready first. Answers how long each took.
    pub(crate) async fn push(&mut self, packets: usize, ops: usize) -> Vec<Duration> {
        let mut took = Vec::with_capacity(packets);
        for _ in 0..packets {
            let Ready { hashes, body } = self.ready.pop_front().unwrap_or_else(|| self.written(ops));
            let started = Instant::now();
            let response = self.session.send(body, WITHOUT_PULL).await;
            took.push(started.elapsed());
            let expected: Vec<_> = hashes.iter().map(OpHash::uuid).collect();
            assert_eq!(response.applied_operations, expected, "{:?}", response.left_out);
            ACKNOWLEDGED.fetch_add(hashes.len(), Ordering::Relaxed);
            self.acknowledged.extend(hashes);
        }
        took
    }
}

/// Has the writers of all teams push at the same time, so many packets each. Every one comes back with its team's number and how long each
/// packet took.
pub(crate) fn push_all(teams: &mut [Team], packets: usize, ops: usize) -> JoinSet<(usize, Writer, Vec<Duration>)> {
    let mut pushing = JoinSet::new();
    for (number, team) in teams.iter_mut().enumerate() {
        for mut writer in std::mem::take(&mut team.writers) {
            pushing.spawn(async move {
                let took = writer.push(packets, ops).await;
                (number, writer, took)
            });
        }
    }
    pushing
}

/// What a reader was given, by cursor.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) cursor: Cursor,
    pub(crate) hashes: Vec<OpHash>,
    pub(crate) segments: Vec<PacketSegment>,
}

impl Seen {
    /// Takes an answer. Operations are verified as a device would.
    pub(crate) fn take(&mut self, workspace: &WorkspaceId, response: SyncResponse) {
        let verified = response.verify_consistency(workspace, &|_: &_| None).unwrap();
        self.hashes.extend(verified.iter().flat_map(|segment| segment.ops.iter().map(|op| op.hash)));
        assert!(self.cursor.epoch == 0 || response.epoch == self.cursor.epoch, "no database was set back");
        self.cursor = response.cursor();
        self.segments.extend(response.segments);
    }

    /// Reads on until there is no more.
    pub(crate) async fn read_to_end(&mut self, reader: &mut Session) {
        loop {
            let response = reader.sync(&reader.pull(self.cursor)).await;
            let more = response.more;
            self.take(&reader.sender.workspace, response);
            if !more {
                return;
            }
        }
    }
}

/// What the checker found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) acknowledged: usize,
    pub(crate) lost: usize,
    pub(crate) duplicated: usize,
    pub(crate) skipped: usize,
}

/// Holds what was acknowledged, and what a reader who was there all the time has seen, against the log as it is read from the beginning.
pub(crate) async fn check(team: &mut Team, seen: &Seen) -> Verdict {
    let mut whole = Seen::default();
    whole.read_to_end(&mut team.reader).await;
    let log: BTreeSet<OpHash> = whole.hashes.iter().copied().collect();
    let followed: BTreeSet<OpHash> = seen.hashes.iter().copied().collect();
    let acknowledged: Vec<OpHash> = team.writers.iter().flat_map(|writer| writer.acknowledged.iter().copied()).collect();
    assert_eq!(whole.cursor.version, whole.hashes.len() as u64, "versions have no gaps");
    Verdict {
        acknowledged: acknowledged.len(),
        lost: acknowledged.iter().filter(|hash| !log.contains(hash)).count(),
        duplicated: whole.hashes.len() - log.len() + seen.hashes.len() - followed.len(),
        skipped: log.difference(&followed).count(),
    }
}
