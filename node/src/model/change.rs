//! The change stream: every operation that took effect here, in the order of arrival, with where it came from.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Who caused a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Origin {
    /// Whether it was written on this device.
    pub local: bool,
    /// The device that wrote it; `null` for a change that no single operation made.
    pub device: Option<String>,
    /// The client of this device's API that wrote it, as it called itself: so that it can ignore its own echo. Known for what was written
    /// since the device started; a client that may have been away longer compares `op` with what its writes answered.
    pub client: Option<String>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// A node was made.
    Create,
    /// Text, type, mentions, an embedding, or a conflict's settlement.
    Update,
    /// Metadata.
    Metadata,
    /// A node was moved.
    Move,
    /// A node was deleted.
    Delete,
    /// Members, devices or the policy of the workspace.
    Workspace,
    /// The node shows differently because of something else: a sibling came before it, an operation that waited took effect, its author
    /// lost the right to write. Read it again.
    Derived,
    /// What is known is not enough to say what changed since the cursor: read everything again, then go on from this cursor.
    Reset,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// Go on after this change by passing it; opaque.
    pub cursor: String,
    /// What happened.
    pub kind: ChangeKind,
    /// To which node; `null` for `workspace` and `reset`.
    pub node_id: Option<String>,
    /// The operation (its hash in hex); `null` for `derived` and `reset`.
    pub op: Option<String>,
    /// When, by its author's clock (RFC 3339); `null` for `derived` and `reset`.
    pub at: Option<String>,
    /// Who caused it.
    pub origin: Origin,
}

/// A page of the change stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChangePage {
    /// The changes after the cursor, oldest first.
    pub changes: Vec<Change>,
    /// Pass it to get what comes next.
    pub cursor: String,
    /// Whether there is more already.
    pub more: bool,
}
