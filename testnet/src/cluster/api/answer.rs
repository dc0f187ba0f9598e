//! What devices answer, as far as the testnet looks at it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How a device is doing.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// The program's version.
    pub program: String,
    /// The workspace.
    pub workspace: String,
    /// This device.
    pub device: String,
    /// This device's user.
    #[serde(default)]
    pub user: Option<String>,
    /// Digest over all nodes.
    pub state_digest: String,
    /// Where the change stream ends now.
    pub cursor: String,
    /// Conflicts that wait for somebody to choose.
    pub open_conflicts: usize,
    /// The store.
    pub store: StoreStatus,
    /// The LanceDB table.
    pub projection: ProjectionStatus,
}

/// The durable store in numbers.
#[derive(Clone, Debug, Deserialize)]
pub struct StoreStatus {
    /// Operations held.
    pub ops: u64,
    /// Of these, waiting for one that has not arrived.
    pub waiting: u64,
    /// Of these, held back because their author's clock is ahead.
    pub held: u64,
    /// Nodes, deleted ones included.
    pub nodes: u64,
}

/// The LanceDB table in numbers.
#[derive(Clone, Debug, Deserialize)]
pub struct ProjectionStatus {
    /// Rows.
    pub rows: u64,
    /// Nodes that changed and are not written there yet.
    pub behind: u64,
    /// `current`, `catching_up`, `rebuilding`, `off` or `failed`.
    pub state: String,
}

/// A node, as far as it is looked at.
#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Its text.
    pub content: String,
    /// The operations its history ends with.
    pub heads: Vec<String>,
    /// Whether it is deleted.
    #[serde(default)]
    pub deleted: bool,
}

/// What a write did.
#[derive(Clone, Debug, Deserialize)]
pub struct WriteReply {
    /// The node afterwards.
    pub node: Node,
    /// The operation; none when nothing had to be written.
    pub op: Option<String>,
}

/// One outcome of a batch.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchOutcome {
    /// Written.
    Done(Box<WriteReply>),
    /// Refused.
    Failed(Value),
}

/// The outcomes of a batch.
#[derive(Clone, Debug, Deserialize)]
pub struct BatchReply {
    /// One an item, in order.
    pub outcomes: Vec<BatchOutcome>,
    /// How many were written.
    pub done: usize,
    /// How many were refused.
    pub failed: usize,
}

/// What an import did.
#[derive(Clone, Debug, Deserialize)]
pub struct ImportReport {
    /// Documents taken.
    pub documents: u64,
    /// Of these, refused.
    pub failed: u64,
    /// Operations written.
    pub operations: u64,
    /// Nodes made.
    pub created: u64,
}

/// One change of the change stream.
#[derive(Clone, Debug, Deserialize)]
pub struct Change {
    /// Go on after this change by passing it.
    pub cursor: String,
    /// `create`, `update`, `metadata`, `move`, `delete`, `workspace`, `derived`, `reset`.
    pub kind: String,
    /// To which node.
    pub node_id: Option<String>,
    /// The operation, in hexadecimal.
    pub op: Option<String>,
    /// Who caused it.
    pub origin: Origin,
}

/// Who caused a change.
#[derive(Clone, Debug, Deserialize)]
pub struct Origin {
    /// Whether it was written on the device that says so.
    pub local: bool,
}

/// A page of the change stream.
#[derive(Clone, Debug, Deserialize)]
pub struct ChangePage {
    /// The changes after the cursor, oldest first.
    pub changes: Vec<Change>,
    /// Pass it to get what comes next.
    pub cursor: String,
    /// Whether there is more already.
    pub more: bool,
}

/// What a doctor found.
#[derive(Clone, Debug, Deserialize)]
pub struct DoctorReport {
    /// Whether all is well.
    pub healthy: bool,
    /// Operations checked.
    pub operations: u64,
    /// Nodes checked.
    pub nodes: u64,
    /// Rows of the LanceDB table checked.
    pub rows: u64,
    /// What was found.
    pub findings: Vec<Value>,
}

/// A conflict in a line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Conflict {
    /// Its name among those of the node.
    pub id: String,
    /// The node.
    pub node_id: String,
    /// `ConcurrentEdit`, `MoveConflict` ..
    pub kind: String,
    /// What of the node.
    pub field: String,
    /// `open`, `auto_resolved: ..`, `resolved: ..`.
    pub status: String,
    /// The operations that collided.
    pub participants: Vec<String>,
}

/// The conflicts of a device.
#[derive(Clone, Debug, Deserialize)]
pub struct ConflictPage {
    /// Those asked for.
    pub conflicts: Vec<Conflict>,
    /// How many are open.
    pub open: usize,
}

/// The network as a device sees it.
#[derive(Clone, Debug, Deserialize)]
pub struct Network {
    /// The name it has there.
    pub peer_id: String,
    /// Its own addresses.
    #[serde(default)]
    pub listening: Vec<String>,
    /// Whether it can be reached from outside its own network: `unknown`, `public`, `private`.
    #[serde(default)]
    pub nat: String,
    /// Everybody it knows.
    #[serde(default)]
    pub peers: Vec<Peer>,
    /// Who was turned away, by reason.
    #[serde(default)]
    pub refused: BTreeMap<String, u64>,
}

/// Another device, as a device sees it.
#[derive(Clone, Debug, Deserialize)]
pub struct Peer {
    /// Which.
    #[serde(default)]
    pub device: Option<String>,
    /// Its name in the network.
    #[serde(default)]
    pub peer_id: Option<String>,
    /// Whether there is a connection.
    pub connected: bool,
    /// Where to, if so.
    #[serde(default)]
    pub address: Option<String>,
    /// Whether through a relay.
    #[serde(default)]
    pub relayed: bool,
}

/// A ticket that was made.
#[derive(Clone, Debug, Deserialize)]
pub struct Invited {
    /// The ticket as text.
    pub ticket: String,
    /// The invite's name.
    pub invite: String,
    /// How many addresses the ticket carries.
    pub addresses: usize,
}

/// What a join ended with.
#[derive(Clone, Debug, Deserialize)]
pub struct Joined {
    /// The workspaces that the device belongs to now.
    pub joined: Vec<Value>,
}

/// Sync, as a device sees it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Sync {
    /// In a word, with numbers that depend on the word.
    pub summary: SyncSummary,
    /// With whom.
    #[serde(default)]
    pub targets: Vec<Value>,
    /// What waits for a person.
    #[serde(default)]
    pub help_wanted: Vec<Value>,
}

/// The relays of a device.
#[derive(Clone, Debug, Deserialize)]
pub struct RelayList {
    /// The preferred one first.
    pub relays: Vec<RelayEntry>,
}

/// A relay, as a device knows it.
#[derive(Clone, Debug, Deserialize)]
pub struct RelayEntry {
    /// Where it is.
    pub url: String,
    /// The incarnation of its log.
    #[serde(default)]
    pub epoch: Option<u64>,
    /// How far its log has come there.
    pub version: u64,
    /// Operations that it did not confirm yet; at most so many.
    pub missing_there_max: u64,
    /// Why it is not trusted, if so.
    #[serde(default)]
    pub alarm: Option<RelayAlarm>,
}

/// Why a relay is not trusted.
#[derive(Clone, Debug, Deserialize)]
pub struct RelayAlarm {
    /// What is wrong.
    pub message: String,
}

/// What looks at relays found.
#[derive(Clone, Debug, Deserialize)]
pub struct RelayChecks {
    /// One each.
    pub checks: Vec<RelayCheck>,
}

/// What a look at a relay found.
#[derive(Clone, Debug, Deserialize)]
pub struct RelayCheck {
    /// Whether it can be used.
    pub usable: bool,
    /// What was found.
    pub findings: Vec<String>,
}

/// Sync in a word.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SyncSummary {
    /// `synced`, `syncing`, `behind`, `offline`, `local_only`, `needs_help`.
    pub state: String,
    /// With `synced`: how many confirmed.
    #[serde(default)]
    pub confirmed: Option<usize>,
    /// With `synced`: of how many that are known.
    #[serde(default)]
    pub known: Option<usize>,
}

impl Sync {
    /// Whether at least so many peers confirmed to hold exactly what is held there.
    pub fn is_synced_with(&self, peers: usize) -> bool {
        self.summary.state == "synced" && self.summary.confirmed.is_some_and(|confirmed| confirmed >= peers)
    }
}
