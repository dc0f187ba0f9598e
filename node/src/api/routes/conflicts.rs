//! Conflicts: list, look, choose.

use axum::Json;
use axum::extract::State;
use nodespace_protocol::conflict::ResolutionStrategy;

use super::super::body::JsonBody;
use super::super::call::{Call, Segments};
use super::super::parameters::{FromParameters, Parameters};
use super::super::state::ApiState;
use crate::model::{ConflictDetail, ConflictPage, ResolveRequest, ServiceError, WriteReply};

/// Which conflicts.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct ConflictParameters {
    /// `open`, `auto_resolved` or `resolved`.
    status: Option<String>,
    /// Of this node.
    node: Option<String>,
}

impl FromParameters for ConflictParameters {
    fn take(from: &mut Parameters) -> Result<Self, ServiceError> {
        Ok(Self { status: from.text("status")?, node: from.text("node")? })
    }
}

/// Conflicts between devices.
#[utoipa::path(get, operation_id = "listConflicts", path = "/v1/conflicts", tag = "conflicts", params(ConflictParameters), responses(
    (status = 200, description = "The conflicts, by node", body = ConflictPage),
))]
pub(in super::super) async fn list(call: Call<ConflictParameters>) -> Result<Json<ConflictPage>, ServiceError> {
    let ConflictParameters { status, node } = call.query;
    call.workspace.conflicts(status, node).await.map(Json)
}

/// A conflict with both sides, their ancestor and the provisional outcome.
#[utoipa::path(get, operation_id = "getConflict", path = "/v1/conflicts/{node}/{id}", tag = "conflicts", params(
    ("node" = String, Path, description = "The node, percent-encoded"),
    ("id" = String, Path, description = "The conflict, or an unambiguous beginning of its id"),
), responses(
    (status = 200, description = "The conflict", body = ConflictDetail),
    (status = 404, description = "`not_found`", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn show(
    call: Call,
    Segments((node, id)): Segments<(String, String)>,
) -> Result<Json<ConflictDetail>, ServiceError> {
    call.workspace.conflict(&node, &id).await.map(Json)
}

/// Choose, and close a conflict on every device.
#[utoipa::path(post, operation_id = "resolveConflict", path = "/v1/conflicts/{node}/{id}/resolve", tag = "conflicts", params(
    ("node" = String, Path, description = "The node, percent-encoded"),
    ("id" = String, Path, description = "The conflict, or an unambiguous beginning of its id"),
), request_body = ResolveRequest, responses(
    (status = 200, description = "Chosen, and durable", body = WriteReply),
    (status = 404, description = "`not_found`", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn resolve(
    State(state): State<ApiState>,
    call: Call,
    Segments((node, id)): Segments<(String, String)>,
    JsonBody(request): JsonBody<ResolveRequest>,
) -> Result<Json<WriteReply>, ServiceError> {
    let (reply, kind) = call.workspace.resolve(call.client, &node, &id, request).await?;
    state.device.metrics().sync.record_conflict_resolution(kind, ResolutionStrategy::UserChooses);
    Ok(Json(reply))
}
