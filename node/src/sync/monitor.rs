//! Sync in numbers. The document's `SyncMonitor`: its five metrics, and what somebody who runs the program needs beside them.
//!
//! Whatever happens is recorded once and shows twice: as the document's [`SyncMetrics`], which are counted over all runs when the tally is
//! kept, and in a Prometheus registry, which counts from the start of the program as Prometheus expects.
//!
//! | document | Prometheus, with the prefix `nodespace_sync_` |
//! |---|---|
//! | `operations_synced` | `operations_total{direction}`: what failed attempts with peers brought included |
//! | `conflicts_resolved` | `conflicts_resolved_total{type,strategy}`: what somebody chose through this device's API |
//! | `sync_latency_ms` | `duration_seconds{target}`, a histogram |
//! | `bandwidth_used` | `traffic_bytes_total{direction}`: likewise |
//! | `error_rate` | `attempts_total{target,result}` |
//!
//! No label is a name that somebody else can choose: a metric has a few dozen series at most, however many peers there are. A monitor reads
//! no clock. It may be cloned and shared; clones record into the same numbers.
//!
//! Document section "Sync Metrics".

mod families;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nodespace_protocol::conflict::{ConflictType, ResolutionStrategy};
use nodespace_protocol::ids::WorkspaceId;
use nodespace_protocol::view::{SyncMetrics, SyncTally};
use prometheus_client::registry::Registry;

use self::families::Families;
use super::batch::Pressure;
use super::failure::SyncFailure;
use super::orchestrator::{SkipReason, SyncResult};
use super::recovery::RecoveryAction;
use super::status::{DeviceStatus, TargetState};
use super::target::{SyncCounts, TargetKind};

/// Records what happens.
#[derive(Clone, Debug)]
pub struct SyncMonitor {
    tally: Arc<Mutex<SyncTally>>,
    /// What each workspace shows; a gauge is of all of them together.
    shown: Arc<Mutex<BTreeMap<WorkspaceId, Shown>>>,
    families: Families,
}

/// How one workspace stands.
#[derive(Debug, Default)]
struct Shown {
    /// Nodes set aside.
    aside: u64,
    /// What waits for the relay: in memory, and in the log.
    queue: (u64, u64),
    status: Option<DeviceStatus>,
}

/// How a batch for the relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchResult {
    /// All of it is stored.
    Stored,
    /// It goes back to the front.
    Failed,
}

impl SyncMonitor {
    /// Registers its metrics, below `nodespace_sync_`. The tally is what earlier runs counted. One monitor to a registry: two would show every
    /// metric twice.
    pub fn new(registry: &mut Registry, tally: SyncTally) -> Self {
        let families = Families::default();
        families.register(registry.sub_registry_with_prefix("nodespace_sync"));
        Self { tally: Arc::new(Mutex::new(tally)), shown: Arc::default(), families }
    }

    /// The document's metrics as of now.
    pub fn metrics(&self) -> SyncMetrics {
        self.lock().metrics()
    }

    /// What has been counted, to be kept for the next run.
    pub fn tally(&self) -> SyncTally {
        *self.lock()
    }

    /// An attempt is over. The document's `record_sync_operation`, for all operations of a sync at once.
    pub fn record_sync(&self, kind: TargetKind, result: &SyncResult, duration_ms: u64) {
        let target = kind.name();
        match result {
            SyncResult::Success(counts) => {
                self.lock().record_sync(counts.changes(), duration_ms);
                self.record_traffic(counts.sent_bytes, counts.received_bytes);
                self.families.operations.get_or_create(&[("direction", "sent")]).inc_by(counts.sent);
                self.families.operations.get_or_create(&[("direction", "received")]).inc_by(counts.received);
                self.families.attempts.get_or_create(&[("target", target), ("result", "success")]).inc();
                self.families.duration.get_or_create(&[("target", target)]).observe(seconds(duration_ms));
            }
            SyncResult::Failed(failure) => {
                self.lock().record_failure();
                self.families.attempts.get_or_create(&[("target", target), ("result", "failed")]).inc();
                self.record_failure(kind, failure);
            }
        }
    }

    /// Something failed outside of an attempt: those in one are counted by [`SyncMonitor::record_sync`]. It has no part in the document's
    /// `error_rate`, which is of attempts.
    pub fn record_failure(&self, kind: TargetKind, failure: &SyncFailure) {
        self.families.failures.get_or_create(&[("target", kind.name()), ("code", failure.code())]).inc();
    }

    /// So much went over a session that was not counted with a successful attempt: live, or in an attempt that failed.
    pub fn record_live(&self, counts: &SyncCounts) {
        self.record_traffic(counts.sent_bytes, counts.received_bytes);
        self.families.operations.get_or_create(&[("direction", "sent")]).inc_by(counts.sent);
        self.families.operations.get_or_create(&[("direction", "received")]).inc_by(counts.received);
        self.lock().record_operations(counts.changes());
    }

    /// What was asked for was not done then.
    pub fn record_skip(&self, reason: SkipReason) {
        let reason = match reason {
            SkipReason::AlreadySyncing => "already_syncing",
            SkipReason::Unreachable => "unreachable",
            SkipReason::NoTargets => "no_targets",
            SkipReason::TooManyTargets => "too_many_targets",
        };
        self.families.skips.get_or_create(&[("reason", reason)]).inc();
    }

    fn record_traffic(&self, sent_bytes: u64, received_bytes: u64) {
        self.lock().record_bytes(sent_bytes.saturating_add(received_bytes));
        self.families.traffic.get_or_create(&[("direction", "sent")]).inc_by(sent_bytes);
        self.families.traffic.get_or_create(&[("direction", "received")]).inc_by(received_bytes);
    }

    /// Somebody settled a conflict. The document's `record_conflict_resolution`.
    pub fn record_conflict_resolution(&self, kind: ConflictType, strategy: ResolutionStrategy) {
        self.lock().record_conflict_resolution();
        let labels = [("type", conflict_name(kind)), ("strategy", strategy_name(strategy))];
        self.families.conflicts_resolved.get_or_create(&labels).inc();
    }

    /// A batch for the relay is over: how many operations it had, and how long the relay took.
    pub fn record_batch(&self, operations: usize, duration_ms: u64, result: BatchResult) {
        let result = match result {
            BatchResult::Stored => {
                self.families.batch_operations.observe(operations as f64);
                "stored"
            }
            BatchResult::Failed => "failed",
        };
        self.families.batches.get_or_create(&[("result", result)]).inc();
        self.families.batch_duration.observe(seconds(duration_ms));
    }

    /// Recovery took a step.
    pub fn record_recovery(&self, action: &RecoveryAction) {
        let action = match action {
            RecoveryAction::RetryWithBackoff { .. } => "retry_with_backoff",
            RecoveryAction::PartialSync { .. } => "partial_sync",
            RecoveryAction::TryNode { .. } => "try_node",
            RecoveryAction::ForceReconciliation { .. } => "force_reconciliation",
            RecoveryAction::RebuildSyncState { .. } => "rebuild_sync_state",
            RecoveryAction::ManualIntervention(_) => "manual_intervention",
            RecoveryAction::Cleared(_) => "cleared",
        };
        self.families.recovery_steps.get_or_create(&[("action", action)]).inc();
    }

    /// How much of a workspace waits for the relay.
    pub fn set_pressure(&self, workspace: WorkspaceId, pressure: &Pressure) {
        let behind = pressure.behind.map_or(0, |behind| behind.through.saturating_sub(behind.after));
        self.show(workspace, |shown| shown.queue = (pressure.held as u64, behind));
    }

    /// How many nodes a workspace has set aside.
    pub fn set_aside(&self, workspace: WorkspaceId, nodes: usize) {
        self.show(workspace, |shown| shown.aside = nodes as u64);
    }

    /// What people are told of a workspace, as numbers.
    pub fn set_status(&self, workspace: WorkspaceId, status: &DeviceStatus) {
        self.show(workspace, |shown| shown.status = Some(status.clone()));
    }

    /// A workspace is synced no more: it shows nothing.
    pub fn forget(&self, workspace: &WorkspaceId) {
        let mut all = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(workspace);
        self.sum(&all);
    }

    fn show(&self, workspace: WorkspaceId, change: impl FnOnce(&mut Shown)) {
        let mut all = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        change(all.entry(workspace).or_default());
        self.sum(&all);
    }

    /// Shows all workspaces together.
    fn sum(&self, all: &BTreeMap<WorkspaceId, Shown>) {
        self.families.nodes_aside.set(gauge(all.values().map(|shown| shown.aside).sum()));
        self.families.queue.get_or_create(&[("where", "memory")]).set(gauge(all.values().map(|shown| shown.queue.0).sum()));
        self.families.queue.get_or_create(&[("where", "log")]).set(gauge(all.values().map(|shown| shown.queue.1).sum()));
        let statuses = || all.values().filter_map(|shown| shown.status.as_ref());
        let targets = || statuses().flat_map(|status| &status.targets);
        for kind in [TargetKind::Peer, TargetKind::Relay] {
            for state in TargetState::ALL {
                let count = targets().filter(|target| target.target.kind() == kind && target.state == state).count();
                let labels = [("target", kind.name()), ("state", state.name())];
                self.families.targets.get_or_create(&labels).set(gauge(count as u64));
            }
        }
        let last = targets().filter_map(|target| target.last_success_ms).max();
        self.families.last_success.set(last.map_or(0.0, seconds));
        self.families.help_wanted.set(gauge(statuses().map(|status| status.help_wanted.len() as u64).sum()));
        let synced = all.values().all(|shown| shown.status.as_ref().is_some_and(DeviceStatus::is_synced));
        self.families.synced.set(i64::from(synced && !all.is_empty()));
    }

    fn lock(&self) -> MutexGuard<'_, SyncTally> {
        // Counters are whole at every moment: one that panicked while it held the lock has left nothing half done.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1_000.0
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

const fn conflict_name(kind: ConflictType) -> &'static str {
    match kind {
        ConflictType::ConcurrentEdit => "concurrent_edit",
        ConflictType::StructuralConflict => "structural_conflict",
        ConflictType::DeleteConflict => "delete_conflict",
        ConflictType::MoveConflict => "move_conflict",
        ConflictType::MetadataConflict => "metadata_conflict",
    }
}

const fn strategy_name(strategy: ResolutionStrategy) -> &'static str {
    match strategy {
        ResolutionStrategy::LastWriteWins => "last_write_wins",
        ResolutionStrategy::MergeWhenPossible => "merge_when_possible",
        ResolutionStrategy::ThreeWayMerge => "three_way_merge",
        ResolutionStrategy::UserChooses => "user_chooses",
        ResolutionStrategy::OperationalTransform => "operational_transform",
    }
}
