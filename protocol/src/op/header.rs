//! The header: what an operation's hash and signature cover.
//!
//! Deterministic CBOR (RFC 8949, section 4.2), an array of 18 items. A header is never kept in its encoded form: it is
//! rebuilt from context (whose log, which position, what came before), which is why it has exactly one encoding.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use super::{ATTACHMENT_BYTES_MAX, CUT_MAX, PARENTS_MAX, PAYLOAD_BYTES_MAX};
use crate::clock::Timestamp;
use crate::crypto::Domain;
use crate::ids::{DeviceId, LogId, NodeId, OpHash, WorkspaceId};
use crate::wire::{self, DecodeError, EncodeResult, Encoder};

/// The version of the header's form, its first item.
pub const FORMAT_VERSION: u64 = 1;

/// What an operation does. The document's five, and the one it lacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum OpType {
    /// Makes a node, or sets all of it anew.
    Create,
    /// Changes content, type, metadata or mentions. One that changes nothing restores a deleted node.
    Update,
    /// Deletes a node.
    Delete,
    /// Changes parent or order.
    Move,
    /// Changes metadata only.
    Metadata,
    /// Changes the workspace: members, devices, policy.
    Workspace,
}

impl OpType {
    /// All types, in the order of their codes.
    pub const ALL: [Self; 6] = [Self::Create, Self::Update, Self::Delete, Self::Move, Self::Metadata, Self::Workspace];

    /// The code on the wire, 0 to 5.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The type of a code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

/// A parent as the author names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ParentRef {
    /// An operation of the author's own log, by its distance back (1 = the one before).
    Own(u64),
    /// Another log's operation, by hash.
    Other(OpHash),
}

/// A part of the operation that lies outside the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRef {
    /// Its hash, in the part's own domain.
    pub hash: [u8; 32],
    /// Its length in bytes.
    pub len: u32,
    /// 0 = in the clear. Attachments are always 0 today; other values are kept and passed on, not read.
    pub encryption: u8,
}

/// What is hashed and signed, without the workspace, which every user of a header knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Whose log.
    pub log: LogId,
    /// Position in the log, from 1.
    pub seq: u64,
    /// The operation before; `None` at position 1 and only there.
    pub previous: Option<OpHash>,
    /// The node this is about; `None` for operations on the workspace and only for them.
    pub node: Option<NodeId>,
    /// What it does.
    pub kind: OpType,
    /// Hybrid logical time, greater than that of every parent.
    pub timestamp: Timestamp,
    /// Lamport version, greater than every version the author had seen.
    pub version: u64,
    /// The greatest version among the parents; `None` without parents.
    pub parent_version: Option<u64>,
    /// The heads of this node's graph as the author saw them; strictly ascending, at most [`PARENTS_MAX`].
    pub parents: SmallVec<[ParentRef; 1]>,
    /// The heads of the membership graph as the author saw them, when they changed since its previous operation; strictly
    /// ascending. Never on an operation on the workspace: its parents are its cut.
    pub cut: Option<Box<[OpHash]>>,
    /// The payload.
    pub payload: BlobRef,
    /// The attachment.
    pub attachment: Option<BlobRef>,
}

impl Header {
    /// The header's hash, which is the operation's. `scratch` is cleared and used for the encoding.
    pub fn hash(&self, workspace: &WorkspaceId, scratch: &mut Vec<u8>) -> OpHash {
        scratch.clear();
        self.encode_into(workspace, scratch);
        OpHash(Domain::Header.hash(scratch))
    }

    /// The bytes that are hashed.
    pub fn encode(&self, workspace: &WorkspaceId) -> Vec<u8> {
        let mut out = Vec::with_capacity(320);
        self.encode_into(workspace, &mut out);
        out
    }

    fn encode_into(&self, workspace: &WorkspaceId, out: &mut Vec<u8>) {
        wire::encode_into(out, |e| {
            e.array(18)?.u64(FORMAT_VERSION)?;
            // A genesis names no workspace: its hash becomes the workspace's name.
            let workspace = if self.is_genesis() { &[0; 32] } else { &workspace.0 };
            e.bytes(workspace)?.bytes(&self.log.device.0)?.u32(self.log.epoch)?.u64(self.seq)?;
            encode_optional_hash(e, self.previous.as_ref())?;
            match &self.node {
                Some(node) => wire::encode_node_id(e, node)?,
                None => {
                    e.null()?;
                }
            }
            e.u8(self.kind.code())?.u64(self.timestamp.0)?.u64(self.version)?;
            match self.parent_version {
                Some(version) => e.u64(version)?,
                None => e.null()?,
            };
            e.array(self.parents.len() as u64)?;
            for parent in &self.parents {
                match parent {
                    ParentRef::Own(distance) => e.u64(*distance)?,
                    ParentRef::Other(hash) => e.bytes(&hash.0)?,
                };
            }
            self.encode_cut(e)?;
            e.bytes(&self.payload.hash)?.u32(self.payload.len)?.u8(self.payload.encryption)?;
            match &self.attachment {
                Some(attachment) => e.bytes(&attachment.hash)?.u32(attachment.len)?,
                None => e.null()?.u8(0)?,
            };
            Ok(())
        });
    }

    /// Whether this founds a workspace: the only workspace operation without parents.
    pub fn is_genesis(&self) -> bool {
        self.kind == OpType::Workspace && self.parents.is_empty()
    }

    fn encode_cut(&self, e: &mut Encoder<'_>) -> EncodeResult {
        let Some(cut) = &self.cut else {
            e.null()?;
            return Ok(());
        };
        e.array(cut.len() as u64)?;
        for head in cut {
            e.bytes(&head.0)?;
        }
        Ok(())
    }

    /// Reads the full form, as it stands in fork proofs, claims and test vectors, with the workspace it names.
    ///
    /// # Errors
    /// When the bytes are not exactly one header in its one encoding.
    pub fn decode(bytes: &[u8]) -> Result<(WorkspaceId, Self), DecodeError> {
        const WHAT: &str = "an operation header";
        let cbor = DecodeError::cbor(WHAT);
        let d = &mut minicbor::Decoder::new(bytes);
        wire::expect_array(d, 18, WHAT)?;
        let format = d.u64().map_err(&cbor)?;
        if format != FORMAT_VERSION {
            return Err(DecodeError::UnknownVersion(format));
        }
        let workspace = WorkspaceId(wire::decode_array(d, "a workspace id")?);
        let device = DeviceId(wire::decode_array(d, "a device key")?);
        let log = LogId { device, epoch: d.u32().map_err(&cbor)? };
        let seq = d.u64().map_err(&cbor)?;
        let previous = wire::nullable(d, WHAT, |d| wire::decode_array(d, "a previous hash").map(OpHash))?;
        let node = wire::nullable(d, WHAT, wire::decode_node_id)?;
        let kind = OpType::from_code(d.u8().map_err(&cbor)?).ok_or(DecodeError::Invalid("unknown operation type"))?;
        let timestamp = Timestamp(d.u64().map_err(&cbor)?);
        let version = d.u64().map_err(&cbor)?;
        let parent_version = wire::nullable(d, WHAT, |d| d.u64().map_err(&cbor))?;
        let parents = Self::decode_parents(d)?;
        let cut = wire::nullable(d, WHAT, |d| {
            let count = wire::bounded_array(d, CUT_MAX as u64, "heads in a membership cut")?;
            (0..count).map(|_| wire::decode_array(d, "a cut").map(OpHash)).collect::<Result<Box<[_]>, _>>()
        })?;
        let payload =
            BlobRef { hash: wire::decode_array(d, "a payload hash")?, len: d.u32().map_err(&cbor)?, encryption: d.u8().map_err(&cbor)? };
        let attachment = wire::nullable(d, WHAT, |d| wire::decode_array(d, "an attachment hash"))?;
        let len = d.u32().map_err(&cbor)?;
        let attachment = attachment.map(|hash| BlobRef { hash, len, encryption: 0 });
        wire::finish(d)?;
        let header = Self { log, seq, previous, node, kind, timestamp, version, parent_version, parents, cut, payload, attachment };
        header.check()?;
        if header.encode(&workspace) != bytes {
            return Err(DecodeError::Invalid("the header is not in its one deterministic encoding"));
        }
        Ok((workspace, header))
    }

    fn decode_parents(d: &mut minicbor::Decoder<'_>) -> Result<SmallVec<[ParentRef; 1]>, DecodeError> {
        let count = wire::bounded_array(d, PARENTS_MAX as u64, "parents of an operation")?;
        let mut parents = SmallVec::new();
        for _ in 0..count {
            parents.push(match d.datatype().map_err(DecodeError::cbor("a parent"))? {
                minicbor::data::Type::Bytes => ParentRef::Other(OpHash(wire::decode_array(d, "a parent")?)),
                _ => ParentRef::Own(d.u64().map_err(DecodeError::cbor("a parent"))?),
            });
        }
        Ok(parents)
    }

    /// The rules a header keeps by itself, without knowing any other operation.
    ///
    /// # Errors
    /// Names the rule that is broken.
    pub fn check(&self) -> Result<(), DecodeError> {
        let rules = [
            (self.log.epoch != 0, "an epoch is not zero"),
            (self.seq != 0, "sequence numbers start at 1"),
            ((self.seq == 1) == self.previous.is_none(), "the first operation of a log, and only it, has no previous hash"),
            ((self.kind == OpType::Workspace) == self.node.is_none(), "workspace operations, and only they, name no node"),
            (self.version != 0, "versions start at 1"),
            (self.version <= self.timestamp.0, "a version does not exceed its timestamp: versions cannot be used up before time is"),
            (self.parent_version.is_none() == self.parents.is_empty(), "an operation has a parent version exactly when it has parents"),
            (self.parent_version.is_none_or(|v| v != 0 && v < self.version), "a version is greater than the parents' versions"),
            (self.parents.len() <= PARENTS_MAX, "an operation names at most 16 parents"),
            (self.parents.is_sorted_by(|a, b| a < b), "parents are strictly ascending"),
            (self.parents.iter().all(|p| !matches!(p, ParentRef::Own(d) if *d == 0 || *d >= self.seq)), "a distance stays within the log"),
            (self.kind != OpType::Workspace || self.cut.is_none(), "a workspace operation's parents are its cut"),
            (self.cut.as_ref().is_none_or(|c| c.is_sorted_by(|a, b| a < b)), "a membership cut is strictly ascending"),
            (self.cut.as_ref().is_none_or(|c| (1..=CUT_MAX).contains(&c.len())), "a membership cut names 1 to 64 heads"),
            (self.payload.len as usize <= PAYLOAD_BYTES_MAX, "a payload has at most 1 MiB"),
            (self.attachment.is_none_or(|a| (a.len as usize) <= ATTACHMENT_BYTES_MAX), "an attachment has at most 64 KiB"),
        ];
        match rules.iter().find(|(kept, _)| !kept) {
            Some((_, rule)) => Err(DecodeError::Invalid(rule)),
            None => Ok(()),
        }
    }
}

fn encode_optional_hash(e: &mut Encoder<'_>, hash: Option<&OpHash>) -> EncodeResult {
    match hash {
        Some(hash) => e.bytes(&hash.0)?,
        None => e.null()?,
    };
    Ok(())
}
