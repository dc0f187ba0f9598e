//! About the API itself: health, metrics, its description.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};

use super::super::health::Health;
use super::super::metrics;
use super::super::state::ApiState;

/// Whether the device is well. Needs no token.
#[utoipa::path(get, operation_id = "getHealth", path = "/health", tag = "device", responses(
    (status = 200, description = "It works: `ok` or `degraded`", body = Health),
    (status = 503, description = "It is `stopping`", body = Health),
), security(()))]
pub(in super::super) async fn health(State(state): State<ApiState>) -> (StatusCode, Json<Health>) {
    let health = Health::of(&state).await;
    let status = if health.status == "stopping" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(health))
}

/// Counters in the text format of Prometheus.
#[utoipa::path(get, operation_id = "getMetrics", path = "/metrics", tag = "device", responses(
    (status = 200, description = "OpenMetrics 1.0 text", body = String, content_type = "application/openmetrics-text"),
))]
pub(in super::super) async fn show_metrics(State(state): State<ApiState>) -> Response {
    let text = state.device.metrics_text().await;
    ([(header::CONTENT_TYPE, metrics::MEDIA_TYPE)], text).into_response()
}

/// This description (OpenAPI 3.1). Needs no token.
#[utoipa::path(get, operation_id = "getDescription", path = "/openapi.json", tag = "device", responses(
    (status = 200, description = "The OpenAPI document", body = Object),
), security(()))]
pub(in super::super) async fn openapi(State(state): State<ApiState>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], state.openapi.clone()).into_response()
}
