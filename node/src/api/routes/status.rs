//! How a workspace is doing: now, or whenever that changes.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use super::super::call::Call;
use super::super::state::ApiState;
use super::super::stream::{self, status::Watch};
use crate::model::{ServiceError, WorkspaceStatus};

/// How the workspace is doing.
#[utoipa::path(get, operation_id = "getStatus", path = "/v1/status", tag = "status", responses(
    (status = 200, description = "The status", body = WorkspaceStatus),
))]
pub(in super::super) async fn now(call: Call) -> Result<Json<WorkspaceStatus>, ServiceError> {
    call.workspace.status().await.map(Json)
}

/// The status as server-sent events: one `event: status` at once, and one whenever it changed.
///
/// Changes that follow each other closely are shown as one: the last event always shows the present.
#[utoipa::path(get, operation_id = "followStatus", path = "/v1/status/stream", tag = "status", responses(
    (status = 200, description = "Events; `data` is a WorkspaceStatus", body = String, content_type = "text/event-stream"),
))]
pub(in super::super) async fn follow(State(state): State<ApiState>, call: Call) -> Result<Response, ServiceError> {
    let permit = state.stream()?;
    let watch = Watch::open(call.workspace, state.options.status_pause, permit).await?;
    Ok(stream::events(watch.into_stream(), state.options.heartbeat).into_response())
}
