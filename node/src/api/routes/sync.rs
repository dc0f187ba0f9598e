//! Sync: how it stands, and doing it now.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use super::super::body::NoBody;
use super::super::call::Call;
use super::super::parameters::{FromParameters, Parameters};
use super::super::state::ApiState;
use super::super::stream;
use super::changes::WAIT_MS_MAX;
use crate::model::ServiceError;
use crate::sync::DeviceStatus;

/// How long a sync that was asked for is waited for when the client does not say, in milliseconds.
const WAIT_MS_DEFAULT: u64 = 30_000;

/// With whom, and how long to wait.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct SyncParameters {
    /// Only with this device (its key, or at least eight digits of it), or `relay`; with all when absent.
    target: Option<String>,
    /// Answer after so many milliseconds at the latest (at most 60,000; 30,000 when absent); the sync goes on.
    wait_ms: Option<u64>,
}

impl FromParameters for SyncParameters {
    fn take(from: &mut Parameters) -> Result<Self, ServiceError> {
        Ok(Self { target: from.text("target")?, wait_ms: from.number("wait_ms")? })
    }
}

/// How sync stands, with each peer and the relay.
#[utoipa::path(get, operation_id = "getSync", path = "/v1/sync", tag = "sync", responses(
    (status = 200, description = "The status; `synced` only of those that have confirmed to hold what is held here", body = DeviceStatus),
))]
pub(in super::super) async fn now(call: Call) -> Result<Json<DeviceStatus>, ServiceError> {
    call.workspace.sync_status().await.map(Json)
}

/// Sync now, and answer how it stands after that.
#[utoipa::path(post, operation_id = "syncNow", path = "/v1/sync", tag = "sync", params(SyncParameters), responses(
    (status = 200, description = "The status when all attempts have ended, or the wait is over", body = DeviceStatus),
    (status = 503, description = "`unavailable`: the network is off", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn start(
    State(state): State<ApiState>,
    call: Call<SyncParameters>,
    _body: NoBody,
) -> Result<Json<DeviceStatus>, ServiceError> {
    let SyncParameters { target, wait_ms } = call.query;
    let wait = Duration::from_millis(wait_ms.unwrap_or(WAIT_MS_DEFAULT).min(WAIT_MS_MAX));
    let _permit = state.stream()?;
    state.device.sync_now(&call.workspace, target.as_deref(), wait).await.map(Json)
}

/// The status of sync as server-sent events: one `event: sync` at once, and one whenever it changed.
#[utoipa::path(get, operation_id = "followSync", path = "/v1/sync/stream", tag = "sync", responses(
    (status = 200, description = "Events; `data` is as GET /v1/sync answers", body = String, content_type = "text/event-stream"),
))]
pub(in super::super) async fn follow(State(state): State<ApiState>, call: Call) -> Result<Response, ServiceError> {
    let permit = state.stream()?;
    let watch = stream::sync::Watch::open(call.workspace, state.options.status_pause, permit).await?;
    Ok(stream::events(watch.into_stream(), state.options.heartbeat).into_response())
}
