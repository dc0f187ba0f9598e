//! Conflicts: listed, shown with both sides, settled.

use nodespace_protocol::conflict::{ConflictStatus, ConflictType, NodeConflict};
use nodespace_protocol::ids::{ConflictId, NodeId, OpHash};
use nodespace_protocol::replica::Choice;
use nodespace_protocol::view::conflict::conflict_context;

use super::{nodes, parse};
use crate::engine::{DeviceReplica, Workspace};
use crate::model::{ConflictDetail, ConflictPage, ConflictSummary, ErrorCode, ResolveChoice, ResolveRequest, ServiceError, WriteReply};

impl Workspace {
    /// The conflicts of the workspace, or of one node; of one status (`open`, `auto_resolved`, `resolved`), or all.
    ///
    /// # Errors
    /// When the status is none of these, or the node is not there.
    pub async fn conflicts(&self, status: Option<String>, node: Option<String>) -> Result<ConflictPage, ServiceError> {
        if let Some(status) = status.as_deref().filter(|status| !["open", "auto_resolved", "resolved"].contains(status)) {
            let message = format!("`{status}` is no status: it is `open`, `auto_resolved` or `resolved`");
            return Err(ServiceError::new(ErrorCode::InvalidRequest, message));
        }
        let node = node.as_deref().map(parse::node_id).transpose()?;
        let found = self
            .read(move |replica| match node {
                Some(node) => of_node(replica, &node),
                None => Ok(replica.conflicts()?),
            })
            .await??;
        let summaries: Vec<ConflictSummary> = found.iter().map(summary).collect();
        let open = summaries.iter().filter(|conflict| conflict.status == "open").count();
        let wanted = |conflict: &ConflictSummary| status.as_ref().is_none_or(|status| *status == conflict.status);
        Ok(ConflictPage { conflicts: summaries.into_iter().filter(wanted).collect(), open })
    }

    /// A conflict with both sides, their ancestor and what holds meanwhile.
    ///
    /// # Errors
    /// When there is no such conflict.
    pub async fn conflict(&self, node: &str, id: &str) -> Result<ConflictDetail, ServiceError> {
        let (node, id) = (parse::node_id(node)?, id.to_owned());
        self.read(move |replica| {
            let found = find(replica, &node, &id)?;
            let context = conflict_context(replica, &found, replica.device())
                .map_err(|error| ServiceError::new(ErrorCode::NotFound, error.to_string()))?;
            let context = serde_json::to_value(context).map_err(|error| ServiceError::new(ErrorCode::Internal, error.to_string()))?;
            Ok(ConflictDetail { summary: summary(&found), context })
        })
        .await?
    }

    /// Settles a conflict: the choice becomes an operation and travels like any other. Answers also what kind of conflict it was.
    ///
    /// # Errors
    /// When there is no such conflict, or the choice does not fit it.
    pub async fn resolve(
        &self,
        client: Option<String>,
        node: &str,
        id: &str,
        request: ResolveRequest,
    ) -> Result<(WriteReply, ConflictType), ServiceError> {
        let (node, id) = (parse::node_id(node)?, id.to_owned());
        let feed = self.feed();
        self.write(client, move |replica, now| {
            let found = find(replica, &node, &id)?;
            let choice = choice(&found, request.choice)?;
            let op = replica.resolve_conflict(now, &node, found.conflict.id, choice)?;
            let cursor = feed.cursor_after(replica).to_string();
            let reply = WriteReply { node: nodes::now(replica, &node)?, op: Some(op.to_string()), cursor };
            Ok((reply, found.conflict.kind))
        })
        .await
    }
}

fn of_node(replica: &DeviceReplica, node: &NodeId) -> Result<Vec<NodeConflict>, ServiceError> {
    replica.heads(node)?;
    let mut found = replica.conflicts_of(node)?;
    found.extend(replica.skipped_moves_of(node)?);
    Ok(found)
}

fn find(replica: &DeviceReplica, node: &NodeId, id: &str) -> Result<NodeConflict, ServiceError> {
    let found = of_node(replica, node)?;
    let wanted = parse::by_prefix("conflict", id, found.iter().map(|found| found.conflict.id), |id: ConflictId| id.to_string())?;
    let missing = || ServiceError::new(ErrorCode::NotFound, format!("node `{node}` has no conflict `{id}`"));
    found.into_iter().find(|found| found.conflict.id == wanted).ok_or_else(missing)
}

fn choice(found: &NodeConflict, choice: ResolveChoice) -> Result<Choice, ServiceError> {
    Ok(match choice {
        ResolveChoice::Keep(op) => {
            let participants = found.conflict.participants.iter().copied();
            Choice::Keep(parse::by_prefix("participant of this conflict", &op, participants, |op: OpHash| op.to_string())?)
        }
        ResolveChoice::Text(text) => Choice::Text(text),
        ResolveChoice::Value(value) => Choice::Value(value),
        ResolveChoice::Dismiss => Choice::Dismiss,
    })
}

fn summary(found: &NodeConflict) -> ConflictSummary {
    let conflict = &found.conflict;
    let status = match conflict.status {
        ConflictStatus::Open => "open",
        ConflictStatus::AutoResolved(_) => "auto_resolved",
        ConflictStatus::Resolved(_) => "resolved",
    };
    ConflictSummary {
        id: conflict.id.to_string(),
        node_id: found.node.to_string(),
        kind: format!("{:?}", conflict.kind),
        field: conflict.field.clone(),
        status: status.to_owned(),
        participants: conflict.participants.iter().map(ToString::to_string).collect(),
        live: found.live,
    }
}
