//! Nodes as rows of the table.

use nodespace_projection::{Embedding, Embeddings, Row};
use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::WriteError;
use nodespace_protocol::store::Store as _;
use nodespace_protocol::vector::QuantisedVector;

use super::{DeviceReplica, late};
use crate::model::{ServiceError, time};

/// A node's row; `None` for an id that no creation has arrived for.
///
/// # Errors
/// When the store fails.
pub(crate) fn row(replica: &DeviceReplica, id: &NodeId) -> Result<Option<Row>, ServiceError> {
    let view = match replica.view(id) {
        Ok(view) => view,
        Err(WriteError::UnknownNode(_)) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let embeddings = embeddings_of(replica, id)?.into_iter().map(|(model, vector)| Embedding { model, vector }).collect();
    Ok(Some(Row {
        id: view.id.to_string(),
        node_type: view.node_type,
        content: view.content,
        metadata: view.metadata,
        parent_id: view.parent_id.map(|id| id.to_string()),
        root_id: view.root_id.map(|id| id.to_string()),
        depth: replica.tree().depth(id).and_then(|depth| u32::try_from(depth).ok()),
        before_sibling_id: view.before_sibling_id.map(|id| id.to_string()),
        created_at: time::to_micros(view.created_at),
        modified_at: time::to_micros(view.modified_at),
        mentions: view.mentions.iter().map(ToString::to_string).collect(),
        deleted: view.deleted,
        embeddings: Embeddings::Replace(embeddings),
    }))
}

/// A node's vectors by model: at full precision where this device has them, else what the 8-bit form that travelled gives back.
///
/// # Errors
/// When the store fails.
pub(crate) fn embeddings_of(replica: &DeviceReplica, id: &NodeId) -> Result<Vec<(String, Vec<f32>)>, ServiceError> {
    let Some(state) = replica.node(id)? else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for (model, embedding) in state.embeddings() {
        if let Some(vector) = replica.store().vector(id, model, &embedding.source)? {
            found.push((model.clone(), vector));
        } else if let Some(bytes) = late::attachment(replica, &*replica.store().op(embedding.op)?)?
            && let Ok(quantised) = QuantisedVector::from_bytes(&bytes)
        {
            found.push((model.clone(), quantised.dequantise()));
        }
    }
    Ok(found)
}
