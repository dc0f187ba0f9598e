//! Going on from a mark: which rows the operations after it may have changed.
//!
//! An operation changes its node's row. One that places a node also changes the row of the sibling that now comes after it, and, if it
//! was elsewhere before, of the sibling that came after it there. Where it was is what the table still says.

use std::collections::BTreeSet;

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::op::OpType;
use nodespace_protocol::store::{OpIndex, Store as _};

use super::task::{Task, failure};
use crate::engine::DeviceReplica;
use crate::model::ServiceError;

/// How many operations are read at once.
const READ_OPS: u32 = 2_000;

impl Task {
    /// Marks what may differ from the table, which shows the operations before `ops`.
    pub(super) async fn resume(&self, ops: u32) -> Result<(), ServiceError> {
        let end = self.workspace.feed().end().position.ops;
        let mut from = ops;
        let mut placed = BTreeSet::new();
        while from < end {
            let until = end.min(from.saturating_add(READ_OPS));
            let (nodes, more) = self.workspace.read(move |replica| touched(replica, from..until)).await??;
            self.workspace.feed().add_dirty(nodes);
            placed.extend(more);
            from = until;
        }
        self.dirty_siblings(placed).await
    }

    /// Marks the children of the parents that placed nodes have now, or had.
    async fn dirty_siblings(&self, placed: BTreeSet<NodeId>) -> Result<(), ServiceError> {
        let Some(table) = self.table.as_ref().filter(|_| !placed.is_empty()) else { return Ok(()) };
        let names: Vec<String> = placed.iter().map(ToString::to_string).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let old = table.reader().get(&names).await.map_err(|error| failure(&error))?;
        let parents: BTreeSet<Option<NodeId>> =
            old.iter().map(|row| row.parent_id.as_deref().and_then(|id| NodeId::parse(id).ok())).collect();
        let siblings = self
            .workspace
            .read(move |replica| {
                let now = placed.iter().filter_map(|id| replica.tree().parent(id));
                let parents: BTreeSet<Option<NodeId>> = parents.into_iter().chain(now).collect();
                parents.iter().flat_map(|parent| replica.tree().children(parent.as_ref())).collect::<Vec<_>>()
            })
            .await?;
        self.workspace.feed().add_dirty(siblings);
        Ok(())
    }
}

/// The nodes that some operations name, and those of them that they placed.
fn touched(replica: &DeviceReplica, range: std::ops::Range<u32>) -> Result<(Vec<NodeId>, Vec<NodeId>), ServiceError> {
    let (mut nodes, mut placed) = (Vec::new(), Vec::new());
    for index in range {
        let op = replica.store().op(OpIndex(index))?;
        let Some(node) = op.header.node.clone() else { continue };
        if matches!(op.header.kind, OpType::Create | OpType::Move) {
            placed.push(node.clone());
        }
        nodes.push(node);
    }
    Ok((nodes, placed))
}
