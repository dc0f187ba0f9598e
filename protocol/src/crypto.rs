//! Hashes and signatures, each in a domain of its own.
//!
//! BLAKE3 in derive-key mode separates what is hashed (a header, a payload, a digest) by a context string, so that bytes of one
//! kind can never stand for another. Ed25519 (RFC 8032, strict verification) signs a tagged hash, never raw input.

use std::fmt;
use std::sync::OnceLock;

use blake3::Hasher;
use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

use crate::ids::{DeviceId, RelayId, UserId};

/// What a hash is taken over. The context strings are part of the protocol and never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// An operation's header.
    Header,
    /// An operation's payload.
    Payload,
    /// An operation's attachment.
    Attachment,
    /// A frontier.
    Frontier,
    /// A node's state.
    NodeState,
    /// The text a chain of replacements starts from.
    TextBase,
    /// A conflict's field and participants.
    Conflict,
    /// The text an embedding was computed from.
    Content,
    /// Proof that a peer knows the workspace secret.
    Hello,
    /// Secrets derived from the workspace's.
    Secret,
    /// Short keyed fingerprints of ranges of logs.
    Fingerprint,
    /// The running hash over a relay's log.
    RelayLog,
    /// What a relay's checkpoint says.
    Checkpoint,
    /// What a relay asks a device to sign.
    Challenge,
}

const DOMAINS: usize = 14;
const CONTEXTS: [&str; DOMAINS] = [
    "nodespace-sync 1 operation header",
    "nodespace-sync 1 operation payload",
    "nodespace-sync 1 operation attachment",
    "nodespace-sync 1 frontier",
    "nodespace-sync 1 node state",
    "nodespace-sync 1 text base",
    "nodespace-sync 1 conflict",
    "nodespace-sync 1 content",
    "nodespace-sync 1 hello",
    "nodespace-sync 1 secret",
    "nodespace-sync 1 fingerprint",
    "nodespace-sync 1 relay log",
    "nodespace-sync 1 relay checkpoint",
    "nodespace-sync 1 relay challenge",
];

impl Domain {
    /// The context string of BLAKE3's derive-key mode.
    pub const fn context(self) -> &'static str {
        CONTEXTS[self as usize]
    }

    /// A hasher in this domain.
    pub fn hasher(self) -> Hasher {
        static KEYS: OnceLock<[ContextKey; DOMAINS]> = OnceLock::new();
        let keys = KEYS.get_or_init(|| CONTEXTS.map(hash_derive_key_context));
        Hasher::new_from_context_key(&keys[self as usize])
    }

    /// The hash of `bytes` in this domain.
    pub fn hash(self, bytes: &[u8]) -> [u8; 32] {
        *self.hasher().update(bytes).finalize().as_bytes()
    }

    /// The hash of several parts; each is preceded by its length (u64, little endian), so that parts cannot run together.
    pub fn hash_parts(self, parts: &[&[u8]]) -> [u8; 32] {
        let mut hasher = self.hasher();
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        *hasher.finalize().as_bytes()
    }
}

/// What a signature is for. The tag is prepended to what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The head of a segment of operations, by the device.
    Operation,
    /// A device certificate, by the user.
    Device,
    /// A join, by the invite's key.
    Join,
    /// A login at a relay, by the device.
    Login,
    /// A checkpoint, by the relay.
    Checkpoint,
}

impl Purpose {
    const fn tag(self) -> &'static [u8] {
        match self {
            Self::Operation => b"nodespace-sync 1 sign operation:",
            Self::Device => b"nodespace-sync 1 sign device:",
            Self::Join => b"nodespace-sync 1 sign join:",
            Self::Login => b"nodespace-sync 1 sign relay login:",
            Self::Checkpoint => b"nodespace-sync 1 sign relay checkpoint:",
        }
    }

    fn message(self, parts: &[&[u8; 32]]) -> Vec<u8> {
        let mut message = self.tag().to_vec();
        for part in parts {
            message.extend_from_slice(*part);
        }
        message
    }
}

/// An Ed25519 signature, 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({}..)", crate::ids::hex(&self.0[..4]))
    }
}

/// The signature does not belong to this key and message, or the key is no point of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not valid for this key")]
pub struct BadSignature;

/// An Ed25519 key pair of a device, a user or an invite. Its `Debug` shows the public half only.
#[derive(Clone)]
pub struct KeyPair(SigningKey);

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair({}, secret redacted)", DeviceId(self.public()).short())
    }
}

impl KeyPair {
    /// The pair of a 32-byte seed, which the caller draws from a cryptographic source.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The secret seed, to be stored.
    pub fn seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The public key as a device's name.
    pub fn device(&self) -> DeviceId {
        DeviceId(self.public())
    }

    /// The public key as a relay's name.
    pub fn relay(&self) -> RelayId {
        RelayId(self.public())
    }

    /// The public key as a user's name.
    pub fn user(&self) -> UserId {
        UserId(self.public())
    }

    /// Signs `parts` for a purpose.
    pub fn sign(&self, purpose: Purpose, parts: &[&[u8; 32]]) -> Signature {
        Signature(self.0.sign(&purpose.message(parts)).to_bytes())
    }
}

/// Checks a signature strictly (no small-order keys, no malleable encodings).
///
/// # Errors
/// When it is not the key's signature over `parts` for this purpose.
pub fn verify(public: &[u8; 32], purpose: Purpose, parts: &[&[u8; 32]], signature: &Signature) -> Result<(), BadSignature> {
    let key = VerifyingKey::from_bytes(public).map_err(|_| BadSignature)?;
    let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
    key.verify_strict(&purpose.message(parts), &signature).map_err(|_| BadSignature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_separate() {
        assert_ne!(Domain::Header.hash(b"x"), Domain::Payload.hash(b"x"));
        assert_ne!(Domain::Secret.hash_parts(&[b"ab", b"c"]), Domain::Secret.hash_parts(&[b"a", b"bc"]));
        assert_eq!(Domain::Header.hash(b"x"), blake3::derive_key(Domain::Header.context(), b"x"));
        assert_eq!(Domain::Challenge as usize + 1, DOMAINS);
    }

    #[test]
    fn a_signature_holds_for_its_purpose_only() {
        let pair = KeyPair::from_seed(&[7; 32]);
        let signature = pair.sign(Purpose::Operation, &[&[1; 32]]);
        assert_eq!(verify(&pair.public(), Purpose::Operation, &[&[1; 32]], &signature), Ok(()));
        assert_eq!(verify(&pair.public(), Purpose::Join, &[&[1; 32]], &signature), Err(BadSignature));
        assert_eq!(verify(&pair.public(), Purpose::Operation, &[&[2; 32]], &signature), Err(BadSignature));
        assert_eq!(verify(&[0; 32], Purpose::Operation, &[&[1; 32]], &signature), Err(BadSignature));
    }
}
