//! Searching: words, vectors, or both, with filters.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// The most hits of one answer; a greater `limit` is refused.
pub const SEARCH_LIMIT_MAX: usize = 1_000;

/// How to rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SearchMode {
    /// By the words of `text` (BM25).
    Text,
    /// By the distance to `vector` (cosine).
    Vector,
    /// By both, fused by rank.
    Hybrid,
}

/// Which nodes to consider.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchFilters {
    /// Of one of these types.
    #[serde(default, rename = "types", skip_serializing_if = "Vec::is_empty")]
    pub node_types: Vec<String>,
    /// Metadata members that must have these values.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    #[schema(value_type = Object)]
    pub metadata: Map<String, Value>,
    /// Made at or after (RFC 3339).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_after: Option<String>,
    /// Made before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_before: Option<String>,
    /// Changed at or after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_after: Option<String>,
    /// Changed before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modified_before: Option<String>,
    /// Directly below this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// Deleted nodes too.
    #[serde(default)]
    pub include_deleted: bool,
}

/// A search.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchRequest {
    /// Words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// A vector of the model's dimension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vector: Option<Vec<f32>>,
    /// Search near the embedding of this node instead of giving a vector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub near: Option<String>,
    /// The model of the vector; may be left out while there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// How to rank; by default by what is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<SearchMode>,
    /// Which nodes.
    #[serde(default)]
    pub filters: SearchFilters,
    /// How many hits at most; 20 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// One hit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SearchHit {
    /// The node's id.
    pub id: String,
    /// Its type.
    #[serde(rename = "type")]
    pub node_type: String,
    /// Its text.
    pub content: String,
    /// Its parent.
    pub parent_id: Option<String>,
    /// The rank's value: greater is better, comparable only within one answer.
    pub score: f32,
    /// BM25, when words were given.
    pub text_score: Option<f32>,
    /// Cosine distance (0 = same direction), when a vector was given.
    pub distance: Option<f32>,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SearchReply {
    /// Best first.
    pub hits: Vec<SearchHit>,
    /// Up to where in the change stream the answer is current.
    pub cursor: String,
}
