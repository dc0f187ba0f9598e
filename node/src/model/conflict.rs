//! Conflicts: what stands side by side, and what somebody chose.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A conflict in one line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConflictSummary {
    /// Its id (hex): the same on every device.
    pub id: String,
    /// The node.
    pub node_id: String,
    /// `ConcurrentEdit`, `MetadataConflict`, `MoveConflict`, `DeleteConflict` or `StructuralConflict`.
    pub kind: String,
    /// What of the node: `content`, `metadata/a/b`, `place`, `deleted`, `type`.
    pub field: String,
    /// `open`, `auto_resolved` or `resolved`.
    pub status: String,
    /// The operations that meet.
    pub participants: Vec<String>,
    /// Whether both sides still stand side by side.
    pub live: bool,
}

/// A conflict with both sides, their ancestor and the provisional outcome.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConflictDetail {
    /// In one line.
    #[serde(flatten)]
    pub summary: ConflictSummary,
    /// The document's `ConflictContext`: local and remote side, ancestor, provisional outcome, authors.
    #[schema(value_type = Object)]
    pub context: Value,
}

/// Conflicts of a workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ConflictPage {
    /// By node, then id.
    pub conflicts: Vec<ConflictSummary>,
    /// How many of all conflicts are open.
    pub open: usize,
}

/// What somebody chose.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ResolveChoice {
    /// Keep what this participant (an operation's hash, or an unambiguous beginning of it) made of the field.
    Keep(String),
    /// Set this text (a conflict on content).
    Text(String),
    /// Set this value (a conflict on metadata); `null` removes.
    Value(Value),
    /// Leave everything as it is and close the conflict.
    Dismiss,
}

/// A choice to be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveRequest {
    /// The choice.
    pub choice: ResolveChoice,
}
