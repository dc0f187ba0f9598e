//! Relays and devices for tests: real HTTP, real servers, replicas in memory.
#![allow(dead_code, reason = "tests and benchmarks each use a part")]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};

use nodespace_protocol::conflict::Policy;
use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::{LogId, NodeId, OpHash, WorkspaceId, hex};
use nodespace_protocol::membership::certificate::join_proof;
use nodespace_protocol::membership::{Certificate, Ticket};
use nodespace_protocol::op::Segment;
use nodespace_protocol::replica::{Author, Founding, LogRange, NewNode, PendingBuffer, Replica};
use nodespace_protocol::session::Credential;
use nodespace_protocol::store::MemoryStore;
use nodespace_protocol::view::encoding::PACKET_LIMITS;
use nodespace_protocol::view::{Cursor, Encoding, LoginCredential, RunningHash, Sender, SyncPacket, SyncResponse, login};
use nodespace_relay::clock;
use nodespace_relay::config::{Config, Secret};
use nodespace_relay::hex::unhex;
use nodespace_relay::relay::Relay;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::servers::Shared;

/// A relay that serves in this process. It is stopped when this value ends, or in order by [`TestRelay::stop`].
pub(crate) struct TestRelay {
    pub(crate) url: String,
    pub(crate) operator_url: String,
    pub(crate) app: nodespace_relay::server::App,
    pub(crate) config: Config,
    pub(crate) http: Client,
    stop: CancellationToken,
    served: JoinHandle<()>,
    data: Option<TempDir>,
}

/// A client as devices have it.
pub(crate) fn http() -> Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    Client::builder().no_proxy().build().unwrap()
}

/// A configuration for a database, with its own data folder.
pub(crate) fn config(database: &str, redis: Option<&str>, data: PathBuf) -> Config {
    let mut config = Config::default();
    config.server.address = "127.0.0.1:0".parse().unwrap();
    config.server.metrics_address = Some("127.0.0.1:0".parse().unwrap());
    config.server.data = data;
    config.server.connections_per_address = 0;
    // A last checkpoint goes to a disk that others may be busy with.
    config.server.stop_seconds = 60;
    config.database.url = Secret::new(database);
    config.database.connections = 8;
    config.database.read_connections = 4;
    config.redis.url = redis.map(Secret::new);
    // Tests ask faster than people; what limits do has tests of its own.
    for rate in [&mut config.limits.address_requests, &mut config.limits.address_challenges, &mut config.limits.device_requests] {
        *rate = nodespace_relay::config::Rate { per_second: 1e6, burst: 1_000_000 };
    }
    for rate in [&mut config.limits.device_operations, &mut config.limits.user_operations] {
        *rate = nodespace_relay::config::Rate { per_second: 1e7, burst: 10_000_000 };
    }
    config
}

impl TestRelay {
    /// A relay with a database of its own on the shared servers.
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// The same, with some settings changed.
    pub(crate) async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let shared = Shared::get();
        let data = tempfile::tempdir().unwrap();
        let mut config = config(&shared.database().await, Some(shared.redis()), data.path().to_owned());
        change(&mut config);
        let mut relay = Self::run(config).await;
        relay.data = Some(data);
        relay
    }

    /// A relay of a configuration; the database has been migrated.
    pub(crate) async fn run(config: Config) -> Self {
        if let Ok(level) = std::env::var("NODESPACE_TEST_LOG") {
            nodespace_relay::logging::start(&nodespace_relay::config::LogConfig { level, ..Default::default() }).unwrap();
        }
        let relay = Relay::start(config.clone()).await.unwrap();
        let (url, app, stop) = (relay.url(), relay.app().clone(), relay.stopper());
        let operator_url = format!("http://{}", relay.operator_address().unwrap());
        let served = tokio::spawn(relay.serve());
        Self { url, operator_url, app, config, http: http(), stop, served, data: None }
    }

    /// Another instance of the same relay: the same key, database and Redis.
    pub(crate) async fn another(&self) -> Self {
        Self::run(self.config.clone()).await
    }

    /// Whether Redis answered in time when it was last asked. If not, as happens on a busy machine, the instance does without for a second.
    pub(crate) fn has_redis(&self) -> bool {
        self.app.parts().redis.is_up() == Some(true)
    }

    pub(crate) async fn stop(self) {
        self.stop_keeping_data().await;
    }

    /// Stops it in order; its data folder stays for as long as the answer does.
    pub(crate) async fn stop_keeping_data(mut self) -> Option<TempDir> {
        self.stop.cancel();
        (&mut self.served).await.unwrap();
        self.data.take()
    }

    pub(crate) async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        let mut request = self.http.get(format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, token: Option<&str>, body: impl Into<reqwest::Body>) -> Answer {
        let mut request = self.http.post(format!("{}{path}", self.url)).body(body);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        send(request).await
    }

    pub(crate) async fn put(&self, path: &str, token: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.http.put(format!("{}{path}", self.url)).bearer_auth(token).body(body);
        Answer::of(request.send().await.unwrap()).await
    }

    /// Rows of all tables that packets write to: what "nothing stored" means.
    pub(crate) async fn rows(&self) -> Vec<i64> {
        let sql = "SELECT array[(SELECT count(*) FROM workspaces), (SELECT count(*) FROM operations), (SELECT count(*) FROM nodes), \
                   (SELECT count(*) FROM member_users), (SELECT count(*) FROM member_devices), (SELECT count(*) FROM attachments), \
                   (SELECT count(*) FROM addresses)]";
        sqlx::query_scalar(sql).fetch_one(self.app.parts().database.read()).await.unwrap()
    }
}

impl Drop for TestRelay {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// An answer, read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, body: response.bytes().await.unwrap().to_vec() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The code of a refusal.
    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The status and the code of a refusal.
    pub(crate) fn refusal(&self) -> (u16, String) {
        (self.status.as_u16(), self.code())
    }

    pub(crate) fn sync(&self) -> SyncResponse {
        assert_eq!(self.status, StatusCode::OK, "{}", String::from_utf8_lossy(&self.body));
        SyncResponse::from_bytes(&self.body, PACKET_LIMITS).unwrap().0
    }
}

/// A device: a replica, keys, and what it knows of the relay.
pub(crate) struct Device {
    pub(crate) user: KeyPair,
    pub(crate) author: Author,
    pub(crate) replica: Replica<MemoryStore>,
    pub(crate) workspace: WorkspaceId,
    pub(crate) token: String,
    pub(crate) cursor: Cursor,
    running: RunningHash,
    /// How far the relay holds each log.
    acknowledged: BTreeMap<LogId, u64>,
    credential: Option<LoginCredential>,
}

/// Keys that no other test has: a device's name is its key.
pub(crate) fn seed() -> [u8; 32] {
    static NUMBER: AtomicU8 = AtomicU8::new(0);
    let mut seed = [NUMBER.fetch_add(1, Ordering::Relaxed); 32];
    getrandom::fill(&mut seed[1..]).unwrap();
    seed
}

impl Device {
    /// A device that founds a workspace.
    pub(crate) fn found() -> Self {
        Self::found_with(Policy::default())
    }

    pub(crate) fn found_with(policy: Policy) -> Self {
        let (user, key) = (KeyPair::from_seed(&seed()), KeyPair::from_seed(&seed()));
        let author = Author { key, epoch: 1 };
        let certificate = Certificate::issue(&user, author.key.device());
        let founding = Founding { name: "test".into(), policy, secret: seed() };
        let replica = Replica::found(MemoryStore::new(), author.clone(), certificate, founding, clock::now()).unwrap();
        Self::of(user, author, replica, Some(LoginCredential::from(&Credential::Device(certificate))))
    }

    /// A device with a ticket, which holds nothing yet.
    pub(crate) fn joiner(ticket: &Ticket) -> Self {
        let (user, key) = (KeyPair::from_seed(&seed()), KeyPair::from_seed(&seed()));
        let author = Author { key, epoch: 1 };
        let certificate = Certificate::issue(&user, author.key.device());
        let proof = join_proof(&ticket.key, &ticket.workspace, &certificate);
        let credential = Credential::Join { invite: ticket.invite, certificate, proof };
        let replica = Replica::open(ticket.workspace, MemoryStore::new(), Some(author.clone()), clock::now()).unwrap();
        Self::of(user, author, replica, Some(LoginCredential::from(&credential)))
    }

    /// Another device of the same user, which holds nothing yet and is not named by the workspace.
    pub(crate) fn second_device(&self) -> Self {
        let author = Author { key: KeyPair::from_seed(&seed()), epoch: 1 };
        let certificate = Certificate::issue(&self.user, author.key.device());
        let replica = Replica::open(self.workspace, MemoryStore::new(), Some(author.clone()), clock::now()).unwrap();
        Self::of(self.user.clone(), author, replica, Some(LoginCredential::from(&Credential::Device(certificate))))
    }

    fn of(user: KeyPair, author: Author, replica: Replica<MemoryStore>, credential: Option<LoginCredential>) -> Self {
        let workspace = replica.workspace();
        let (cursor, running) = (Cursor::default(), RunningHash::default());
        Self { user, author, replica, workspace, token: String::new(), cursor, running, acknowledged: BTreeMap::new(), credential }
    }

    pub(crate) fn certificate(&self) -> Certificate {
        Certificate::issue(&self.user, self.author.key.device())
    }

    pub(crate) fn sender(&self) -> Sender {
        Sender { workspace: self.workspace, user: self.user.user(), device: self.author.key.device() }
    }

    /// Invites somebody as an editor or whatever else.
    pub(crate) fn invite(&mut self, role: nodespace_protocol::membership::Role) -> Ticket {
        let key = KeyPair::from_seed(&seed());
        let ticket = self.replica.invite(clock::now(), &key, role, clock::now().plus_ms(3_600_000), 10).unwrap();
        self.replica.commit().unwrap();
        ticket
    }

    /// Joins, once the workspace has been pulled.
    pub(crate) fn join(&mut self, ticket: &Ticket) {
        let certificate = self.certificate();
        self.replica.join(clock::now(), ticket, certificate).unwrap();
        self.replica.commit().unwrap();
    }

    pub(crate) fn create(&mut self, id: &str, text: &str) {
        let id = NodeId::parse(id).unwrap();
        self.replica.create(clock::now(), NewNode::text(id, None, text)).unwrap();
        self.replica.commit().unwrap();
    }

    pub(crate) fn set_text(&mut self, id: &str, text: &str) {
        self.replica.set_text(clock::now(), &NodeId::parse(id).unwrap(), text).unwrap();
        self.replica.commit().unwrap();
    }

    pub(crate) fn text(&self, id: &str) -> String {
        self.replica.view(&NodeId::parse(id).unwrap()).unwrap().content
    }

    /// The relay may have lost what it acknowledged: everything is offered again.
    pub(crate) fn forget_acknowledged(&mut self) {
        self.acknowledged.clear();
    }

    /// Asks for a challenge and answers it; the answer to that.
    pub(crate) async fn try_login(&self, relay: &TestRelay) -> Answer {
        let device = self.author.key.device();
        let request = json!({ "device_id": device, "workspace_id": self.workspace }).to_string();
        let drawn = relay.post("/v1/challenge", None, request).await;
        assert_eq!(drawn.status, StatusCode::OK, "{}", String::from_utf8_lossy(&drawn.body));
        let challenge = drawn.json()["challenge"].as_str().unwrap().to_owned();
        let relay_id = relay.app.parts().key.id();
        let answer = login::answer(&self.author.key, &relay_id, &self.workspace, &unhex(&challenge).unwrap());
        let request = json!({ "challenge": challenge, "signature": hex(&answer.0), "credential": self.credential }).to_string();
        relay.post("/v1/token", None, request).await
    }

    pub(crate) async fn login(&mut self, relay: &TestRelay) {
        let answer = self.try_login(relay).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", String::from_utf8_lossy(&answer.body));
        self.token = answer.json()["token"].as_str().unwrap().to_owned();
    }

    /// A packet with everything the relay is not known to hold, at most so many segments.
    pub(crate) fn packet(&self, segments_max: usize) -> SyncPacket {
        let mut packet = SyncPacket::pull(self.sender(), self.cursor, clock::now());
        let ranges: Vec<LogRange> = self.unacknowledged();
        'ranges: for mut range in ranges {
            while packet.segments.len() < segments_max {
                match packet.push(&self.replica, &range).unwrap() {
                    Some(reached) => range.after = reached,
                    None => continue 'ranges,
                }
            }
            break;
        }
        packet
    }

    fn unacknowledged(&self) -> Vec<LogRange> {
        let logs = self.replica.logs().iter();
        let ranges = logs.map(|(log, entry)| LogRange {
            log: *log,
            branch: 0,
            after: self.acknowledged.get(log).copied().unwrap_or(0),
            through: entry.last_seq(),
        });
        ranges.filter(|range| range.after < range.through).collect()
    }

    /// Notes what the relay holds now.
    pub(crate) fn note_applied(&mut self, packet: &SyncPacket, response: &SyncResponse) {
        for segment in packet.segments.iter().map(|packed| Segment::decode(&packed.bytes).unwrap()) {
            let log = self.acknowledged.entry(segment.log).or_insert(0);
            // In these tests segments of a log are taken in order or not at all.
            let taken = !response.left_out.iter().any(|left| packet.segments[left.segment as usize].bytes == segment.encode());
            if taken {
                *log = segment.last_seq().max(*log);
            }
        }
    }

    /// Takes an answer: its operations, its cursor; checks that the relay's word fits what was said before.
    pub(crate) fn take(&mut self, relay: &TestRelay, response: &SyncResponse) {
        response.verify_consistency(&self.workspace, &|_: &_| None).unwrap();
        if response.epoch != self.cursor.epoch {
            self.running = RunningHash::default();
        }
        self.follow(response);
        let checkpoint = response.checkpoint.as_ref().unwrap();
        checkpoint.verify(&relay.app.parts().key.id()).unwrap();
        assert_eq!(checkpoint.cursor(), response.cursor());
        assert_eq!(checkpoint.running_hash, self.running.0, "the relay's running hash is that of what it gave");
        let mut pending = PendingBuffer::default();
        for packed in &response.segments {
            let segment = Segment::decode(&packed.bytes).unwrap();
            let (log, last) = (segment.log, segment.last_seq());
            let received = pending.receive(&mut self.replica, log.device, segment, clock::now()).unwrap();
            assert!(received.refused.is_empty(), "{:?}", received.refused);
            assert_eq!(received.missing, None, "the relay's order is one in which everything can be taken");
            let held = self.acknowledged.entry(log).or_insert(0);
            *held = last.max(*held);
        }
        self.replica.commit().unwrap();
        self.cursor = response.cursor();
    }

    /// Goes on with the running hash, over what came and over one's own where it stands.
    fn follow(&mut self, response: &SyncResponse) {
        let mut pushed = response.pushed.iter().peekable();
        for number in 0..=response.segments.len() {
            while let Some(run) = pushed.next_if(|run| run.before_segment as usize == number) {
                self.running = self.running.after(&self.run_before(run.last, run.operations));
            }
            if let Some(packed) = response.segments.get(number) {
                let segment = Segment::decode(&packed.bytes).unwrap();
                let ops = segment.verify(&self.workspace, packed.previous, &|_: &_| None).unwrap();
                self.running = self.running.after(ops.iter().map(|op| &op.hash));
            }
        }
    }

    /// The hashes of so many operations of one log, the last of which is this one.
    fn run_before(&self, last: OpHash, count: u32) -> Vec<OpHash> {
        let mut hashes = vec![last];
        let mut at = self.replica.op(&last).unwrap().unwrap();
        while hashes.len() < count as usize {
            let previous = at.header.previous.unwrap();
            hashes.push(previous);
            at = self.replica.op(&previous).unwrap().unwrap();
        }
        hashes.reverse();
        hashes
    }

    /// Sends a packet.
    pub(crate) async fn send(&self, relay: &TestRelay, packet: &SyncPacket, encoding: Encoding) -> Answer {
        relay.post("/v1/sync?views=false", Some(&self.token), packet.to_bytes(encoding).unwrap()).await
    }

    /// Pushes everything and pulls everything. Answers the last response.
    pub(crate) async fn sync(&mut self, relay: &TestRelay) -> SyncResponse {
        loop {
            let packet = self.packet(64).without_views();
            let pushed = packet.segments.len();
            let response = self.send(relay, &packet, Encoding::Cbor).await.sync();
            self.note_applied(&packet, &response);
            self.take(relay, &response);
            if !response.more && (pushed == 0 || self.unacknowledged().is_empty()) {
                return response;
            }
        }
    }
}

/// A founder that has synced, and an editor who joined by a ticket over the relay alone.
pub(crate) async fn two_members(relay: &TestRelay) -> (Device, Device) {
    let mut founder = Device::found();
    let ticket = founder.invite(nodespace_protocol::membership::Role::Editor);
    founder.login(relay).await;
    founder.sync(relay).await;
    let mut joiner = Device::joiner(&ticket);
    joiner.login(relay).await;
    joiner.sync(relay).await;
    joiner.join(&ticket);
    joiner.sync(relay).await;
    founder.sync(relay).await;
    (founder, joiner)
}

/// Asks until there is an answer; the time for that is bounded.
pub(crate) async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = attempt().await {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let limit = std::time::Duration::from_secs(60);
    tokio::time::timeout(limit, asking).await.unwrap_or_else(|_| panic!("{what} did not happen within {limit:?}"))
}

/// A node made by a device under the membership that another device knows, whether it belongs or not: signed, authentic, uninvited.
pub(crate) fn foreign_segment(knows: &Device, author: &Author) -> nodespace_protocol::view::PacketSegment {
    use nodespace_protocol::clock::Timestamp;
    use nodespace_protocol::crypto::Purpose;
    use nodespace_protocol::delta::TextChange;
    use nodespace_protocol::op::segment::{PREFIX_BYTES, WireOp};
    use nodespace_protocol::op::{BlobRef, Header, Op, OpType, Payload, Place, PlaceAnchor, payload_hash};
    use nodespace_protocol::tree::Side;

    let payload = Payload {
        text: Some(TextChange::Replace("uninvited".into())),
        node_type: Some("text".into()),
        place: Some(Place { parent: None, anchor: PlaceAnchor::Start, side: Side::Right }),
        ..Payload::default()
    }
    .encode();
    // A log of its own, so that nothing has to come before.
    let log = LogId { device: author.key.device(), epoch: author.epoch + 1 };
    let now = Timestamp(clock::now().0 + 1);
    let header = Header {
        log,
        seq: 1,
        previous: None,
        node: Some(NodeId::parse("uninvited").unwrap()),
        kind: OpType::Create,
        timestamp: now,
        version: 1_000,
        parent_version: None,
        parents: Default::default(),
        cut: Some(knows.replica.membership().heads().into()),
        payload: BlobRef { hash: payload_hash(&payload), len: payload.len() as u32, encryption: 0 },
        attachment: None,
    };
    let op = Op::new(&knows.workspace, header, payload.into(), None);
    let segment = Segment {
        log,
        first_seq: 1,
        previous_prefix: [0; PREFIX_BYTES],
        ops: vec![WireOp::of(&op, true, |_| None)],
        signature: author.key.sign(Purpose::Operation, &[&op.hash.0]),
    };
    nodespace_protocol::view::PacketSegment::new(None, &segment)
}

/// Sends a request. A server that refuses a body by its length answers at once and closes the connection; whether the client reads the answer
/// before it notices that nobody reads the body is a matter of luck, so it asks again.
async fn send(mut request: reqwest::RequestBuilder) -> Answer {
    for _ in 0..30 {
        let again = request.try_clone();
        match (request.send().await, again) {
            (Ok(response), _) => return Answer::of(response).await,
            (Err(error), Some(again)) if error.is_request() => request = again,
            (Err(error), _) => panic!("{error:?}"),
        }
    }
    panic!("no answer came in thirty attempts");
}
