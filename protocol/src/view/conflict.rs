//! A conflict with everything a person needs to decide it. Document section "Conflict Resolution Context".
//!
//! A [`Conflict`](crate::conflict::Conflict) is a name for something in a node's operation graph: its participants, its field, its
//! status. What each side made of the field, what it was before the sides parted, and what holds meanwhile are read from the graph
//! when somebody asks: [`conflict_context`] folds the node's history up to each participant and up to their common ancestors.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::operation::{SyncOperation, ViewError};
use super::{bounded, describe};
use crate::conflict::detect::SIDES_MAX;
use crate::conflict::{ConflictStatus, ConflictType, NodeConflict, ResolutionStrategy};
use crate::ids::{ConflictId, DeviceId, NodeId, OpHash, UserId};
use crate::op::Op;
use crate::replica::{NodeView, Replica, WriteError};
use crate::store::Store;

/// A conflict as applications see it. The document's `ConflictContext`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConflictContext {
    /// The node.
    pub node_id: NodeId,
    /// What collided.
    pub conflict_type: ConflictType,
    /// The local device's operation among the participants; the latest one when it has none.
    pub local_operation: SyncOperation,
    /// The other participants, in the order in which the last writer is found. Empty for a move that would have closed a cycle.
    #[serde(deserialize_with = "bounded::list::<_, _, SIDES_MAX>")]
    pub remote_operations: Vec<SyncOperation>,
    /// How it was met, or how conflicts of its type are met now.
    pub resolution_strategy: ResolutionStrategy,
    /// Whether it waits for a person.
    pub requires_user_input: bool,
    /// The conflict's name, by which it is settled.
    pub id: ConflictId,
    /// The field: `content`, `type`, `place`, `life`, or `metadata` and a JSON pointer.
    pub field: String,
    /// Where it stands.
    pub status: ConflictStatus,
    /// Whether the sides have not met yet.
    pub live: bool,
    /// What each participant made of the field: the local one, then the others, as above.
    #[serde(deserialize_with = "bounded::list::<_, _, SIDES_MAX>")]
    pub sides: Vec<ConflictSide>,
    /// What the field was when the sides parted; `None` when they have no common past.
    #[serde(deserialize_with = "bounded::optional_value")]
    pub ancestor: Option<Value>,
    /// What holds now.
    #[serde(deserialize_with = "bounded::value")]
    pub provisional: Value,
}

/// One side of a conflict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ConflictSide {
    /// The participant.
    pub operation_id: Uuid,
    /// Its hash, by which it is kept.
    pub checksum: OpHash,
    /// Who wrote it.
    pub user_id: Option<UserId>,
    /// From which device.
    pub device_id: DeviceId,
    /// When, by the author's clock.
    pub timestamp: DateTime<Utc>,
    /// What it made of the field, all it had seen included: a text for `content`, else see [`ConflictContext::provisional`].
    #[serde(deserialize_with = "bounded::value")]
    pub value: Value,
}

/// Why a conflict cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ContextError {
    /// The node or a participant is not there.
    #[error(transparent)]
    Read(#[from] WriteError),
    /// Something a participant refers to is not there.
    #[error(transparent)]
    View(#[from] ViewError),
    /// A conflict without participants, which detection does not make.
    #[error("the conflict names no operation")]
    NoParticipants,
}

/// Everything about a conflict of a replica. `local` is the device whose operation is shown as the local one.
///
/// # Errors
/// When the node or a participant is not held, or the store fails.
pub fn conflict_context<S: Store>(
    replica: &Replica<S>,
    found: &NodeConflict,
    local: Option<DeviceId>,
) -> Result<ConflictContext, ContextError> {
    let NodeConflict { node, conflict, live } = found;
    let reader = FieldReader { replica, node, kind: conflict.kind, field: &conflict.field };
    let participants = participants(replica, found, local)?;
    let sides = participants.iter().map(|op| reader.side(op)).collect::<Result<Vec<_>, _>>()?;
    let mut views = participants.iter().map(|op| SyncOperation::of(op, replica)).collect::<Result<Vec<_>, _>>()?.into_iter();
    let local_operation = views.next().ok_or(ContextError::NoParticipants)?;
    let resolution_strategy = match conflict.status {
        ConflictStatus::AutoResolved(strategy) => strategy,
        ConflictStatus::Open | ConflictStatus::Resolved(_) => replica.policy().strategy(conflict.kind),
    };
    Ok(ConflictContext {
        node_id: node.clone(),
        conflict_type: conflict.kind,
        local_operation,
        remote_operations: views.collect(),
        resolution_strategy,
        requires_user_input: conflict.is_open(),
        id: conflict.id,
        field: conflict.field.clone(),
        status: conflict.status,
        live: *live,
        sides,
        ancestor: reader.ancestor(&conflict.participants)?,
        provisional: reader.now()?,
    })
}

/// The participants, latest first, but the local device's latest one before all.
fn participants<S: Store>(
    replica: &Replica<S>,
    found: &NodeConflict,
    local: Option<DeviceId>,
) -> Result<Vec<std::sync::Arc<Op>>, WriteError> {
    const MISSING: WriteError = WriteError::Invalid("a participant of the conflict is not held here");
    let op = |hash: &OpHash| replica.op(hash)?.ok_or(MISSING);
    let mut ops = found.conflict.participants.iter().map(op).collect::<Result<Vec<_>, _>>()?;
    ops.sort_unstable_by_key(|op| std::cmp::Reverse(op.stamp()));
    if let Some(at) = ops.iter().position(|op| Some(op.header.log.device) == local) {
        ops[..=at].rotate_right(1);
    }
    Ok(ops)
}

/// Reads one field of a node at several points of its history.
struct FieldReader<'a, S> {
    replica: &'a Replica<S>,
    node: &'a NodeId,
    kind: ConflictType,
    field: &'a str,
}

impl<S: Store> FieldReader<'_, S> {
    fn side(&self, op: &Op) -> Result<ConflictSide, WriteError> {
        Ok(ConflictSide {
            operation_id: op.hash.uuid(),
            checksum: op.hash,
            user_id: self.replica.membership().user(&op.header.log.device),
            device_id: op.header.log.device,
            timestamp: describe::datetime(op.header.timestamp),
            value: self.at(&[op.hash])?,
        })
    }

    fn ancestor(&self, participants: &[OpHash]) -> Result<Option<Value>, WriteError> {
        let heads = match participants {
            // A move that would have closed a cycle stands alone: before it is where it came from.
            [only] => self.replica.parents_of(self.node, only)?,
            several => self.replica.common_heads(self.node, several)?,
        };
        if heads.is_empty() { Ok(None) } else { self.at(&heads).map(Some) }
    }

    fn now(&self) -> Result<Value, WriteError> {
        if self.field == "place" {
            let tree = self.replica.tree();
            let before = tree.before_sibling(self.node);
            return Ok(json!({ "parent_id": tree.parent(self.node).flatten(), "before_sibling_id": before }));
        }
        Ok(self.of(self.replica.view(self.node)?))
    }

    fn at(&self, heads: &[OpHash]) -> Result<Value, WriteError> {
        if self.field == "place" {
            let place = self.replica.place_at(self.node, heads)?;
            return Ok(place.map_or(Value::Null, |place| json!({ "parent_id": place.parent })));
        }
        Ok(self.of(self.replica.view_at(self.node, heads)?))
    }

    fn of(&self, view: NodeView) -> Value {
        match (self.field, self.kind) {
            ("type", ConflictType::StructuralConflict) => json!({ "type": view.node_type, "content": view.content }),
            ("type", _) => Value::String(view.node_type),
            ("life", _) => json!({ "deleted": view.deleted, "content": view.content }),
            ("content", _) => Value::String(view.content),
            (field, _) => {
                let pointer = field.strip_prefix("metadata").unwrap_or(field);
                view.metadata.pointer(pointer).cloned().unwrap_or(Value::Null)
            }
        }
    }
}
