//! Where members can be reached.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::super::{App, body, caller};
use crate::auth::Grant;
use crate::refusal::Refusal;

/// A device's word on where it can be reached.
#[derive(Debug, Deserialize)]
pub(crate) struct Announcement {
    /// Multiaddresses.
    pub(crate) addresses: Vec<String>,
    /// For how long this holds, in seconds.
    #[serde(default)]
    pub(crate) seconds: Option<u32>,
}

pub(crate) async fn announce(
    State(app): State<App>,
    Path(workspace): caller::Part,
    headers: HeaderMap,
    request: Body,
) -> Result<Response, Refusal> {
    let caller = caller::identify_in(&app, &headers, &workspace).await?;
    let number = caller.row()?.number;
    if !matches!(caller.grant, Grant::Member(_)) {
        return Err(Refusal::forbidden("join_first", "addresses are taken from members"));
    }
    let Announcement { addresses, seconds } = body::small(&app, request).await?;
    let kept = app.shared.directory.announce(number, &caller.device, &addresses, seconds).await?;
    Ok(Json(json!({ "kept": kept.addresses, "seconds": kept.seconds })).into_response())
}

pub(crate) async fn list(State(app): State<App>, Path(workspace): caller::Part, headers: HeaderMap) -> Result<Response, Refusal> {
    let caller = caller::identify_in(&app, &headers, &workspace).await?;
    let found = app.shared.directory.list(caller.row()?.number).await?;
    let members: Vec<_> = found
        .into_iter()
        .map(|entry| json!({ "device_id": entry.device, "addresses": entry.addresses, "seconds_left": entry.seconds_left }))
        .collect();
    Ok(Json(json!({ "members": members, "circuit": &*app.shared.circuit.borrow() })).into_response())
}
