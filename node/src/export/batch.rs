//! Exported lines as writes: what to send to `POST /v1/batch` so that an export becomes nodes again, in another workspace say.

use serde_json::{Map, Value};

use crate::model::{BatchItem, CreateNode, DeleteNode, Node, PlaceRequest};

/// The writes that make an exported node again. In the order of the lines every parent is made before its children, and every node comes
/// after its siblings; so "last" is its place. A deleted node is made and deleted, so that what is below it keeps its parent.
#[must_use]
pub fn batch_items(node: &Node) -> Vec<BatchItem> {
    let metadata = match &node.metadata {
        Value::Object(members) => members.clone(),
        _ => Map::new(),
    };
    let create = CreateNode {
        id: Some(node.id.clone()),
        node_type: Some(node.node_type.clone()),
        content: node.content.clone(),
        metadata,
        mentions: node.mentions.clone(),
        parent_id: node.parent_id.clone(),
        place: PlaceRequest::Last,
    };
    let mut items = vec![BatchItem::Create { create }];
    if node.deleted {
        items.push(BatchItem::Delete { id: node.id.clone(), how: DeleteNode::default() });
    }
    items
}
