//! What a person is asked to do when nothing else has helped.

use std::fmt;

use nodespace_protocol::ids::NodeId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::sync::failure::{Remedy, SyncFailure};
use crate::sync::target::Target;

/// What is in trouble.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(as = SyncSubject)]
pub enum Subject {
    /// Sync with somebody.
    Target {
        /// With whom.
        target: Target,
    },
    /// One node, with whomever.
    Node {
        /// Which.
        #[schema(value_type = String)]
        node: NodeId,
    },
}

/// A case for a person. All data is kept, whatever is done about it and whenever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intervention {
    /// What is in trouble.
    pub subject: Subject,
    /// How often it failed.
    pub attempts: u32,
    /// The gravest way in which it failed.
    pub failure: SyncFailure,
}

impl Intervention {
    /// What to do, in a sentence.
    pub const fn advice(&self) -> &'static str {
        match (&self.subject, &self.failure) {
            (_, SyncFailure::TurnedAway) => {
                "ask an owner of the workspace whether this device is still a member, or renew the account, then run `nodespace sync now`"
            }
            (_, SyncFailure::RelayNotTrusted) => {
                "run `nodespace relay check` and show what it says to whoever runs the relay; to use it all the same, remove it and add it again"
            }
            (_, SyncFailure::StoreFailed) => "free disk space or check the disk, start again, and run `nodespace doctor`",
            (Subject::Node { .. }, SyncFailure::DataCorruption { .. }) => {
                "run `nodespace doctor --repair` on both sides, then start the device anew on which it found something"
            }
            (Subject::Node { .. }, SyncFailure::ConflictResolutionFailed { .. }) => {
                "changes to it wait for others that nobody here has: start the device that made those, or restore its backup; until then \
                 the node stays as it is and everything else is synced"
            }
            (Subject::Node { .. }, _) => {
                "compare both versions with `nodespace conflicts show` and choose with `nodespace conflicts resolve`"
            }
            (_, SyncFailure::Timeout { .. } | SyncFailure::Unreachable | SyncFailure::RateLimited { .. }) => {
                "check the network and whether the other side runs; nothing else is needed, as it goes on being tried"
            }
            (_, SyncFailure::Fault) => "report what the log says; nothing else is needed, as it is begun anew by itself",
            (_, SyncFailure::ProtocolBroken) => "check that both sides run a current version of the program, then run `nodespace sync now`",
            (_, SyncFailure::ConflictResolutionFailed { .. }) => {
                "settle what `nodespace conflicts list` shows, then run `nodespace sync now`"
            }
            (_, SyncFailure::DataCorruption { .. } | SyncFailure::VersionMismatch) => {
                "make a backup with `nodespace backup`, run `nodespace doctor --repair` on both sides, start the device anew on which it \
                 found something, then run `nodespace sync now`"
            }
        }
    }

    /// Whether it heals by itself when the cause goes away.
    pub fn heals_by_itself(&self) -> bool {
        self.failure.remedy() == Remedy::Patience
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target { target } => write!(f, "sync with {target}"),
            Self::Node { node } => write!(f, "node {node}"),
        }
    }
}

impl fmt::Display for Intervention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, attempts, failure } = self;
        write!(f, "{subject} failed {attempts} time(s) ({}). All data is kept. What to do: {}.", failure.code(), self.advice())
    }
}
