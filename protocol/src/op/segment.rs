//! Segments: how operations travel and are kept in bulk.
//!
//! A segment is a run of one log with the signature of its last operation. Because each operation's hash covers the hash of the
//! one before, that one signature authenticates all of them. What the reader knows or can compute does not travel: workspace,
//! previous hashes, payload hashes, inner signatures. A fresh operation sent alone (the gossip form) is a segment of one.
//!
//! ```text
//! version 1 | device 32 | epoch 4 LE | first seq | prefix of the previous hash 8 | logs: count, (device 32, epoch 4)* |
//! operation count | operations | signature 64
//! ```
//!
//! An operation that names membership (a workspace operation, or one with a cut) begins its segment. Segments are taken whole and
//! wait for the membership they name, and for parents that they name by position: with such an operation further in, two segments
//! could each wait for the other, and neither would ever be taken.
//!
//! The form of one operation is in `segment/form.rs` and in `docs/PROTOCOL.md`. Integers are LEB128; times and versions are differences to the operation before.

mod form;

use std::sync::Arc;

use smallvec::SmallVec;

use super::header::{BlobRef, Header, OpType, ParentRef};
use form::{Before, OP_BYTES_MIN, decode_op, encode_op};

use super::{Op, payload_hash};
use crate::clock::Timestamp;
use crate::crypto::{BadSignature, Purpose, Signature, verify};
use crate::ids::{DeviceId, LogId, NodeId, OpHash, WorkspaceId};
use crate::mutant::{self, Mutant};
use crate::wire::{DecodeError, Reader, put_uint};

/// The version of this form, the first byte.
pub const SEGMENT_VERSION: u8 = 1;
/// The most operations in a segment.
pub const SEGMENT_OPS_MAX: usize = 4096;
/// The most other logs a segment may refer to.
pub const SEGMENT_LOGS_MAX: usize = 64;
/// Bytes of the previous operation's hash that travel: enough to tell a fork from a forgery.
pub const PREFIX_BYTES: usize = 8;

/// Where an operation of another log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Which log.
    pub log: LogId,
    /// Its sequence number there.
    pub seq: u64,
}

/// A parent as it travels: by position where the sender knows that the receiver has it, else by hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireParent {
    /// Distance back in the segment's own log.
    Own(u64),
    /// By hash.
    Hash(OpHash),
    /// By position in a log without forks.
    At(Position),
    /// By the first bytes of its hash: in a fresh operation sent alone, whose parent the receiver most likely has at hand.
    Prefix([u8; PREFIX_BYTES]),
}

/// One operation as it travels, before hashes are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireOp {
    /// The node; `None` for workspace operations.
    pub node: Option<NodeId>,
    /// What it does.
    pub kind: OpType,
    /// Hybrid logical time.
    pub timestamp: Timestamp,
    /// Lamport version.
    pub version: u64,
    /// Greatest version among the parents.
    pub parent_version: Option<u64>,
    /// Parents in the header's order.
    pub parents: SmallVec<[WireParent; 1]>,
    /// Membership cut, when it changed.
    pub cut: Option<Box<[OpHash]>>,
    /// Payload encryption method, 0 = clear.
    pub encryption: u8,
    /// Payload bytes.
    pub payload: Arc<[u8]>,
    /// Attachment: hash and length, and its bytes when they came along.
    pub attachment: Option<(BlobRef, Option<Arc<[u8]>>)>,
}

/// A run of one log, read from bytes and not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Whose log.
    pub log: LogId,
    /// Sequence number of the first operation.
    pub first_seq: u64,
    /// The first bytes of the hash of the operation before the first; zero when there is none.
    pub previous_prefix: [u8; PREFIX_BYTES],
    /// The operations, in order; never empty.
    pub ops: Vec<WireOp>,
    /// The signature over the last operation's hash.
    pub signature: Signature,
}

/// Finds hashes of operations that a segment names by position.
pub trait Resolve {
    /// The hash at a position, when that log has no fork there and the operation is held.
    fn hash_at(&self, position: &Position) -> Option<OpHash>;

    /// The operation of a node (`None` = of the workspace) whose hash begins like this, when it is a recent one.
    fn hash_like(&self, _node: Option<&NodeId>, _prefix: &[u8; PREFIX_BYTES]) -> Option<OpHash> {
        None
    }
}

impl<F: Fn(&Position) -> Option<OpHash>> Resolve for F {
    fn hash_at(&self, position: &Position) -> Option<OpHash> {
        self(position)
    }
}

/// Why a segment cannot become operations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// A parent named by position is not here yet: wait for it.
    #[error("the parent at position {} of log {} is not known yet", .0.seq, .0.log)]
    UnknownParent(Position),
    /// A parent named by the beginning of its hash is not at hand: wait for it.
    #[error("no recent operation begins with {}", crate::ids::hex(.0))]
    UnknownPrefix([u8; PREFIX_BYTES]),
    /// A header breaks a rule.
    #[error("operation {seq}: {why}")]
    Header {
        /// Which operation.
        seq: u64,
        /// The rule.
        why: DecodeError,
    },
    /// The signature does not fit the last operation.
    #[error("segment up to operation {seq}: {why}")]
    Signature {
        /// The last operation.
        seq: u64,
        /// What is wrong.
        why: BadSignature,
    },
}

impl Segment {
    /// The sequence number of the last operation.
    pub fn last_seq(&self) -> u64 {
        self.first_seq + self.ops.len() as u64 - 1
    }

    /// The first parent of another log whose hash is not spelt out: which operation it is depends on what the reader holds.
    pub fn named_loosely(&self) -> Option<WireParent> {
        let mut parents = self.ops.iter().flat_map(|op| &op.parents);
        parents.find(|parent| matches!(parent, WireParent::At(_) | WireParent::Prefix(_))).copied()
    }

    /// The size of the payloads and attachments in bytes.
    pub fn content_bytes(&self) -> usize {
        self.ops.iter().map(|op| op.payload.len() + op.attachment.as_ref().map_or(0, |(blob, _)| blob.len as usize)).sum()
    }

    /// Appends the segment's bytes to `out`.
    pub fn encode_into(&self, out: &mut Vec<u8>) {
        let logs = self.logs();
        out.push(SEGMENT_VERSION);
        out.extend_from_slice(&self.log.device.0);
        out.extend_from_slice(&self.log.epoch.to_le_bytes());
        put_uint(out, self.first_seq);
        out.extend_from_slice(&self.previous_prefix);
        put_uint(out, logs.len() as u64);
        for log in &logs {
            out.extend_from_slice(&log.device.0);
            out.extend_from_slice(&log.epoch.to_le_bytes());
        }
        put_uint(out, self.ops.len() as u64);
        let mut before = Before::default();
        for op in &self.ops {
            encode_op(out, op, &logs, &mut before);
        }
        out.extend_from_slice(&self.signature.0);
    }

    /// The segment's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(192 + self.ops.len() * 32 + self.content_bytes());
        self.encode_into(&mut out);
        out
    }

    fn logs(&self) -> Vec<LogId> {
        let mut logs: Vec<LogId> = Vec::new();
        for parent in self.ops.iter().flat_map(|op| &op.parents) {
            if let WireParent::At(position) = parent
                && !logs.contains(&position.log)
            {
                logs.push(position.log);
            }
        }
        logs
    }

    /// Reads exactly one segment.
    ///
    /// # Errors
    /// When the bytes are not one segment in its one form, or a bound is exceeded.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let segment = Self::read(&mut reader)?;
        reader.finish()?;
        Ok(segment)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = reader.byte("a segment")?;
        if version != SEGMENT_VERSION {
            return Err(DecodeError::UnknownVersion(version.into()));
        }
        let log = read_log(reader)?;
        let first_seq = reader.uint("a sequence number")?;
        let previous_prefix = reader.array("a previous hash")?;
        let log_count = reader.len(SEGMENT_LOGS_MAX, "logs in a segment")?;
        let mut logs: Vec<LogId> = Vec::new();
        for _ in 0..log_count {
            let log = read_log(reader)?;
            if logs.contains(&log) {
                return Err(DecodeError::Invalid("a segment lists a log twice"));
            }
            logs.push(log);
        }
        let count = reader.len(SEGMENT_OPS_MAX, "operations in a segment")?;
        if count == 0 {
            return Err(DecodeError::Invalid("a segment has at least one operation"));
        }
        if first_seq == 0 || first_seq.checked_add(count as u64).is_none() {
            return Err(DecodeError::Invalid("sequence numbers start at 1 and fit 64 bits"));
        }
        if first_seq == 1 && previous_prefix != [0; PREFIX_BYTES] {
            return Err(DecodeError::Invalid("nothing comes before the first operation of a log"));
        }
        let mut before = Before::default();
        let mut ops = Vec::with_capacity(count.min(reader.remaining() / OP_BYTES_MIN + 1));
        for _ in 0..count {
            let op = decode_op(reader, &logs, &mut before)?;
            if !ops.is_empty() && (op.kind == OpType::Workspace || op.cut.is_some()) {
                return Err(DecodeError::Invalid("an operation that names membership begins its segment"));
            }
            ops.push(op);
        }
        if before.logs_named != logs.len() {
            return Err(DecodeError::Invalid("a segment lists a log that no parent names"));
        }
        let signature = Signature(reader.array("a signature")?);
        Ok(Self { log, first_seq, previous_prefix, ops, signature })
    }

    /// Computes the operations' hashes onto `previous` and checks the signature of the last.
    ///
    /// This is the only way from bytes to operations: what comes out is authentic, though its author may not be a member.
    ///
    /// # Errors
    /// When a parent's position is unknown, a header breaks a rule, or the signature is wrong.
    pub fn verify(&self, workspace: &WorkspaceId, previous: Option<OpHash>, resolve: &impl Resolve) -> Result<Vec<Op>, ChainError> {
        let ops = self.chain(workspace, previous, resolve)?;
        if let Some(last) = ops.last()
            && !mutant::is(Mutant::NoSignatureCheck)
        {
            verify(&self.log.device.0, Purpose::Operation, &[&last.hash.0], &self.signature)
                .map_err(|why| ChainError::Signature { seq: last.header.seq, why })?;
        }
        Ok(ops)
    }

    /// As [`Self::verify`], without the signature.
    pub(crate) fn chain(
        &self,
        workspace: &WorkspaceId,
        mut previous: Option<OpHash>,
        resolve: &impl Resolve,
    ) -> Result<Vec<Op>, ChainError> {
        let mut scratch = Vec::with_capacity(512);
        let mut ops = Vec::with_capacity(self.ops.len());
        for (seq, wire) in (self.first_seq..).zip(&self.ops) {
            let header = wire.header(self.log, seq, previous, resolve)?;
            let hash = header.hash(workspace, &mut scratch);
            previous = Some(hash);
            let attachment = wire.attachment.as_ref().and_then(|(_, bytes)| bytes.clone());
            ops.push(Op { hash, header, payload: Arc::clone(&wire.payload), attachment });
        }
        Ok(ops)
    }
}

impl WireOp {
    fn header(&self, log: LogId, seq: u64, previous: Option<OpHash>, resolve: &impl Resolve) -> Result<Header, ChainError> {
        let mut parents = SmallVec::with_capacity(self.parents.len());
        for parent in &self.parents {
            parents.push(match parent {
                WireParent::Own(distance) => ParentRef::Own(*distance),
                WireParent::Hash(hash) => ParentRef::Other(*hash),
                WireParent::At(position) => ParentRef::Other(resolve.hash_at(position).ok_or(ChainError::UnknownParent(*position))?),
                WireParent::Prefix(prefix) => {
                    let found = resolve.hash_like(self.node.as_ref(), prefix);
                    ParentRef::Other(found.ok_or(ChainError::UnknownPrefix(*prefix))?)
                }
            });
        }
        let header = Header {
            log,
            seq,
            previous,
            node: self.node.clone(),
            kind: self.kind,
            timestamp: self.timestamp,
            version: self.version,
            parent_version: self.parent_version,
            parents,
            cut: self.cut.clone(),
            payload: BlobRef { hash: payload_hash(&self.payload), len: self.payload.len() as u32, encryption: self.encryption },
            attachment: self.attachment.as_ref().map(|(blob, _)| *blob),
        };
        header.check().map_err(|why| ChainError::Header { seq, why })?;
        Ok(header)
    }

    /// The travelling form of an operation; `position` finds the place of a parent that the receiver is known to hold.
    pub fn of(op: &Op, attachments: bool, mut position: impl FnMut(&OpHash) -> Option<Position>) -> Self {
        let header = &op.header;
        let mut parent = |parent: &ParentRef| match parent {
            ParentRef::Own(distance) => WireParent::Own(*distance),
            ParentRef::Other(hash) => position(hash).map_or(WireParent::Hash(*hash), WireParent::At),
        };
        Self {
            node: header.node.clone(),
            kind: header.kind,
            timestamp: header.timestamp,
            version: header.version,
            parent_version: header.parent_version,
            parents: header.parents.iter().map(&mut parent).collect(),
            cut: header.cut.clone(),
            encryption: header.payload.encryption,
            payload: Arc::clone(&op.payload),
            attachment: header.attachment.map(|blob| (blob, op.attachment.clone().filter(|_| attachments))),
        }
    }
}

fn read_log(reader: &mut Reader<'_>) -> Result<LogId, DecodeError> {
    let device = DeviceId(reader.array("a device key")?);
    let epoch = u32::from_le_bytes(reader.array("an epoch")?);
    if epoch == 0 {
        return Err(DecodeError::Invalid("an epoch is not zero"));
    }
    Ok(LogId { device, epoch })
}
