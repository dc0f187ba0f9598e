//! Writing: what an application asks for becomes an operation of this device's log.

use std::sync::Arc;

use serde_json::Value;
use smallvec::SmallVec;

use super::standing::on_path_of;
use super::{Author, Replica};
use crate::clock::{AHEAD_MS_MAX, Stamp, Timestamp};
use crate::conflict::Policy;
use crate::delta::{DeltaCompressor, TextChange};
use crate::ids::{ConflictId, LogId, NodeId, OpHash};
use crate::log::{Appended, Head};
use crate::op::json;
use crate::op::payload::{EDITS_MAX, LIST_MAX, NAME_BYTES_MAX};
use crate::op::{
    BlobRef, CUT_MAX, EmbeddingNote, Header, INLINE_BYTES_DEFAULT, Op, OpType, PARENTS_MAX, ParentRef, Payload, Place, PlaceAnchor,
    attachment_hash, payload_hash,
};
use crate::store::{OpIndex, Record, Store, StoreError};
use crate::text::{TextPatch, apply_patches};
use crate::tree::{Anchor, PlaceError, Position};
use crate::vector::{QuantisedVector, VectorError};

/// The most text that goes into one operation; more is split over several.
const CHUNK_BYTES_MAX: usize = INLINE_BYTES_DEFAULT - 4096;

/// Why a change could not be made. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// This replica has no author: it only follows.
    #[error("this replica has no device key to write with")]
    ReadOnly,
    /// The device is not a member, or not any more.
    #[error("this device is not a member of the workspace; ask an owner for an invite")]
    NotMember,
    /// The role does not allow it.
    #[error("this device's user is a viewer; ask an owner for the editor role")]
    Viewer,
    /// The role does not allow changing the workspace.
    #[error("changing the workspace needs the owner role: {0}")]
    Workspace(#[from] crate::membership::Unauthorised),
    /// A peer has proved that our own log had operations which we lost: they must come back first.
    #[error("peers hold changes of this device that its store has lost; sync once before writing")]
    OwnLogBehind,
    /// Our log was forked: the key or the store was copied.
    #[error("this device's log was continued elsewhere with the same key; start a new epoch before writing")]
    Forked,
    /// No such node.
    #[error("there is no node `{0}`")]
    UnknownNode(NodeId),
    /// A create for an id that is taken by a living node.
    #[error("node `{0}` exists already")]
    Exists(NodeId),
    /// Edits that do not fit the text.
    #[error("the edits do not fit the text of node `{0}`, which changed meanwhile or is shorter")]
    EditsDoNotFit(NodeId),
    /// A place that cannot be.
    #[error(transparent)]
    Place(#[from] PlaceError),
    /// A value too large or too deep for an operation.
    #[error("{what} is too large: {found}, at most {max} is allowed")]
    TooLarge {
        /// What.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The bound.
        max: usize,
    },
    /// A value that cannot be written.
    #[error("{0}")]
    Invalid(&'static str),
    /// An embedding that cannot be sent.
    #[error(transparent)]
    Vector(#[from] VectorError),
    /// No such conflict on that node.
    #[error("node `{node}` has no conflict {}", conflict.short())]
    UnknownConflict {
        /// The node.
        node: NodeId,
        /// The conflict asked for.
        conflict: ConflictId,
    },
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A node to be made.
#[derive(Clone, Debug)]
pub struct NewNode {
    /// Its id, minted by the application.
    pub id: NodeId,
    /// Its type, an open string.
    pub node_type: String,
    /// Its text.
    pub content: String,
    /// Its metadata, an object.
    pub metadata: Value,
    /// Ids it mentions.
    pub mentions: Vec<NodeId>,
    /// Under which parent; `None` = top level.
    pub parent: Option<NodeId>,
    /// Where among the siblings.
    pub position: Position,
}

impl NewNode {
    /// A text node without metadata, last in its parent.
    pub fn text(id: NodeId, parent: Option<NodeId>, content: impl Into<String>) -> Self {
        Self {
            id,
            node_type: "text".into(),
            content: content.into(),
            metadata: Value::Object(serde_json::Map::new()),
            mentions: Vec::new(),
            parent,
            position: Position::Last,
        }
    }
}

/// An embedding to be attached.
#[derive(Clone, Debug)]
pub struct NewEmbedding {
    /// The model's name.
    pub model: String,
    /// The full-precision vector; what travels is quantised.
    pub vector: Vec<f32>,
}

/// What goes into an operation beside what the replica knows.
pub(crate) struct Draft {
    pub(crate) kind: OpType,
    pub(crate) node: Option<NodeId>,
    pub(crate) payload: Payload,
    pub(crate) attachment: Option<Arc<[u8]>>,
}

impl Draft {
    pub(crate) fn on(node: &NodeId, kind: OpType, payload: Payload) -> Self {
        Self { kind, node: Some(node.clone()), payload, attachment: None }
    }
}

impl<S: Store> Replica<S> {
    /// Makes a node. A deleted id can be made again.
    ///
    /// # Errors
    /// When the id is taken, the parent or sibling is not there, or a value is too large.
    pub fn create(&mut self, now: Timestamp, new: NewNode) -> Result<OpHash, WriteError> {
        let policy = self.membership.policy();
        if let Some(slot) = self.nodes.find(&new.id) {
            let facts = self.nodes.facts(slot);
            if facts.exists() && !facts.is_deleted(&policy) {
                return Err(WriteError::Exists(new.id));
            }
        }
        check_name("a node type", &new.node_type)?;
        if !new.metadata.is_object() {
            return Err(WriteError::Invalid("metadata is a JSON object"));
        }
        if let Some(parent) = &new.parent {
            self.existing(parent)?;
        }
        let moved = self.tree.parent(&new.id).is_some().then_some(&new.id);
        let (anchor, side) = self.tree.place_for(new.parent.as_ref(), &new.position, moved)?;
        let mut chunks = chunks_of(&new.content, CHUNK_BYTES_MAX);
        let payload = Payload {
            text: Some(TextChange::Replace(chunks.next().unwrap_or_default().to_owned())),
            node_type: Some(new.node_type),
            metadata: new.metadata.as_object().is_some_and(|members| !members.is_empty()).then_some(new.metadata),
            mentions_added: new.mentions,
            place: Some(Place { parent: new.parent, anchor: self.own_anchor(anchor), side }),
            ..Payload::default()
        };
        let rest: Vec<&str> = chunks.collect();
        let hash = self.write(now, Draft::on(&new.id, OpType::Create, payload))?;
        self.append_chunks(now, &new.id, &rest)?;
        Ok(hash)
    }

    /// Applies positional edits to a node's text, each against the text as the one before left it.
    ///
    /// # Errors
    /// When the node is not there or the edits do not fit its text.
    pub fn edit_text(&mut self, now: Timestamp, id: &NodeId, patches: Vec<TextPatch>) -> Result<OpHash, WriteError> {
        let slot = self.existing(id)?;
        let mut text = self.nodes.read(&self.store, slot)?.text.clone();
        apply_patches(&mut text, &patches).map_err(|_| WriteError::EditsDoNotFit(id.clone()))?;
        let payload = Payload { text: Some(TextChange::Edits(patches)), ..Payload::default() };
        self.write(now, Draft::on(id, OpType::Update, payload))
    }

    /// Sets a node's text; what is sent is the difference, unless too little is kept. `None` when it is that text already.
    ///
    /// # Errors
    /// When the node is not there.
    pub fn set_text(&mut self, now: Timestamp, id: &NodeId, text: &str) -> Result<Option<OpHash>, WriteError> {
        let slot = self.existing(id)?;
        let change = DeltaCompressor::default().change(&self.nodes.read(&self.store, slot)?.text, text);
        change.map(|change| self.write_text(now, id, change, Payload::default())).transpose()
    }

    /// Writes a change of text with the other fields of `payload`, over several operations when it is large.
    pub(crate) fn write_text(&mut self, now: Timestamp, id: &NodeId, change: TextChange, payload: Payload) -> Result<OpHash, WriteError> {
        match change {
            TextChange::Replace(text) => {
                let mut chunks = chunks_of(&text, CHUNK_BYTES_MAX);
                let first = chunks.next().unwrap_or_default().to_owned();
                let rest: Vec<&str> = chunks.collect();
                let hash = self.write(now, Draft::on(id, OpType::Update, Payload { text: Some(TextChange::Replace(first)), ..payload }))?;
                self.append_chunks(now, id, &rest)?;
                Ok(hash)
            }
            TextChange::Edits(patches) => {
                let mut groups = group_patches(patches).into_iter();
                let first = groups.next().unwrap_or_default();
                let hash = self.write(now, Draft::on(id, OpType::Update, Payload { text: Some(TextChange::Edits(first)), ..payload }))?;
                for group in groups {
                    let payload = Payload { text: Some(TextChange::Edits(group)), ..Payload::default() };
                    self.write(now, Draft::on(id, OpType::Update, payload))?;
                }
                Ok(hash)
            }
        }
    }

    fn append_chunks(&mut self, now: Timestamp, id: &NodeId, chunks: &[&str]) -> Result<(), WriteError> {
        for chunk in chunks {
            let slot = self.existing(id)?;
            let patch = TextPatch::new(self.nodes.read(&self.store, slot)?.chars, 0, *chunk);
            let payload = Payload { text: Some(TextChange::Edits(vec![patch])), ..Payload::default() };
            self.write(now, Draft::on(id, OpType::Update, payload))?;
        }
        Ok(())
    }

    /// Changes a node's type.
    ///
    /// # Errors
    /// When the node is not there or the type is no name.
    pub fn set_type(&mut self, now: Timestamp, id: &NodeId, node_type: &str) -> Result<OpHash, WriteError> {
        self.existing(id)?;
        check_name("a node type", node_type)?;
        let payload = Payload { node_type: Some(node_type.to_owned()), ..Payload::default() };
        self.write(now, Draft::on(id, OpType::Update, payload))
    }

    /// Applies a JSON merge patch (RFC 7396) to a node's metadata.
    ///
    /// # Errors
    /// When the node is not there or the patch is no object.
    pub fn patch_metadata(&mut self, now: Timestamp, id: &NodeId, patch: Value) -> Result<OpHash, WriteError> {
        self.existing(id)?;
        if !patch.is_object() {
            return Err(WriteError::Invalid("a metadata patch is a JSON object"));
        }
        self.write(now, Draft::on(id, OpType::Metadata, Payload { metadata: Some(patch), ..Payload::default() }))
    }

    /// Adds and removes mentions.
    ///
    /// # Errors
    /// When the node is not there or there are too many.
    pub fn mention(&mut self, now: Timestamp, id: &NodeId, added: Vec<NodeId>, removed: Vec<NodeId>) -> Result<OpHash, WriteError> {
        self.existing(id)?;
        let payload = Payload { mentions_added: added, mentions_removed: removed, ..Payload::default() };
        self.write(now, Draft::on(id, OpType::Update, payload))
    }

    /// Moves a node.
    ///
    /// # Errors
    /// When node, parent or sibling is not there, or the node would come to lie below itself.
    pub fn move_node(&mut self, now: Timestamp, id: &NodeId, parent: Option<&NodeId>, position: &Position) -> Result<OpHash, WriteError> {
        self.existing(id)?;
        if let Some(parent) = parent {
            self.existing(parent)?;
        }
        let payload = Payload { place: Some(self.place_for(id, parent, position)?), ..Payload::default() };
        self.write(now, Draft::on(id, OpType::Move, payload))
    }

    pub(crate) fn place_for(&self, id: &NodeId, parent: Option<&NodeId>, position: &Position) -> Result<Place, WriteError> {
        let moved = self.tree.parent(id).is_some().then_some(id);
        let (anchor, side) = self.tree.place_for(parent, position, moved)?;
        Ok(Place { parent: parent.cloned(), anchor: self.own_anchor(anchor), side })
    }

    /// Deletes a node. Its children stay; they show below it as a placeholder.
    ///
    /// # Errors
    /// When the node is not there.
    pub fn delete(&mut self, now: Timestamp, id: &NodeId, soft: bool) -> Result<OpHash, WriteError> {
        self.existing(id)?;
        self.write(now, Draft::on(id, OpType::Delete, Payload { soft_delete: Some(soft), ..Payload::default() }))
    }

    /// Brings a deleted node back as it was.
    ///
    /// # Errors
    /// When the node never was, or was deleted for good.
    pub fn restore_node(&mut self, now: Timestamp, id: &NodeId) -> Result<OpHash, WriteError> {
        let slot = self.existing(id)?;
        if self.nodes.read(&self.store, slot)?.is_hard_deleted(&self.membership.policy()) {
            return Err(WriteError::Invalid("the node was deleted for good"));
        }
        self.write(now, Draft::on(id, OpType::Update, Payload::default()))
    }

    /// Attaches an embedding of the node's present text.
    ///
    /// # Errors
    /// When the node is not there or the vector cannot be quantised.
    pub fn attach_embedding(&mut self, now: Timestamp, id: &NodeId, embedding: &NewEmbedding) -> Result<OpHash, WriteError> {
        let slot = self.existing(id)?;
        check_name("a model name", &embedding.model)?;
        let quantised: QuantisedVector = crate::vector::VectorSyncOptimizer::default().compress_embedding(&embedding.vector)?;
        let note = EmbeddingNote {
            model: embedding.model.clone(),
            dimension: u32::try_from(embedding.vector.len()).unwrap_or(u32::MAX),
            source: crate::fold::embedding::content_hash(&self.nodes.read(&self.store, slot)?.text),
        };
        let draft = Draft {
            attachment: Some(quantised.to_bytes().into()),
            ..Draft::on(id, OpType::Update, Payload { embedding: Some(note), ..Payload::default() })
        };
        self.write(now, draft)
    }

    /// The slot of a node that exists.
    pub(crate) fn existing(&self, id: &NodeId) -> Result<u32, WriteError> {
        let slot = self.nodes.find(id).filter(|slot| self.nodes.facts(*slot).exists());
        slot.ok_or_else(|| WriteError::UnknownNode(id.clone()))
    }

    /// An anchor as this device's next operation names it.
    fn own_anchor(&self, anchor: Anchor) -> PlaceAnchor {
        match anchor {
            Anchor::Start => PlaceAnchor::Start,
            Anchor::Op(hash) => match self.distance_to(&hash) {
                Some(distance) => PlaceAnchor::Own(distance),
                None => PlaceAnchor::Other(hash),
            },
        }
    }

    /// How far back in our own log an operation is, as seen from the next one.
    fn distance_to(&self, hash: &OpHash) -> Option<u64> {
        let own = self.own_log()?;
        let index = self.store.find(hash).ok()??;
        let header = &self.store.op(index).ok()?.header;
        (header.log == own).then(|| self.next_seq(own) - header.seq)
    }

    fn next_seq(&self, own: LogId) -> u64 {
        self.logs.get(&own).map_or(1, |log| log.last_seq() + 1)
    }

    /// Checks that this device may write nodes now.
    fn check_may_write(&self, kind: OpType) -> Result<Author, WriteError> {
        let author = self.author.clone().ok_or(WriteError::ReadOnly)?;
        if self.is_own_log_behind() {
            return Err(WriteError::OwnLogBehind);
        }
        if self.logs.get(&author.log()).is_some_and(crate::log::Log::is_forked) {
            return Err(WriteError::Forked);
        }
        if kind != OpType::Workspace {
            match self.membership.role(&author.key.device()) {
                None => return Err(WriteError::NotMember),
                Some(role) if !role.can_write() => return Err(WriteError::Viewer),
                Some(_) => {}
            }
        }
        Ok(author)
    }

    /// Makes a draft into the next operation of our log, stores and folds it.
    pub(crate) fn write(&mut self, now: Timestamp, draft: Draft) -> Result<OpHash, WriteError> {
        let author = self.check_may_write(draft.kind)?;
        self.release_held(now)?;
        self.settle()?;
        check_payload(&draft.payload)?;
        let payload: Arc<[u8]> = draft.payload.encode().into();
        if payload.len() > INLINE_BYTES_DEFAULT {
            return Err(WriteError::TooLarge { what: "an operation's payload", found: payload.len(), max: INLINE_BYTES_DEFAULT });
        }
        let log = author.log();
        let near = now.plus_ms(AHEAD_MS_MAX).max(self.clocks.last());
        let mut under = self.membership.heads_within(near);
        // A clock far behind must not make us forget what gives us the right, nor the invite we come by.
        let joins = matches!(draft.payload.action.as_deref(), Some(crate::membership::WorkspaceAction::Join { .. }));
        let device = author.key.device();
        let cut = self.membership.cut(&under, on_path_of!(self)).ok();
        if joins || cut.and_then(|cut| self.membership.role_at(cut, &device, on_path_of!(self))) != self.membership.role(&device) {
            under = self.membership.heads().to_vec();
        }
        let named = self.heads_to_name(draft.node.as_ref(), &under)?;
        let (parents, latest) = self.parents_for(&named, log)?;
        let previous = self.logs.get(&log).and_then(|log| log.branches().last()).and_then(|branch| branch.last);
        let seq = self.next_seq(log);
        let under: Vec<OpHash> = match draft.kind {
            OpType::Workspace => named.iter().map(|head| head.hash).collect(),
            _ => under.into_iter().take(CUT_MAX).collect(),
        };
        let cut = self.cut_for(draft.kind, log, seq, &under);
        let after = named.iter().map(|head| head.timestamp).max().unwrap_or_default();
        let (timestamp, version) = self.clocks.tick(now, (after, latest.unwrap_or(0)));
        let attachment = draft.attachment;
        let header = Header {
            log,
            seq,
            previous,
            node: draft.node,
            kind: draft.kind,
            timestamp,
            version,
            parent_version: latest,
            parents,
            cut,
            payload: BlobRef { hash: payload_hash(&payload), len: payload.len() as u32, encryption: 0 },
            attachment: attachment.as_ref().map(|bytes| BlobRef { hash: attachment_hash(bytes), len: bytes.len() as u32, encryption: 0 }),
        };
        debug_assert_eq!(header.check(), Ok(()));
        let op = Arc::new(Op::new(&self.workspace, header, payload, attachment));
        self.append_own(op, draft.payload, &under, now)
    }

    fn append_own(&mut self, op: Arc<Op>, payload: Payload, heads: &[OpHash], now: Timestamp) -> Result<OpHash, WriteError> {
        let (log, seq, hash) = (op.header.log, op.header.seq, op.hash);
        if let Some(action) = payload.action {
            self.membership.insert(&op, *action, heads, on_path_of!(self))?;
        }
        let under: &[OpHash] = if op.header.kind == OpType::Workspace { &[hash] } else { heads };
        let cut = self.membership.cut(under, on_path_of!(self)).map_err(|_| WriteError::NotMember)?;
        let index = OpIndex(self.store.op_count());
        self.store.append(vec![Record::Op(Arc::clone(&op))])?;
        let branch = self.logs.entry(log).append(0, seq - 1, Appended::of(index, &op), None);
        self.note_cut(log, branch, seq, cut);
        if op.header.kind == OpType::Workspace {
            self.restand()?;
        }
        self.fold(index, &op, now)?;
        self.settle()?;
        Ok(hash)
    }

    /// The heads a new operation names as parents: of its node, or of the membership graph; the latest ones when there are too many.
    fn heads_to_name(&self, node: Option<&NodeId>, membership: &[OpHash]) -> Result<Vec<Stamp>, StoreError> {
        let mut heads: Vec<Stamp> = match node {
            Some(node) => match self.nodes.find(node) {
                Some(slot) => self.nodes.read(&self.store, slot)?.heads().iter().map(|head| head.stamp).collect(),
                None => Vec::new(),
            },
            None => membership.iter().filter_map(|head| self.membership.stamp_of(head)).collect(),
        };
        heads.sort_unstable();
        heads.drain(..heads.len().saturating_sub(PARENTS_MAX));
        Ok(heads)
    }

    /// The parents as the header names them, and the greatest version among them.
    fn parents_for(&self, heads: &[Stamp], log: LogId) -> Result<(SmallVec<[ParentRef; 1]>, Option<u64>), WriteError> {
        let mut parents = SmallVec::new();
        for head in heads {
            let own = self.store.find(&head.hash)?.map(|index| self.store.op(index)).transpose()?.filter(|op| op.header.log == log);
            parents.push(match own {
                Some(op) => ParentRef::Own(self.next_seq(log) - op.header.seq),
                None => ParentRef::Other(head.hash),
            });
        }
        parents.sort_unstable();
        Ok((parents, heads.iter().map(|head| head.version).max()))
    }

    /// The membership cut to write down: only when it is not the one in force.
    fn cut_for(&mut self, kind: OpType, log: LogId, seq: u64, heads: &[OpHash]) -> Option<Box<[OpHash]>> {
        if kind == OpType::Workspace {
            return None;
        }
        let current = self.membership.cut(heads, on_path_of!(self)).ok();
        let in_force = self.logs.get(&log).and_then(|log| log.cut_at(0, seq));
        (current != in_force || in_force.is_none()).then(|| heads.into())
    }

    /// The workspace's policy.
    pub fn policy(&self) -> Policy {
        self.membership.policy()
    }

    /// Where each log of a device ends here: what a removal names as seen.
    pub(crate) fn seen_of(&self, devices: &[crate::ids::DeviceId]) -> crate::membership::Frontier {
        let entries = self.frontier().into_iter().filter(|entry| devices.contains(&entry.log.device));
        let mut seen: Vec<(LogId, Head)> =
            entries.flat_map(|entry| entry.heads.iter().map(|head| (entry.log, *head)).collect::<Vec<_>>()).collect();
        seen.sort_unstable();
        seen
    }
}

pub(super) fn check_name(what: &'static str, name: &str) -> Result<(), WriteError> {
    if name.len() > NAME_BYTES_MAX {
        return Err(WriteError::TooLarge { what, found: name.len(), max: NAME_BYTES_MAX });
    }
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(WriteError::Invalid("a name is not empty and has no control characters"));
    }
    Ok(())
}

pub(super) fn check_payload(payload: &Payload) -> Result<(), WriteError> {
    if payload.metadata_too_deep() {
        return Err(WriteError::Invalid("metadata nests at most 16 deep"));
    }
    if let Some(metadata) = &payload.metadata {
        let found = json::weight(metadata);
        if found > json::WEIGHT_MAX {
            return Err(WriteError::TooLarge { what: "the metadata's number of values", found, max: json::WEIGHT_MAX });
        }
    }
    if let Some(TextChange::Edits(patches)) = &payload.text
        && patches.len() as u64 > EDITS_MAX
    {
        return Err(WriteError::TooLarge { what: "the number of edits", found: patches.len(), max: EDITS_MAX as usize });
    }
    for list in [payload.mentions_added.len(), payload.mentions_removed.len(), payload.resolves.len()] {
        if list > LIST_MAX {
            return Err(WriteError::TooLarge { what: "a list", found: list, max: LIST_MAX });
        }
    }
    Ok(())
}

/// Cuts a text into pieces of at most `max` bytes at character boundaries; at least one.
fn chunks_of(text: &str, max: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (chunk, tail) = text.split_at(text.floor_char_boundary(max));
        rest = (!tail.is_empty()).then_some(tail);
        Some(chunk)
    })
}

/// Groups patches so that each group fits an operation; a patch that is too large by itself is cut.
fn group_patches(patches: Vec<TextPatch>) -> Vec<Vec<TextPatch>> {
    let mut groups: Vec<Vec<TextPatch>> = vec![Vec::new()];
    let mut bytes = 0;
    for patch in patches {
        let mut position = patch.position;
        for (at, chunk) in chunks_of(&patch.insert, CHUNK_BYTES_MAX).enumerate() {
            if bytes + chunk.len() + 16 > CHUNK_BYTES_MAX && bytes > 0 {
                groups.push(Vec::new());
                bytes = 0;
            }
            bytes += chunk.len() + 16;
            let delete = if at == 0 { patch.delete } else { 0 };
            if let Some(group) = groups.last_mut() {
                group.push(TextPatch::new(position, delete, chunk));
            }
            position += chunk.chars().count() as u32;
        }
    }
    groups
}
