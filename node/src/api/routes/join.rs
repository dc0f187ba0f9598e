//! Joining a workspace by a ticket.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use super::super::body::JsonBody;
use super::super::call::DeviceCall;
use super::super::state::ApiState;
use super::super::task;
use crate::model::{JoinRequest, ServiceError};

/// Join the workspace of a member's ticket, or all of a ticket from the user's other device.
///
/// The work goes on when the client leaves. When no member can be found, the answer says so, and the join goes on by itself.
#[utoipa::path(post, operation_id = "joinWorkspace", path = "/v1/join", tag = "workspaces", request_body = JoinRequest, responses(
    (status = 200, description = "Lines, each a TaskLine; `result` is a JoinReport", body = String, content_type = "application/x-ndjson"),
    (status = 403, description = "`invite_refused`: it ended, was used up, was revoked, or is for another device", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn join(
    State(state): State<ApiState>,
    call: DeviceCall,
    JsonBody(request): JsonBody<JoinRequest>,
) -> Result<Response, ServiceError> {
    let device = call.device;
    task::run(&state, move |report| async move { device.join(&request.ticket, Arc::new(move |progress| report.progress(progress))).await })
        .await
}
