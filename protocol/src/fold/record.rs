//! A node's state at rest, in a checkpoint.
//!
//! Local to the device, so the form may change with the checkpoint's version; it is made to be small and quick, because every node that
//! changed is written and every node that is asked for is read. Integers are LEB128. An operation's stamp takes some fifty bytes and
//! several fields usually have the same one, so stamps stand in a table and fields name them by number:
//!
//! ```text
//! digest? | stamps | heads | type? | text | chars | metadata | mentions | alive | last edit? | last delete? | embeddings |
//! created? | modified? | conflicts | resolutions
//! ```
//!
//! Bytes that are damaged give an error, and cost no more memory than their own size allows.

use std::collections::BTreeMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::metadata::{Leaf, Metadata};
use super::{Embedding, NodeHead, NodeState};
use crate::clock::{Stamp, Timestamp};
use crate::conflict::{Conflict, ConflictStatus, ConflictType, ResolutionStrategy};
use crate::ids::{ConflictId, NODE_ID_BYTES_MAX, NodeId, OpHash};
use crate::op::{BlobRef, json};
use crate::store::OpIndex;
use crate::wire::{self, DecodeError, Reader, put_uint};

/// How far back in the table a stamp is looked for; one that stands further back is written again.
const STAMPS_BACK_MAX: usize = 8;

/// Lists and texts are bounded by the bytes that are there.
const ANY: usize = usize::MAX;

/// A state and its digest, if that is known, as bytes.
pub(crate) fn encode(state: &NodeState, digest: Option<&[u8; 32]>) -> Vec<u8> {
    let mut writer = Writer { out: Vec::with_capacity(128 + state.text.len()), stamps: Vec::new() };
    writer.state(state);
    let Writer { out: body, stamps } = writer;
    let mut out = Vec::with_capacity(body.len() + 34 + stamps.len() * 48);
    put_option(&mut out, digest, |out, digest| out.extend_from_slice(digest));
    put_uint(&mut out, stamps.len() as u64);
    for stamp in &stamps {
        out.extend_from_slice(&stamp.hash.0);
        put_uint(&mut out, stamp.timestamp.0);
        put_uint(&mut out, stamp.version);
    }
    out.extend_from_slice(&body);
    out
}

/// The same state with another digest, and the digest it had.
pub(crate) fn with_digest(bytes: &[u8], digest: &[u8; 32]) -> (Arc<[u8]>, Option<[u8; 32]>) {
    let (before, rest) = match bytes.split_first() {
        Some((1, rest)) => rest.split_first_chunk().map_or((None, rest), |(before, rest)| (Some(*before), rest)),
        Some((_, rest)) => (None, rest),
        None => (None, bytes),
    };
    ([&[1][..], digest, rest].concat().into(), before)
}

/// The inverse of [`encode`].
pub(crate) fn decode(bytes: &[u8]) -> Result<(NodeState, Option<[u8; 32]>), DecodeError> {
    let mut reader = StateReader { reader: Reader::new(bytes), stamps: SmallVec::new() };
    let digest = reader.option(|reader| reader.reader.array("a digest"))?;
    for _ in 0..reader.count("stamps")? {
        let hash = OpHash(reader.reader.array("a stamp")?);
        let (timestamp, version) = (Timestamp(reader.reader.uint("a stamp")?), reader.reader.uint("a stamp")?);
        reader.stamps.push(Stamp { timestamp, version, hash });
    }
    let state = reader.state()?;
    reader.reader.finish()?;
    Ok((state, digest))
}

/// Appends a node id: its text's length plus one, or zero before a UUID.
pub(crate) fn put_node_id(out: &mut Vec<u8>, id: &NodeId) {
    match id {
        NodeId::Uuid(uuid) => {
            out.push(0);
            out.extend_from_slice(uuid.as_bytes());
        }
        NodeId::Text(text) => {
            put_uint(out, text.len() as u64 + 1);
            out.extend_from_slice(text.as_bytes());
        }
    }
}

/// The inverse of [`put_node_id`].
pub(crate) fn read_node_id(reader: &mut Reader<'_>) -> Result<NodeId, DecodeError> {
    const WHAT: &str = "a node id";
    let Some(len) = reader.uint(WHAT)?.checked_sub(1) else { return Ok(NodeId::Uuid(uuid::Uuid::from_bytes(reader.array(WHAT)?))) };
    if len > NODE_ID_BYTES_MAX as u64 {
        return Err(DecodeError::TooLarge { what: WHAT, found: len, max: NODE_ID_BYTES_MAX as u64 });
    }
    Ok(NodeId::parse(text_of(reader.take(len as usize, WHAT)?)?)?)
}

fn text_of(bytes: &[u8]) -> Result<&str, DecodeError> {
    std::str::from_utf8(bytes).map_err(|_| DecodeError::Invalid("a text is not UTF-8"))
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_uint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

struct Writer {
    out: Vec<u8>,
    stamps: Vec<Stamp>,
}

impl Writer {
    fn state(&mut self, state: &NodeState) {
        self.uint(state.heads.len() as u64);
        for head in &state.heads {
            self.dot(head.op);
            self.stamp(head.stamp);
        }
        self.option(state.node_type.as_ref(), |writer, (stamp, node_type)| {
            writer.stamp(*stamp);
            put_text(&mut writer.out, node_type);
        });
        put_text(&mut self.out, &state.text);
        self.uint(state.chars.into());
        self.metadata(&state.metadata);
        self.uint(state.mentions.len() as u64);
        for (id, dots) in &state.mentions {
            put_node_id(&mut self.out, id);
            self.dots(dots);
        }
        self.dots(&state.alive);
        self.option(state.last_edit, Self::stamp);
        self.option(state.last_delete, |writer, (stamp, soft)| {
            writer.stamp(stamp);
            writer.out.push(soft.into());
        });
        self.embeddings(&state.embeddings);
        self.option(state.created, Self::stamp);
        self.option(state.modified, Self::stamp);
        self.uint(state.conflicts.len() as u64);
        state.conflicts.iter().for_each(|conflict| self.conflict(conflict));
        self.uint(state.resolutions.len() as u64);
        for (id, stamp) in &state.resolutions {
            self.out.extend_from_slice(&id.0);
            self.stamp(*stamp);
        }
    }

    fn metadata(&mut self, metadata: &Metadata) {
        self.uint(metadata.leaves.len() as u64);
        for (path, leaf) in &metadata.leaves {
            self.uint(path.len() as u64);
            path.iter().for_each(|part| put_text(&mut self.out, part));
            self.option(leaf.value.as_ref(), |writer, (stamp, value)| {
                writer.stamp(*stamp);
                writer.option(value.as_ref(), |writer, value| {
                    let bytes = wire::encode_with(|e| json::encode(e, value));
                    writer.uint(bytes.len() as u64);
                    writer.out.extend_from_slice(&bytes);
                });
            });
            self.option(leaf.object, Self::stamp);
        }
    }

    fn embeddings(&mut self, embeddings: &BTreeMap<String, Box<Embedding>>) {
        self.uint(embeddings.len() as u64);
        for (model, embedding) in embeddings {
            put_text(&mut self.out, model);
            self.stamp(embedding.stamp);
            self.dot(embedding.op);
            self.uint(embedding.dimension.into());
            self.out.extend_from_slice(&embedding.source);
            self.out.extend_from_slice(&embedding.attachment.hash);
            self.uint(embedding.attachment.len.into());
            self.out.push(embedding.attachment.encryption);
        }
    }

    fn conflict(&mut self, conflict: &Conflict) {
        self.out.extend_from_slice(&conflict.id.0);
        self.out.push(conflict.kind as u8);
        put_text(&mut self.out, &conflict.field);
        self.uint(conflict.participants.len() as u64);
        conflict.participants.iter().for_each(|participant| self.out.extend_from_slice(&participant.0));
        match conflict.status {
            ConflictStatus::Open => self.out.push(0),
            ConflictStatus::AutoResolved(strategy) => self.out.extend_from_slice(&[1, strategy as u8]),
            ConflictStatus::Resolved(by) => {
                self.out.push(2);
                self.out.extend_from_slice(&by.0);
            }
        }
    }

    fn uint(&mut self, value: u64) {
        put_uint(&mut self.out, value);
    }

    fn dot(&mut self, dot: OpIndex) {
        self.uint(dot.0.into());
    }

    fn dots(&mut self, dots: &[OpIndex]) {
        self.uint(dots.len() as u64);
        dots.iter().for_each(|dot| self.dot(*dot));
    }

    fn option<T>(&mut self, value: Option<T>, put: impl FnOnce(&mut Self, T)) {
        self.out.push(u8::from(value.is_some()));
        if let Some(value) = value {
            put(self, value);
        }
    }

    /// Names a stamp by its number in the table.
    fn stamp(&mut self, stamp: Stamp) {
        let known = self.stamps.iter().rev().take(STAMPS_BACK_MAX).position(|known| *known == stamp);
        let number = known.map_or(self.stamps.len(), |back| self.stamps.len() - 1 - back);
        if known.is_none() {
            self.stamps.push(stamp);
        }
        self.uint(number as u64);
    }
}

struct StateReader<'a> {
    reader: Reader<'a>,
    stamps: SmallVec<[Stamp; 4]>,
}

impl StateReader<'_> {
    fn state(&mut self) -> Result<NodeState, DecodeError> {
        let heads = self.list("heads", |reader| Ok(NodeHead { op: reader.dot()?, stamp: reader.stamp()? }))?;
        let node_type = self.option(|reader| Ok((reader.stamp()?, reader.text("a type")?)))?;
        let (text, chars) = (self.text("a text")?, self.u32("a text's length")?);
        let metadata = Metadata { leaves: self.list("metadata", Self::leaf)? };
        let mentions = self.list("mentions", |reader| Ok((read_node_id(&mut reader.reader)?, reader.list("mentions", Self::dot)?)))?;
        let alive = self.list("live operations", Self::dot)?;
        let last_edit = self.option(Self::stamp)?;
        let last_delete = self.option(|reader| Ok((reader.stamp()?, reader.flag()?)))?;
        let embeddings = self.list("embeddings", Self::embedding)?;
        let (created, modified) = (self.option(Self::stamp)?, self.option(Self::stamp)?);
        let conflicts = self.list("conflicts", Self::conflict)?;
        let resolutions = self.list("resolutions", |reader| Ok((ConflictId(reader.reader.array("a resolution")?), reader.stamp()?)))?;
        Ok(NodeState {
            heads,
            node_type,
            text,
            chars,
            metadata,
            mentions,
            alive,
            last_edit,
            last_delete,
            embeddings,
            created,
            modified,
            conflicts,
            resolutions,
        })
    }

    fn leaf(&mut self) -> Result<(Vec<String>, Box<Leaf>), DecodeError> {
        let path = self.list("a path", |reader| reader.text("a path"))?;
        let value = self.option(|reader| Ok((reader.stamp()?, reader.option(Self::json)?)))?;
        Ok((path, Box::new(Leaf { value, object: self.option(Self::stamp)? })))
    }

    fn json(&mut self) -> Result<serde_json::Value, DecodeError> {
        let len = self.reader.len(ANY, "a value")?;
        let mut decoder = minicbor::Decoder::new(self.reader.take(len, "a value")?);
        let value = json::decode(&mut decoder)?;
        wire::finish(&decoder)?;
        Ok(value)
    }

    fn embedding(&mut self) -> Result<(String, Box<Embedding>), DecodeError> {
        const WHAT: &str = "an embedding";
        let model = self.text(WHAT)?;
        let (stamp, op, dimension) = (self.stamp()?, self.dot()?, self.u32(WHAT)?);
        let source = self.reader.array(WHAT)?;
        let attachment = BlobRef { hash: self.reader.array(WHAT)?, len: self.u32(WHAT)?, encryption: self.reader.byte(WHAT)? };
        Ok((model, Box::new(Embedding { stamp, op, dimension, source, attachment })))
    }

    fn conflict(&mut self) -> Result<Conflict, DecodeError> {
        const WHAT: &str = "a conflict";
        let id = ConflictId(self.reader.array(WHAT)?);
        let kind = ConflictType::ALL.get(usize::from(self.reader.byte(WHAT)?));
        let kind = *kind.ok_or(DecodeError::Invalid("a conflict is of no known type"))?;
        let field = self.text(WHAT)?;
        let participants = self.list(WHAT, |reader| Ok(OpHash(reader.reader.array(WHAT)?)))?;
        let status = match self.reader.byte(WHAT)? {
            0 => ConflictStatus::Open,
            1 => {
                let strategy = ResolutionStrategy::ALL.get(usize::from(self.reader.byte(WHAT)?));
                ConflictStatus::AutoResolved(*strategy.ok_or(DecodeError::Invalid("a conflict was met by no known strategy"))?)
            }
            2 => ConflictStatus::Resolved(OpHash(self.reader.array(WHAT)?)),
            _ => return Err(DecodeError::Invalid("a conflict's status is none")),
        };
        Ok(Conflict { id, kind, field, participants, status })
    }

    fn count(&mut self, what: &'static str) -> Result<usize, DecodeError> {
        self.reader.len(ANY, what)
    }

    /// A list; it grows as it is read, never by what it declares.
    fn list<T, L: FromIterator<T>>(
        &mut self,
        what: &'static str,
        mut read: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<L, DecodeError> {
        let count = self.count(what)?;
        std::iter::repeat_with(|| read(self)).take(count).collect()
    }

    fn option<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, DecodeError>) -> Result<Option<T>, DecodeError> {
        if self.flag()? { read(self).map(Some) } else { Ok(None) }
    }

    fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.reader.byte("a flag")? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid("a flag is neither 0 nor 1")),
        }
    }

    fn text(&mut self, what: &'static str) -> Result<String, DecodeError> {
        let len = self.reader.len(ANY, what)?;
        Ok(text_of(self.reader.take(len, what)?)?.to_owned())
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        u32::try_from(self.reader.uint(what)?).map_err(|_| DecodeError::Invalid("a number exceeds 32 bits"))
    }

    fn dot(&mut self) -> Result<OpIndex, DecodeError> {
        self.u32("an operation").map(OpIndex)
    }

    fn stamp(&mut self) -> Result<Stamp, DecodeError> {
        let number = usize::try_from(self.reader.uint("a stamp")?).unwrap_or(usize::MAX);
        self.stamps.get(number).copied().ok_or(DecodeError::Invalid("a stamp is not in the table"))
    }
}

#[cfg(test)]
mod tests;
