//! The operation as the document shows it.
//!
//! Field names and the shape in JSON are the document's; what it lacks is added and can be left away by whoever does not
//! need it: the author's device, the parents, settled conflicts, changes of type and mentions. Document section "Operation Log Entry".

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::bounded;
use super::describe;
use super::source::ViewSource;
use crate::fold::Embedding;
use crate::ids::{ConflictId, DeviceId, NodeId, OpHash, UserId};
use crate::op::payload::LIST_MAX;
use crate::op::{Op, PARENTS_MAX};
use crate::replica::{NodeView, Replica, WriteError};
use crate::store::Store;
use crate::vector::QuantisedVector;

pub use crate::op::OpType as OperationType;

/// An operation as applications see it. The document's `SyncOperation`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncOperation {
    /// Made of the operation's hash ([`OpHash::uuid`]).
    pub id: Uuid,
    /// The node it is about; `None` for operations on the workspace.
    pub node_id: Option<NodeId>,
    /// Whose device wrote it; `None` when the membership known here does not say.
    pub user_id: Option<UserId>,
    /// What it does.
    pub operation_type: OperationType,
    /// When, by the author's hybrid clock, without the counter.
    pub timestamp: DateTime<Utc>,
    /// Lamport version.
    pub version: u64,
    /// The greatest version among the parents.
    pub parent_version: Option<u64>,
    /// What it changes.
    pub data: OperationData,
    /// The operation's hash.
    pub checksum: OpHash,
    /// The device that signed it.
    pub device_id: DeviceId,
    /// What its author had seen of the node, in the header's order.
    #[serde(default, deserialize_with = "bounded::list::<_, _, PARENTS_MAX>")]
    pub parents: Vec<OpHash>,
    /// Conflicts it settles.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "bounded::list::<_, _, LIST_MAX>")]
    pub resolves: Vec<ConflictId>,
}

/// What an operation changes. The document's `OperationData`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum OperationData {
    /// Makes a node.
    Create {
        /// The node as its author made it; its `embedding_vector` is empty, `embedding` has it.
        node: Box<Node>,
        /// The embedding, as exact as it travelled.
        #[serde(default, deserialize_with = "bounded::embedding")]
        embedding: Option<Vec<f32>>,
    },
    /// Changes a node; everything empty restores a deleted one.
    Update {
        /// The JSON text of a [`ContentDelta`](crate::delta::ContentDelta).
        #[serde(default)]
        content_delta: Option<String>,
        /// A JSON merge patch (RFC 7396).
        #[serde(default, deserialize_with = "bounded::optional_value")]
        metadata_changes: Option<Value>,
        /// The new embedding, as exact as it travelled.
        #[serde(default, deserialize_with = "bounded::embedding")]
        embedding_delta: Option<Vec<f32>>,
        /// The new type.
        #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
        node_type: Option<String>,
        /// Node ids newly mentioned.
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "bounded::list::<_, _, LIST_MAX>")]
        mentions_added: Vec<NodeId>,
        /// Node ids no longer mentioned.
        #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "bounded::list::<_, _, LIST_MAX>")]
        mentions_removed: Vec<NodeId>,
        /// The model that made the embedding.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        embedding_model: Option<String>,
    },
    /// Deletes a node.
    Delete {
        /// Whether it can come back by itself.
        soft_delete: bool,
    },
    /// Changes parent or order.
    Move {
        /// The new parent; `None` = top level.
        new_parent_id: Option<NodeId>,
        /// The sibling immediately before it; `None` = first. See [`ViewSource::neighbours`] for how far this can be told.
        new_before_sibling_id: Option<NodeId>,
    },
    /// Changes metadata only.
    Metadata {
        /// A JSON merge patch (RFC 7396).
        #[serde(deserialize_with = "bounded::value")]
        changes: Value,
    },
    /// Changes the workspace.
    Workspace {
        /// One member, named after the [`WorkspaceAction`](crate::membership::WorkspaceAction), without secrets and signatures.
        #[serde(deserialize_with = "bounded::value")]
        action: Value,
    },
    /// A payload that cannot be read here: encrypted, written by a newer program, or malformed. The operation still counts as a
    /// link of its log.
    Opaque {
        /// How it is encrypted; 0 = it is not.
        encryption: u8,
        /// The payload's length in bytes.
        length: u32,
    },
}

/// A node. The document's `Node`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Its type, an open string.
    #[serde(rename = "type")]
    pub node_type: String,
    /// Its text.
    pub content: String,
    /// Its parent; `None` = top level.
    pub parent_id: Option<NodeId>,
    /// Its topmost ancestor; derived, and `None` while its place is not known.
    pub root_id: Option<NodeId>,
    /// The sibling immediately before it; `None` = first.
    pub before_sibling_id: Option<NodeId>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Ids it mentions.
    pub mentions: Vec<NodeId>,
    /// Its metadata, an object.
    #[serde(deserialize_with = "bounded::value")]
    pub metadata: Value,
    /// Its embedding.
    #[serde(default, deserialize_with = "bounded::embedding")]
    pub embedding_vector: Option<Vec<f32>>,
}

/// Why an operation has no view here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// A parent in the author's own log that is not held.
    #[error("the parent {distance} before operation {} is not held here", operation.short())]
    UnknownParent {
        /// Whose parent.
        operation: OpHash,
        /// How far back in the log it is.
        distance: u64,
    },
}

impl SyncOperation {
    /// The view of an operation. A payload that cannot be read becomes [`OperationData::Opaque`].
    ///
    /// # Errors
    /// When a parent's hash cannot be found.
    pub fn of(op: &Op, source: &impl ViewSource) -> Result<Self, ViewError> {
        let header = &op.header;
        let payload = op.decode_payload().ok();
        let resolves = payload.as_ref().map(|payload| payload.resolves.clone()).unwrap_or_default();
        Ok(Self {
            id: op.hash.uuid(),
            node_id: header.node.clone(),
            user_id: source.user_of(&header.log.device),
            operation_type: header.kind,
            timestamp: describe::datetime(header.timestamp),
            version: header.version,
            parent_version: header.parent_version,
            data: describe::data(op, payload, source),
            checksum: op.hash,
            device_id: header.log.device,
            parents: describe::parents(op, source)?,
            resolves,
        })
    }
}

impl Node {
    /// A node of a replica as it is now, with its newest embedding when the vector is held.
    ///
    /// # Errors
    /// When the node is not there, or the store fails.
    pub fn read<S: Store>(replica: &Replica<S>, id: &NodeId) -> Result<Self, WriteError> {
        let view = replica.view(id)?;
        let state = replica.node(id)?;
        let embeddings = state.iter().flat_map(|state| state.embeddings().values());
        let newest: Option<&Embedding> = embeddings.max_by_key(|embedding| embedding.stamp).map(|newest| &**newest);
        let bytes = newest.map(|newest| replica.attachment(newest.op)).transpose()?.flatten();
        let vector = bytes.and_then(|bytes| QuantisedVector::from_bytes(&bytes).ok()).map(|vector| vector.dequantise());
        Ok(Self { embedding_vector: vector, ..Self::from(view) })
    }
}

impl From<NodeView> for Node {
    fn from(view: NodeView) -> Self {
        Self {
            id: view.id,
            node_type: view.node_type,
            content: view.content,
            parent_id: view.parent_id,
            root_id: view.root_id,
            before_sibling_id: view.before_sibling_id,
            created_at: describe::datetime(view.created_at),
            mentions: view.mentions,
            metadata: view.metadata,
            embedding_vector: None,
        }
    }
}
