//! Challenges: what a device signs to show that it is there now.
//!
//! ```text
//! kind 1 = 0xc1 | drawn at, ms since 1970, 8 LE | random 16 | device 32 | workspace 32 | authentication 32
//! ```

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nodespace_protocol::crypto::Signature;
use nodespace_protocol::ids::{DeviceId, RelayId, WorkspaceId, hex};
use nodespace_protocol::view::login;

use super::Seal;
use crate::redis::Redis;

/// How long a challenge may be answered, in milliseconds.
pub const CHALLENGE_LIFE_MS: u64 = 60_000;
const KIND: u8 = 0xc1;
const BODY_BYTES: usize = 1 + 8 + 16 + 32 + 32;
/// Answered challenges remembered here while Redis is away; beyond it the oldest are forgotten.
const ANSWERED_MAX: usize = 65_536;

/// A challenge that was drawn here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// When, in milliseconds since the Unix epoch.
    pub drawn_at_ms: u64,
    /// For which device.
    pub device: DeviceId,
    /// For which workspace.
    pub workspace: WorkspaceId,
    nonce: [u8; 16],
}

/// Why an answer does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChallengeError {
    /// The bytes are none of ours.
    #[error("the challenge is not one of this relay's; ask for one")]
    Unknown,
    /// It was drawn too long ago, or in the future.
    #[error("the challenge has expired; ask for another")]
    Expired,
    /// It was answered before.
    #[error("the challenge was answered already; ask for another")]
    Answered,
    /// The signature is not the device's, or for another relay, workspace or challenge.
    #[error("the signature does not answer the challenge")]
    BadSignature,
    /// The system has no random bytes.
    #[error("the system gave no random bytes")]
    Random,
}

impl ChallengeError {
    /// A stable name.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unknown => "unknown_challenge",
            Self::Expired => "challenge_expired",
            Self::Answered => "challenge_answered",
            Self::BadSignature => "bad_answer",
            Self::Random => "relay_fault",
        }
    }
}

impl Challenge {
    /// Draws one.
    ///
    /// # Errors
    /// When the system has no random bytes.
    pub fn draw(device: DeviceId, workspace: WorkspaceId, now_ms: u64) -> Result<Self, ChallengeError> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce).map_err(|_| ChallengeError::Random)?;
        Ok(Self { drawn_at_ms: now_ms, device, workspace, nonce })
    }

    /// Its bytes, for the device to sign.
    #[must_use]
    pub fn seal(&self, seal: &Seal) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BODY_BYTES + super::TAG_BYTES);
        bytes.push(KIND);
        bytes.extend_from_slice(&self.drawn_at_ms.to_le_bytes());
        bytes.extend_from_slice(&self.nonce);
        bytes.extend_from_slice(&self.device.0);
        bytes.extend_from_slice(&self.workspace.0);
        seal.close(bytes)
    }

    /// Reads one that comes back.
    ///
    /// # Errors
    /// When it is none of ours, or too old.
    pub fn open(sealed: &[u8], seal: &Seal, now_ms: u64) -> Result<Self, ChallengeError> {
        let body = seal.open(sealed).filter(|body| body.len() == BODY_BYTES && body[0] == KIND).ok_or(ChallengeError::Unknown)?;
        let challenge = Self::parse(&body[1..]).ok_or(ChallengeError::Unknown)?;
        let age = now_ms.checked_sub(challenge.drawn_at_ms);
        // Another instance's clock may be a little ahead.
        let from_the_future = challenge.drawn_at_ms.saturating_sub(now_ms) > CHALLENGE_LIFE_MS / 2;
        if from_the_future || age.is_some_and(|age| age > CHALLENGE_LIFE_MS) {
            return Err(ChallengeError::Expired);
        }
        Ok(challenge)
    }

    fn parse(body: &[u8]) -> Option<Self> {
        let (drawn, rest) = body.split_first_chunk::<8>()?;
        let (nonce, rest) = rest.split_first_chunk::<16>()?;
        let (device, rest) = rest.split_first_chunk::<32>()?;
        let workspace: [u8; 32] = rest.try_into().ok()?;
        Some(Self { drawn_at_ms: u64::from_le_bytes(*drawn), device: DeviceId(*device), workspace: WorkspaceId(workspace), nonce: *nonce })
    }

    /// Checks the device's signature over the sealed bytes.
    ///
    /// # Errors
    /// When it does not hold.
    pub fn verify(&self, sealed: &[u8], relay: &RelayId, answer: &Signature) -> Result<(), ChallengeError> {
        login::verify_answer(&self.device, relay, &self.workspace, sealed, answer).map_err(|_| ChallengeError::BadSignature)
    }
}

/// Remembers which challenges were answered.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    /// By time and nonce, the oldest first.
    here: Mutex<BTreeMap<(u64, [u8; 16]), ()>>,
}

impl Answered {
    /// Notes that a challenge is answered.
    ///
    /// # Errors
    /// When it was before.
    pub(crate) async fn note(&self, redis: &Redis, challenge: &Challenge, now_ms: u64) -> Result<(), ChallengeError> {
        let fresh_here = {
            let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
            let old = now_ms.saturating_sub(2 * CHALLENGE_LIFE_MS);
            while here.len() >= ANSWERED_MAX || here.first_key_value().is_some_and(|((at, _), ())| *at < old) {
                here.pop_first();
            }
            here.insert((challenge.drawn_at_ms, challenge.nonce), ()).is_none()
        };
        let name = format!("nodespace:challenge:{}", hex(&challenge.nonce));
        let fresh = redis.claim_once(&name, Duration::from_millis(2 * CHALLENGE_LIFE_MS)).await.unwrap_or(true);
        if fresh_here && fresh { Ok(()) } else { Err(ChallengeError::Answered) }
    }
}

#[cfg(test)]
mod tests {
    use nodespace_protocol::crypto::KeyPair;

    use super::*;
    use crate::config::RedisConfig;
    use crate::key::RelayKey;

    const NOW: u64 = 1_700_000_000_000;

    fn drawn() -> (KeyPair, RelayKey, Seal, Challenge, Vec<u8>) {
        let (device, key) = (KeyPair::from_seed(&[1; 32]), RelayKey::from_seed(&[2; 32]));
        let seal = Seal::of(&key);
        let challenge = Challenge::draw(device.device(), WorkspaceId([3; 32]), NOW).unwrap();
        let sealed = challenge.seal(&seal);
        (device, key, seal, challenge, sealed)
    }

    #[test]
    fn a_challenge_comes_back_and_nothing_else_does() {
        let (_, _, seal, challenge, sealed) = drawn();
        assert_eq!(Challenge::open(&sealed, &seal, NOW + 1_000), Ok(challenge));
        assert_eq!(Challenge::open(&sealed, &seal, NOW + CHALLENGE_LIFE_MS + 1), Err(ChallengeError::Expired));
        assert_eq!(Challenge::open(&sealed, &seal, NOW - 3_600_000), Err(ChallengeError::Expired));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(Challenge::open(&altered, &seal, NOW), Err(ChallengeError::Unknown));
            assert_eq!(Challenge::open(&sealed[..at], &seal, NOW), Err(ChallengeError::Unknown));
        }
        let other = Seal::of(&RelayKey::from_seed(&[9; 32]));
        assert_eq!(Challenge::open(&sealed, &other, NOW), Err(ChallengeError::Unknown));
    }

    #[test]
    fn only_the_device_answers_and_only_to_this_relay() {
        let (device, key, _, challenge, sealed) = drawn();
        let answer = login::answer(&device, &key.id(), &challenge.workspace, &sealed);
        assert_eq!(challenge.verify(&sealed, &key.id(), &answer), Ok(()));
        let to_another = login::answer(&device, &RelayId([9; 32]), &challenge.workspace, &sealed);
        assert_eq!(challenge.verify(&sealed, &key.id(), &to_another), Err(ChallengeError::BadSignature));
        let by_another = login::answer(&KeyPair::from_seed(&[8; 32]), &key.id(), &challenge.workspace, &sealed);
        assert_eq!(challenge.verify(&sealed, &key.id(), &by_another), Err(ChallengeError::BadSignature));
    }

    #[tokio::test]
    async fn a_challenge_is_answered_once_even_without_redis() {
        let (.., challenge, _) = drawn();
        let (answered, redis) = (Answered::default(), Redis::open(&RedisConfig::default()).unwrap());
        assert_eq!(answered.note(&redis, &challenge, NOW).await, Ok(()));
        assert_eq!(answered.note(&redis, &challenge, NOW).await, Err(ChallengeError::Answered));
    }
}
