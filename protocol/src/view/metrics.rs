//! The document's `SyncMetrics`, and the counts they are made of.
//!
//! A [`SyncTally`] only ever counts up; averages and rates are computed when metrics are asked for, so that they can be neither
//! stale nor undefined. It reads no clock: durations are handed in. Document section "Sync Metrics".

use serde::{Deserialize, Serialize};

use super::bounded;

/// How sync is doing. The document's `SyncMetrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SyncMetrics {
    /// Operations sent and received.
    pub operations_synced: u64,
    /// Conflicts settled by a person's choice.
    pub conflicts_resolved: u64,
    /// The mean duration of a successful sync in milliseconds; 0 before the first.
    pub sync_latency_ms: u64,
    /// Bytes sent and received, failed attempts included.
    pub bandwidth_used: u64,
    /// Failed attempts among all, 0 to 1; 0 before the first.
    #[serde(deserialize_with = "bounded::finite")]
    pub error_rate: f32,
}

/// What has been counted. Counters saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncTally {
    succeeded: u64,
    failed: u64,
    latency_ms: u64,
    operations: u64,
    conflicts: u64,
    bytes: u64,
}

impl SyncTally {
    /// A sync succeeded: how many operations it brought both ways, and how long it took.
    pub const fn record_sync(&mut self, operations: u64, duration_ms: u64) {
        self.succeeded = self.succeeded.saturating_add(1);
        self.operations = self.operations.saturating_add(operations);
        self.latency_ms = self.latency_ms.saturating_add(duration_ms);
    }

    /// Operations went over a session that stands, outside of any attempt.
    pub const fn record_operations(&mut self, operations: u64) {
        self.operations = self.operations.saturating_add(operations);
    }

    /// A sync failed.
    pub const fn record_failure(&mut self) {
        self.failed = self.failed.saturating_add(1);
    }

    /// Bytes went over the wire, either way.
    pub const fn record_bytes(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Somebody settled a conflict.
    pub const fn record_conflict_resolution(&mut self) {
        self.conflicts = self.conflicts.saturating_add(1);
    }

    /// Syncs tried.
    pub const fn attempts(&self) -> u64 {
        self.succeeded.saturating_add(self.failed)
    }

    /// The documented metrics as of now.
    #[must_use]
    pub fn metrics(&self) -> SyncMetrics {
        let error_rate = if self.attempts() == 0 { 0.0 } else { self.failed as f64 / self.attempts() as f64 };
        SyncMetrics {
            operations_synced: self.operations,
            conflicts_resolved: self.conflicts,
            sync_latency_ms: self.latency_ms.checked_div(self.succeeded).unwrap_or(0),
            bandwidth_used: self.bytes,
            error_rate: error_rate as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_yet_is_zero_and_not_undefined() {
        assert_eq!(SyncTally::default().metrics(), SyncMetrics::default());
    }

    #[test]
    fn rates_are_over_attempts_and_latency_over_successes() {
        let mut tally = SyncTally::default();
        tally.record_sync(10, 100);
        tally.record_sync(0, 300);
        tally.record_failure();
        tally.record_failure();
        tally.record_bytes(7);
        tally.record_conflict_resolution();
        let metrics = tally.metrics();
        assert_eq!((metrics.operations_synced, metrics.conflicts_resolved, metrics.bandwidth_used), (10, 1, 7));
        assert_eq!(metrics.sync_latency_ms, 200);
        assert_eq!(metrics.error_rate, 0.5);
        assert_eq!(tally.attempts(), 4);
    }

    #[test]
    fn counters_saturate() {
        let mut tally = SyncTally::default();
        for _ in 0..2 {
            tally.record_sync(u64::MAX, u64::MAX);
            tally.record_bytes(u64::MAX);
        }
        let metrics = tally.metrics();
        assert_eq!((metrics.operations_synced, metrics.bandwidth_used), (u64::MAX, u64::MAX));
        assert_eq!(metrics.sync_latency_ms, u64::MAX / 2);
    }

    #[test]
    fn an_error_rate_that_is_no_number_is_refused() {
        let json = serde_json::to_string(&SyncTally::default().metrics()).unwrap();
        assert_eq!(serde_json::from_str::<SyncMetrics>(&json).unwrap(), SyncMetrics::default());
        assert!(serde_json::from_str::<SyncMetrics>(&json.replace("\"error_rate\":0.0", "\"error_rate\":1e300")).is_err());
        assert!(serde_json::from_str::<SyncMetrics>(&json.replace("\"error_rate\":0.0", "\"error_rate\":null")).is_err());
    }
}
