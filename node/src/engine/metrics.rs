//! The device in numbers, for Prometheus: names with units, help texts, no label that somebody else can choose.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nodespace_protocol::view::SyncTally;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::model::WorkspaceStatus;
use crate::net::NetMetrics;
use crate::sync::monitor::SyncMonitor;

/// All metrics of a device. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    /// What the writer does.
    pub(crate) store: StoreMetrics,
    /// What sync does.
    pub sync: SyncMonitor,
    net: NetMetrics,
    gauges: Gauges,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// What the writer does.
#[derive(Clone, Debug)]
pub(crate) struct StoreMetrics {
    operations: Counter,
    commits: Counter,
    commit_seconds: Histogram,
    checkpoints: Counter,
    failures: Counter,
}

/// What is there, as of the last time somebody asked.
#[derive(Clone, Debug, Default)]
struct Gauges {
    operations: Gauge,
    waiting: Gauge,
    nodes: Gauge,
    journal: Gauge,
    since_checkpoint: Gauge,
    conflicts: Gauge,
    rows: Gauge,
    behind: Gauge,
    failed: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let sync = SyncMonitor::new(&mut registry, SyncTally::default());
        let net = NetMetrics::new(&mut registry);
        let store = StoreMetrics::new(registry.sub_registry_with_prefix("nodespace_store"));
        let gauges = Gauges::default();
        gauges.register(registry.sub_registry_with_prefix("nodespace"));
        Self { registry: Arc::new(Mutex::new(registry)), store, sync, net, gauges }
    }
}

impl Metrics {
    /// What the network counts.
    pub(crate) fn net(&self) -> NetMetrics {
        self.net.clone()
    }

    /// Adds somebody else's metrics to the exposition.
    pub fn register(&self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Says how many workspaces cannot say how they are.
    pub(super) fn set_failed(&self, workspaces: usize) {
        self.gauges.failed.set(i64::try_from(workspaces).unwrap_or(i64::MAX));
    }

    /// The exposition, in Prometheus' text format (OpenMetrics), with the state of the workspaces given.
    pub fn text(&self, workspaces: &[WorkspaceStatus]) -> String {
        self.gauges.set(workspaces);
        let mut text = String::new();
        // Writing to a string cannot fail.
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner)).unwrap_or_default();
        text
    }
}

impl StoreMetrics {
    fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            operations: Counter::default(),
            commits: Counter::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            checkpoints: Counter::default(),
            failures: Counter::default(),
        };
        registry.register("operations_written", "Operations made durable", metrics.operations.clone());
        registry.register("commits", "Groups of writes made durable by one fsync", metrics.commits.clone());
        let help = "From the first write of a group to its durability";
        registry.register_with_unit("commit_duration", help, Unit::Seconds, metrics.commit_seconds.clone());
        registry.register("checkpoints", "Checkpoints begun", metrics.checkpoints.clone());
        registry.register("failures", "Failures of the store", metrics.failures.clone());
        metrics
    }

    /// A group is durable.
    pub(crate) fn committed(&self, operations: u32, took: Duration) {
        self.operations.inc_by(operations.into());
        self.commits.inc();
        self.commit_seconds.observe(took.as_secs_f64());
    }

    pub(crate) fn checkpoint(&self) {
        self.checkpoints.inc();
    }

    pub(crate) fn failure(&self) {
        self.failures.inc();
    }
}

impl Gauges {
    fn register(&self, registry: &mut Registry) {
        registry.register("operations", "Operations held", self.operations.clone());
        registry.register("operations_waiting", "Operations held that wait for others or for their time", self.waiting.clone());
        registry.register("nodes", "Nodes held, deleted ones included", self.nodes.clone());
        registry.register_with_unit("journal", "Size of the journals", Unit::Bytes, self.journal.clone());
        registry.register_with_unit("checkpoint_lag", "Journal after the last checkpoint", Unit::Bytes, self.since_checkpoint.clone());
        registry.register("conflicts_open", "Conflicts that wait for somebody to choose", self.conflicts.clone());
        registry.register("projection_rows", "Rows of the LanceDB tables", self.rows.clone());
        registry.register("projection_behind", "Nodes whose rows are still to be written", self.behind.clone());
        let help = "Workspaces that cannot say how they are, and are missing in the sums over all";
        registry.register("workspaces_failed", help, self.failed.clone());
    }

    fn set(&self, workspaces: &[WorkspaceStatus]) {
        let sum = |of: fn(&WorkspaceStatus) -> u64| i64::try_from(workspaces.iter().map(of).sum::<u64>()).unwrap_or(i64::MAX);
        self.operations.set(sum(|workspace| workspace.store.ops));
        self.waiting.set(sum(|workspace| workspace.store.waiting + workspace.store.held));
        self.nodes.set(sum(|workspace| workspace.store.nodes));
        self.journal.set(sum(|workspace| workspace.store.journal_bytes));
        self.since_checkpoint.set(sum(|workspace| workspace.store.bytes_since_checkpoint));
        self.conflicts.set(sum(|workspace| workspace.open_conflicts as u64));
        self.rows.set(sum(|workspace| workspace.projection.rows));
        self.behind.set(sum(|workspace| workspace.projection.behind));
    }
}
