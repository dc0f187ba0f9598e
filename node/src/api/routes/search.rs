//! Searching.

use axum::Json;

use super::super::body::JsonBody;
use super::super::call::Call;
use crate::model::{SearchReply, SearchRequest, ServiceError};

/// Search by words, by a vector, or by both.
///
/// A POST because a vector does not fit into a URL; it changes nothing.
#[utoipa::path(post, operation_id = "search", path = "/v1/search", tag = "search", request_body = SearchRequest, responses(
    (status = 200, description = "What was found, best first", body = SearchReply),
    (status = 503, description = "`unavailable`: the LanceDB table is off or being rebuilt", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn search(call: Call, JsonBody(request): JsonBody<SearchRequest>) -> Result<Json<SearchReply>, ServiceError> {
    call.workspace.search(request).await.map(Json)
}
