//! The operation: the unit of change.
//!
//! An operation has three parts that can be handled without each other:
//!
//! - the **header** is what is hashed and signed, and always in the clear ([`Header`]);
//! - the **payload** says what changes ([`Payload`]); the header carries its hash and length;
//! - the **attachment** is a quantised embedding; the header carries its hash and length, and a peer may decline it.
//!
//! Operations travel and are kept in [`segment::Segment`]s. The structures of the documented protocol (`SyncOperation` and its
//! kin) are views over these, in [`crate::view`].

pub mod header;
pub mod json;
pub mod payload;
pub mod segment;

use std::sync::Arc;

pub use header::{BlobRef, Header, OpType, ParentRef};
pub use payload::{EmbeddingNote, Payload, PayloadError, Place, PlaceAnchor};
pub use segment::Segment;

use crate::clock::Stamp;
use crate::crypto::Domain;
use crate::ids::{OpHash, WorkspaceId};

/// Header plus payload, by default: what an author may put into one operation without saying so.
pub const INLINE_BYTES_DEFAULT: usize = 64 * 1024;
/// The most a payload may have. Larger ones are refused by every decoder.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// The most an attachment may have. Larger ones are refused by every decoder.
pub const ATTACHMENT_BYTES_MAX: usize = 64 * 1024;
/// The most parents an operation may name. An author with more heads names the latest ones; the rest stay heads.
pub const PARENTS_MAX: usize = 16;
/// The most heads of the membership graph a cut may name.
pub const CUT_MAX: usize = 64;

/// An operation with its bytes, whose hash has been computed from them.
///
/// It says nothing about who signed it: only ingestion, which checks the segment's signature and the author's membership, puts
/// operations into a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// BLAKE3 over the encoded header.
    pub hash: OpHash,
    /// What is signed.
    pub header: Header,
    /// The payload's bytes; their hash is in the header.
    pub payload: Arc<[u8]>,
    /// The attachment's bytes, when they came along.
    pub attachment: Option<Arc<[u8]>>,
}

impl Op {
    /// Puts a header and its bytes together and computes the hash.
    pub fn new(workspace: &WorkspaceId, header: Header, payload: Arc<[u8]>, attachment: Option<Arc<[u8]>>) -> Self {
        let hash = header.hash(workspace, &mut Vec::with_capacity(320));
        Self { hash, header, payload, attachment }
    }

    /// What orders this operation among all others.
    pub const fn stamp(&self) -> Stamp {
        Stamp { timestamp: self.header.timestamp, version: self.header.version, hash: self.hash }
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// When the bytes are no payload of this operation's type. Such an operation stays in the log and changes nothing.
    pub fn decode_payload(&self) -> Result<Payload, PayloadError> {
        if self.header.payload.encryption != 0 {
            return Err(PayloadError::Encrypted(self.header.payload.encryption));
        }
        Payload::decode(self.header.kind, &self.payload)
    }
}

/// The hash of a payload.
pub fn payload_hash(bytes: &[u8]) -> [u8; 32] {
    Domain::Payload.hash(bytes)
}

/// The hash of an attachment.
pub fn attachment_hash(bytes: &[u8]) -> [u8; 32] {
    Domain::Attachment.hash(bytes)
}
