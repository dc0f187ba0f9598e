//! The change stream: by pages, by waiting, or as server-sent events.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};

use super::super::call::Call;
use super::super::parameters::{FromParameters, Parameters};
use super::super::refusal::invalid;
use super::super::state::ApiState;
use super::super::stream::{self, changes::Tail};
use crate::model::{ChangePage, ErrorCode, ServiceError};

/// How long a long poll may wait; a longer wait is shortened to this.
pub const WAIT_MS_MAX: u64 = 60_000;

/// How many changes a page has at most when the client does not say.
pub const PAGE_CHANGES_DEFAULT: usize = 500;

/// Where in the stream, and how long to wait.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct ChangesParameters {
    /// What an earlier answer gave; `start` for everything there ever was; absent for what happens from now on.
    cursor: Option<String>,
    /// How many changes at most.
    limit: Option<usize>,
    /// When there is nothing yet, wait so many milliseconds for something (at most 60,000).
    wait_ms: Option<u64>,
}

impl FromParameters for ChangesParameters {
    fn take(from: &mut Parameters) -> Result<Self, ServiceError> {
        Ok(Self { cursor: from.text("cursor")?, limit: from.number("limit")?, wait_ms: from.number("wait_ms")? })
    }
}

/// Where in the stream.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct StreamParameters {
    /// What an earlier event had as its `id`; `start` for everything there ever was; absent for what happens from now on. The header
    /// `Last-Event-ID`, which browsers send by themselves when they connect again, goes before it.
    cursor: Option<String>,
}

impl FromParameters for StreamParameters {
    fn take(from: &mut Parameters) -> Result<Self, ServiceError> {
        Ok(Self { cursor: from.text("cursor")? })
    }
}

/// What changed after a cursor; waits for something to change if asked to.
#[utoipa::path(get, operation_id = "listChanges", path = "/v1/changes", tag = "changes", params(ChangesParameters), responses(
    (status = 200, description = "The changes, oldest first; go on with its `cursor`", body = ChangePage),
    (status = 400, description = "`invalid_request`: not a cursor", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn page(State(state): State<ApiState>, call: Call<ChangesParameters>) -> Result<Json<ChangePage>, ServiceError> {
    let ChangesParameters { cursor, limit, wait_ms } = call.query;
    let limit = limit.unwrap_or(PAGE_CHANGES_DEFAULT);
    if limit == 0 {
        return Err(ServiceError::new(ErrorCode::InvalidValue, "`limit` is at least 1"));
    }
    let page = call.workspace.changes(cursor.as_deref(), limit).await?;
    let wait = Duration::from_millis(wait_ms.unwrap_or(0).min(WAIT_MS_MAX));
    if !page.changes.is_empty() || wait.is_zero() {
        return Ok(Json(page));
    }
    let _permit = state.stream()?;
    tokio::select! {
        changed = call.workspace.changed(&page.cursor) => changed?,
        () = tokio::time::sleep(wait) => return Ok(Json(page)),
        () = state.options.stop.cancelled() => return Ok(Json(page)),
    }
    call.workspace.changes(Some(&page.cursor), limit).await.map(Json)
}

/// The change stream as server-sent events.
///
/// First `event: ready` with where the stream begins, then one `event: change` for each change, none left out, however slowly they are
/// read. Every event's `id` is the cursor to go on from. `event: error` carries a refusal and ends the stream. Comments keep the
/// connection alive while nothing happens.
#[utoipa::path(get, operation_id = "followChanges", path = "/v1/changes/stream", tag = "changes", params(
    StreamParameters,
    ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event that was received"),
), responses(
    (status = 200, description = "Events; `data` of `change` is a Change", body = String, content_type = "text/event-stream"),
    (status = 400, description = "`invalid_request`: not a cursor", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn follow(
    State(state): State<ApiState>,
    call: Call<StreamParameters>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    let permit = state.stream()?;
    let last = headers.get("last-event-id").map(|id| id.to_str().map(str::to_owned)).transpose();
    let last = last.map_err(|_| invalid("`Last-Event-ID` is not a cursor"))?;
    let cursor = last.filter(|id| !id.is_empty()).or(call.query.cursor);
    let tail = Tail::open(call.workspace, cursor, permit).await?;
    Ok(stream::events(tail.into_stream(), state.options.heartbeat).into_response())
}
