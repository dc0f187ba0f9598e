//! Texts held against their definition.

use crate::fold::{Context, text_strategy};
use crate::graph::Graph;
use crate::ids::NodeId;
use crate::replica::Replica;
use crate::replica::fold_op::context;
use crate::store::{Store, StoreError};

impl<S: Store> Replica<S> {
    /// Nodes whose text is not what its definition makes of their history, ascending; none unless this program has a fault. An audit folds
    /// the quick way, as everything does, so it cannot tell.
    ///
    /// The definition makes the text at every operation of a node and keeps them all until it is done: for tests.
    ///
    /// # Errors
    /// When the store fails.
    pub fn audit_texts(&self) -> Result<Vec<NodeId>, StoreError> {
        let strategy = self.text_strategy.unwrap_or(self.live_text_strategy);
        let mut differing = Vec::new();
        for (slot, id, _) in self.nodes.iter() {
            let state = self.nodes.read(&self.store, slot)?;
            let text = text_strategy::text_at(&context!(self), &state.head_indices(), strategy)?.text;
            if text != state.text {
                differing.push(id.clone());
            }
        }
        differing.sort_unstable();
        Ok(differing)
    }
}
