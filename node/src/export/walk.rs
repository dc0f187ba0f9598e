//! The walk over a workspace in outline order, page by page.
//!
//! Between two pages others may write. So the walk keeps the children it has still to visit, not positions among them: a node that is moved
//! meanwhile is visited once, where it was found first; one that is moved to where the walk has been already may be missed.

use std::collections::HashSet;

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::Replica;
use nodespace_protocol::store::Store;

use crate::model::{ErrorCode, Node, ServiceError};
use crate::service::node_now;

/// How many nodes a page has when its reader has no reason for another number.
pub const PAGE_NODES_DEFAULT: usize = 500;

/// A walk in progress.
#[derive(Debug)]
pub struct Walk {
    /// Whether deleted nodes are wanted for themselves.
    deleted: bool,
    /// For each open level the nodes still to be visited.
    levels: Vec<std::vec::IntoIter<NodeId>>,
    /// Deleted nodes on the way down to here, with their level: written when something living turns up below them.
    held: Vec<(usize, NodeId)>,
    seen: HashSet<NodeId>,
}

impl Walk {
    /// Begins a walk over everything, or over a node and what is below it.
    ///
    /// # Errors
    /// When there is no such node.
    pub fn begin<S: Store>(replica: &Replica<S>, root: Option<NodeId>, deleted: bool) -> Result<Self, ServiceError> {
        let tree = replica.tree();
        let roots = match root {
            Some(root) => {
                replica.view(&root)?;
                vec![root]
            }
            None => {
                // Below parents that have not arrived yet there may be nodes: they are somebody's work too.
                let detached = tree.detached();
                tree.children(None).into_iter().chain(detached.iter().flat_map(|parent| tree.children(Some(parent)))).collect()
            }
        };
        Ok(Self { deleted, levels: vec![roots.into_iter()], held: Vec::new(), seen: HashSet::new() })
    }

    /// The next nodes, having visited at most `limit` more; none when the walk has ended. A page may be empty though more come: what was
    /// visited was deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub fn page<S: Store>(&mut self, replica: &Replica<S>, limit: usize) -> Result<Option<Vec<Node>>, ServiceError> {
        if self.levels.is_empty() {
            return Ok(None);
        }
        let mut page = Vec::new();
        let mut visited = 0;
        while visited < limit.max(1) {
            let Some(level) = self.levels.last_mut() else { break };
            match level.next() {
                Some(id) => {
                    visited += 1;
                    self.visit(replica, id, &mut page)?;
                }
                None => self.leave(),
            }
        }
        Ok(Some(page))
    }

    fn leave(&mut self) {
        self.levels.pop();
        let depth = self.levels.len();
        self.held.retain(|(level, _)| *level < depth);
    }

    fn visit<S: Store>(&mut self, replica: &Replica<S>, id: NodeId, page: &mut Vec<Node>) -> Result<(), ServiceError> {
        let level = self.levels.len();
        // A child whose own creation has not arrived has a place and no node; one that was moved while we walked has been seen.
        let node = match node_now(replica, &id) {
            Err(error) if error.code() == ErrorCode::NotFound => return Ok(()),
            found => found?,
        };
        if !self.seen.insert(id.clone()) {
            return Ok(());
        }
        if node.deleted && !self.deleted {
            self.held.push((level, id.clone()));
        } else {
            for (_, above) in std::mem::take(&mut self.held) {
                page.push(node_now(replica, &above)?);
            }
            page.push(node);
        }
        self.levels.push(replica.tree().children(Some(&id)).into_iter());
        Ok(())
    }
}
