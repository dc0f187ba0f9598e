//! The metrics by name, unit and help. The prefix `nodespace_sync_` is added where they are registered; a counter's `_total` and a
//! unit are added by the encoder.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Operations that went over the wire.
const OPERATIONS: &str = "operations";
/// Attempts that are over.
const ATTEMPTS: &str = "attempts";
/// Failures, by what went wrong.
const FAILURES: &str = "failures";
/// What was asked for and not done then.
const SKIPS: &str = "skips";
/// Bytes over the wire.
const TRAFFIC: &str = "traffic";
/// How long successful syncs took.
const DURATION: &str = "duration";
/// Conflicts that somebody settled.
const CONFLICTS_RESOLVED: &str = "conflicts_resolved";
/// Batches for the relay.
const BATCHES: &str = "batches";
/// Operations in a batch.
const BATCH: &str = "batch";
/// How long the relay took.
const BATCH_DURATION: &str = "batch_duration";
/// What waits for the relay.
const QUEUE: &str = "queue";
/// Steps of recovery.
const RECOVERY_STEPS: &str = "recovery_steps";
/// Nodes that are set aside.
const NODES_ASIDE: &str = "nodes_aside";
/// Things that wait for a person.
const HELP_WANTED: &str = "help_wanted";
/// Targets, by how it stands with them.
const TARGETS: &str = "targets";
/// When it last went well.
const LAST_SUCCESS: &str = "last_success_timestamp";
/// Whether it is in order now.
const SYNCED: &str = "synced";

/// Labels: fixed words, few of them.
type Labels<const N: usize> = [(&'static str, &'static str); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;
type Gauges<const N: usize> = Family<Labels<N>, Gauge>;

/// All metrics of sync.
#[derive(Clone, Debug)]
pub(super) struct Families {
    pub(super) operations: Counters<1>,
    pub(super) attempts: Counters<2>,
    pub(super) failures: Counters<2>,
    pub(super) skips: Counters<1>,
    pub(super) traffic: Counters<1>,
    pub(super) duration: Family<Labels<1>, Histogram>,
    pub(super) conflicts_resolved: Counters<2>,
    pub(super) batches: Counters<1>,
    pub(super) batch_operations: Histogram,
    pub(super) batch_duration: Histogram,
    pub(super) queue: Gauges<1>,
    pub(super) recovery_steps: Counters<1>,
    pub(super) nodes_aside: Gauge,
    pub(super) help_wanted: Gauge,
    pub(super) targets: Gauges<2>,
    pub(super) last_success: Gauge<f64, AtomicU64>,
    pub(super) synced: Gauge,
}

/// From 5 ms (a peer next door with nothing new) to 82 s (beyond what an attempt may be silent).
fn duration_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.005, 2.0, 15))
}

impl Default for Families {
    fn default() -> Self {
        Self {
            operations: Family::default(),
            attempts: Family::default(),
            failures: Family::default(),
            skips: Family::default(),
            traffic: Family::default(),
            duration: Family::new_with_constructor(duration_histogram),
            conflicts_resolved: Family::default(),
            batches: Family::default(),
            // Around the sizes at which a batch goes off: one, fifty, a thousand.
            batch_operations: Histogram::new([1.0, 5.0, 10.0, 25.0, 49.0, 50.0, 100.0, 250.0, 500.0, 1_000.0]),
            batch_duration: duration_histogram(),
            queue: Family::default(),
            recovery_steps: Family::default(),
            nodes_aside: Gauge::default(),
            help_wanted: Gauge::default(),
            targets: Family::default(),
            last_success: Gauge::default(),
            synced: Gauge::default(),
        }
    }
}

impl Families {
    /// Makes them visible. Handles are shared: what is recorded later shows.
    pub(super) fn register(&self, registry: &mut Registry) {
        self.register_attempts(registry);
        self.register_batches(registry);
        self.register_state(registry);
    }

    fn register_attempts(&self, registry: &mut Registry) {
        registry.register(OPERATIONS, "Operations sent and received, in attempts that failed as well", self.operations.clone());
        registry.register(ATTEMPTS, "Attempts to sync that are over, by target and result", self.attempts.clone());
        registry.register(
            FAILURES,
            "Failures of syncs, in attempts and between them, by target and what went wrong",
            self.failures.clone(),
        );
        registry.register(SKIPS, "Syncs that were asked for and not done then, by reason", self.skips.clone());
        registry.register_with_unit(TRAFFIC, "Bytes sent and received, in attempts that failed as well", Unit::Bytes, self.traffic.clone());
        registry.register_with_unit(DURATION, "How long successful syncs took", Unit::Seconds, self.duration.clone());
        let help = "Conflicts that somebody settled through this device's API, by type and strategy";
        registry.register(CONFLICTS_RESOLVED, help, self.conflicts_resolved.clone());
        registry.register(RECOVERY_STEPS, "Steps taken after failures", self.recovery_steps.clone());
    }

    fn register_batches(&self, registry: &mut Registry) {
        let operations = || Unit::Other("operations".to_owned());
        registry.register(BATCHES, "Batches for the relay that are over, by result", self.batches.clone());
        registry.register_with_unit(BATCH, "Operations in batches that the relay stored", operations(), self.batch_operations.clone());
        registry.register_with_unit(BATCH_DURATION, "How long the relay took for a batch", Unit::Seconds, self.batch_duration.clone());
        let help = "Operations that wait for the relay: held in memory, or to be read from the log (at most)";
        registry.register_with_unit(QUEUE, help, operations(), self.queue.clone());
    }

    fn register_state(&self, registry: &mut Registry) {
        registry.register(NODES_ASIDE, "Nodes set aside because they could not be settled", self.nodes_aside.clone());
        registry.register(HELP_WANTED, "Things that wait for a person", self.help_wanted.clone());
        registry.register(TARGETS, "Peers and relays, by how it stands with them", self.targets.clone());
        let help = "When a peer or the relay last confirmed to hold the same, as Unix time; 0 when not since the start";
        registry.register_with_unit(LAST_SUCCESS, help, Unit::Seconds, self.last_success.clone());
        registry.register(SYNCED, "1 when everybody who can be reached confirmed to hold what is held here", self.synced.clone());
    }
}
