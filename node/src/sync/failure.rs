//! What can go wrong with a sync, by what it asks for.
//!
//! The document tells five cases apart: `network_timeout`, `conflict_resolution_failed`, `data_corruption`, `version_mismatch` and all
//! others. Each asks for another answer of [`SyncRecovery`](super::SyncRecovery). The "others" are named here, because waiting helps
//! with a peer that is switched off and not with an account that has expired.

use std::collections::BTreeSet;

use nodespace_protocol::ids::NodeId;

/// Why a sync failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SyncFailure {
    /// Nothing came for too long. The document's `network_timeout`.
    #[error("no answer for {waited_ms} ms; it is tried again by itself")]
    Timeout {
        /// How long was waited.
        waited_ms: u64,
    },
    /// No connection could be made, or it broke.
    #[error("it could not be reached; it is tried again by itself")]
    Unreachable,
    /// It asks for patience.
    #[error("it asks to wait {retry_after_ms} ms; it is tried again after that")]
    RateLimited {
        /// For how long.
        retry_after_ms: u64,
    },
    /// It broke the protocol: its fault, or a program too old.
    #[error("it broke the protocol; check that both run a current version")]
    ProtocolBroken,
    /// Conflicts on these nodes, or operations on them, could not be settled. The document's `conflict_resolution_failed`.
    #[error("{} node(s) could not be settled; the others are synced, see `nodespace conflicts list`", .nodes.len())]
    ConflictResolutionFailed {
        /// Which nodes.
        nodes: BTreeSet<NodeId>,
    },
    /// What is held of a node does not agree with what is held there, though both have the same operations. The document's `data_corruption`.
    #[error("the two copies of {} differ though their operations are the same; run `nodespace doctor`", Named(.node.as_ref()))]
    DataCorruption {
        /// The node, when it is known.
        node: Option<NodeId>,
    },
    /// The positions we remembered are of another log than the one that is there now. The document's `version_mismatch`.
    #[error("its log is another than the one synced with before; what is held there is compared anew")]
    VersionMismatch,
    /// It says that this device, or its user, may not take part.
    #[error("this device was turned away; ask an owner of the workspace, or renew the account")]
    TurnedAway,
    /// The relay contradicts what it signed before, or is another one than before.
    #[error("the relay is not trusted any more: it contradicts itself, or is another one; see `nodespace relay check`")]
    RelayNotTrusted,
    /// Our own disk failed.
    #[error("the store failed; free disk space or check the disk, then start again")]
    StoreFailed,
    /// A fault of our own program.
    #[error("a fault of NodeSpace ended it; it is begun anew by itself, please report what the log says")]
    Fault,
}

/// A node in words, when there is one.
struct Named<'a>(Option<&'a NodeId>);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(node) => write!(f, "node {node}"),
            None => f.write_str("the workspace"),
        }
    }
}

/// Who has to do something about a failure. The mildest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Remedy {
    /// Nobody: time may heal it.
    Patience,
    /// Some nodes are set aside, so that the others can go on.
    SetAside,
    /// What is remembered of the target is made anew.
    Rebuild,
    /// A person: no attempt of ours can help.
    Person,
}

impl SyncFailure {
    /// A stable word for it: a metric's label, a field of an answer.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "network_timeout",
            Self::Unreachable => "unreachable",
            Self::RateLimited { .. } => "rate_limited",
            Self::ProtocolBroken => "protocol_broken",
            Self::ConflictResolutionFailed { .. } => "conflict_resolution_failed",
            Self::DataCorruption { .. } => "data_corruption",
            Self::VersionMismatch => "version_mismatch",
            Self::TurnedAway => "turned_away",
            Self::RelayNotTrusted => "relay_not_trusted",
            Self::StoreFailed => "store_failed",
            Self::Fault => "fault",
        }
    }

    /// What it asks for first.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Timeout { .. } | Self::Unreachable | Self::RateLimited { .. } | Self::ProtocolBroken | Self::Fault => Remedy::Patience,
            // Conflicts on no node name nothing that could be set aside.
            Self::ConflictResolutionFailed { nodes } if nodes.is_empty() => Remedy::Rebuild,
            Self::ConflictResolutionFailed { .. } | Self::DataCorruption { node: Some(_) } => Remedy::SetAside,
            Self::DataCorruption { node: None } | Self::VersionMismatch => Remedy::Rebuild,
            Self::TurnedAway | Self::RelayNotTrusted | Self::StoreFailed => Remedy::Person,
        }
    }

    /// For how long it asks to be left alone, in milliseconds.
    pub const fn retry_after_ms(&self) -> Option<u64> {
        match self {
            Self::RateLimited { retry_after_ms } => Some(*retry_after_ms),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_to_do() {
        let node = NodeId::parse("2025-08-30").unwrap();
        let failure = SyncFailure::DataCorruption { node: Some(node.clone()) };
        let message = "the two copies of node 2025-08-30 differ though their operations are the same; run `nodespace doctor`";
        assert_eq!(failure.to_string(), message);
        assert_eq!(failure.remedy(), Remedy::SetAside);
        let failure = SyncFailure::ConflictResolutionFailed { nodes: BTreeSet::from([node]) };
        assert_eq!(failure.to_string(), "1 node(s) could not be settled; the others are synced, see `nodespace conflicts list`");
    }

    #[test]
    fn conflicts_on_no_node_set_nothing_aside() {
        assert_eq!(SyncFailure::ConflictResolutionFailed { nodes: BTreeSet::new() }.remedy(), Remedy::Rebuild);
    }
}
