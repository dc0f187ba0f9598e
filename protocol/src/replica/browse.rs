//! What a browser of nodes asks: heads, who lives, cheap enough for lists.

use super::Replica;
use super::write::WriteError;
use crate::clock::Stamp;
use crate::conflict::NodeConflict;
use crate::ids::NodeId;
use crate::store::{Store, StoreError};

impl<S: Store> Replica<S> {
    /// The operations a node's history ends with. The greatest version among them is the node's version.
    ///
    /// # Errors
    /// When the node is not there.
    pub fn heads(&self, id: &NodeId) -> Result<Vec<Stamp>, WriteError> {
        let state = self.nodes.read(&self.store, self.existing(id)?)?;
        Ok(state.heads().iter().map(|head| head.stamp).collect())
    }

    /// Whether a node exists and is not deleted. Reads no state.
    pub fn is_living(&self, id: &NodeId) -> bool {
        let policy = self.membership.policy();
        let facts = self.nodes.find(id).map(|slot| self.nodes.facts(slot));
        facts.is_some_and(|facts| facts.exists() && !facts.is_deleted(&policy))
    }

    /// The ids of all nodes that exist and are not deleted, ascending. Reads no state.
    pub fn living_ids(&self) -> Vec<NodeId> {
        let policy = self.membership.policy();
        let living = self.nodes.iter().filter(|(_, _, facts)| facts.exists() && !facts.is_deleted(&policy));
        let mut ids: Vec<NodeId> = living.map(|(_, id, _)| id.clone()).collect();
        ids.sort_unstable();
        ids
    }

    /// The moves of a node that would have closed a cycle, as conflicts.
    ///
    /// # Errors
    /// When the store fails.
    pub fn skipped_moves_of(&self, id: &NodeId) -> Result<Vec<NodeConflict>, StoreError> {
        Ok(self.skipped_moves()?.into_iter().filter(|skipped| skipped.node == *id).collect())
    }
}
