//! Lists of nodes: all of them by id, or the children of one in their order.

use nodespace_protocol::ids::NodeId;

use super::{nodes, parse};
use crate::engine::{DeviceReplica, Workspace};
use crate::model::{ErrorCode, Node, NodePage, ServiceError};

/// Nodes of a page when no limit is given.
pub const LIST_LIMIT_DEFAULT: usize = 100;

/// The most nodes of a page; a greater limit is refused.
pub const LIST_LIMIT_MAX: usize = 1_000;

/// How many nodes are looked at before other requests get their turn.
const LOOK_NODES: usize = 512;

/// Which nodes to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Of one of these types; empty = any.
    pub types: Vec<String>,
    /// Deleted ones too.
    pub deleted: bool,
    /// After this id.
    pub after: Option<String>,
    /// At most so many; [`LIST_LIMIT_DEFAULT`] when absent.
    pub limit: Option<usize>,
}

impl Workspace {
    /// Nodes by id.
    ///
    /// # Errors
    /// When the limit is too great or `after` is no id.
    pub async fn list(&self, query: ListQuery) -> Result<NodePage, ServiceError> {
        let limit = limit(query.limit)?;
        let after = query.after.as_deref().map(parse::node_id).transpose()?;
        let ids = self.read(move |replica| if query.deleted { replica.node_ids() } else { replica.living_ids() }).await?;
        let total = query.types.is_empty().then_some(ids.len());
        let start = after.map_or(0, |after| ids.partition_point(|id| *id <= after));
        let mut found: Vec<Node> = Vec::new();
        let mut looked = start;
        while looked < ids.len() && found.len() < limit {
            let chunk = ids[looked..ids.len().min(looked + LOOK_NODES)].to_vec();
            let (types, room) = (query.types.clone(), limit - found.len());
            let (more, seen) = self.read(move |replica| look(replica, &chunk, &types, room)).await??;
            looked += seen;
            found.extend(more);
        }
        let next = (looked < ids.len()).then(|| ids[looked - 1].to_string());
        Ok(NodePage { nodes: found, next, total })
    }

    /// The children of a node, or the top level, in their order. Deleted ones are shown only as long as something living is below them.
    ///
    /// # Errors
    /// When the parent is not there, or the limit is too great.
    pub async fn children(&self, parent: Option<&str>, after: Option<String>, limit: Option<usize>) -> Result<NodePage, ServiceError> {
        let limit = self::limit(limit)?;
        let parent = parent.map(parse::node_id).transpose()?;
        let after = after.as_deref().map(parse::node_id).transpose()?;
        self.read(move |replica| {
            if let Some(parent) = &parent {
                replica.heads(parent)?;
            }
            let ids = shown_children(replica, parent.as_ref());
            let start = after.map_or(0, |after| ids.iter().position(|id| *id == after).map_or(ids.len(), |at| at + 1));
            let end = ids.len().min(start + limit);
            let found = ids[start..end].iter().map(|id| nodes::now(replica, id)).collect::<Result<Vec<_>, _>>()?;
            let next = (end < ids.len()).then(|| ids[end - 1].to_string());
            Ok(NodePage { nodes: found, next, total: Some(ids.len()) })
        })
        .await?
    }
}

/// Of these nodes those of the types wanted, at most `room`; and how many were looked at for that.
fn look(replica: &DeviceReplica, ids: &[NodeId], types: &[String], room: usize) -> Result<(Vec<Node>, usize), ServiceError> {
    let mut found = Vec::new();
    for (at, id) in ids.iter().enumerate() {
        if found.len() == room {
            return Ok((found, at));
        }
        let node = nodes::now(replica, id)?;
        if types.is_empty() || types.contains(&node.node_type) {
            found.push(node);
        }
    }
    Ok((found, ids.len()))
}

/// The children of a node that an outline shows: the living ones, and deleted ones that something living is below.
pub(super) fn shown_children(replica: &DeviceReplica, parent: Option<&NodeId>) -> Vec<NodeId> {
    let mut ids = replica.tree().children(parent);
    ids.retain(|id| replica.is_living(id) || has_living_below(replica, id));
    ids
}

/// Whether something living is below a node.
pub(super) fn has_living_below(replica: &DeviceReplica, id: &NodeId) -> bool {
    let mut open = replica.tree().children(Some(id));
    while let Some(at) = open.pop() {
        if replica.is_living(&at) {
            return true;
        }
        open.extend(replica.tree().children(Some(&at)));
    }
    false
}

/// A limit within bounds.
pub(super) fn limit(wanted: Option<usize>) -> Result<usize, ServiceError> {
    let limit = wanted.unwrap_or(LIST_LIMIT_DEFAULT);
    if (1..=LIST_LIMIT_MAX).contains(&limit) {
        return Ok(limit);
    }
    Err(ServiceError::new(ErrorCode::InvalidValue, format!("`limit` is between 1 and {LIST_LIMIT_MAX}, not {limit}")))
}
