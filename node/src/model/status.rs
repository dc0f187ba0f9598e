//! How a device is doing.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The durable store in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StoreStatus {
    /// Operations held.
    pub ops: u64,
    /// Of these, waiting for one that has not arrived.
    pub waiting: u64,
    /// Of these, held back because their author's clock is ahead.
    pub held: u64,
    /// Logs (one for each device and incarnation).
    pub logs: u64,
    /// Nodes, deleted ones included.
    pub nodes: u64,
    /// Bytes of the journal.
    pub journal_bytes: u64,
    /// Bytes of these after the last checkpoint: what a restart after a crash replays.
    pub bytes_since_checkpoint: u64,
}

/// The LanceDB table in numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProjectionStatus {
    /// Rows.
    pub rows: u64,
    /// Nodes that changed and are not written there yet.
    pub behind: u64,
    /// `current`, `catching_up`, `rebuilding`, `off` or `failed`.
    pub state: String,
    /// What failed last, if it is not healed.
    pub problem: Option<String>,
    /// Where another LanceDB client finds the table.
    pub folder: String,
}

/// A workspace on this device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkspaceStatus {
    /// The program's version.
    pub program: String,
    /// The workspace.
    pub workspace: String,
    /// Its name.
    pub name: String,
    /// This device.
    pub device: String,
    /// This device's user.
    pub user: Option<String>,
    /// The user's role: `owner`, `editor`, `viewer`; `null` when not a member.
    pub role: Option<String>,
    /// The epoch of the log this device writes.
    pub epoch: u32,
    /// Digest over all nodes (hex): equal on devices that hold the same operations.
    pub state_digest: String,
    /// Where the change stream ends now.
    pub cursor: String,
    /// Conflicts that wait for somebody to choose.
    pub open_conflicts: usize,
    /// The store.
    pub store: StoreStatus,
    /// The LanceDB table.
    pub projection: ProjectionStatus,
    /// `local only` while there is no peer and no relay; otherwise what is missing, and `synced` only when a peer confirmed an equal digest.
    pub sync: String,
}
