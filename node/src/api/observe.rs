//! What is seen of every request: its id, a span, counters; and what every answer says to browsers.
//!
//! A span names the route by its pattern, never the path: ids and search terms are the user's. Bodies, parameters and headers are not
//! logged at all.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use futures::FutureExt as _;
use tracing::Instrument as _;

use super::metrics::method_label;
use super::state::ApiState;
use crate::model::{ErrorCode, ServiceError};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The route of a request to a path that is none.
const UNMATCHED: &str = "unmatched";

/// Passes a request on and watches what becomes of it.
pub(super) async fn keep(State(state): State<ApiState>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id();
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>().map_or(UNMATCHED, |path| path.as_str()).to_owned();
    let span = tracing::debug_span!("request", request.id = %id, method, route);
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    let mut response = answer.unwrap_or_else(|panic| {
        state.metrics.panicked();
        span.in_scope(|| tracing::error!(reason = reason(&*panic), "a request ended in a panic; this is a fault of NodeSpace"));
        internal(&id).into_response()
    });
    let status = response.status().as_u16();
    state.metrics.answered(&route, method, status, started.elapsed());
    span.in_scope(|| tracing::debug!(status, duration_ms = started.elapsed().as_secs_f64() * 1e3, "answered"));
    dress(response.headers_mut(), &id);
    response
}

fn internal(id: &str) -> ServiceError {
    let message = format!("a fault of NodeSpace; what was acknowledged before is safe. Please report it with the log around request {id}");
    ServiceError::new(ErrorCode::Internal, message)
}

fn reason(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("not said")
}

/// Sixteen hexadecimal digits; zeros when the system has no randomness, which is no reason to refuse a request.
fn request_id() -> String {
    let mut bytes = [0; 8];
    let drawn = getrandom::fill(&mut bytes);
    if drawn.is_ok() { format!("{:016x}", u64::from_be_bytes(bytes)) } else { "0".repeat(16) }
}

/// Nothing here is a page, nothing may be framed, guessed to be something else, kept, or embedded by another site.
fn dress(headers: &mut HeaderMap, id: &str) {
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
}
