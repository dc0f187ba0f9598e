//! Properties: the document's metrics agree with a plain count of what was recorded, and with what Prometheus is shown.

use nodespace_protocol::ids::DeviceId;
use prometheus_client::encoding::text::encode;
use proptest::prelude::*;

use super::*;
use crate::sync::batch::Behind;
use crate::sync::status::{StatusBoard, StatusInput};
use crate::sync::target::{SyncCounts, Target};

const WORKSPACE: WorkspaceId = WorkspaceId([1; 32]);

fn text(registry: &Registry) -> String {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    text
}

/// The value of a series.
fn value(text: &str, series: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
}

/// A monitor in which everything has happened once.
fn busy() -> (Registry, SyncMonitor) {
    let mut registry = Registry::default();
    let monitor = SyncMonitor::new(&mut registry, SyncTally::default());
    let counts = SyncCounts { sent: 3, received: 4, conflicts: 1, sent_bytes: 300, received_bytes: 400 };
    monitor.record_sync(TargetKind::Peer, &SyncResult::Success(counts), 250);
    monitor.record_sync(TargetKind::Relay, &SyncResult::Failed(SyncFailure::Unreachable), 9_000);
    monitor.record_skip(SkipReason::Unreachable);
    monitor.record_conflict_resolution(ConflictType::MoveConflict, ResolutionStrategy::LastWriteWins);
    monitor.record_batch(50, 20, BatchResult::Stored);
    monitor.record_batch(50, 20, BatchResult::Failed);
    monitor.record_recovery(&RecoveryAction::RebuildSyncState { target: Target::Relay });
    monitor.set_pressure(WORKSPACE, &Pressure { held: 12, capacity: 100, behind: Some(Behind { after: 5, through: 9 }) });
    monitor.set_aside(WORKSPACE, 1);
    let mut board = StatusBoard::new([1; 32], 10);
    let target = Target::peer(DeviceId([1; 32]));
    board.handle(StatusInput::Reachable(target));
    board.handle(StatusInput::Confirmed { target, digest: [1; 32], wall_ms: 1_500 });
    board.handle(StatusInput::Known(Target::Relay));
    monitor.set_status(WORKSPACE, &board.status());
    (registry, monitor)
}

#[test]
fn workspaces_are_shown_together() {
    let (registry, monitor) = busy();
    let other = WorkspaceId([2; 32]);
    monitor.set_aside(other, 2);
    monitor.set_status(other, &StatusBoard::new([1; 32], 10).status());
    let shown = text(&registry);
    assert_eq!(value(&shown, "nodespace_sync_nodes_aside"), Some(3.0));
    assert_eq!(value(&shown, "nodespace_sync_synced"), Some(0.0), "one of them is not");
    assert_eq!(value(&shown, "nodespace_sync_targets{target=\"peer\",state=\"synced\"}"), Some(1.0));
    monitor.forget(&other);
    assert_eq!(value(&text(&registry), "nodespace_sync_synced"), Some(1.0));
}

#[test]
fn what_is_recorded_shows_under_its_name() {
    let (registry, monitor) = busy();
    let text = text(&registry);
    let expected = [
        ("nodespace_sync_operations_total{direction=\"sent\"}", 3.0),
        ("nodespace_sync_operations_total{direction=\"received\"}", 4.0),
        ("nodespace_sync_attempts_total{target=\"peer\",result=\"success\"}", 1.0),
        ("nodespace_sync_failures_total{target=\"relay\",code=\"unreachable\"}", 1.0),
        ("nodespace_sync_skips_total{reason=\"unreachable\"}", 1.0),
        ("nodespace_sync_traffic_bytes_total{direction=\"received\"}", 400.0),
        ("nodespace_sync_duration_seconds_sum{target=\"peer\"}", 0.25),
        ("nodespace_sync_duration_seconds_bucket{le=\"0.32\",target=\"peer\"}", 1.0),
        ("nodespace_sync_conflicts_resolved_total{type=\"move_conflict\",strategy=\"last_write_wins\"}", 1.0),
        ("nodespace_sync_batches_total{result=\"failed\"}", 1.0),
        ("nodespace_sync_batch_operations_sum", 50.0),
        ("nodespace_sync_batch_duration_seconds_count", 2.0),
        ("nodespace_sync_queue_operations{where=\"memory\"}", 12.0),
        ("nodespace_sync_queue_operations{where=\"log\"}", 4.0),
        ("nodespace_sync_recovery_steps_total{action=\"rebuild_sync_state\"}", 1.0),
        ("nodespace_sync_nodes_aside", 1.0),
        ("nodespace_sync_help_wanted", 0.0),
        ("nodespace_sync_targets{target=\"peer\",state=\"synced\"}", 1.0),
        ("nodespace_sync_targets{target=\"relay\",state=\"away\"}", 1.0),
        ("nodespace_sync_last_success_timestamp_seconds", 1.5),
        ("nodespace_sync_synced", 1.0),
    ];
    for (series, expected) in expected {
        assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
    }
    let metrics = monitor.metrics();
    assert_eq!((metrics.operations_synced, metrics.sync_latency_ms, metrics.bandwidth_used), (7, 250, 700));
    assert_eq!((metrics.conflicts_resolved, metrics.error_rate), (1, 0.5));
}

#[test]
fn a_failure_between_attempts_is_counted_by_its_kind_and_not_as_an_attempt() {
    let (registry, monitor) = busy();
    let before = monitor.metrics();
    monitor.record_failure(TargetKind::Peer, &SyncFailure::ProtocolBroken);
    monitor.record_failure(TargetKind::Relay, &SyncFailure::Unreachable);
    let text = text(&registry);
    for (series, expected) in [
        ("nodespace_sync_failures_total{target=\"peer\",code=\"protocol_broken\"}", Some(1.0)),
        ("nodespace_sync_failures_total{target=\"relay\",code=\"unreachable\"}", Some(2.0)),
        ("nodespace_sync_attempts_total{target=\"relay\",result=\"failed\"}", Some(1.0)),
        ("nodespace_sync_attempts_total{target=\"peer\",result=\"failed\"}", None),
    ] {
        assert_eq!(value(&text, series), expected, "{series}\n{text}");
    }
    assert_eq!(monitor.metrics(), before);
}

#[test]
fn each_metric_has_help_and_a_value() {
    let (registry, _monitor) = busy();
    let text = text(&registry);
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert_eq!(names.len(), 17, "{text}");
    for name in names {
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
        let series = ["{", " ", "_total{", "_bucket{"];
        let is_its = |line: &str| line.strip_prefix(name).is_some_and(|rest| series.iter().any(|start| rest.starts_with(start)));
        assert!(text.lines().any(is_its), "{name} is shown and nothing sets it");
    }
}

#[test]
fn nodes_aside_are_counted_over_all_workspaces() {
    let (registry, monitor) = busy();
    let shown = || value(&text(&registry), "nodespace_sync_nodes_aside");
    monitor.set_aside(WorkspaceId([2; 32]), 3);
    assert_eq!(shown(), Some(4.0));
    monitor.set_aside(WorkspaceId([1; 32]), 2);
    assert_eq!(shown(), Some(5.0));
    monitor.set_aside(WorkspaceId([2; 32]), 0);
    monitor.set_aside(WorkspaceId([3; 32]), 0);
    assert_eq!(shown(), Some(2.0));
}

#[test]
fn clones_record_into_the_same_numbers_and_the_tally_goes_on() {
    let (_, monitor) = busy();
    let mut registry = Registry::default();
    let next = SyncMonitor::new(&mut registry, monitor.tally());
    next.clone().record_sync(TargetKind::Peer, &SyncResult::Failed(SyncFailure::VersionMismatch), 1);
    assert_eq!(next.tally().attempts(), 3);
    assert_eq!(value(&text(&registry), "nodespace_sync_attempts_total{target=\"peer\",result=\"failed\"}"), Some(1.0), "of this run");
}

proptest! {
    #[test]
    fn the_two_accounts_agree(events in prop::collection::vec((any::<bool>(), 0u64..1_000, 0u64..1_000, 0u64..10_000), 0..50)) {
        let mut registry = Registry::default();
        let monitor = SyncMonitor::new(&mut registry, SyncTally::default());
        let (mut operations, mut bytes, mut failed) = (0, 0, 0);
        for (success, sent, received, duration_ms) in &events {
            if *success {
                let counts = SyncCounts { sent: *sent, received: *received, sent_bytes: *sent * 9, ..SyncCounts::default() };
                monitor.record_sync(TargetKind::Peer, &SyncResult::Success(counts), *duration_ms);
                operations += sent + received;
            } else {
                monitor.record_sync(TargetKind::Peer, &SyncResult::Failed(SyncFailure::Unreachable), *duration_ms);
                monitor.record_traffic(sent * 9, 0);
                failed += 1;
            }
            bytes += sent * 9;
        }
        let text = text(&registry);
        let shown = |series: &str| value(&text, series).unwrap_or(0.0);
        let metrics = monitor.metrics();
        prop_assert_eq!((metrics.operations_synced, metrics.bandwidth_used), (operations, bytes));
        let both = shown("nodespace_sync_operations_total{direction=\"sent\"}") + shown("nodespace_sync_operations_total{direction=\"received\"}");
        prop_assert_eq!(both, operations as f64);
        prop_assert_eq!(shown("nodespace_sync_traffic_bytes_total{direction=\"sent\"}"), bytes as f64);
        prop_assert_eq!(shown("nodespace_sync_attempts_total{target=\"peer\",result=\"failed\"}"), f64::from(failed));
        let rate = if events.is_empty() { 0.0 } else { f64::from(failed) / events.len() as f64 };
        prop_assert!((f64::from(metrics.error_rate) - rate).abs() < 1e-6);
    }
}
