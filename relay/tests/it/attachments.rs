//! Attachments: carried by packets, uploaded in bulk, fetched by hash; in a folder and in a bucket; when storage fails or loses some.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use axum::body::Bytes;
use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::compress::CompressionType;
use nodespace_protocol::crypto::Purpose;
use nodespace_protocol::delta::TextChange;
use nodespace_protocol::ids::{LogId, NodeId, OpHash, hex};
use nodespace_protocol::op::segment::{PREFIX_BYTES, WireOp};
use nodespace_protocol::op::{
    ATTACHMENT_BYTES_MAX, BlobRef, Header, Op, OpType, Payload, Place, PlaceAnchor, Segment, attachment_hash, payload_hash,
};
use nodespace_protocol::replica::NewEmbedding;
use nodespace_protocol::tree::Side;
use nodespace_protocol::view::{Encoding, Framing, PacketSegment, SyncPacket, encoding};
use nodespace_relay::clock;
use nodespace_relay::config::Secret;
use nodespace_relay::server::AttachmentBatch;
use nodespace_relay::server::AttachmentEntry;
use nodespace_relay::store::WorkspaceRow;
use serde_json::json;

use crate::world::{Device, TestRelay, two_members};

/// Gives a node an embedding; answers the attachment's hash and bytes.
fn embed(device: &mut Device, id: &str, components: Vec<f32>) -> (OpHash, Vec<u8>) {
    let embedding = NewEmbedding { model: "test-model".into(), vector: components };
    let op = device.replica.attach_embedding(clock::now(), &NodeId::parse(id).unwrap(), &embedding).unwrap();
    device.replica.commit().unwrap();
    let op = device.replica.op(&op).unwrap().unwrap();
    (OpHash(op.header.attachment.unwrap().hash), op.attachment.clone().unwrap().to_vec())
}

fn batch(entries: &[(OpHash, Vec<u8>)]) -> Vec<u8> {
    batch_as(entries, CompressionType::None)
}

fn batch_as(entries: &[(OpHash, Vec<u8>)], compression: CompressionType) -> Vec<u8> {
    let attachments = entries.iter().map(|(hash, bytes)| AttachmentEntry { hash: *hash, bytes: bytes.clone() }).collect();
    let batch = AttachmentBatch { attachments, missing: Vec::new(), left: Vec::new() };
    encoding::encode(&batch, Framing { encoding: Encoding::Cbor, compression }).unwrap()
}

async fn go_up_and_down(relay: &TestRelay) {
    let (mut founder, mut joiner) = two_members(relay).await;
    founder.create("a", "text");
    founder.create("b", "text");
    let carried = embed(&mut founder, "a", (0..384).map(|at| at as f32 / 384.0).collect());
    founder.sync(relay).await;
    let path = format!("/v1/workspaces/{}/attachments", founder.workspace);
    let one = relay.get(&format!("{path}/{}", hex(&carried.0.0)), Some(&joiner.token)).await;
    assert_eq!((one.status.as_u16(), one.body), (200, carried.1.clone()), "what a packet carries is stored");
    // Announced without its bytes, then uploaded in bulk.
    let later = embed(&mut founder, "b", vec![0.5, -1.0, 0.25]);
    let mut packet = founder.packet(8);
    for packed in &mut packet.segments {
        let mut segment = Segment::decode(&packed.bytes).unwrap();
        segment.ops.iter_mut().filter_map(|op| op.attachment.as_mut()).for_each(|(_, bytes)| *bytes = None);
        packed.bytes = segment.encode();
    }
    let response = founder.send(relay, &packet.without_views(), Encoding::Cbor).await.sync();
    assert_eq!(response.applied_operations.len(), 1);
    let wish = json!({ "hashes": [carried.0, later.0, OpHash([9; 32])] }).to_string();
    let fetch = async |wish: String| {
        let answer = relay.post(&format!("{path}/fetch"), Some(&joiner.token), wish).await;
        let limits = encoding::PACKET_LIMITS;
        encoding::decode_any::<AttachmentBatch>(&answer.body, limits).unwrap().0
    };
    let found = fetch(wish.clone()).await;
    assert_eq!(found.missing, [later.0, OpHash([9; 32])]);
    assert_eq!(found.attachments.len(), 1);
    let uploaded = relay.post(&path, Some(&founder.token), batch(&[carried.clone(), later.clone()])).await.json();
    assert_eq!((uploaded["stored"].as_u64(), uploaded["known"].as_u64()), (Some(1), Some(1)));
    let found = fetch(wish).await;
    assert_eq!(found.attachments.iter().map(|entry| entry.hash).collect::<Vec<_>>(), [carried.0, later.0]);
    assert_eq!(found.attachments[1].bytes, later.1);
    // What is not named by an operation, or has another hash, is not kept.
    let stranger = relay.put(&format!("{path}/{}", hex(&[9; 32])), &founder.token, vec![1, 2, 3]).await;
    assert_eq!(stranger.refusal(), (400, "wrong_hash".into()));
    let bytes = vec![0, 0, 0, 0, 1];
    let hash = attachment_hash(&bytes);
    let unnamed = relay.put(&format!("{path}/{}", hex(&hash)), &founder.token, bytes).await;
    assert_eq!(unnamed.refusal(), (404, "unknown_attachment".into()));
    let again = relay.put(&format!("{path}/{}", hex(&later.0.0)), &founder.token, later.1).await;
    assert_eq!(again.status, 200);
    // The pull names it without its bytes: a device fetches what it wants.
    joiner.sync(relay).await;
    let status = relay.get(&format!("/v1/workspaces/{}", founder.workspace), Some(&joiner.token)).await.json();
    assert_eq!(status["attachment_bytes"].as_u64(), Some(carried.1.len() as u64 + 3 + 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attachments_go_up_and_down_by_a_folder() {
    let relay = TestRelay::start().await;
    go_up_and_down(&relay).await;
    let folder = relay.config.attachment_folder().join("embeddings");
    assert!(folder.is_dir(), "{}", folder.display());
}

/// Attachments of the greatest size.
fn great_ones(count: u8) -> Vec<(OpHash, Vec<u8>)> {
    let great = |number: u8| {
        let bytes = vec![number; ATTACHMENT_BYTES_MAX];
        (OpHash(attachment_hash(&bytes)), bytes)
    };
    (0..count).map(great).collect()
}

/// Pushes nodes that announce attachments, each of so many bytes, whatever it has. They are in a log of the device's of their own.
async fn announce(relay: &TestRelay, device: &Device, attachments: &[(OpHash, Vec<u8>)], len: u32) {
    let log = LogId { device: device.author.key.device(), epoch: device.author.epoch + 1 };
    let place = Place { parent: None, anchor: PlaceAnchor::Start, side: Side::Right };
    let payload = Payload {
        text: Some(TextChange::Replace("text".into())),
        node_type: Some("text".into()),
        place: Some(place),
        ..Payload::default()
    };
    let payload = payload.encode();
    let (now, mut previous, mut ops) = (clock::now(), None, Vec::new());
    let mut packet = SyncPacket::pull(device.sender(), device.cursor, now);
    for (seq, (hash, _)) in (1..).zip(attachments) {
        let header = Header {
            log,
            seq,
            previous,
            node: Some(NodeId::parse(&format!("announced-{seq}")).unwrap()),
            kind: OpType::Create,
            timestamp: Timestamp(now.0 + seq),
            version: 1_000 + seq,
            parent_version: None,
            parents: Default::default(),
            cut: (seq == 1).then(|| device.replica.membership().heads().into()),
            payload: BlobRef { hash: payload_hash(&payload), len: payload.len() as u32, encryption: 0 },
            attachment: Some(BlobRef { hash: hash.0, len, encryption: 0 }),
        };
        let op = Op::new(&device.workspace, header, payload.as_slice().into(), None);
        packet.vector_checksums.insert(op.hash.uuid(), hex(&hash.0));
        previous = Some(op.hash);
        ops.push(WireOp::of(&op, true, |_| None));
    }
    let signature = device.author.key.sign(Purpose::Operation, &[&previous.unwrap().0]);
    let segment = Segment { log, first_seq: 1, previous_prefix: [0; PREFIX_BYTES], ops, signature };
    packet.segments = vec![PacketSegment::new(None, &segment)];
    let response = device.send(relay, &packet, Encoding::Cbor).await.sync();
    assert_eq!(response.applied_operations.len(), attachments.len(), "{:?}", response.left_out);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_there_counts_and_not_what_was_announced() {
    // Ninety-six of them.
    let relay = TestRelay::with(|config| config.quota.workspace_attachments_mib = 6).await;
    let (founder, joiner) = two_members(&relay).await;
    let all = great_ones(97);
    announce(&relay, &founder, &all, 0).await;
    let path = format!("/v1/workspaces/{}/attachments", founder.workspace);
    let (fitting, last) = all.split_at(96);
    assert_eq!(relay.post(&path, Some(&founder.token), batch(fitting)).await.json()["stored"], 96);
    assert_eq!(relay.post(&path, Some(&founder.token), batch(last)).await.refusal(), (507, "quota_exceeded".into()));
    let status = relay.get(&format!("/v1/workspaces/{}", founder.workspace), Some(&joiner.token)).await.json();
    assert_eq!(status["attachment_bytes"], 6 << 20);
    let mut wanted: Vec<OpHash> = fitting.iter().map(|(hash, _)| *hash).collect();
    // Not while answers to others that nobody has read yet hold all that there is for them.
    let mut others = relay.app.parts().memory.answer();
    others.grow_to((relay.config.server.bodies_mib << 20) / 2).unwrap();
    let wish = json!({ "hashes": wanted }).to_string();
    assert_eq!(relay.post(&format!("{path}/fetch"), Some(&joiner.token), wish).await.refusal(), (503, "relay_busy".into()));
    drop(others);
    // Whoever fetches them has no more at once than devices read, and in the end all.
    for expected in [64, 32] {
        let wish = json!({ "hashes": wanted }).to_string();
        let answer = relay.post(&format!("{path}/fetch"), Some(&joiner.token), wish).await;
        let (found, _) = encoding::decode_any::<AttachmentBatch>(&answer.body, encoding::PACKET_LIMITS).unwrap();
        assert_eq!((found.attachments.len(), found.missing), (expected, Vec::new()));
        assert!(found.attachments.iter().zip(&wanted).all(|(entry, hash)| entry.hash == *hash && attachment_hash(&entry.bytes) == hash.0));
        wanted = found.left;
    }
    assert!(wanted.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_unfolds_to_more_than_may_be_sent_is_refused() {
    let relay = TestRelay::start().await;
    let (founder, _) = two_members(&relay).await;
    // It shrinks to an eighth of its nine megabytes, which alone is not suspicious.
    let mut entries = great_ones(140);
    for (_, bytes) in &mut entries {
        getrandom::fill(&mut bytes[..ATTACHMENT_BYTES_MAX / 8]).unwrap();
    }
    let body = batch_as(&entries, CompressionType::Zstd);
    assert!(body.len() < 2 << 20, "{} bytes", body.len());
    let answer = relay.post(&format!("/v1/workspaces/{}/attachments", founder.workspace), Some(&founder.token), body).await;
    assert_eq!(answer.refusal(), (413, "packet_too_large".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stores_at_the_same_time_shares_the_quota() {
    // Sixteen of them.
    let relay = TestRelay::with(|config| config.quota.workspace_attachments_mib = 1).await;
    let (founder, _) = two_members(&relay).await;
    let all = great_ones(20);
    announce(&relay, &founder, &all, ATTACHMENT_BYTES_MAX as u32).await;
    // All have looked at the workspace before the first of them is stored.
    let parts = relay.app.parts();
    let row = WorkspaceRow::read(parts.database.read(), &founder.workspace).await.unwrap().unwrap();
    let storing = all.iter().map(|(hash, bytes)| {
        let sent = [(hash.0, Bytes::from(bytes.clone()))];
        let row = &row;
        async move { parts.attachments.store(founder.workspace, row, &sent).await }
    });
    let outcomes = futures::future::join_all(storing).await;
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == Ok(1)).count(), 16);
    let refused: Vec<&str> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).map(|refusal| refusal.code).collect();
    assert_eq!(refused, ["quota_exceeded"; 4]);
    let hashes: Vec<OpHash> = all.iter().map(|(hash, _)| *hash).collect();
    let (missing, counted) = missing(&relay, &founder, &hashes).await;
    assert_eq!((missing.len(), counted), (4, 1 << 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_of_a_workspace_that_is_deleted_meanwhile_is_not_called_stored() {
    let relay = TestRelay::start().await;
    let (founder, _) = two_members(&relay).await;
    let all = great_ones(1);
    announce(&relay, &founder, &all, 0).await;
    let parts = relay.app.parts();
    let row = WorkspaceRow::read(parts.database.read(), &founder.workspace).await.unwrap().unwrap();
    let mut deletion = parts.database.write().begin().await.unwrap();
    sqlx::query("SELECT number FROM workspaces FOR UPDATE").execute(&mut *deletion).await.unwrap();
    let delete = async {
        crate::world::eventually("the note waits", async || {
            let waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' \
                           AND query LIKE '%UPDATE attachments%'";
            let waiting: i64 = sqlx::query_scalar(waiting).fetch_one(parts.database.read()).await.unwrap();
            (waiting == 1).then_some(())
        })
        .await;
        for statement in [
            "DELETE FROM operations",
            "DELETE FROM nodes",
            "DELETE FROM member_users",
            "DELETE FROM member_devices",
            "DELETE FROM attachments",
            "DELETE FROM addresses",
            "DELETE FROM workspaces",
        ] {
            sqlx::query(statement).execute(&mut *deletion).await.unwrap();
        }
        deletion.commit().await.unwrap();
    };
    let sent = [(all[0].0.0, Bytes::from(all[0].1.clone()))];
    let (stored, ()) = tokio::join!(parts.attachments.store(founder.workspace, &row, &sent), delete);
    assert_eq!(stored.unwrap_err().code, "unknown_workspace");
}

/// What the relay says it lacks of some attachments, and how many bytes of attachments it counts.
async fn missing(relay: &TestRelay, device: &Device, hashes: &[OpHash]) -> (Vec<OpHash>, u64) {
    let parts = relay.app.parts();
    let row = WorkspaceRow::read(parts.database.read(), &device.workspace).await.unwrap().unwrap();
    let hashes: Vec<[u8; 32]> = hashes.iter().map(|hash| hash.0).collect();
    let missing = parts.attachments.missing(&row, &hashes).await.unwrap();
    (missing.into_iter().map(OpHash).collect(), row.attachment_bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_storage_did_not_take_or_lost_is_named_and_taken_when_it_comes_again() {
    let relay = TestRelay::start().await;
    let (mut founder, joiner) = two_members(&relay).await;
    founder.create("a", "text");
    let (hash, bytes) = embed(&mut founder, "a", vec![0.5, -1.0, 0.25]);
    let asked = [hash, OpHash([9; 32])];
    // A file where the folder belongs: nothing can be written below it.
    let folder = relay.config.attachment_folder().join("embeddings");
    std::fs::write(&folder, b"in the way").unwrap();
    founder.sync(&relay).await;
    assert_eq!(missing(&relay, &founder, &asked).await, (vec![hash], 0), "acknowledged all the same; what nobody named is not asked for");
    let path = format!("/v1/workspaces/{}/attachments", founder.workspace);
    let question = json!({ "hashes": asked }).to_string();
    let answer = relay.post(&format!("{path}/missing"), Some(&joiner.token), question).await;
    assert_eq!(answer.json(), json!({ "missing": [hash] }));
    let upload = async || relay.post(&path, Some(&founder.token), batch(&[(hash, bytes.clone())])).await;
    assert_eq!(upload().await.refusal(), (503, "storage_unavailable".into()));
    std::fs::remove_file(&folder).unwrap();
    assert_eq!(upload().await.json()["stored"], 1);
    assert_eq!(missing(&relay, &founder, &asked).await, (Vec::new(), bytes.len() as u64));
    // The folder is lost. Whoever wants the attachment notices it.
    std::fs::remove_dir_all(&folder).unwrap();
    let one = format!("{path}/{}", hex(&hash.0));
    assert_eq!(relay.get(&one, Some(&joiner.token)).await.refusal(), (404, "unknown_attachment".into()));
    assert_eq!(missing(&relay, &founder, &asked).await, (vec![hash], 0));
    assert_eq!(upload().await.json()["stored"], 1, "it is not taken for known");
    assert_eq!(relay.get(&one, Some(&joiner.token)).await.body, bytes);
    assert_eq!(missing(&relay, &founder, &asked).await, (Vec::new(), bytes.len() as u64));
}

/// An S3-compatible server with a bucket, and the key of the one user who may use it. It checks the signature of every request by that key.
struct S3 {
    child: Child,
    url: String,
    key_id: String,
    secret: String,
}

/// The bucket's name.
const BUCKET: &str = "relay-attachments";

impl S3 {
    /// `None`, and why on standard error, where it is not installed; where somebody named its folder, as CI does, that is a failure.
    /// `scripts/setup.sh test` installs it.
    async fn start() -> Option<Self> {
        let home = std::env::var("HOME").unwrap_or_default();
        let named = std::env::var("NODESPACE_S3_PYTHON").ok();
        let is_named = named.is_some();
        let folder = named.unwrap_or_else(|| format!("{home}/.cache/nodespace/s3-server"));
        let program = std::path::Path::new(&folder).join("bin/moto_server");
        if !program.exists() {
            let missing = format!("no S3-compatible server is in {folder} (scripts/s3-server.sh installs it): buckets are not tested");
            assert!(!is_named, "{missing}; NODESPACE_S3_PYTHON says that they have to be");
            std::io::stderr().write_all(format!("{missing}\n").as_bytes()).unwrap();
            return None;
        }
        // It takes a port that is free and says which: one that was chosen before could be another's by then.
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut server = Command::new(program);
        server.args(["-H", "127.0.0.1", "-p", "0"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.reopen().unwrap());
        let mut started = Self { child: server.spawn().unwrap(), url: String::new(), key_id: String::new(), secret: String::new() };
        started.url = crate::world::eventually("the S3 server says where it is", async || {
            let said = std::fs::read_to_string(log.path()).unwrap();
            let (url, _) = said.split_once("Running on ")?.1.split_once('\n')?;
            Some(url.to_owned())
        })
        .await;
        let http = crate::world::http();
        crate::world::eventually("the S3 server answers", async || {
            let made = http.put(format!("{}/{BUCKET}", started.url)).header("authorization", unsigned("s3")).send().await.ok()?;
            made.status().is_success().then_some(())
        })
        .await;
        started.let_in_one_user(&http).await;
        Some(started)
    }

    /// Makes a user with a key who may use the bucket, and has signatures and rights checked from then on.
    async fn let_in_one_user(&mut self, http: &reqwest::Client) {
        let allowed = json!({ "Effect": "Allow", "Action": "s3:*", "Resource": "*" });
        let policy = json!({ "Version": "2012-10-17", "Statement": [allowed] }).to_string();
        let ask = async |action: &str, more: &[(&str, &str)]| {
            let parameters = [("Action", action), ("UserName", "relay")].into_iter().chain(more.iter().copied());
            let url = reqwest::Url::parse_with_params(&self.url, parameters).unwrap();
            let answer = http.post(url).header("authorization", unsigned("iam")).send().await.unwrap();
            answer.error_for_status().unwrap().text().await.unwrap()
        };
        ask("CreateUser", &[]).await;
        ask("PutUserPolicy", &[("PolicyName", "attachments"), ("PolicyDocument", &policy)]).await;
        let key = ask("CreateAccessKey", &[]).await;
        let element = |name: &str| {
            let (_, rest) = key.split_once(&format!("<{name}>")).unwrap();
            rest.split_once(&format!("</{name}>")).unwrap().0.to_owned()
        };
        let (key_id, secret) = (element("AccessKeyId"), element("SecretAccessKey"));
        // From here on no request of nobody is taken.
        let checks = http.post(format!("{}/moto-api/reset-auth", self.url)).body("0").send().await.unwrap();
        checks.error_for_status().unwrap();
        (self.key_id, self.secret) = (key_id, secret);
    }

    /// A relay that keeps attachments here, and takes this for its key.
    async fn relay(&self, secret: &str) -> TestRelay {
        let (url, key_id) = (self.url.clone(), self.key_id.clone());
        TestRelay::with(|config| {
            config.storage.bucket = BUCKET.into();
            config.storage.endpoint = Some(url);
            config.storage.allow_http = true;
            config.storage.access_key_id = Some(key_id);
            config.storage.secret_access_key = Secret::new(secret);
        })
        .await
    }
}

/// A request of nobody, which the server takes while it is set up; it only wants to be told for which of its services.
fn unsigned(service: &str) -> String {
    format!("AWS4-HMAC-SHA256 Credential=nobody/20260101/us-east-1/{service}/aws4_request, SignedHeaders=host, Signature=00")
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attachments_go_up_and_down_by_an_s3_server_that_checks_signatures() {
    let Some(server) = S3::start().await else { return };
    let relay = server.relay(&server.secret).await;
    go_up_and_down(&relay).await;
    assert!(!relay.config.attachment_folder().exists(), "nothing went to the folder");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_wrong_secret_key_a_bucket_takes_nothing_and_operations_are_stored_all_the_same() {
    let Some(server) = S3::start().await else { return };
    let relay = server.relay(&server.secret.chars().rev().collect::<String>()).await;
    let (mut founder, _) = two_members(&relay).await;
    founder.create("a", "text");
    let (hash, bytes) = embed(&mut founder, "a", vec![0.5, -1.0, 0.25]);
    founder.sync(&relay).await;
    assert_eq!(missing(&relay, &founder, &[hash]).await, (vec![hash], 0), "the operation is here, what it carried is not");
    let path = format!("/v1/workspaces/{}/attachments", founder.workspace);
    let upload = async |relay: &TestRelay| relay.post(&path, Some(&founder.token), batch(&[(hash, bytes.clone())])).await;
    assert_eq!(upload(&relay).await.refusal(), (503, "storage_unavailable".into()));
    // The key was all that was wrong.
    let mut config = relay.config.clone();
    config.storage.secret_access_key = Secret::new(&server.secret);
    let mended = TestRelay::run(config).await;
    assert_eq!(upload(&mended).await.json()["stored"], 1);
    assert_eq!(missing(&mended, &founder, &[hash]).await, (Vec::new(), bytes.len() as u64));
}
