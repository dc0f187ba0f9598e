//! What the relay measures, for Prometheus. The document's `SyncMonitor` on the server.
//!
//! Labels are fixed words; nothing here names a workspace, a user or a device.

mod families;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use families::Families;

/// Handles to all metrics; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    families: Arc<Families>,
    registry: Arc<Registry>,
}

/// What a replica was opened from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenedFrom {
    /// A checkpoint, and the log after it.
    Checkpoint,
    /// Its whole log.
    Log,
}

/// What is read from elsewhere when metrics are asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observed {
    /// Workspaces in memory.
    pub workspaces: usize,
    /// Bytes of them, about.
    pub workspace_bytes: u64,
    /// Connections to the database, idle ones included.
    pub database_connections: u32,
    /// Whether Redis answers; `None` when none is configured.
    pub redis: Option<bool>,
    /// WebSockets open.
    pub sockets: usize,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Metrics that have counted nothing.
    #[must_use]
    pub fn new() -> Self {
        let families = Families::default();
        let mut registry = Registry::with_prefix("nodespace_relay");
        families.register(&mut registry);
        Self { families: Arc::new(families), registry: Arc::new(registry) }
    }

    /// A request was answered.
    pub(crate) fn request(&self, route: &'static str, status: u16, took: Duration) {
        let class = match status {
            100..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            _ => "5xx",
        };
        self.families.requests.get_or_create(&[("route", route), ("status", class)]).inc();
        self.families.request_duration.get_or_create(&[("route", route)]).observe(took.as_secs_f64());
    }

    /// A request was refused for a reason.
    pub(crate) fn refused(&self, code: &'static str) {
        self.families.refusals.get_or_create(&[("code", code)]).inc();
    }

    /// A packet was read.
    pub(crate) fn packet(&self, bytes: usize) {
        self.families.traffic.get_or_create(&[("direction", "in")]).inc_by(bytes as u64);
    }

    /// An answer was written.
    pub(crate) fn answer(&self, operations: usize, bytes: usize, conflicts: usize) {
        self.families.operations.get_or_create(&[("direction", "out")]).inc_by(operations as u64);
        self.families.traffic.get_or_create(&[("direction", "out")]).inc_by(bytes as u64);
        self.families.conflicts.inc_by(conflicts as u64);
    }

    /// A turn was committed.
    pub(crate) fn turn(&self, packets: usize, operations: usize, took: Duration) {
        self.families.operations.get_or_create(&[("direction", "in")]).inc_by(operations as u64);
        self.families.turns.get_or_create(&[("result", "committed")]).inc();
        self.families.turn_packets.observe(packets as f64);
        self.families.turn_duration.observe(took.as_secs_f64());
    }

    /// A turn was rolled back.
    pub(crate) fn turn_failed(&self) {
        self.families.turns.get_or_create(&[("result", "failed")]).inc();
    }

    /// A replica was opened.
    pub(crate) fn opened(&self, from: OpenedFrom, took: Duration) {
        let from = match from {
            OpenedFrom::Checkpoint => "checkpoint",
            OpenedFrom::Log => "log",
        };
        self.families.open_duration.get_or_create(&[("from", from)]).observe(took.as_secs_f64());
    }

    /// Rows of a log were read for a replica.
    pub(crate) fn log_read(&self, rows: usize) {
        self.families.log_rows.inc_by(rows as u64);
    }

    /// A checkpoint was kept, could not be, or was thrown away.
    pub(crate) fn checkpoint(&self, result: &'static str) {
        self.families.checkpoints.get_or_create(&[("result", result)]).inc();
    }

    /// What all checkpoints of this instance take.
    pub(crate) fn checkpoint_bytes(&self, bytes: u64) {
        self.families.checkpoint_size.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Somebody was told that a workspace has grown.
    pub(crate) fn notified(&self) {
        self.families.notifications.inc();
    }

    /// A device named a version that the relay never gave out.
    pub(crate) fn cursor_ahead(&self) {
        self.families.cursors_ahead.inc();
    }

    /// A login ended.
    pub(crate) fn login(&self, result: &'static str) {
        self.families.logins.get_or_create(&[("result", result)]).inc();
    }

    /// Attachments went up or down.
    pub(crate) fn attachments(&self, direction: &'static str, count: usize, bytes: u64) {
        self.families.attachments.get_or_create(&[("direction", direction)]).inc_by(count as u64);
        self.families.attachment_traffic.get_or_create(&[("direction", direction)]).inc_by(bytes);
    }

    /// Something happened at the circuit relay.
    pub(crate) fn circuit(&self, event: &'static str) {
        self.families.circuit_events.get_or_create(&[("event", event)]).inc();
    }

    /// All metrics in the Prometheus text form.
    #[must_use]
    pub fn text(&self, observed: Observed) -> String {
        self.families.workspaces.set(observed.workspaces as i64);
        self.families.workspace_memory.set(observed.workspace_bytes as i64);
        self.families.database_connections.set(i64::from(observed.database_connections));
        self.families.redis_up.set(observed.redis.map_or(-1, i64::from));
        self.families.sockets.set(observed.sockets as i64);
        let mut text = String::new();
        // Writing to a string does not fail.
        encode(&mut text, &self.registry).ok();
        text
    }
}
