//! Who is asking, and whether they may.
//!
//! ```text
//!   POST /v1/challenge   device, workspace          ─▶ a challenge: when, for whom, authenticated by the relay; nothing is kept
//!   POST /v1/token       its signature, credential  ─▶ a token for a quarter of an hour, for this workspace
//!   Authorization: Bearer ..                        ─▶ membership as it is now, asked with every request
//! ```
//!
//! A token says who the device is; what it may do is looked up every time, so that a removal ends it at once. Tokens and challenges carry
//! their own authentication (BLAKE3 keyed with a secret derived from the relay's key), so that any instance can check those of any other.
//! That a challenge is answered only once is remembered in Redis, or by each instance alone while that is away: what a second answer
//! brings is another token for the same device, which had to sign it.

mod access;
mod challenge;
mod token;

pub use access::{Access, Caller, Grant};
pub use challenge::{CHALLENGE_LIFE_MS, Challenge, ChallengeError};
pub use token::{Claim, TOKEN_LIFE_MS, TokenClaims, TokenError};

/// A secret by which the relay knows its own challenges and tokens again.
#[derive(Clone)]
pub struct Seal {
    key: [u8; 32],
}

impl std::fmt::Debug for Seal {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Seal(redacted)")
    }
}

/// Bytes of authentication at the end of what was sealed.
const TAG_BYTES: usize = 32;

impl Seal {
    /// The seal of a relay's key.
    #[must_use]
    pub fn of(key: &crate::key::RelayKey) -> Self {
        Self { key: key.token_key() }
    }

    fn tag(&self, what: &[u8]) -> [u8; TAG_BYTES] {
        *blake3::keyed_hash(&self.key, what).as_bytes()
    }

    /// Appends the authentication.
    fn close(&self, mut what: Vec<u8>) -> Vec<u8> {
        let tag = self.tag(&what);
        what.extend_from_slice(&tag);
        what
    }

    /// Takes it off again; `None` when it is not ours.
    fn open<'a>(&self, sealed: &'a [u8]) -> Option<&'a [u8]> {
        let (what, tag) = sealed.split_last_chunk::<TAG_BYTES>()?;
        // In constant time: what is compared is secret until it is known.
        let same: bool = subtle::ConstantTimeEq::ct_eq(self.tag(what).as_slice(), tag.as_slice()).into();
        same.then_some(what)
    }
}
