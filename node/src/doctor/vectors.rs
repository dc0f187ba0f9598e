//! Vectors at full precision: of nodes that exist, of numbers, as long as their model's.

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::Replica;
use nodespace_store::{DiskStore, VectorEntry};

use super::finding;
use crate::model::{Finding, ServiceError, Severity};

const AREA: &str = "vectors";
const ADVICE: &str = "compute the embedding again and put it; the 8-bit form that syncs is used until then";

/// Checks a page of vectors.
///
/// # Errors
/// When the store fails.
pub fn check(replica: &Replica<DiskStore>, page: &[VectorEntry]) -> Result<Vec<Finding>, ServiceError> {
    let mut findings = Vec::new();
    for entry in page {
        let dimension = replica.store().dimension(&entry.model)?;
        let VectorEntry { node, model, vector, .. } = entry;
        if vector.iter().any(|number| !number.is_finite()) {
            findings.push(wrong(node, model, "has a number that is none"));
        } else if dimension.is_some_and(|dimension| dimension != vector.len()) {
            findings.push(wrong(
                node,
                model,
                &format!("has {} numbers, those of this model have {}", vector.len(), dimension.unwrap_or(0)),
            ));
        } else if replica.heads(node).is_err() {
            let message = format!("a vector of model `{model}` belongs to node `{node}`, which is not here");
            findings.push(finding(Severity::Note, AREA, message, ""));
        }
    }
    Ok(findings)
}

fn wrong(node: &NodeId, model: &str, what: &str) -> Finding {
    finding(Severity::Warning, AREA, format!("the vector of model `{model}` of node `{node}` {what}"), ADVICE)
}
