//! Damaged input for every decoder of the relay that the protocol's own fuzzer does not reach: challenges, tokens, hints, queries, addresses,
//! logins, attachment batches, configurations. None panics, none takes what it should not.
//!
//! Seeded; a failure prints its seed and round. Packets, segments and their kin are fuzzed in `protocol/fuzz`.

use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::{DeviceId, OpHash, UserId, WorkspaceId, hex};
use nodespace_protocol::view::{Encoding, Framing, LoginCredential, encoding};
use nodespace_relay::auth::{Challenge, Claim, Seal, TokenClaims};
use nodespace_relay::config::Config;
use nodespace_relay::directory;
use nodespace_relay::hex::{unhex, unhex_array};
use nodespace_relay::key::RelayKey;
use nodespace_relay::notify::parse_hint;
use nodespace_relay::server::{AttachmentBatch, AttachmentEntry, AttachmentWish, SyncQuery};

const SEED: u64 = 0x6e6f_6465_7265_6c61;
const ROUNDS: u64 = 20_000;

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
