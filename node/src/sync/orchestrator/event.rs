//! What the orchestrator is told, and what it asks for.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::SyncResult;
#[cfg(doc)]
use super::{STALL_MS, TARGETS_MAX};
use crate::sync::failure::SyncFailure;
use crate::sync::target::{AttemptId, Target};

/// Why an attempt is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// Its time has come.
    Timer,
    /// It has become reachable.
    Connect,
    /// It has shown something whose parents are not here.
    GapSeen,
    /// The machine has slept.
    Wake,
    /// The last peer has gone: the relay stands in.
    PeersGone,
    /// [`SyncRecovery`](crate::sync::SyncRecovery) tries again.
    Recovery,
    /// Somebody asked for it.
    Request,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrchestratorInput {
    /// A peer is connected, or the relay is configured.
    Reachable(Target),
    /// A peer is no longer connected, or the relay no longer configured. The outcome of a running attempt is still to be reported.
    Unreachable(Target),
    /// A device left the workspace, or a relay the configuration.
    Forget(Target),
    /// Operations of which parents are missing came from this target.
    GapSeen(Target),
    /// What the wall clock says, in milliseconds. To be told with every timeout: this is how sleep is noticed.
    Wall {
        /// Milliseconds since any fixed moment.
        wall_ms: u64,
    },
    /// Somebody asked for a sync: with one target or with all.
    Request(Option<Target>),
    /// Recovery wants it to be tried again.
    Retry(Target),
    /// A running attempt got on.
    Progress(AttemptId),
    /// Operations arrived in a running attempt. They stay, so should it fail all the same, the backoff begins anew.
    Received(AttemptId),
    /// An attempt is over. One that was aborted or is not known is ignored.
    Finished {
        /// Which.
        attempt: AttemptId,
        /// How.
        result: SyncResult,
    },
    /// A live session has confirmed an equal digest without having been asked: as good as an attempt that succeeded.
    Synced(Target),
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrchestratorOutput {
    /// Sync with it, and report [`OrchestratorInput::Finished`].
    Start {
        /// With whom.
        target: Target,
        /// The attempt's name.
        attempt: AttemptId,
        /// Why.
        triggers: BTreeSet<Trigger>,
    },
    /// Give an attempt up. It has been counted as failed where it stalled; its outcome is no longer of interest.
    Abort {
        /// With whom.
        target: Target,
        /// Which.
        attempt: AttemptId,
        /// Why, when it stalled: recovery wants to know.
        failure: Option<SyncFailure>,
    },
    /// What was asked for is not done now.
    Skipped {
        /// With whom; `None` when it was asked for all and there is nobody.
        target: Option<Target>,
        /// Why.
        reason: SkipReason,
    },
}

/// Why nothing is done now. The document's `already_syncing_or_offline`, apart: without a network no target is reachable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipReason {
    /// It is at it. It runs once more when it has finished.
    AlreadySyncing,
    /// The target is not reachable, or not known.
    Unreachable,
    /// There are no targets at all.
    NoTargets,
    /// [`TARGETS_MAX`] are known, and none of them is away.
    TooManyTargets,
}
