//! Forced reconciliation: a node here beside the relay's canonical version of it.

use std::sync::Arc;

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::view::CanonicalNode;

use super::super::super::inspect;
use super::super::{Input, WorkspaceSync};
use crate::engine::Workspace;
use crate::relay_client::RelayApi;
use crate::sync::SyncFailure;

impl WorkspaceSync {
    /// Compares a node with the relay's canonical version.
    pub(in super::super) fn reconcile_with_relay(&self, api: Arc<RelayApi>, node: NodeId) {
        let (workspace, inbox) = (self.setup.workspace.clone(), self.inbox.clone());
        tokio::spawn(async move {
            let outcome = compare(&workspace, &api, &node).await;
            inbox.send(Input::Node { node, outcome }).await;
        });
    }
}

/// Another history is not settled yet; the same history with another outcome is a fault that no exchange can heal. The same version with
/// operations that wait for others is not settled either: the relay does not have what they wait for.
async fn compare(workspace: &Workspace, api: &RelayApi, node: &NodeId) -> Result<(), SyncFailure> {
    let theirs = api.fetch_canonical_version(node).await.map_err(|error| error.failure())?;
    let asked = node.clone();
    let ours = workspace.read(move |replica| replica.canonical(&asked)).await.map_err(|_| SyncFailure::StoreFailed)?;
    let ours = ours.map_err(|_| SyncFailure::StoreFailed)?;
    // As theirs came: numbers may differ in their last digits before they were written down.
    let ours = ours.map(|ours| serde_json::to_vec(&ours).and_then(|text| serde_json::from_slice(&text))).transpose();
    let ours: Option<CanonicalNode> = ours.map_err(|_| SyncFailure::StoreFailed)?;
    let heads = |node: &Option<CanonicalNode>| node.as_ref().map(|node| node.heads.clone());
    match (ours == theirs, heads(&ours) == heads(&theirs)) {
        (true, _) => inspect::settled(workspace, node).await,
        (false, true) => Err(SyncFailure::DataCorruption { node: Some(node.clone()) }),
        (false, false) => Err(SyncFailure::ConflictResolutionFailed { nodes: [node.clone()].into() }),
    }
}
