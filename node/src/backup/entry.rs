//! One record of a store, and one vector, as they stand in a backup: CBOR (RFC 8949).
//!
//! An operation is kept as the bytes that were hashed, so what comes out is what went in; everything it says about itself is checked when it
//! is read: the hash of its payload and attachment, and that it is of this workspace.

use std::sync::Arc;

use nodespace_protocol::crypto::Signature;
use nodespace_protocol::ids::{DeviceId, LogId, NodeId, OpHash, WorkspaceId};
use nodespace_protocol::op::{Header, Op, attachment_hash, payload_hash};
use nodespace_protocol::store::Record;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

/// A record.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Entry {
    /// Header, payload, attachment.
    #[serde(rename = "o")]
    Op(ByteBuf, ByteBuf, Option<ByteBuf>),
    /// Device, epoch, sequence number, hash, signature.
    #[serde(rename = "s")]
    Signature(ByteBuf, u32, u64, ByteBuf, ByteBuf),
}

/// A vector at full precision: node, model, hash of the text it was made from, numbers as little-endian f32.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct VectorEntry(pub(super) NodeId, pub(super) String, pub(super) ByteBuf, pub(super) ByteBuf);

/// What is wrong with an entry whose bytes are sound.
pub(super) type BadEntry = &'static str;

impl Entry {
    pub(super) fn of(record: &Record, workspace: &WorkspaceId) -> Self {
        match record {
            Record::Op(op) => Self::Op(
                ByteBuf::from(op.header.encode(workspace)),
                ByteBuf::from(op.payload.to_vec()),
                op.attachment.as_ref().map(|bytes| ByteBuf::from(bytes.to_vec())),
            ),
            Record::Signature { log, seq, hash, signature } => {
                let bytes = |bytes: &[u8]| ByteBuf::from(bytes.to_vec());
                Self::Signature(bytes(&log.device.0), log.epoch, *seq, bytes(&hash.0), bytes(&signature.0))
            }
        }
    }

    pub(super) fn record(self, workspace: &WorkspaceId) -> Result<Record, BadEntry> {
        match self {
            Self::Op(header, payload, attachment) => op(workspace, &header, payload, attachment).map(|op| Record::Op(Arc::new(op))),
            Self::Signature(device, epoch, seq, hash, signature) => Ok(Record::Signature {
                log: LogId { device: DeviceId(array(device)?), epoch },
                seq,
                hash: OpHash(array(hash)?),
                signature: Signature(array(signature)?),
            }),
        }
    }
}

fn op(workspace: &WorkspaceId, header: &[u8], payload: ByteBuf, attachment: Option<ByteBuf>) -> Result<Op, BadEntry> {
    let (of, header) = Header::decode(header).map_err(|_| "an operation's header cannot be read")?;
    if of != *workspace && !header.is_genesis() {
        return Err("an operation is of another workspace");
    }
    if header.is_genesis() && header.hash(workspace, &mut Vec::new()).0 != workspace.0 {
        return Err("an operation founds another workspace");
    }
    if payload_hash(&payload) != header.payload.hash || payload.len() as u64 != u64::from(header.payload.len) {
        return Err("an operation's payload is not the one that was signed");
    }
    if let Some(attachment) = &attachment {
        let fits = header.attachment.as_ref().is_some_and(|blob| attachment_hash(attachment) == blob.hash);
        if !fits {
            return Err("an operation's attachment is not the one that was signed");
        }
    }
    let attachment = attachment.map(|bytes| Arc::from(bytes.into_vec()));
    Ok(Op::new(workspace, header, Arc::from(payload.into_vec()), attachment))
}

pub(super) fn array<const N: usize>(bytes: ByteBuf) -> Result<[u8; N], BadEntry> {
    bytes.into_vec().try_into().map_err(|_| "a hash, key or signature has the wrong length")
}
