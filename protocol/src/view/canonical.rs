//! A node as a relay keeps it: what its operations make of it, without its surroundings.
//!
//! Everything here follows from the node's own operations and its winning placement. Which sibling stands before it, and what its topmost
//! ancestor is, changes with other nodes and is asked of a replica ([`NodeView`](crate::replica::NodeView)).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bounded;
use crate::clock::Timestamp;
use crate::ids::{NodeId, OpHash};
use crate::replica::Replica;
use crate::store::{Store, StoreError};

/// The canonical version of a node. The document's `fetchCanonicalVersion` gives it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CanonicalNode {
    /// The node.
    pub id: NodeId,
    /// Its type.
    #[serde(rename = "type")]
    pub node_type: String,
    /// Its text; empty when it was deleted for good.
    pub content: String,
    /// Its metadata, an object; null when it was deleted for good.
    #[serde(deserialize_with = "bounded::value")]
    pub metadata: Value,
    /// Ids it mentions, ascending.
    pub mentions: Vec<NodeId>,
    /// Its parent; `None` = top level.
    pub parent_id: Option<NodeId>,
    /// Whether it is deleted.
    pub deleted: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub modified_at: Timestamp,
    /// The greatest version among its heads.
    pub version: u64,
    /// The operations its history ends with, ascending. A device with the same heads has the same node.
    pub heads: Vec<OpHash>,
}

impl<S: Store> Replica<S> {
    /// A node as a relay keeps it; `None` when no creation of it has had effect.
    ///
    /// # Errors
    /// When the store fails.
    pub fn canonical(&self, id: &NodeId) -> Result<Option<CanonicalNode>, StoreError> {
        let Some(state) = self.node(id)? else { return Ok(None) };
        let policy = self.policy();
        let hidden = state.is_hard_deleted(&policy);
        let mut heads: Vec<OpHash> = state.heads().iter().map(|head| head.stamp.hash).collect();
        heads.sort_unstable();
        Ok(Some(CanonicalNode {
            id: id.clone(),
            node_type: state.node_type().unwrap_or_default().to_owned(),
            content: if hidden { String::new() } else { state.content().to_owned() },
            metadata: if hidden { Value::Null } else { state.metadata().to_json() },
            mentions: state.mentions().cloned().collect(),
            parent_id: self.tree().parent(id).flatten(),
            deleted: state.is_deleted(&policy),
            created_at: state.created().map(|stamp| stamp.timestamp).unwrap_or_default(),
            modified_at: state.modified().map(|stamp| stamp.timestamp).unwrap_or_default(),
            version: state.heads().iter().map(|head| head.stamp.version).max().unwrap_or(0),
            heads,
        }))
    }
}
