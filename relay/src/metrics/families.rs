//! The metrics by name, unit and help. The prefix `nodespace_relay_` is added where they are registered; a counter's `_total` and a unit
//! are added by the encoder.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Requests that were answered.
const REQUESTS: &str = "requests";
/// How long they took.
const REQUEST_DURATION: &str = "request_duration";
/// Requests that were refused, by reason.
const REFUSALS: &str = "refusals";
/// Operations stored and handed out.
const OPERATIONS: &str = "operations";
/// Bytes of packets and answers.
const TRAFFIC: &str = "traffic";
/// Conflicts that were told.
const CONFLICTS: &str = "conflicts";
/// Transactions that write to a workspace.
const TURNS: &str = "turns";
/// Packets in one of them.
const TURN: &str = "turn";
/// How long one took, the commit included.
const TURN_DURATION: &str = "turn_duration";
/// How long it took to open a workspace.
const OPEN_DURATION: &str = "open_duration";
/// Rows of logs that were read for replicas.
const LOG_ROWS: &str = "log_rows_read";
/// Checkpoints that were kept, failed, or were thrown away.
const CHECKPOINTS: &str = "checkpoints";
/// What they take on the disk.
const CHECKPOINT_SIZE: &str = "checkpoint_size";
/// Hints sent to devices.
const NOTIFICATIONS: &str = "notifications";
/// Cursors beyond the log: a restored database, or a device that is wrong.
const CURSORS_AHEAD: &str = "cursors_ahead";
/// Logins that ended.
const LOGINS: &str = "logins";
/// Attachments that went up or down.
const ATTACHMENTS: &str = "attachments";
/// Their bytes.
const ATTACHMENT_TRAFFIC: &str = "attachment_traffic";
/// What happened at the circuit relay.
const CIRCUIT_EVENTS: &str = "circuit_events";
/// Workspaces in memory.
const WORKSPACES: &str = "workspaces";
/// What they take.
const WORKSPACE_MEMORY: &str = "workspace_memory";
/// Connections to PostgreSQL.
const DATABASE_CONNECTIONS: &str = "database_connections";
/// Whether Redis answers.
const REDIS_UP: &str = "redis_up";
/// WebSockets.
const SOCKETS: &str = "sockets";

/// Labels: fixed words, few of them.
type Labels<const N: usize> = [(&'static str, &'static str); N];
type Counters<const N: usize> = Family<Labels<N>, Counter>;

/// All metrics of the relay.
#[derive(Debug)]
pub(super) struct Families {
    pub(super) requests: Counters<2>,
    pub(super) request_duration: Family<Labels<1>, Histogram>,
    pub(super) refusals: Counters<1>,
    pub(super) operations: Counters<1>,
    pub(super) traffic: Counters<1>,
    pub(super) conflicts: Counter,
    pub(super) turns: Counters<1>,
    pub(super) turn_packets: Histogram,
    pub(super) turn_duration: Histogram,
    pub(super) open_duration: Family<Labels<1>, Histogram>,
    pub(super) log_rows: Counter,
    pub(super) checkpoints: Counters<1>,
    pub(super) checkpoint_size: Gauge,
    pub(super) notifications: Counter,
    pub(super) cursors_ahead: Counter,
    pub(super) logins: Counters<1>,
    pub(super) attachments: Counters<1>,
    pub(super) attachment_traffic: Counters<1>,
    pub(super) circuit_events: Counters<1>,
    pub(super) workspaces: Gauge,
    pub(super) workspace_memory: Gauge,
    pub(super) database_connections: Gauge,
    pub(super) redis_up: Gauge,
    pub(super) sockets: Gauge,
}

/// From 1 ms (an empty poll) to 16 s (as long as a statement may take).
fn duration_histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

impl Default for Families {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            request_duration: Family::new_with_constructor(duration_histogram),
            refusals: Family::default(),
            operations: Family::default(),
            traffic: Family::default(),
            conflicts: Counter::default(),
            turns: Family::default(),
            turn_packets: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]),
            turn_duration: duration_histogram(),
            open_duration: Family::new_with_constructor(duration_histogram),
            log_rows: Counter::default(),
            checkpoints: Family::default(),
            checkpoint_size: Gauge::default(),
            notifications: Counter::default(),
            cursors_ahead: Counter::default(),
            logins: Family::default(),
            attachments: Family::default(),
            attachment_traffic: Family::default(),
            circuit_events: Family::default(),
            workspaces: Gauge::default(),
            workspace_memory: Gauge::default(),
            database_connections: Gauge::default(),
            redis_up: Gauge::default(),
            sockets: Gauge::default(),
        }
    }
}

impl Families {
    /// Makes them visible. Handles are shared: what is recorded later shows.
    pub(super) fn register(&self, registry: &mut Registry) {
        self.register_requests(registry);
        self.register_work(registry);
        self.register_state(registry);
    }

    fn register_requests(&self, registry: &mut Registry) {
        registry.register(REQUESTS, "Requests that were answered, by route and class of status", self.requests.clone());
        let help = "How long requests took, their bodies included";
        registry.register_with_unit(REQUEST_DURATION, help, Unit::Seconds, self.request_duration.clone());
        registry.register(REFUSALS, "Requests, and connections, that were refused, by code", self.refusals.clone());
        registry.register(LOGINS, "Logins that ended, by result", self.logins.clone());
        registry.register_with_unit(TRAFFIC, "Bytes of packets and answers, as they travelled", Unit::Bytes, self.traffic.clone());
    }

    fn register_work(&self, registry: &mut Registry) {
        registry.register(OPERATIONS, "Operations stored (in) and handed out (out)", self.operations.clone());
        registry.register(CONFLICTS, "Conflicts told to those who brought one side", self.conflicts.clone());
        registry.register(TURNS, "Transactions that write to a workspace, by result", self.turns.clone());
        let packets = Unit::Other("packets".to_owned());
        registry.register_with_unit(TURN, "Packets written by one transaction", packets, self.turn_packets.clone());
        let help = "How long such a transaction took, from its first packet to its commit";
        registry.register_with_unit(TURN_DURATION, help, Unit::Seconds, self.turn_duration.clone());
        let help = "How long it took to open a workspace to be written to, by what it was opened from: a checkpoint or its log";
        registry.register_with_unit(OPEN_DURATION, help, Unit::Seconds, self.open_duration.clone());
        registry.register(LOG_ROWS, "Rows of logs read for replicas: openings, and what other instances wrote", self.log_rows.clone());
        registry.register(CHECKPOINTS, "Checkpoints of replicas, by result: kept, failed, thrown_away", self.checkpoints.clone());
        let help = "What this instance's checkpoints take on the disk, looked at once a minute";
        registry.register_with_unit(CHECKPOINT_SIZE, help, Unit::Bytes, self.checkpoint_size.clone());
        registry.register(NOTIFICATIONS, "Hints sent over WebSockets", self.notifications.clone());
        let help = "Cursors beyond the end of the log: a database that was set back unnoticed, or a device that is wrong";
        registry.register(CURSORS_AHEAD, help, self.cursors_ahead.clone());
        registry.register(ATTACHMENTS, "Attachments stored (up) and handed out (down)", self.attachments.clone());
        registry.register_with_unit(ATTACHMENT_TRAFFIC, "Bytes of attachments", Unit::Bytes, self.attachment_traffic.clone());
        registry.register(CIRCUIT_EVENTS, "Reservations, circuits and probes of the libp2p relay, by event", self.circuit_events.clone());
    }

    fn register_state(&self, registry: &mut Registry) {
        registry.register(WORKSPACES, "Workspaces in memory", self.workspaces.clone());
        let help = "What the replicas of workspaces take, about";
        registry.register_with_unit(WORKSPACE_MEMORY, help, Unit::Bytes, self.workspace_memory.clone());
        registry.register(DATABASE_CONNECTIONS, "Connections to PostgreSQL, idle ones included", self.database_connections.clone());
        registry.register(REDIS_UP, "1 while Redis answers, 0 while it does not, -1 when none is configured", self.redis_up.clone());
        registry.register(SOCKETS, "WebSockets open", self.sockets.clone());
    }
}
