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
//! The form of one operation is at `encode_op`, below, and in `docs/PROTOCOL.md`. Integers are LEB128; times and versions are differences to the operation before.

use std::sync::Arc;

use smallvec::SmallVec;

use super::header::{BlobRef, Header, OpType, ParentRef};
use super::{ATTACHMENT_BYTES_MAX, CUT_MAX, Op, PARENTS_MAX, PAYLOAD_BYTES_MAX, attachment_hash, payload_hash};
use crate::clock::Timestamp;
use crate::crypto::{BadSignature, Purpose, Signature, verify};
use crate::ids::{DeviceId, LogId, NODE_ID_BYTES_MAX, NodeId, OpHash, WorkspaceId};
use crate::mutant::{self, Mutant};
use crate::wire::{DecodeError, Reader, put_int, put_uint};

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

    /// The first parent that is named by the beginning of its hash.
    pub fn named_like(&self) -> Option<[u8; PREFIX_BYTES]> {
        self.ops.iter().flat_map(|op| &op.parents).find_map(|parent| match parent {
            WireParent::Prefix(prefix) => Some(*prefix),
            _ => None,
        })
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

/// What differences are taken against, and the nodes already named.
#[derive(Default)]
struct Before {
    ms: u64,
    version: u64,
    nodes: Vec<NodeId>,
    last: Option<usize>,
    /// Logs of the segment's list that parents have named so far; they are listed in that order.
    logs_named: usize,
}

/// How far back a node named before may be found; further ones are spelt out again.
const NODES_BACK_MAX: usize = 64;
/// Flags, time, version and payload length: no operation is shorter.
const OP_BYTES_MIN: usize = 4;

const SAME_NODE: u8 = 1 << 3;
const HAS_CUT: u8 = 1 << 4;
const AFTER_PREVIOUS: u8 = 1 << 5;
const HAS_ATTACHMENT: u8 = 1 << 6;
const ENCRYPTED: u8 = 1 << 7;

/// Writes one operation:
///
/// ```text
/// flags 1: type (3 bits), same node as before, cut follows, its only parent is the operation before, attachment follows, encrypted
/// node (unless the same): 0 none | 1 and 16 bytes | 2 and length and text | 3 + n: the n-th last distinct node of this segment
/// time: zigzag difference in ms * 2 + (1 if a counter follows) | counter
/// version: zigzag difference
/// parents (unless the operation before): count, each 2d (own log, distance d) | 1 and 32 bytes | 3 and 8 bytes | 5 + 2i and seq (i-th log)
/// parent version (when there are parents): version - parent version
/// cut: count, 32 bytes each | encryption 1 | payload: length, bytes
/// attachment: hash 32, length, 0 or (1 and the bytes)
/// ```
fn encode_op(out: &mut Vec<u8>, op: &WireOp, logs: &[LogId], before: &mut Before) {
    let back = op.node.as_ref().and_then(|node| before.nodes.iter().rev().take(NODES_BACK_MAX).position(|known| known == node));
    let index = back.map(|back| before.nodes.len() - 1 - back);
    let same_node = op.node.is_some() && index.is_some() && index == before.last;
    let after_previous = op.parents.as_slice() == [WireParent::Own(1)];
    let mut flags = op.kind.code();
    for (set, flag) in [
        (same_node, SAME_NODE),
        (op.cut.is_some(), HAS_CUT),
        (after_previous, AFTER_PREVIOUS),
        (op.attachment.is_some(), HAS_ATTACHMENT),
        (op.encryption != 0, ENCRYPTED),
    ] {
        flags |= if set { flag } else { 0 };
    }
    out.push(flags);
    if !same_node {
        encode_node(out, op.node.as_ref(), back);
        before.remember(op.node.as_ref(), index);
    }
    let counter = op.timestamp.counter();
    let ms = (op.timestamp.ms() as i64).wrapping_sub(before.ms as i64);
    put_uint(out, ((((ms << 1) ^ (ms >> 63)) as u64) << 1) | u64::from(counter != 0));
    if counter != 0 {
        put_uint(out, counter.into());
    }
    put_int(out, (op.version as i64).wrapping_sub(before.version as i64));
    (before.ms, before.version) = (op.timestamp.ms(), op.version);
    if !after_previous {
        encode_parents(out, &op.parents, logs);
    }
    if let Some(parent_version) = op.parent_version {
        put_uint(out, op.version.wrapping_sub(parent_version));
    }
    encode_tail(out, op);
}

fn encode_node(out: &mut Vec<u8>, node: Option<&NodeId>, back: Option<usize>) {
    match (node, back) {
        (None, _) => put_uint(out, 0),
        (Some(_), Some(back)) => put_uint(out, 3 + back as u64),
        (Some(NodeId::Uuid(uuid)), None) => {
            put_uint(out, 1);
            out.extend_from_slice(uuid.as_bytes());
        }
        (Some(NodeId::Text(text)), None) => {
            put_uint(out, 2);
            put_uint(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

fn encode_parents(out: &mut Vec<u8>, parents: &[WireParent], logs: &[LogId]) {
    put_uint(out, parents.len() as u64);
    for parent in parents {
        match parent {
            WireParent::Own(distance) => put_uint(out, distance << 1),
            WireParent::Hash(hash) => {
                put_uint(out, 1);
                out.extend_from_slice(&hash.0);
            }
            WireParent::At(position) => {
                let index = logs.iter().position(|log| *log == position.log).unwrap_or_default() as u64;
                put_uint(out, 5 + (index << 1));
                put_uint(out, position.seq);
            }
            WireParent::Prefix(prefix) => {
                put_uint(out, 3);
                out.extend_from_slice(prefix);
            }
        }
    }
}

fn encode_tail(out: &mut Vec<u8>, op: &WireOp) {
    if let Some(cut) = &op.cut {
        put_uint(out, cut.len() as u64);
        cut.iter().for_each(|head| out.extend_from_slice(&head.0));
    }
    if op.encryption != 0 {
        out.push(op.encryption);
    }
    put_uint(out, op.payload.len() as u64);
    out.extend_from_slice(&op.payload);
    if let Some((blob, bytes)) = &op.attachment {
        out.extend_from_slice(&blob.hash);
        put_uint(out, blob.len.into());
        out.push(bytes.is_some().into());
        if let Some(bytes) = bytes {
            out.extend_from_slice(bytes);
        }
    }
}

impl Before {
    fn remember(&mut self, node: Option<&NodeId>, index: Option<usize>) {
        self.last = match (node, index) {
            (None, _) => None,
            (Some(_), Some(index)) => Some(index),
            (Some(node), None) => {
                self.nodes.push(node.clone());
                Some(self.nodes.len() - 1)
            }
        };
    }
}

fn decode_op(reader: &mut Reader<'_>, logs: &[LogId], before: &mut Before) -> Result<WireOp, DecodeError> {
    let flags = reader.byte("an operation")?;
    let kind = OpType::from_code(flags & 7).ok_or(DecodeError::Invalid("unknown operation type"))?;
    let node = if flags & SAME_NODE != 0 {
        let last = before.last.ok_or(DecodeError::Invalid("the first operation cannot share the node of one before"))?;
        Some(before.nodes[last].clone())
    } else {
        decode_node(reader, before)?
    };
    let time = reader.uint("a timestamp")?;
    let ms = (time >> 2) as i64 ^ -(((time >> 1) & 1) as i64);
    before.ms = before.ms.wrapping_add(ms as u64);
    if before.ms >= 1 << 48 {
        return Err(DecodeError::Invalid("a timestamp has 48 bits of milliseconds"));
    }
    let counter = if time & 1 == 1 { reader.uint("a clock counter")? } else { 0 };
    if counter > u64::from(u16::MAX) || (time & 1 == 1 && counter == 0) {
        return Err(DecodeError::Invalid("a clock counter has 16 bits and is not written when zero"));
    }
    before.version = before.version.wrapping_add(reader.int("a version")? as u64);
    let version = before.version;
    let parents =
        if flags & AFTER_PREVIOUS != 0 { SmallVec::from_slice(&[WireParent::Own(1)]) } else { decode_parents(reader, logs, before)? };
    let parent_version = match parents.is_empty() {
        true => None,
        false => Some(version.wrapping_sub(reader.uint("a parent version")?)),
    };
    let cut = if flags & HAS_CUT != 0 {
        let count = reader.len(CUT_MAX, "heads in a membership cut")?;
        Some((0..count).map(|_| reader.array("a membership cut").map(OpHash)).collect::<Result<Box<[_]>, _>>()?)
    } else {
        None
    };
    let encryption = if flags & ENCRYPTED != 0 { reader.byte("an encryption method")? } else { 0 };
    if encryption == 0 && flags & ENCRYPTED != 0 {
        return Err(DecodeError::Invalid("encryption method 0 is not written"));
    }
    let payload_len = reader.len(PAYLOAD_BYTES_MAX, "bytes of payload")?;
    let payload = reader.take(payload_len, "a payload")?.into();
    let attachment = if flags & HAS_ATTACHMENT != 0 { Some(decode_attachment(reader)?) } else { None };
    let timestamp = Timestamp(before.ms << 16 | counter);
    Ok(WireOp { node, kind, timestamp, version, parent_version, parents, cut, encryption, payload, attachment })
}

fn decode_node(reader: &mut Reader<'_>, before: &mut Before) -> Result<Option<NodeId>, DecodeError> {
    let node = match reader.uint("a node id")? {
        0 => {
            before.last = None;
            return Ok(None);
        }
        1 => NodeId::Uuid(uuid::Uuid::from_bytes(reader.array("a node id")?)),
        2 => {
            let len = reader.len(NODE_ID_BYTES_MAX, "bytes of a node id")?;
            let text = std::str::from_utf8(reader.take(len, "a node id")?).map_err(|_| DecodeError::Invalid("a node id is UTF-8"))?;
            let id = NodeId::parse(text)?;
            if matches!(id, NodeId::Uuid(_)) {
                return Err(DecodeError::Invalid("a UUID node id travels as 16 bytes, not as text"));
            }
            id
        }
        back => {
            let back = usize::try_from(back - 3).ok().filter(|back| *back < NODES_BACK_MAX);
            let index = back.and_then(|back| before.nodes.len().checked_sub(back + 1));
            let index = index.ok_or(DecodeError::Invalid("a node is named that has not been named before"))?;
            if before.last == Some(index) {
                return Err(DecodeError::Invalid("the node of the operation before is named by a flag"));
            }
            before.last = Some(index);
            return Ok(Some(before.nodes[index].clone()));
        }
    };
    if before.nodes.iter().rev().take(NODES_BACK_MAX).any(|known| *known == node) {
        return Err(DecodeError::Invalid("a node that was named before is named by its distance"));
    }
    before.nodes.push(node.clone());
    before.last = Some(before.nodes.len() - 1);
    Ok(Some(node))
}

fn decode_parents(reader: &mut Reader<'_>, logs: &[LogId], before: &mut Before) -> Result<SmallVec<[WireParent; 1]>, DecodeError> {
    let count = reader.len(PARENTS_MAX, "parents of an operation")?;
    let mut parents = SmallVec::with_capacity(count);
    for _ in 0..count {
        parents.push(match reader.uint("a parent")? {
            1 => WireParent::Hash(OpHash(reader.array("a parent")?)),
            3 => WireParent::Prefix(reader.array("a parent")?),
            own if own & 1 == 0 => WireParent::Own(own >> 1),
            other => {
                let index = usize::try_from((other - 5) >> 1).unwrap_or(usize::MAX);
                let log = *logs.get(index).ok_or(DecodeError::Invalid("a parent names a log that the segment does not list"))?;
                if index > before.logs_named {
                    return Err(DecodeError::Invalid("a segment lists logs in the order in which parents name them"));
                }
                before.logs_named = before.logs_named.max(index + 1);
                WireParent::At(Position { log, seq: reader.uint("a parent's position")? })
            }
        });
    }
    if parents.as_slice() == [WireParent::Own(1)] {
        return Err(DecodeError::Invalid("the operation before as the only parent is named by a flag"));
    }
    Ok(parents)
}

type Attachment = (BlobRef, Option<Arc<[u8]>>);

fn decode_attachment(reader: &mut Reader<'_>) -> Result<Attachment, DecodeError> {
    let hash = reader.array("an attachment hash")?;
    let len = reader.uint("an attachment length")?;
    if len > ATTACHMENT_BYTES_MAX as u64 {
        return Err(DecodeError::TooLarge { what: "bytes of attachment", found: len, max: ATTACHMENT_BYTES_MAX as u64 });
    }
    let bytes: Option<Arc<[u8]>> = match reader.byte("an attachment")? {
        0 => None,
        1 => Some(reader.take(len as usize, "an attachment")?.into()),
        _ => return Err(DecodeError::Invalid("an attachment is there or not")),
    };
    if bytes.as_ref().is_some_and(|bytes| attachment_hash(bytes) != hash) {
        return Err(DecodeError::Invalid("an attachment does not have the hash its header names"));
    }
    Ok((BlobRef { hash, len: len as u32, encryption: 0 }, bytes))
}
