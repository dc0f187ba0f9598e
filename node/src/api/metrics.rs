//! The API in numbers, in the text format of Prometheus (OpenMetrics 1.0).

use std::time::Duration;

use axum::http::Method;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Unit;

use super::guard::Denial;
use crate::engine::Metrics;

/// The media type of the exposition.
pub(super) const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What the names of the API's metrics begin with.
const PREFIX: &str = "nodespace_api";
/// Requests answered, by route pattern, method and status.
const REQUESTS: &str = "requests";
/// How long a request took until its answer began.
const REQUEST_DURATION: &str = "request_duration";
/// Requests turned away before they were read.
const DENIED: &str = "denied";
/// Requests and tasks that ended in a panic.
const PANICS: &str = "panics";
/// Streams and long polls that are open.
const STREAMS: &str = "streams";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Place {
    route: String,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

/// Counters of the API. Labels come from small sets: route patterns, known methods, statuses.
#[derive(Debug)]
pub(super) struct ApiMetrics {
    requests: Family<Answer, Counter>,
    seconds: Family<Place, Histogram, fn() -> Histogram>,
    denied: Family<Reason, Counter>,
    panics: Counter,
    streams: Gauge,
}

/// From half a millisecond to sixteen seconds.
fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.0005, 2.0, 16))
}

impl ApiMetrics {
    /// Adds the API's counters to those of its device: once for each router.
    pub(super) fn new(device: &Metrics) -> Self {
        let new = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(latency),
            denied: Family::default(),
            panics: Counter::default(),
            streams: Gauge::default(),
        };
        device.register(|registry| {
            let registry = registry.sub_registry_with_prefix(PREFIX);
            registry.register(REQUESTS, "Requests answered", new.requests.clone());
            registry.register_with_unit(REQUEST_DURATION, "Until the answer began", Unit::Seconds, new.seconds.clone());
            registry.register(DENIED, "Requests turned away by host, origin, site or token", new.denied.clone());
            registry.register(PANICS, "Requests and tasks that ended in a panic", new.panics.clone());
            registry.register(STREAMS, "Streams and long polls that are open", new.streams.clone());
        });
        new
    }

    pub(super) fn answered(&self, route: &str, method: &'static str, status: u16, took: Duration) {
        self.requests.get_or_create(&Answer { route: route.to_owned(), method, status }).inc();
        self.seconds.get_or_create(&Place { route: route.to_owned(), method }).observe(took.as_secs_f64());
    }

    pub(super) fn denied(&self, denial: Denial) {
        self.denied.get_or_create(&Reason { reason: denial.label() }).inc();
    }

    pub(super) fn panicked(&self) {
        self.panics.inc();
    }

    pub(super) fn stream_opened(&self) {
        self.streams.inc();
    }

    pub(super) fn stream_closed(&self) {
        self.streams.dec();
    }
}

/// A method as a label; anybody can send any word as a method, so what is unknown is `other`.
pub(super) fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}
