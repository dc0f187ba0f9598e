//! Nodes: as they are, and what can be done to one.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// A node as it is now, or as it was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Node {
    /// A UUID or a short string such as `2025-08-30`; minted by the application, or here when it gives none.
    pub id: String,
    /// An open string: `text`, `date`, `task`, ...
    #[serde(rename = "type")]
    pub node_type: String,
    /// The text.
    pub content: String,
    /// The parent; `null` = top level.
    pub parent_id: Option<String>,
    /// The topmost ancestor, derived; the node's own id when it stands at top level.
    pub root_id: Option<String>,
    /// The sibling immediately before this node; `null` = it is first.
    pub before_sibling_id: Option<String>,
    /// When it was made (RFC 3339).
    pub created_at: String,
    /// When it last changed (RFC 3339).
    pub modified_at: String,
    /// Ids it mentions.
    pub mentions: Vec<String>,
    /// A JSON object.
    #[schema(value_type = Object)]
    pub metadata: Value,
    /// Whether it is deleted.
    pub deleted: bool,
    /// The greatest version of its history's heads: what `expected_version` is compared with.
    pub version: u64,
    /// The operations its history ends with, sorted; more than one while edits of several devices stand side by side. They change with every
    /// operation: what `expected_heads` is compared with.
    pub heads: Vec<String>,
    /// Models whose embedding was made from another text than the present one: compute it again.
    pub stale_embeddings: Vec<String>,
    /// How many conflicts wait for somebody to choose.
    pub open_conflicts: usize,
}

/// Where among the children of its parent a node is put.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PlaceRequest {
    /// Before all others.
    First,
    /// After all others.
    #[default]
    Last,
    /// Immediately after this sibling.
    After(String),
}

/// A node to be made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateNode {
    /// Its id; a new random UUID when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its type; `text` when absent.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub node_type: Option<String>,
    /// Its text.
    #[serde(default)]
    pub content: String,
    /// Its metadata, an object.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// Ids it mentions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    /// Its parent; `null` or absent = top level.
    #[serde(default)]
    pub parent_id: Option<String>,
    /// Where among its siblings; last when absent.
    #[serde(default)]
    pub place: PlaceRequest,
}

/// One positional edit of a text, in Unicode scalar values, against the text as the edit before it left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TextEdit {
    /// Where, counted from 0.
    pub position: u32,
    /// How many characters to take away there.
    #[serde(default)]
    pub delete: u32,
    /// What to put there.
    #[serde(default)]
    pub insert: String,
}

/// What to change of a node; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateNode {
    /// The whole new text; what is written is the difference. Not together with `edits`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Edits of the text. Give `expected_heads` with them: positions mean the text that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edits: Option<Vec<TextEdit>>,
    /// The new type.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub node_type: Option<String>,
    /// A JSON merge patch (RFC 7396) for the metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<Map<String, Value>>,
    /// Mentions to add.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add_mentions: Vec<String>,
    /// Mentions to take away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove_mentions: Vec<String>,
    /// Refuse with `stale_version` unless the node's history ends with just these operations: then it is as it was read, whatever arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_heads: Option<Vec<String>>,
    /// Refuse with `stale_version` unless the node has this version. Does not notice what arrives with a lesser version: see `expected_heads`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<u64>,
}

/// Where to move a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveNode {
    /// The new parent; `null` or absent = top level.
    #[serde(default)]
    pub parent_id: Option<String>,
    /// Where among its children.
    #[serde(default)]
    pub place: PlaceRequest,
    /// Refuse with `stale_version` unless the node's history ends with just these operations: then it is as it was read, whatever arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_heads: Option<Vec<String>>,
    /// Refuse with `stale_version` unless the node has this version. Does not notice what arrives with a lesser version: see `expected_heads`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<u64>,
}

/// How to delete a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteNode {
    /// For good: the content is not shown any more, nor restored. Otherwise it can be restored.
    #[serde(default)]
    pub hard: bool,
    /// Refuse with `stale_version` unless the node's history ends with just these operations: then it is as it was read, whatever arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_heads: Option<Vec<String>>,
    /// Refuse with `stale_version` unless the node has this version. Does not notice what arrives with a lesser version: see `expected_heads`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected_version: Option<u64>,
}

/// An embedding of a node's present text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PutEmbedding {
    /// Finite numbers; their count is the model's dimension, the same for all nodes.
    pub vector: Vec<f32>,
}

/// The outcome of a write: durable when it is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WriteReply {
    /// The node as it is now, with its place.
    pub node: Node,
    /// The operation that was written (its hash in hex), to know one's own change in the stream by; `null` when nothing had to be.
    pub op: Option<String>,
    /// Where in the change stream the write stands.
    pub cursor: String,
}

/// One page of nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodePage {
    /// The nodes, by id or in sibling order.
    pub nodes: Vec<Node>,
    /// Pass as `after` to get the next page; `null` when this is the last.
    pub next: Option<String>,
    /// How many there are in all pages together; `null` when only some types were asked for, which are not counted.
    pub total: Option<usize>,
}

/// One line of an outline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TreeLine {
    /// How far below where the walk began.
    pub depth: usize,
    /// How many children it has, shown here or not.
    pub children: usize,
    /// A deleted node that is only shown because something living stands below it.
    pub placeholder: bool,
    /// The node.
    #[serde(flatten)]
    pub node: Node,
}

/// A part of the tree, in outline order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TreePage {
    /// Each node after its parent and after its preceding sibling's subtree.
    pub lines: Vec<TreeLine>,
    /// Pass as `after` to go on; `null` when this is the end of the walk.
    pub next: Option<String>,
}

/// One step of a node's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HistoryStep {
    /// The operation.
    pub op: String,
    /// What it did: `create`, `update`, `delete`, `move`, `metadata`.
    pub kind: String,
    /// When, by its author's clock (RFC 3339).
    pub at: String,
    /// Its version.
    pub version: u64,
    /// The device that wrote it.
    pub device: String,
    /// The device's user, while it is a member.
    pub user: Option<String>,
    /// What its author had seen of the node.
    pub parents: Vec<String>,
    /// Whether it has an effect; not when its author was no member, say.
    pub effective: bool,
}
