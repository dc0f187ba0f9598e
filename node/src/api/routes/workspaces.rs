//! The workspaces of the device.

use axum::Json;
use axum::http::StatusCode;

use super::super::body::{JsonBody, NoBody};
use super::super::call::{DeviceCall, Segments};
use crate::model::{CreateWorkspace, ServiceError, UpdateWorkspace, WorkspaceList, WorkspaceSummary};

/// The workspaces of this device.
#[utoipa::path(get, operation_id = "listWorkspaces", path = "/v1/workspaces", tag = "workspaces", responses(
    (status = 200, description = "The workspaces, by id; none is no failure", body = WorkspaceList),
))]
pub(in super::super) async fn list(call: DeviceCall) -> Json<WorkspaceList> {
    Json(call.device.list_workspaces().await)
}

/// Found a workspace; this device's user becomes its owner.
#[utoipa::path(post, operation_id = "createWorkspace", path = "/v1/workspaces", tag = "workspaces", request_body = CreateWorkspace, responses(
    (status = 201, description = "Founded, and durable", body = WorkspaceSummary),
))]
pub(in super::super) async fn create(
    call: DeviceCall,
    JsonBody(request): JsonBody<CreateWorkspace>,
) -> Result<(StatusCode, Json<WorkspaceSummary>), ServiceError> {
    Ok((StatusCode::CREATED, Json(call.device.create_workspace(request).await?)))
}

/// Rename a workspace for all members, or make it this device's default.
#[utoipa::path(patch, operation_id = "updateWorkspace", path = "/v1/workspaces/{workspace}", tag = "workspaces", params(
    ("workspace" = String, Path, description = "The workspace, or at least eight digits of its id"),
), request_body = UpdateWorkspace, responses(
    (status = 200, description = "Changed, and durable", body = WorkspaceSummary),
    (status = 404, description = "`not_found`", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn update(
    call: DeviceCall,
    Segments(id): Segments<String>,
    JsonBody(request): JsonBody<UpdateWorkspace>,
) -> Result<Json<WorkspaceSummary>, ServiceError> {
    call.device.update_workspace(&id, call.client, request).await.map(Json)
}

/// Give up a join that is under way.
///
/// A workspace that this device is in cannot be removed this way.
#[utoipa::path(delete, operation_id = "cancelJoin", path = "/v1/workspaces/{workspace}", tag = "workspaces", params(
    ("workspace" = String, Path, description = "The workspace, or at least eight digits of its id"),
), responses(
    (status = 200, description = "Given up; what had been received, if anything, is set aside", body = WorkspaceSummary),
    (status = 404, description = "`not_found`", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn cancel(
    call: DeviceCall,
    Segments(id): Segments<String>,
    _body: NoBody,
) -> Result<Json<WorkspaceSummary>, ServiceError> {
    call.device.cancel_join(&id).await.map(Json)
}
