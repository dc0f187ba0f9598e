//! How far a workspace's log reaches.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::HeaderMap;
use axum::response::{IntoResponse, Response};
use nodespace_protocol::view::{Checkpoint, Cursor, RunningHash};
use serde_json::json;

use super::super::{App, caller};
use crate::auth::Grant;
use crate::refusal::Refusal;
use crate::store::operations;

pub(crate) async fn status(State(app): State<App>, Path(workspace): caller::Part, headers: HeaderMap) -> Result<Response, Refusal> {
    let caller = caller::identify_in(&app, &headers, &workspace).await?;
    let row = caller.row()?;
    let role = match caller.grant {
        Grant::Member(role) => Some(role),
        Grant::Newcomer | Grant::Founder => None,
    };
    Ok(Json(json!({
        "workspace_id": caller.workspace,
        "epoch": caller.epoch,
        "version": row.version,
        "bytes": row.bytes,
        "attachment_bytes": row.attachment_bytes,
        "role": role,
    }))
    .into_response())
}

/// The relay's signed word on its log, now or as of a version at which a segment ended.
pub(crate) async fn checkpoint(
    State(app): State<App>,
    Path(workspace): caller::Part,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let version = parse_version(query.as_deref().unwrap_or_default())?;
    let caller = caller::identify_in(&app, &headers, &workspace).await?;
    let row = caller.row()?;
    let database = &app.shared.database;
    let (version, running) = match version {
        None => (row.version, row.running),
        Some(0) => (0, RunningHash::default()),
        Some(version) if version > row.version => {
            return Err(Refusal::not_found("no_such_version", format!("the log ends at version {}", row.version)));
        }
        Some(version) => {
            let running = database.within(operations::running_at(database.read(), row.number, version)).await?;
            let inside = || Refusal::not_found("no_such_version", "no segment ends at this version; cursors of answers do");
            (version, running.ok_or_else(inside)?)
        }
    };
    // A database that was set back meanwhile has other operations under these versions.
    database.epoch().check(caller.epoch)?;
    let cursor = Cursor { epoch: caller.epoch, version };
    Ok(Json(Checkpoint::sign(app.shared.key.pair(), caller.workspace, cursor, running)).into_response())
}

/// Reads `version=N`, or nothing.
pub(crate) fn parse_version(query: &str) -> Result<Option<u64>, Refusal> {
    if query.is_empty() {
        return Ok(None);
    }
    let version = query.strip_prefix("version=").and_then(|text| text.parse().ok());
    version.map(Some).ok_or_else(|| Refusal::bad_request("bad_query", "the query of a checkpoint is `version=<number>`"))
}
