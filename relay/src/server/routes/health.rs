//! Whether the relay is well, and which relay it is.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::super::App;
use crate::attachments::ANSWER_BYTES_MAX;
use crate::clock::now_ms;
use crate::sync::PAGE_BOUNDS;

/// Whether requests can be served: 200 when they can, be it slower; 503 when not. Says no more to strangers.
pub(crate) async fn health(State(app): State<App>) -> Response {
    match app.shared.database.ping().await {
        Ok(()) if app.shared.redis.is_up() == Some(false) => Json(json!({ "status": "degraded" })).into_response(),
        Ok(()) => Json(json!({ "status": "ok" })).into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "unavailable" }))).into_response(),
    }
}

/// What is well and what is not, for whoever runs the relay.
pub(crate) async fn details(State(app): State<App>) -> Response {
    let parts = &app.shared;
    let (database, storage) = tokio::join!(parts.database.ping(), parts.attachments.ping());
    let redis = match parts.redis.is_up() {
        None => "none",
        Some(_) if parts.redis.ping().await => "up",
        Some(_) => "down: limits hold for each instance alone, changes show a little later",
    };
    let status = if database.is_ok() && storage.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let say = |failure: Option<String>| failure.map_or_else(|| "up".to_owned(), |failure| format!("down: {failure}"));
    let body = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "relay_id": parts.key.id(),
        "epoch": parts.database.epoch().current(),
        "database": say(database.err().map(|error| crate::store::chain(&error))),
        "storage": say(storage.err().map(|error| crate::store::chain(&error))),
        "redis": redis,
        "in_memory": parts.hub.status(),
        "body_bytes": parts.memory.held(),
        "sockets": app.observed().sockets,
        "circuit": &*parts.circuit.borrow(),
    });
    (status, Json(body)).into_response()
}

/// Which relay this is, and what it takes.
pub(crate) async fn relay(State(app): State<App>) -> Response {
    let parts = &app.shared;
    Json(json!({
        "relay_id": parts.key.id(),
        "version": env!("CARGO_PKG_VERSION"),
        "epoch": parts.database.epoch().current(),
        "time_ms": now_ms(),
        "url": parts.config.public_url,
        "circuit": &*parts.circuit.borrow(),
        "page": { "operations": PAGE_BOUNDS.operations, "bytes": PAGE_BOUNDS.bytes, "attachment_bytes": ANSWER_BYTES_MAX },
    }))
    .into_response()
}

/// Metrics in the Prometheus text form.
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    let text = app.shared.metrics.text(app.observed());
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
