//! With whom a device syncs, and what one attempt brought.

use std::fmt;

use nodespace_protocol::ids::DeviceId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Somebody to sync with. Peers order before the relay, as they come first wherever there is a choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(as = SyncTarget)]
pub enum Target {
    /// Another device of the workspace.
    Peer {
        /// Its key.
        #[schema(value_type = String)]
        device: DeviceId,
    },
    /// The relay of the configuration.
    Relay,
}

/// Which sort of target, where the name of each would be too much: a metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetKind {
    /// A device.
    Peer,
    /// The relay.
    Relay,
}

/// One attempt to sync. Unique within a run of the program, so that a late answer is told from a timely one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId(pub u64);

/// What a sync brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncCounts {
    /// Operations that went there.
    pub sent: u64,
    /// Operations that came from there.
    pub received: u64,
    /// Conflicts among what came that are open.
    pub conflicts: u64,
    /// Bytes that went there.
    pub sent_bytes: u64,
    /// Bytes that came from there.
    pub received_bytes: u64,
}

impl Target {
    /// A device.
    pub const fn peer(device: DeviceId) -> Self {
        Self::Peer { device }
    }

    /// Which sort it is.
    pub const fn kind(&self) -> TargetKind {
        match self {
            Self::Peer { .. } => TargetKind::Peer,
            Self::Relay => TargetKind::Relay,
        }
    }
}

impl TargetKind {
    /// The word for it in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Peer => "peer",
            Self::Relay => "relay",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer { device } => write!(f, "peer {}", device.short()),
            Self::Relay => f.write_str("the relay"),
        }
    }
}

impl SyncCounts {
    /// Operations both ways: the document's `changes`.
    pub const fn changes(&self) -> u64 {
        self.sent.saturating_add(self.received)
    }

    /// Both together; saturates.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            sent: self.sent.saturating_add(other.sent),
            received: self.received.saturating_add(other.received),
            conflicts: self.conflicts.saturating_add(other.conflicts),
            sent_bytes: self.sent_bytes.saturating_add(other.sent_bytes),
            received_bytes: self.received_bytes.saturating_add(other.received_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_come_before_the_relay() {
        assert!(Target::peer(DeviceId([255; 32])) < Target::Relay);
    }

    #[test]
    fn a_target_says_who_it_is() {
        let peer = Target::peer(DeviceId([7; 32]));
        assert_eq!(peer.to_string(), "peer 07070707");
        assert_eq!(Target::Relay.to_string(), "the relay");
        assert_eq!(serde_json::to_string(&Target::Relay).unwrap(), r#"{"kind":"relay"}"#);
        let json = serde_json::to_string(&peer).unwrap();
        assert_eq!(serde_json::from_str::<Target>(&json).unwrap(), peer, "{json}");
    }

    #[test]
    fn counts_saturate() {
        let most = SyncCounts { sent: u64::MAX, received: 3, ..SyncCounts::default() };
        assert_eq!(most.plus(most).received, 6);
        assert_eq!(most.plus(most).changes(), u64::MAX);
    }
}
