//! Looking after a device: backup, restore, doctor, rebuild.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where to put a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// A new file on the device's machine, as an absolute path. One that exists is not overwritten.
    pub path: String,
}

/// A backup that was written and is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BackupReport {
    /// The file.
    pub path: String,
    /// The workspace in it.
    pub workspace: String,
    /// Operations.
    pub operations: u64,
    /// Vectors at full precision.
    pub vectors: u64,
    /// The file's size.
    pub bytes: u64,
}

/// A backup that was restored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoreReport {
    /// The workspace.
    pub workspace: String,
    /// Its name, for people.
    pub name: String,
    /// The home it lies in now.
    pub home: String,
    /// Whether the home is new, with new keys, or had its identity before.
    pub new_identity: bool,
    /// The epoch of the log this device writes from now on.
    pub epoch: u32,
    /// Operations.
    pub operations: u64,
    /// Nodes, deleted ones included.
    pub nodes: u64,
    /// Vectors at full precision.
    pub vectors: u64,
    /// The role this device has in the workspace; `null` when it is no member: then it can read and export, and not write.
    pub role: Option<String>,
    /// What that means and what to do, for people.
    pub advice: String,
}

/// What a doctor is asked to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DoctorRequest {
    /// Repair what can be repaired without losing anything: what is derived is made anew.
    #[serde(default)]
    pub repair: bool,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Something does not work as it should; nothing is lost.
    Warning,
    /// Something is damaged.
    Error,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// How grave.
    pub severity: Severity,
    /// Of what: `format`, `permissions`, `journal`, `checkpoint`, `vectors`, `projection`, `clock`, `operations`, `membership`.
    pub area: String,
    /// What was found.
    pub message: String,
    /// What to do; empty when there is nothing to be done.
    pub advice: String,
    /// Whether it was repaired just now.
    pub repaired: bool,
}

/// What a doctor looked at and found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DoctorReport {
    /// Whether nothing is wrong, or nothing any more.
    pub healthy: bool,
    /// Operations that were read and checked.
    pub operations: u64,
    /// Nodes that were folded anew.
    pub nodes: u64,
    /// Rows of the LanceDB table that were compared.
    pub rows: u64,
    /// The gravest first.
    pub findings: Vec<Finding>,
}

/// A LanceDB table that was made anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RebuildReport {
    /// Its rows.
    pub rows: u64,
}
