//! Relays as people see them: which a workspace uses, how far each has come, and whether it is trusted.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a relay was set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RelaySource {
    /// For this workspace, by hand or by the ticket it was joined with.
    Workspace,
    /// For all workspaces, by `relay.urls` of the configuration.
    Configuration,
}

/// What a relay signed of its log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RelayWord {
    /// The incarnation of its log.
    pub epoch: u64,
    /// How far it reaches.
    pub version: u64,
    /// The hash over all operations up to there, in hex.
    pub running_hash: String,
    /// The relay's signature, in hex.
    pub signature: String,
}

/// The evidence against a relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RelayAlarm {
    /// What is wrong, for people.
    pub message: String,
    /// What it signed before.
    pub before: Option<RelayWord>,
    /// What it signed when it was caught.
    pub now: Option<RelayWord>,
}

/// A relay of a workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RelayEntry {
    /// Where it is.
    pub url: String,
    /// Where it was set.
    pub source: RelaySource,
    /// Its key, from the first contact on.
    pub relay: Option<String>,
    /// The incarnation of its log; `null` before the first contact.
    pub epoch: Option<u64>,
    /// Up to where its log has come here.
    pub version: u64,
    /// When it was last confirmed that it holds all that is here and the other way round; a time.
    pub confirmed: Option<String>,
    /// Operations held here that it did not confirm yet; at most so many.
    pub missing_there_max: u64,
    /// Why it is not trusted and not used, if so.
    pub alarm: Option<RelayAlarm>,
}

/// The relays of a workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RelayList {
    /// The preferred one first; the others stand in when it cannot be used.
    pub relays: Vec<RelayEntry>,
}

/// A relay to be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddRelay {
    /// Its URL, such as `https://relay.example.org`.
    pub url: String,
}

/// What a look at a relay found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RelayCheck {
    /// Where it is.
    pub url: String,
    /// Whether it can be used.
    pub usable: bool,
    /// Its key, as it says now.
    pub relay: Option<String>,
    /// The version of its program.
    pub program: Option<String>,
    /// How far its clock is ahead of this device's, in milliseconds.
    pub clock_ahead_ms: Option<i64>,
    /// How far its log of the workspace reaches.
    pub version: Option<u64>,
    /// Bytes it keeps of the workspace.
    pub bytes: Option<u64>,
    /// What was found, in the order in which it was looked at.
    pub findings: Vec<String>,
    /// Why it is not trusted, if so.
    pub alarm: Option<RelayAlarm>,
}

/// What a look at the relays of a workspace found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RelayCheckList {
    /// One each, the preferred one first.
    pub checks: Vec<RelayCheck>,
}
