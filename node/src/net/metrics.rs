//! The network in numbers, for Prometheus.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::admission::Standing;

/// Connected devices, by what they are to this one.
const CONNECTIONS: &str = "connections";
/// Peers that were refused, by reason.
const REFUSED: &str = "refused";
/// Connections that we closed, by reason.
const CLOSED: &str = "closed";
/// Dials that are over, by result.
const DIALS: &str = "dials";
/// Round trips of pings.
const ROUND_TRIP: &str = "round_trip";
/// Gossip that was sent, by result.
const GOSSIP_SENT: &str = "gossip_sent";
/// Gossip that arrived, by verdict.
const GOSSIP_RECEIVED: &str = "gossip_received";
/// Attempts to get from a relayed connection to a direct one, by result.
const HOLE_PUNCHES: &str = "hole_punches";
/// Embeddings that peers were asked for because they were missing here, by result.
const LATE: &str = "late_embeddings";
/// Starts of the network task after a fault.
const RESTARTS: &str = "restarts";
/// Events that found no room.
const DROPPED: &str = "dropped";

type Labels = [(&'static str, &'static str); 1];

/// What the network counts. Clones share it.
#[derive(Clone, Debug)]
pub struct NetMetrics {
    connections: Family<Labels, Gauge>,
    refused: Family<Labels, Counter>,
    pub(crate) closed: Family<Labels, Counter>,
    pub(crate) dials: Family<Labels, Counter>,
    pub(crate) round_trip: Histogram,
    pub(crate) gossip_sent: Family<Labels, Counter>,
    pub(crate) gossip_received: Family<Labels, Counter>,
    pub(crate) hole_punches: Family<Labels, Counter>,
    late: Family<Labels, Counter>,
    pub(crate) restarts: Counter,
    pub(crate) dropped: Family<Labels, Counter>,
    reasons: Arc<Mutex<BTreeMap<&'static str, Seen>>>,
}

/// Refusals for one reason.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    count: u64,
    /// When one was last logged for people.
    told: Option<Instant>,
}

/// How often refusals for one reason are logged for people, at most.
const TELL_REFUSALS: Duration = Duration::from_secs(10);

impl NetMetrics {
    /// Registers them below `nodespace_net_`.
    pub fn new(registry: &mut Registry) -> Self {
        let metrics = Self {
            connections: Family::default(),
            refused: Family::default(),
            closed: Family::default(),
            dials: Family::default(),
            // From half a millisecond (the same machine) to 16 s (beyond a ping's patience).
            round_trip: Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
            gossip_sent: Family::default(),
            gossip_received: Family::default(),
            hole_punches: Family::default(),
            late: Family::default(),
            restarts: Counter::default(),
            dropped: Family::default(),
            reasons: Arc::default(),
        };
        let registry = registry.sub_registry_with_prefix("nodespace_net");
        registry.register(CONNECTIONS, "Connected devices, by what they are to this one", metrics.connections.clone());
        registry.register(REFUSED, "Peers refused, by reason", metrics.refused.clone());
        registry.register(CLOSED, "Connections that this device closed, by reason", metrics.closed.clone());
        registry.register(DIALS, "Dials that are over, by result", metrics.dials.clone());
        registry.register_with_unit(ROUND_TRIP, "Round trips of pings", Unit::Seconds, metrics.round_trip.clone());
        registry.register(GOSSIP_SENT, "Operations handed to gossip, by result", metrics.gossip_sent.clone());
        registry.register(GOSSIP_RECEIVED, "Operations that came by gossip, by verdict", metrics.gossip_received.clone());
        registry.register(
            HOLE_PUNCHES,
            "Attempts to get from a relayed connection to a direct one, by result",
            metrics.hole_punches.clone(),
        );
        registry.register(LATE, "Embeddings that peers were asked for because they were missing here, by result", metrics.late.clone());
        registry.register(RESTARTS, "Starts of the network task after a fault", metrics.restarts.clone());
        registry.register(DROPPED, "Events that found no room and were dropped, by kind", metrics.dropped.clone());
        metrics
    }

    /// So many devices are connected, each of which is something to us.
    pub(crate) fn connected(&self, standings: &[Standing]) {
        for standing in [Standing::Member, Standing::Host, Standing::Carrier, Standing::Guest] {
            let count = standings.iter().filter(|other| **other == standing).count();
            self.connections_of(standing).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// The gauge of those that are this to us.
    pub(crate) fn connections_of(&self, standing: Standing) -> Gauge {
        self.connections.get_or_create_owned(&[("standing", name(standing))])
    }

    /// A connection was closed by us.
    pub(crate) fn closed(&self, reason: &'static str) {
        self.closed.get_or_create(&[("reason", reason)]).inc();
    }

    /// A peer was asked for embeddings that are missing here: so many it gave, so many it did not have.
    pub(crate) fn asked_for_late(&self, given: usize, lacking: usize) {
        for (result, count) in [("given", given), ("lacking", lacking)] {
            self.late.get_or_create(&[("result", result)]).inc_by(count as u64);
        }
    }

    /// Somebody was refused. Counted always; logged at `info` once in ten seconds for each reason, at `debug` in between: who is refused again
    /// and again must not fill the log. `who` is whatever is known of the other side.
    pub(crate) fn refused(&self, reason: &'static str, who: &dyn std::fmt::Display) {
        self.refused.get_or_create(&[("reason", reason)]).inc();
        let count = {
            let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
            let seen = reasons.entry(reason).or_default();
            seen.count += 1;
            let is_told = seen.told.is_none_or(|told| told.elapsed() >= TELL_REFUSALS);
            is_told.then(|| {
                seen.told = Some(Instant::now());
                seen.count
            })
        };
        match count {
            Some(count) => tracing::info!(reason, %who, count, "refused"),
            None => tracing::debug!(reason, %who, "refused"),
        }
    }

    /// How many were refused since the start, by reason.
    pub(crate) fn refusals(&self) -> BTreeMap<String, u64> {
        let reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons.iter().map(|(reason, seen)| ((*reason).to_owned(), seen.count)).collect()
    }
}

const fn name(standing: Standing) -> &'static str {
    match standing {
        Standing::Member => "member",
        Standing::Host => "host",
        Standing::Carrier => "carrier",
        Standing::Guest => "guest",
    }
}
