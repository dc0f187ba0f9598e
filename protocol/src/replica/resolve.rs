//! Settling a conflict: a choice becomes an operation that names the conflict and, where needed, sets what was chosen.

use serde_json::{Map, Value};

use super::write::{Draft, WriteError};
use super::{NodeView, Replica};
use crate::clock::Timestamp;
use crate::conflict::{Conflict, ConflictType};
use crate::delta::{DeltaCompressor, TextChange};
use crate::ids::{ConflictId, NodeId, OpHash};
use crate::op::{OpType, Payload};
use crate::store::Store;

/// What somebody chose.
#[derive(Clone, Debug, PartialEq)]
pub enum Choice {
    /// Keep what this participant made of the field.
    Keep(OpHash),
    /// Set this text (a conflict on content).
    Text(String),
    /// Set this value (a conflict on metadata); `null` removes.
    Value(Value),
    /// Leave everything as it is and close the conflict.
    Dismiss,
}

impl<S: Store> Replica<S> {
    /// Settles a conflict of a node.
    ///
    /// # Errors
    /// When there is no such conflict, or the choice does not fit its type.
    pub fn resolve_conflict(&mut self, now: Timestamp, node: &NodeId, id: ConflictId, choice: Choice) -> Result<OpHash, WriteError> {
        let conflict = self.conflict(node, id)?;
        let resolves = Payload { resolves: vec![id], ..Payload::default() };
        match choice {
            Choice::Dismiss => self.write(now, Draft::on(node, OpType::Update, resolves)),
            Choice::Text(text) if conflict.field == "content" => self.resolve_text(now, node, &text, resolves),
            Choice::Value(value) if conflict.kind == ConflictType::MetadataConflict => {
                let payload = Payload { metadata: Some(patch_at(&conflict.field, value)), ..resolves };
                self.write(now, Draft::on(node, OpType::Metadata, payload))
            }
            Choice::Keep(kept) if conflict.participants.contains(&kept) => self.keep(now, node, &conflict, kept, resolves),
            Choice::Keep(_) => Err(WriteError::Invalid("the operation to keep is not one of the conflict's participants")),
            Choice::Text(_) | Choice::Value(_) => Err(WriteError::Invalid("this choice does not fit this type of conflict")),
        }
    }

    /// A conflict of a node, met or live.
    ///
    /// # Errors
    /// When the node or the conflict is not there.
    pub fn conflict(&self, node: &NodeId, id: ConflictId) -> Result<Conflict, WriteError> {
        self.existing(node)?;
        let mut conflicts = self.conflicts_of(node)?;
        conflicts.extend(self.skipped_moves()?.into_iter().filter(|skipped| skipped.node == *node));
        let found = conflicts.into_iter().map(|found| found.conflict).find(|conflict| conflict.id == id);
        found.ok_or_else(|| WriteError::UnknownConflict { node: node.clone(), conflict: id })
    }

    fn resolve_text(&mut self, now: Timestamp, node: &NodeId, text: &str, resolves: Payload) -> Result<OpHash, WriteError> {
        let slot = self.existing(node)?;
        match DeltaCompressor::default().change(&self.nodes.read(&self.store, slot)?.text, text) {
            Some(change) => self.write_text(now, node, change, resolves),
            None => self.write(now, Draft::on(node, OpType::Update, resolves)),
        }
    }

    fn keep(&mut self, now: Timestamp, node: &NodeId, conflict: &Conflict, kept: OpHash, resolves: Payload) -> Result<OpHash, WriteError> {
        let index = self.store.find(&kept)?.ok_or(WriteError::Invalid("the operation to keep is not held here"))?;
        let op = self.store.op(index)?;
        let payload = op.decode_payload().map_err(|_| WriteError::Invalid("the operation to keep cannot be read"))?;
        match conflict.kind {
            ConflictType::ConcurrentEdit if conflict.field == "content" => {
                let text = self.view_at(node, &[kept])?.content;
                self.resolve_text(now, node, &text, resolves)
            }
            ConflictType::ConcurrentEdit | ConflictType::StructuralConflict => {
                let view: NodeView = self.view_at(node, &[kept])?;
                let text = DeltaCompressor::default().change(&self.view(node)?.content, &view.content);
                let payload = Payload { node_type: Some(view.node_type), ..resolves };
                match text.filter(|_| conflict.kind == ConflictType::StructuralConflict) {
                    Some(change) => self.write_text(now, node, change, payload),
                    None => self.write(now, Draft::on(node, OpType::Update, payload)),
                }
            }
            ConflictType::DeleteConflict if op.header.kind == OpType::Delete => {
                let payload = Payload { soft_delete: payload.soft_delete.or(Some(true)), ..resolves };
                self.write(now, Draft::on(node, OpType::Delete, payload))
            }
            ConflictType::DeleteConflict => self.write(now, Draft::on(node, OpType::Update, resolves)),
            ConflictType::MoveConflict => {
                let place = payload.place.ok_or(WriteError::Invalid("the operation to keep does not place the node"))?;
                let place = self.place_for(node, place.parent.as_ref(), &crate::tree::Position::Last)?;
                self.write(now, Draft::on(node, OpType::Move, Payload { place: Some(place), ..resolves }))
            }
            ConflictType::MetadataConflict => {
                let value = value_at(&conflict.field, payload.metadata.as_ref());
                let payload = Payload { metadata: Some(patch_at(&conflict.field, value)), ..resolves };
                self.write(now, Draft::on(node, OpType::Metadata, payload))
            }
        }
    }

    /// A text change that sets a node's content to `text`, for previews.
    pub fn preview_change(&self, node: &NodeId, text: &str) -> Result<Option<TextChange>, WriteError> {
        let slot = self.existing(node)?;
        Ok(DeltaCompressor::default().change(&self.nodes.read(&self.store, slot)?.text, text))
    }
}

/// The member names of a conflict's field `metadata/a/b`.
fn path_of(field: &str) -> Vec<String> {
    let unescape = |part: &str| part.replace("~1", "/").replace("~0", "~");
    field.split('/').skip(1).map(unescape).collect()
}

/// The merge patch that sets one path.
fn patch_at(field: &str, value: Value) -> Value {
    let nest = |value, key| Value::Object(Map::from_iter([(key, value)]));
    path_of(field).into_iter().rev().fold(value, nest)
}

/// What a merge patch says of one path; `null` when it removes it or something above.
fn value_at(field: &str, patch: Option<&Value>) -> Value {
    let mut at = patch;
    for key in path_of(field) {
        at = at.and_then(|value| value.get(&key));
    }
    at.cloned().unwrap_or(Value::Null)
}
