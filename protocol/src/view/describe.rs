//! From a payload to the document's `OperationData`.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::action;
use super::operation::{Node, OperationData, ViewError};
use super::source::{Neighbours, ViewSource};
use crate::clock::Timestamp;
use crate::delta::{ContentDelta, TextChange};
use crate::ids::OpHash;
use crate::op::{Op, OpType, ParentRef, Payload};
use crate::vector::QuantisedVector;

/// The calendar time of a timestamp.
pub(super) fn datetime(timestamp: Timestamp) -> DateTime<Utc> {
    timestamp.to_datetime().expect("48 bits of milliseconds end in the year 10889, calendars later")
}

/// The hashes of an operation's parents, in the header's order.
pub(super) fn parents(op: &Op, source: &impl ViewSource) -> Result<Vec<OpHash>, ViewError> {
    let hash_of = |parent: &ParentRef| match *parent {
        ParentRef::Other(hash) => Ok(hash),
        ParentRef::Own(distance) => source.own_hash(op, distance).ok_or(ViewError::UnknownParent { operation: op.hash, distance }),
    };
    op.header.parents.iter().map(hash_of).collect()
}

/// What an operation changes.
pub(super) fn data(op: &Op, payload: Option<Payload>, source: &impl ViewSource) -> OperationData {
    let blob = &op.header.payload;
    let described = payload.and_then(|payload| match op.header.kind {
        OpType::Create => create(op, payload, source),
        OpType::Update => Some(update(op, payload)),
        OpType::Delete => payload.soft_delete.map(|soft_delete| OperationData::Delete { soft_delete }),
        OpType::Move => payload.place.map(|place| {
            let before = source.neighbours(op, &place).before_sibling;
            OperationData::Move { new_parent_id: place.parent, new_before_sibling_id: before }
        }),
        OpType::Metadata => payload.metadata.map(|changes| OperationData::Metadata { changes }),
        OpType::Workspace => payload.action.map(|action| OperationData::Workspace { action: action::describe(&action) }),
    });
    described.unwrap_or(OperationData::Opaque { encryption: blob.encryption, length: blob.len })
}

fn create(op: &Op, payload: Payload, source: &impl ViewSource) -> Option<OperationData> {
    let place = payload.place?;
    let Neighbours { before_sibling, root } = source.neighbours(op, &place);
    let content = match payload.text {
        Some(TextChange::Replace(text)) => text,
        _ => String::new(),
    };
    let node = Node {
        id: op.header.node.clone()?,
        node_type: payload.node_type.unwrap_or_default(),
        content,
        parent_id: place.parent,
        root_id: root,
        before_sibling_id: before_sibling,
        created_at: datetime(op.header.timestamp),
        mentions: payload.mentions_added,
        metadata: payload.metadata.unwrap_or_else(|| Value::Object(Map::new())),
        embedding_vector: None,
    };
    Some(OperationData::Create { node: Box::new(node), embedding: embedding(op) })
}

fn update(op: &Op, payload: Payload) -> OperationData {
    OperationData::Update {
        content_delta: payload.text.as_ref().map(|change| ContentDelta::from(change).to_json_text()),
        metadata_changes: payload.metadata,
        embedding_delta: embedding(op),
        node_type: payload.node_type,
        mentions_added: payload.mentions_added,
        mentions_removed: payload.mentions_removed,
        embedding_model: payload.embedding.map(|note| note.model),
    }
}

/// The attached embedding; `None` when there is none, it did not come along, or it is not one.
fn embedding(op: &Op) -> Option<Vec<f32>> {
    let vector = QuantisedVector::from_bytes(op.attachment.as_deref()?).ok()?;
    Some(vector.dequantise())
}
