//! Operations on gossip: sealed for the members of one workspace.
//!
//! Gossip reaches every member of *any* workspace that is here, so what is said is encrypted under a secret of the workspace
//! (XChaCha20-Poly1305, RFC 8439 with an extended nonce; `draft-irtf-cfrg-xchacha`), and the topic is derived from it as well: both change
//! when a member is removed. A message is one operation with its own signature, at most [`GOSSIP_BYTES_MAX`] of it.

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use nodespace_protocol::ids::hex;
use nodespace_protocol::membership::Membership;
use nodespace_protocol::op::Segment;

use crate::net::GOSSIP_BYTES_MAX;

/// Bytes of the nonce before the sealed operation.
const NONCE_BYTES: usize = 24;

/// A workspace's topic and key.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Channel {
    topic: String,
    key: [u8; 32],
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// Why a message is no operation of this workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsealable {
    /// It was sealed by nobody who knows the key, or changed on its way.
    #[error("it is not sealed with the workspace's key")]
    Seal,
    /// What is inside is no operation.
    #[error("it holds no operation")]
    Content,
}

impl Channel {
    /// Of a workspace whose genesis is here.
    pub(super) fn of(membership: &Membership) -> Option<Self> {
        let topic = hex(&membership.derived_secret(b"gossip topic")?);
        Some(Self { topic, key: membership.derived_secret(b"gossip key")? })
    }

    pub(super) fn topic(&self) -> &str {
        &self.topic
    }

    /// Seals an operation; `None` when it is too large for gossip, or the system has no random numbers.
    pub(super) fn seal(&self, segment: &Segment) -> Option<Vec<u8>> {
        let plain = segment.encode();
        if plain.len() > GOSSIP_BYTES_MAX {
            return None;
        }
        let mut sealed = vec![0; NONCE_BYTES];
        getrandom::fill(&mut sealed).ok()?;
        let payload = Payload { msg: &plain, aad: self.topic.as_bytes() };
        let body = XChaCha20Poly1305::new(&self.key.into()).encrypt(XNonce::from_slice(&sealed), payload).ok()?;
        sealed.extend_from_slice(&body);
        Some(sealed)
    }

    /// Opens a message.
    pub(super) fn open(&self, message: &[u8]) -> Result<Segment, Unsealable> {
        let (nonce, body) = message.split_at_checked(NONCE_BYTES).ok_or(Unsealable::Seal)?;
        let payload = Payload { msg: body, aad: self.topic.as_bytes() };
        let plain = XChaCha20Poly1305::new(&self.key.into()).decrypt(XNonce::from_slice(nonce), payload);
        let plain = plain.map_err(|_| Unsealable::Seal)?;
        if plain.len() > GOSSIP_BYTES_MAX {
            return Err(Unsealable::Content);
        }
        Segment::decode(&plain).map_err(|_| Unsealable::Content)
    }
}

#[cfg(test)]
mod tests {
    use nodespace_protocol::clock::Timestamp;
    use nodespace_protocol::crypto::Signature;
    use nodespace_protocol::ids::{DeviceId, LogId, NodeId};
    use nodespace_protocol::op::OpType;
    use nodespace_protocol::op::segment::WireOp;

    use super::*;

    /// One operation, fresh, with so many bytes of content.
    fn segment(payload_bytes: usize) -> Segment {
        let op = WireOp {
            node: Some(NodeId::parse("x").unwrap()),
            kind: OpType::Create,
            timestamp: Timestamp::from_ms(1),
            version: 1,
            parent_version: None,
            parents: Default::default(),
            cut: None,
            encryption: 0,
            payload: vec![7; payload_bytes].into(),
            attachment: None,
        };
        let log = LogId { device: DeviceId([1; 32]), epoch: 1 };
        Segment { log, first_seq: 1, previous_prefix: Default::default(), ops: vec![op], signature: Signature([0; 64]) }
    }

    #[test]
    fn what_is_above_the_bound_is_not_gossiped() {
        let channel = Channel { topic: "topic".to_owned(), key: [3; 32] };
        let beside = segment(GOSSIP_BYTES_MAX).encode().len() - GOSSIP_BYTES_MAX;
        let largest = segment(GOSSIP_BYTES_MAX - beside);
        assert_eq!(largest.encode().len(), GOSSIP_BYTES_MAX);
        assert_eq!(channel.open(&channel.seal(&largest).unwrap()), Ok(largest));
        assert_eq!(channel.seal(&segment(GOSSIP_BYTES_MAX - beside + 1)), None);
    }
}
