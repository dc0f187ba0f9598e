//! Going on from a mark: which rows the operations after it may have changed.
//!
//! An operation changes its node's row. One that takes effect may also place the node, or let one take effect that waited for it and does:
//! then the row of the sibling that now comes after it changes, and of the one that came after it where it was before. Where it was is what
//! the table still says. A removal changes what any earlier operation is worth, so after one every row is looked at.
//!
//! All this is for what was cut off: after an orderly stop there is nothing after the mark. Rows that are due for an attachment that came
//! late are due by themselves, also when that happened while no table was kept.

use std::collections::BTreeSet;

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::store::{OpIndex, Store as _};

use super::task::{Task, failure};
use crate::engine::DeviceReplica;
use crate::model::ServiceError;

/// How many operations are read at once.
const READ_OPS: u32 = 2_000;

impl Task {
    /// Marks what may differ from the table, which shows the operations before `ops`.
    pub(super) async fn resume(&self, ops: u32) -> Result<(), ServiceError> {
        self.workspace.feed().add_dirty(self.workspace.late_rows().await?);
        let end = self.workspace.feed().end().position.ops;
        let mut from = ops;
        let mut touched = BTreeSet::new();
        let mut membership = false;
        while from < end {
            let until = end.min(from.saturating_add(READ_OPS));
            let named = self.workspace.read(move |replica| named(replica, from..until)).await??;
            for node in named {
                membership |= node.is_none();
                touched.extend(node);
            }
            from = until;
        }
        if membership && self.workspace.read(|replica| replica.membership().has_removals()).await? {
            touched.extend(self.workspace.read(|replica| replica.node_ids()).await?);
        }
        self.workspace.feed().add_dirty(touched.iter().cloned());
        self.dirty_siblings(touched).await
    }

    /// Marks the children of the parents that nodes have now, or had.
    async fn dirty_siblings(&self, touched: BTreeSet<NodeId>) -> Result<(), ServiceError> {
        let Some(table) = self.table.as_ref().filter(|_| !touched.is_empty()) else { return Ok(()) };
        let names: Vec<String> = touched.iter().map(ToString::to_string).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let old = table.reader().get(&names).await.map_err(|error| failure(&error))?;
        let parents: BTreeSet<Option<NodeId>> =
            old.iter().map(|row| row.parent_id.as_deref().and_then(|id| NodeId::parse(id).ok())).collect();
        let siblings = self
            .workspace
            .read(move |replica| {
                let now = touched.iter().filter_map(|id| replica.tree().parent(id));
                let parents: BTreeSet<Option<NodeId>> = parents.into_iter().chain(now).collect();
                parents.iter().flat_map(|parent| replica.tree().children(parent.as_ref())).collect::<Vec<_>>()
            })
            .await?;
        self.workspace.feed().add_dirty(siblings);
        Ok(())
    }
}

/// The nodes that some operations name; of those on the membership, none.
fn named(replica: &DeviceReplica, range: std::ops::Range<u32>) -> Result<Vec<Option<NodeId>>, ServiceError> {
    range.map(|index| Ok(replica.store().op(OpIndex(index))?.header.node.clone())).collect()
}
