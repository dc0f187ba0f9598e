//! Single nodes: as they are, as they were, and their history.

use nodespace_protocol::ids::{NodeId, OpHash};
use nodespace_protocol::replica::{HistoryEntry, NodeView, Replica};
use nodespace_protocol::store::Store;

use super::parse;
use crate::engine::Workspace;
use crate::model::{ErrorCode, HistoryStep, Node, ServiceError, time};

/// A moment of a node's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeAt {
    /// A time (RFC 3339), by the authors' clocks.
    Time(String),
    /// Right after an operation (its hash, or an unambiguous beginning of it).
    Op(String),
}

impl Workspace {
    /// A node as it is now, deleted ones included.
    ///
    /// # Errors
    /// When there is none.
    pub async fn node(&self, id: &str) -> Result<Node, ServiceError> {
        let id = parse::node_id(id)?;
        self.read(move |replica| now(replica, &id)).await?
    }

    /// A node as it was. Its place is the one it has now.
    ///
    /// # Errors
    /// When there is no such node, or it was not there yet.
    pub async fn node_at(&self, id: &str, at: NodeAt) -> Result<Node, ServiceError> {
        let id = parse::node_id(id)?;
        self.read(move |replica| then(replica, &id, &at)).await?
    }

    /// A node's operations, oldest first.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn history(&self, id: &str) -> Result<Vec<HistoryStep>, ServiceError> {
        let id = parse::node_id(id)?;
        let history = self.read(move |replica| replica.history(&id)).await??;
        Ok(history.into_iter().map(step).collect())
    }
}

/// A node as the replica shows it now.
pub(crate) fn now<S: Store>(replica: &Replica<S>, id: &NodeId) -> Result<Node, ServiceError> {
    let view = replica.view(id)?;
    let heads = replica.heads(id)?;
    let version = heads.iter().map(|head| head.version).max().unwrap_or_default();
    Ok(of(view, version, heads.into_iter().map(|head| head.hash).collect()))
}

fn then<S: Store>(replica: &Replica<S>, id: &NodeId, at: &NodeAt) -> Result<Node, ServiceError> {
    let history = replica.history(id)?;
    let heads = match at {
        NodeAt::Time(text) => {
            let time = time::parse(text).map_err(|message| ServiceError::new(ErrorCode::InvalidRequest, message))?;
            replica.heads_at(id, time)?
        }
        NodeAt::Op(text) => {
            vec![parse::by_prefix("operation of this node", text, history.iter().map(|step| step.op), |op: OpHash| op.to_string())?]
        }
    };
    if heads.is_empty() {
        return Err(ServiceError::new(ErrorCode::NotFound, format!("node `{id}` was not there yet; its history begins later")));
    }
    let version = history.iter().filter(|step| heads.contains(&step.op)).map(|step| step.version).max().unwrap_or_default();
    Ok(of(replica.view_at(id, &heads)?, version, heads))
}

/// Heads are kept in the order in which they arrived, which differs between devices; shown they are sorted, so that equal nodes look equal.
fn of(view: NodeView, version: u64, mut heads: Vec<OpHash>) -> Node {
    heads.sort_unstable();
    Node {
        id: view.id.to_string(),
        node_type: view.node_type,
        content: view.content,
        parent_id: view.parent_id.map(|id| id.to_string()),
        root_id: view.root_id.map(|id| id.to_string()),
        before_sibling_id: view.before_sibling_id.map(|id| id.to_string()),
        created_at: time::to_text(view.created_at),
        modified_at: time::to_text(view.modified_at),
        mentions: view.mentions.iter().map(ToString::to_string).collect(),
        metadata: view.metadata,
        deleted: view.deleted,
        version,
        heads: heads.iter().map(ToString::to_string).collect(),
        stale_embeddings: view.stale_embeddings,
        open_conflicts: view.open_conflicts,
    }
}

fn step(entry: HistoryEntry) -> HistoryStep {
    HistoryStep {
        op: entry.op.to_string(),
        kind: format!("{:?}", entry.kind).to_ascii_lowercase(),
        at: time::to_text(entry.timestamp),
        version: entry.version,
        device: entry.device.to_string(),
        user: entry.user.map(|user| user.to_string()),
        parents: entry.parents.iter().map(ToString::to_string).collect(),
        effective: entry.effective,
    }
}
