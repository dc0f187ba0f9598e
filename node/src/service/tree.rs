//! The outline: nodes in the order in which they are read, each below its parent.

use nodespace_protocol::ids::NodeId;

use super::list::{has_living_below, limit, shown_children};
use super::{nodes, parse};
use crate::engine::{DeviceReplica, Workspace};
use crate::model::{ServiceError, TreeLine, TreePage};

/// Which part of the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeQuery {
    /// From this node; the whole workspace when absent.
    pub root: Option<String>,
    /// At most so many levels below where the walk begins; all when absent.
    pub depth: Option<usize>,
    /// At most so many lines.
    pub limit: Option<usize>,
    /// Go on after this node.
    pub after: Option<String>,
}

impl Workspace {
    /// A part of the tree, in outline order.
    ///
    /// # Errors
    /// When the root is not there, or the limit is too great.
    pub async fn tree(&self, query: TreeQuery) -> Result<TreePage, ServiceError> {
        let limit = limit(query.limit)?;
        let root = query.root.as_deref().map(parse::node_id).transpose()?;
        let after = query.after.as_deref().map(parse::node_id).transpose()?;
        let depth = query.depth.unwrap_or(usize::MAX);
        self.read(move |replica| {
            if let Some(root) = &root {
                replica.heads(root)?;
            }
            let mut walk = Walk { replica, root, depth, stack: Vec::new() };
            match after {
                Some(after) => walk.resume(&after),
                None => walk.begin(),
            }
            let mut lines = Vec::new();
            while lines.len() < limit
                && let Some((id, depth)) = walk.next()
            {
                lines.push(line(replica, &id, depth)?);
            }
            let next = if walk.stack.is_empty() { None } else { lines.last().map(|line: &TreeLine| line.node.id.clone()) };
            Ok(TreePage { lines, next })
        })
        .await?
    }
}

/// A walk in outline order that can begin anywhere: what is still to be shown, the next one last, with its depth below the root.
struct Walk<'a> {
    replica: &'a DeviceReplica,
    root: Option<NodeId>,
    depth: usize,
    stack: Vec<(NodeId, usize)>,
}

impl Walk<'_> {
    fn begin(&mut self) {
        match self.root.clone() {
            Some(root) => self.stack.push((root, 0)),
            None => self.push(shown_children(self.replica, None), 0),
        }
    }

    /// Right after a node: its children come next, then its following siblings, then those of its ancestors.
    fn resume(&mut self, after: &NodeId) {
        let mut path = vec![after.clone()];
        while path.last() != self.root.as_ref()
            && let Some(Some(parent)) = path.last().and_then(|last| self.replica.tree().parent(last))
        {
            path.push(parent);
        }
        path.reverse();
        for (depth, id) in path.iter().enumerate() {
            if Some(id) != self.root.as_ref() {
                let parent = self.replica.tree().parent(id).flatten();
                let siblings = shown_children(self.replica, parent.as_ref());
                let next = siblings.iter().position(|sibling| sibling == id).map_or(siblings.len(), |at| at + 1);
                self.push(siblings[next..].to_vec(), depth);
            }
        }
        self.push_children(after, path.len().saturating_sub(1));
    }

    fn next(&mut self) -> Option<(NodeId, usize)> {
        let (id, depth) = self.stack.pop()?;
        self.push_children(&id, depth);
        Some((id, depth))
    }

    fn push_children(&mut self, id: &NodeId, depth: usize) {
        if depth < self.depth {
            self.push(shown_children(self.replica, Some(id)), depth + 1);
        }
    }

    fn push(&mut self, ids: Vec<NodeId>, depth: usize) {
        self.stack.extend(ids.into_iter().rev().map(|id| (id, depth)));
    }
}

fn line(replica: &DeviceReplica, id: &NodeId, depth: usize) -> Result<TreeLine, ServiceError> {
    let node = nodes::now(replica, id)?;
    let children = shown_children(replica, Some(id)).len();
    Ok(TreeLine { depth, children, placeholder: node.deleted && has_living_below(replica, id), node })
}
