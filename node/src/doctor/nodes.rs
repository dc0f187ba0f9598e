//! Nodes as the state has them, against the fold of their history.

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::{NodeView, Replica, WriteError};
use nodespace_protocol::store::Store;

use super::finding;
use crate::model::{Finding, Severity};

/// The area of these findings.
pub const AREA: &str = "checkpoint";

/// Folds each of these nodes anew and names those that the state has otherwise.
///
/// # Errors
/// When the store fails otherwise than by damage, which is a finding.
pub fn check<S: Store>(replica: &Replica<S>, ids: &[NodeId]) -> Result<Vec<Finding>, WriteError> {
    let mut findings = Vec::new();
    for id in ids {
        match same(replica, id) {
            Ok(true) | Err(WriteError::UnknownNode(_)) => {}
            Ok(false) => findings.push(differing(id)),
            Err(WriteError::Store(error)) => findings.push(super::journal::unreadable(&error.into())),
            Err(error) => return Err(error),
        }
    }
    Ok(findings)
}

fn same<S: Store>(replica: &Replica<S>, id: &NodeId) -> Result<bool, WriteError> {
    let now = replica.view(id)?;
    let heads: Vec<_> = replica.heads(id)?.iter().map(|head| head.hash).collect();
    let then = replica.view_at(id, &heads)?;
    // Conflicts between present heads are only in the one, and are derived.
    Ok(NodeView { open_conflicts: 0, ..now } == NodeView { open_conflicts: 0, ..then })
}

fn differing(id: &NodeId) -> Finding {
    finding(
        Severity::Error,
        AREA,
        format!("node `{id}` is not what its history makes of it"),
        "run `nodespace doctor --repair` and start the device anew: the state is folded again from the journal, nothing is lost",
    )
}
