//! Many writes in one request.

use axum::Json;

use super::super::body::JsonBody;
use super::super::call::Call;
use crate::model::{BatchReply, BatchRequest, ServiceError};

/// Many writes, each with an outcome of its own, all durable together.
///
/// Each item sees what those before it did; one that fails does not stop the others.
#[utoipa::path(post, operation_id = "runBatch", path = "/v1/batch", tag = "nodes", request_body = BatchRequest, responses(
    (status = 200, description = "One outcome for each item, in their order; some or all may have failed", body = BatchReply),
    (status = 413, description = "`too_large`: too many items", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn batch(call: Call, JsonBody(batch): JsonBody<BatchRequest>) -> Result<Json<BatchReply>, ServiceError> {
    call.workspace.batch(call.client, batch).await.map(Json)
}
