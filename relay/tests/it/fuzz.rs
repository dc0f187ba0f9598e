//! Damaged input for the decoders of the relay that the protocol's own fuzzer does not reach: challenges, tokens, hints, queries, addresses,
//! logins, attachment batches, configurations; over HTTP the bodies of small requests, queries and the header of proxies. None panics, none
//! takes what it should not.
//!
//! Seeded; a failure prints its seed and round. Packets, segments and their kin are fuzzed in `protocol/fuzz`, the place of a checkpoint is
//! damaged beside its decoder, and what devices read of a relay's answers in `node/src/relay_client`.

use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::{DeviceId, OpHash, UserId, WorkspaceId, hex};
use nodespace_protocol::view::{Encoding, Framing, LoginCredential, encoding, login};
use nodespace_relay::auth::{Challenge, Claim, Seal, TokenClaims};
use nodespace_relay::config::Config;
use nodespace_relay::directory;
use nodespace_relay::hex::{unhex, unhex_array};
use nodespace_relay::key::RelayKey;
use nodespace_relay::notify::parse_hint;
use nodespace_relay::server::{AttachmentBatch, AttachmentEntry, AttachmentWish, SyncQuery};
use reqwest::header::HeaderValue;
use serde::Serialize;
use serde_json::json;

use crate::world::{Answer, TestRelay, two_members};

const SEED: u64 = 0x6e6f_6465_7265_6c61;
const ROUNDS: u64 = 20_000;
/// Of what is asked over HTTP, where each takes a thousand times as long.
const REQUESTS: u64 = 250;

/// A small generator: what matters is that it can be replayed.
struct Dice(u64);

impl Dice {
    fn draw(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }

    /// Some bytes that were good, damaged in some places, cut, or grown.
    fn damage(&mut self, good: &[u8]) -> Vec<u8> {
        let mut bytes = good.to_vec();
        for _ in 0..self.draw(4) {
            match self.draw(5) {
                0 if !bytes.is_empty() => {
                    let at = self.draw(bytes.len());
                    bytes[at] ^= 1 << self.draw(8);
                }
                1 if !bytes.is_empty() => bytes.truncate(self.draw(bytes.len())),
                2 => {
                    let at = self.draw(bytes.len() + 1);
                    bytes.insert(at, self.draw(256) as u8);
                }
                3 if !bytes.is_empty() => {
                    let at = self.draw(bytes.len());
                    bytes[at] = b"\0\xff{}[]\"\\&=%/'"[self.draw(13)];
                }
                _ => bytes.extend_from_within(..self.draw(bytes.len() + 1)),
            }
        }
        bytes
    }
}

fn rounds(good: &[u8], mut check: impl FnMut(&[u8])) {
    let mut dice = Dice(SEED);
    for round in 0..ROUNDS {
        let bytes = dice.damage(good);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&bytes)));
        assert!(outcome.is_ok(), "SEED={SEED:#x} round {round}: {bytes:?}");
    }
}

#[test]
fn challenges_and_tokens_are_ours_or_none() {
    let seal = Seal::of(&RelayKey::from_seed(&[1; 32]));
    let challenge = Challenge::draw(DeviceId([2; 32]), WorkspaceId([3; 32]), 1_000).unwrap();
    let sealed = challenge.seal(&seal);
    rounds(&sealed, |bytes| match Challenge::open(bytes, &seal, 1_001) {
        Ok(opened) => assert!(bytes == sealed && opened == challenge),
        Err(_) => assert_ne!(bytes, sealed),
    });
    let claims = TokenClaims {
        device: DeviceId([2; 32]),
        user: UserId([4; 32]),
        workspace: WorkspaceId([3; 32]),
        claim: Claim::Join(OpHash([5; 32])),
        issued_at_ms: 1_000,
    };
    let token = claims.seal(&seal);
    rounds(token.as_bytes(), |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Ok(opened) = TokenClaims::open(text, &seal, 1_001) {
            assert!(text.eq_ignore_ascii_case(&token) && opened == claims);
        }
    });
}

#[test]
fn hints_queries_and_hex_have_one_meaning() {
    let hint = [&[7; 32][..], &9_u64.to_le_bytes()].concat();
    rounds(&hint, |bytes| assert_eq!(parse_hint(bytes).is_some(), bytes.len() == 40));
    rounds(b"views=true&pull=false", |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if SyncQuery::parse(text).is_ok() {
            assert!(text.split('&').all(|part| part.is_empty() || part.ends_with("=true") || part.ends_with("=false")));
        }
    });
    rounds(hex(&[0xa5; 32]).as_bytes(), |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Some(read) = unhex(text) {
            assert_eq!(hex(&read), text.to_lowercase());
            assert_eq!(unhex_array::<32>(text).is_some(), read.len() == 32);
        }
    });
    rounds(b"/ip4/192.0.2.1/tcp/4001/p2p-circuit", |bytes| {
        if let Ok(text) = std::str::from_utf8(bytes) {
            drop(directory::parse(text));
        }
    });
}

#[test]
fn logins_batches_and_configurations_are_read_or_refused() {
    let user = KeyPair::from_seed(&[1; 32]);
    let certificate = nodespace_protocol::membership::Certificate::issue(&user, DeviceId([2; 32]));
    let credential = LoginCredential::from(&nodespace_protocol::session::Credential::Device(certificate));
    let batch = AttachmentBatch {
        attachments: vec![AttachmentEntry { hash: OpHash([1; 32]), bytes: vec![1, 2, 3] }],
        missing: vec![OpHash([2; 32])],
        left: Vec::new(),
    };
    for written in [Encoding::Json, Encoding::Cbor] {
        let framing = Framing { encoding: written, compression: nodespace_protocol::compress::CompressionType::None };
        let login = encoding::encode(&credential, framing).unwrap();
        rounds(&login, |bytes| drop(encoding::parse::<LoginCredential>(bytes, written)));
        let batch = encoding::encode(&batch, framing).unwrap();
        rounds(&batch, |bytes| {
            drop(encoding::parse::<AttachmentBatch>(bytes, written));
            drop(encoding::parse::<AttachmentWish>(bytes, written));
        });
    }
    rounds(b"{ per_second = 5.0, burst = 9 }", |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        drop(Config::read(None, [("NODESPACE_RELAY_LIMITS_USER_OPERATIONS".to_owned(), text.to_owned())]));
    });
}

/// Asks a relay with damaged bytes, again and again. A panic would be an answer of 500, and is none that is expected.
async fn requests(good: &[u8], expected: &[u16], mut ask: impl AsyncFnMut(Vec<u8>) -> Answer) {
    let mut dice = Dice(SEED);
    for round in 0..REQUESTS {
        let bytes = dice.damage(good);
        let answer = ask(bytes.clone()).await;
        let status = answer.status.as_u16();
        assert!(expected.contains(&status), "SEED={SEED:#x} round {round}: {bytes:?}: {answer:?}");
        assert!(status == 200 || !answer.code().is_empty(), "SEED={SEED:#x} round {round}: {bytes:?}: {answer:?}");
    }
}

/// A body as JSON and as CBOR.
fn written(body: &impl Serialize) -> [Vec<u8>; 2] {
    let compression = nodespace_protocol::compress::CompressionType::None;
    [Encoding::Json, Encoding::Cbor].map(|encoding| encoding::encode(body, Framing { encoding, compression }).unwrap())
}

/// What asks for a challenge.
#[derive(Serialize)]
struct ChallengeRequest {
    device_id: DeviceId,
    workspace_id: WorkspaceId,
}

/// What asks for a token.
#[derive(Serialize)]
struct TokenRequest {
    challenge: String,
    signature: String,
    credential: LoginCredential,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_over_http_are_answered_or_refused() {
    let relay = TestRelay::start().await;
    let (founder, _) = two_members(&relay).await;
    let (key, workspace_id) = (&founder.author.key, founder.workspace);
    for good in written(&ChallengeRequest { device_id: key.device(), workspace_id }) {
        requests(&good, &[200, 400], async |bytes| relay.post("/v1/challenge", None, bytes).await).await;
    }
    let drawn = relay.post("/v1/challenge", None, json!({ "device_id": key.device(), "workspace_id": workspace_id }).to_string()).await;
    let challenge = drawn.json()["challenge"].as_str().unwrap().to_owned();
    let signature = login::answer(key, &relay.app.parts().key.id(), &workspace_id, &unhex(&challenge).unwrap());
    let credential = LoginCredential::from(&nodespace_protocol::session::Credential::Device(founder.certificate()));
    for good in written(&TokenRequest { challenge, signature: hex(&signature.0), credential }) {
        // Good bytes are among them: the challenge is answered once, and then no more.
        requests(&good, &[200, 400, 401, 403], async |bytes| relay.post("/v1/token", None, bytes).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_over_http_are_kept_within_bounds_or_refused() {
    let relay = TestRelay::with(|config| config.server.trusted_proxies = vec!["127.0.0.1".parse().unwrap()]).await;
    let (founder, _) = two_members(&relay).await;
    let path = format!("/v1/workspaces/{}/addresses", founder.workspace);
    for good in written(&json!({ "addresses": ["/ip4/192.0.2.1/tcp/4001", "/dns4/example.org/udp/1/quic-v1"], "seconds": 300 })) {
        requests(&good, &[200, 400, 413], async |bytes| {
            let answer = relay.put(&path, &founder.token, bytes).await;
            if answer.status == 200 {
                let said = answer.json();
                let kept = said["kept"].as_array().unwrap();
                assert!(kept.len() <= directory::ADDRESSES_MAX && kept.iter().all(|kept| directory::parse(kept.as_str().unwrap()).is_ok()));
                assert!((1..=3_600).contains(&said["seconds"].as_u64().unwrap()), "{said}");
            }
            answer
        })
        .await;
    }
    // Whoever it says that is asking, everybody may.
    requests(b"203.0.113.7, 127.0.0.1, 2001:db8::1,::ffff:192.0.2.1", &[200], async |bytes| {
        let named = HeaderValue::from_bytes(&bytes).unwrap_or_else(|_| HeaderValue::from_static("unknown"));
        let request = relay.http.get(format!("{}/v1/relay", relay.url)).header("x-forwarded-for", named);
        Answer::of(request.send().await.unwrap()).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_over_http_have_one_meaning() {
    let relay = TestRelay::start().await;
    let (mut founder, _) = two_members(&relay).await;
    founder.create("a", "text");
    founder.sync(&relay).await;
    let ask = async |path: &str, bytes: &[u8]| {
        let url = format!("{}/v1/workspaces/{}/{path}?{}", relay.url, founder.workspace, String::from_utf8_lossy(bytes));
        let url: reqwest::Url = url.parse().unwrap();
        // As it is sent: some characters are left out, others are escaped, and what follows a `#` stays here.
        let query = url.query().unwrap_or_default().to_owned();
        (query, Answer::of(relay.http.get(url).bearer_auth(&founder.token).send().await.unwrap()).await)
    };
    requests(b"version=4", &[200, 400, 404], async |bytes| {
        let (query, answer) = ask("checkpoint", &bytes).await;
        let version = query.strip_prefix("version=").and_then(|text| text.parse::<u64>().ok());
        assert_eq!(answer.status == 400, !query.is_empty() && version.is_none(), "{query}: {answer:?}");
        answer
    })
    .await;
    requests(b"surroundings=true", &[200, 400], async |bytes| {
        let (query, answer) = ask("nodes/a", &bytes).await;
        assert_eq!(answer.status == 200, ["", "surroundings=true", "surroundings=false"].contains(&query.as_str()), "{query}: {answer:?}");
        assert_eq!(answer.json().get("before_sibling_id").is_some(), query == "surroundings=true");
        answer
    })
    .await;
}
