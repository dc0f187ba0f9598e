//! Attachments: carried by packets, uploaded in bulk, fetched by hash; in a folder and in a bucket; when storage fails or loses some.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use nodespace_protocol::compress::CompressionType;
use nodespace_protocol::ids::{NodeId, OpHash, hex};
use nodespace_protocol::replica::NewEmbedding;
use nodespace_protocol::view::{Encoding, Framing, encoding};
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
    let attachments = entries.iter().map(|(hash, bytes)| AttachmentEntry { hash: *hash, bytes: bytes.clone() }).collect();
    let batch = AttachmentBatch { attachments, missing: Vec::new(), left: Vec::new() };
    encoding::encode(&batch, Framing { encoding: Encoding::Cbor, compression: CompressionType::None }).unwrap()
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
        let mut segment = nodespace_protocol::op::Segment::decode(&packed.bytes).unwrap();
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
    let hash = nodespace_protocol::op::attachment_hash(&bytes);
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

/// An S3-compatible server; `None` where it is not installed.
struct S3 {
    child: Child,
    url: String,
}

impl S3 {
    async fn start() -> Option<Self> {
        let home = std::env::var("HOME").unwrap_or_default();
        let folder = std::env::var("NODESPACE_S3_PYTHON").unwrap_or_else(|_| format!("{home}/.cache/nodespace/s3-server"));
        let program = std::path::Path::new(&folder).join("bin/moto_server");
        if !program.exists() {
            return None;
        }
        // The port is free now, and nobody else asks for it by number.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Command::new(program);
        server.args(["-H", "127.0.0.1", "-p", &port.to_string()]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Self { child: server.spawn().unwrap(), url: format!("http://127.0.0.1:{port}") };
        let http = crate::world::http();
        crate::world::eventually("the S3 server answers", async || {
            let made = http.put(format!("{}/relay-attachments", started.url)).header("authorization", CREDENTIAL).send().await.ok()?;
            made.status().is_success().then_some(())
        })
        .await;
        Some(started)
    }
}

/// The server takes anybody; it only wants to be told who.
const CREDENTIAL: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00";

impl Drop for S3 {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attachments_go_up_and_down_by_an_s3_server() {
    let Some(server) = S3::start().await else {
        let skipped = "no S3-compatible server is installed (scripts/s3-server.sh): attachments in buckets were not tested";
        writeln!(std::io::stderr(), "{skipped}").unwrap();
        return;
    };
    let url = server.url.clone();
    let relay = TestRelay::with(|config| {
        config.storage.bucket = "relay-attachments".into();
        config.storage.endpoint = Some(url);
        config.storage.allow_http = true;
        config.storage.access_key_id = Some("test".into());
        config.storage.secret_access_key = Secret::new("test");
    })
    .await;
    go_up_and_down(&relay).await;
    assert!(!relay.config.attachment_folder().exists(), "nothing went to the folder");
}
