//! The bytes of one operation within a segment.
//!
//! What the operation before says, this one leaves out: its node by a flag, time and version as differences. A value has one form;
//! the reader refuses any other.

use std::sync::Arc;

use smallvec::SmallVec;

use super::{Position, WireOp, WireParent};
use crate::clock::Timestamp;
use crate::ids::{LogId, NODE_ID_BYTES_MAX, NodeId, OpHash};
use crate::op::header::{BlobRef, OpType};
use crate::op::{ATTACHMENT_BYTES_MAX, CUT_MAX, PARENTS_MAX, PAYLOAD_BYTES_MAX, attachment_hash};
use crate::wire::{DecodeError, Reader, put_int, put_uint};

/// What differences are taken against, and the nodes already named.
#[derive(Default)]
pub(super) struct Before {
    ms: u64,
    version: u64,
    nodes: Vec<NodeId>,
    last: Option<usize>,
    /// Logs of the segment's list that parents have named so far; they are listed in that order.
    pub(super) logs_named: usize,
}

/// How far back a node named before may be found; further ones are spelt out again.
const NODES_BACK_MAX: usize = 64;
/// Flags, time, version and payload length: no operation is shorter.
pub(super) const OP_BYTES_MIN: usize = 4;

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
pub(super) fn encode_op(out: &mut Vec<u8>, op: &WireOp, logs: &[LogId], before: &mut Before) {
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

pub(super) fn decode_op(reader: &mut Reader<'_>, logs: &[LogId], before: &mut Before) -> Result<WireOp, DecodeError> {
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
