//! What is seen of every request, and what refusals look like.
//!
//! Logged are the route's pattern, the status and the time: no path, since ids are the users'; no header, since tokens are in one.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::http::header::{self, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;
use serde_json::json;

use super::App;
use crate::refusal::Refusal;

/// The code of a refusal, for the metrics: an answer's extension.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefusalCode(pub(super) &'static str);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(wait) = self.retry_after {
            error["retry_after_ms"] = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).into();
        }
        let mut response = (self.status, Json(json!({ "error": error }))).into_response();
        if let Some(wait) = self.retry_after {
            // Whole seconds, rounded up: coming back too early only costs another refusal.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"nodespace-relay\""));
        }
        response.extensions_mut().insert(RefusalCode(self.code));
        response
    }
}

/// Passes a request on and watches what becomes of it.
pub(super) async fn keep(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", |path| route_name(path.as_str()));
    // A WebSocket's answer comes at once; what follows is not counted as a request.
    let wait = Duration::from_secs(app.shared.config.request_seconds);
    let answer = tokio::time::timeout(wait, AssertUnwindSafe(next.run(request)).catch_unwind()).await;
    let mut response = match answer {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => {
            tracing::error!(route, reason = reason(&*panic), "a request ended in a panic; this is a fault of the relay");
            Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "relay_fault", "a fault of the relay; what was acknowledged before is safe")
                .into_response()
        }
        // What is being written goes on: the device asks again, and finds it stored.
        Err(_) => Refusal::unavailable("too_slow", "the request took too long; ask again", crate::store::RETRY_AFTER).into_response(),
    };
    let status = response.status().as_u16();
    app.shared.metrics.request(route, status, started.elapsed());
    if let Some(RefusalCode(code)) = response.extensions().get::<RefusalCode>() {
        app.shared.metrics.refused(code);
    }
    tracing::debug!(route, status, duration_ms = started.elapsed().as_secs_f64() * 1e3, "answered");
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Passes an operator's request on.
pub(super) async fn plain(request: Request, next: Next) -> Response {
    next.run(request).await
}

fn reason(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("not said")
}

/// A route's name as a label.
fn route_name(pattern: &str) -> &'static str {
    super::routes::PATHS.iter().find(|(path, _)| *path == pattern).map_or("unmatched", |(_, name)| name)
}
