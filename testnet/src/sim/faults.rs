//! What goes wrong in a simulated world, counted by kind: a fault that was never injected would look like success.

use std::collections::BTreeMap;

use serde::Serialize;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// A frame was lost, which cuts its connection after a while.
    FrameLost,
    /// A byte of a frame was changed.
    FrameCorrupted,
    /// A connection was cut without warning.
    ConnectionCut,
    /// A gossiped segment was lost.
    GossipLost,
    /// A gossiped segment arrived twice.
    GossipDuplicated,
    /// A gossiped segment was delayed past later ones.
    GossipReordered,
    /// A byte of a gossiped segment was changed.
    GossipCorrupted,
    /// Some devices could not reach the others, nor be reached.
    PartitionTwoWay,
    /// Some devices could not reach the others, but be reached.
    PartitionOneWay,
    /// A device lost power.
    Crash,
    /// A crash lost records that were not durable.
    UnsyncedLost,
    /// A crash kept some of the records that were not durable.
    UnsyncedKept,
    /// A disk did not make durable what it was asked to.
    SyncFailed,
    /// A checkpoint was taken.
    Checkpoint,
    /// An old copy of a store came back.
    SnapshotRestored,
    /// A store was copied to another machine.
    StoreCopied,
    /// A clock was set wrong from the start.
    ClockOffset,
    /// A clock ran fast or slow.
    ClockDrift,
    /// A clock jumped.
    ClockJump,
    /// An operation came from so far ahead that it was held back.
    HeldBack,
    /// A device signed two operations for one position.
    Equivocation,
    /// Somebody sent operations that are not theirs to send.
    Forgery,
    /// Somebody sent what waits for something that never comes.
    Flood,
    /// A removed device went on writing.
    RemovedWrites,
    /// A removed device wrote with a clock set back.
    Backdated,
    /// Somebody claimed, and could not prove, that a device lost operations of its own; and was refused.
    FalseClaim,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Self; 26] = [
        Self::FrameLost,
        Self::FrameCorrupted,
        Self::ConnectionCut,
        Self::GossipLost,
        Self::GossipDuplicated,
        Self::GossipReordered,
        Self::GossipCorrupted,
        Self::PartitionTwoWay,
        Self::PartitionOneWay,
        Self::Crash,
        Self::UnsyncedLost,
        Self::UnsyncedKept,
        Self::SyncFailed,
        Self::Checkpoint,
        Self::SnapshotRestored,
        Self::StoreCopied,
        Self::ClockOffset,
        Self::ClockDrift,
        Self::ClockJump,
        Self::HeldBack,
        Self::Equivocation,
        Self::Forgery,
        Self::Flood,
        Self::RemovedWrites,
        Self::Backdated,
        Self::FalseClaim,
    ];
}

impl Fault {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FrameLost => "frame lost",
            Self::FrameCorrupted => "frame corrupted",
            Self::ConnectionCut => "connection cut",
            Self::GossipLost => "gossip lost",
            Self::GossipDuplicated => "gossip duplicated",
            Self::GossipReordered => "gossip reordered",
            Self::GossipCorrupted => "gossip corrupted",
            Self::PartitionTwoWay => "two-way partition",
            Self::PartitionOneWay => "one-way partition",
            Self::Crash => "crash",
            Self::UnsyncedLost => "unsynced writes lost",
            Self::UnsyncedKept => "unsynced writes kept",
            Self::SyncFailed => "sync failed",
            Self::Checkpoint => "checkpoint",
            Self::SnapshotRestored => "snapshot restored",
            Self::StoreCopied => "store copied",
            Self::ClockOffset => "clock offset",
            Self::ClockDrift => "clock drift",
            Self::ClockJump => "clock jump",
            Self::HeldBack => "operation held back",
            Self::Equivocation => "equivocation",
            Self::Forgery => "forgery",
            Self::Flood => "flood",
            Self::RemovedWrites => "write after removal",
            Self::Backdated => "backdated write",
            Self::FalseClaim => "false claim",
        }
    }
}

/// How often each kind of fault was injected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults(BTreeMap<Fault, u64>);

impl Faults {
    pub(crate) fn count(&mut self, fault: Fault) {
        *self.0.entry(fault).or_insert(0) += 1;
    }

    /// How often a fault was injected.
    pub fn of(&self, fault: Fault) -> u64 {
        self.0.get(&fault).copied().unwrap_or(0)
    }

    /// Adds what was injected elsewhere.
    pub fn add(&mut self, other: &Self) {
        for (fault, count) in &other.0 {
            *self.0.entry(*fault).or_insert(0) += count;
        }
    }

    /// The kinds that were never injected.
    pub fn missing(&self) -> Vec<Fault> {
        Fault::ALL.into_iter().filter(|fault| self.of(*fault) == 0).collect()
    }
}
