//! The canonical version of a node. The document's `fetchCanonicalVersion`.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::HeaderMap;
use axum::response::{IntoResponse, Response};
use nodespace_protocol::ids::NodeId;
use nodespace_protocol::view::{ConflictContext, conflict_context};
use serde_json::json;

use super::super::{App, caller};
use crate::refusal::Refusal;
use crate::store::nodes;
use crate::workspace::RelayReplica;

/// Conflicts of one node told in one answer.
const CONFLICTS_MAX: usize = 32;

pub(crate) async fn canonical(
    State(app): State<App>,
    Path((workspace, node)): Path<(String, String)>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let surroundings = parse_query(query.as_deref().unwrap_or_default())?;
    let node = NodeId::parse(&node).map_err(|error| Refusal::bad_request("bad_node_id", error.to_string()))?;
    let caller = caller::identify_in(&app, &headers, &workspace).await?;
    let row = caller.row()?;
    if row.held {
        // What was ahead of time shows once that has come, whoever asks first.
        app.shared.hub.ask(caller.workspace, |_| Ok(())).await?;
    }
    let database = &app.shared.database;
    let found = database.within(nodes::read(database.read(), row.number, &node)).await?;
    let (version, canonical) = found.ok_or_else(|| Refusal::not_found("unknown_node", "the workspace has no such node here"))?;
    let mut answer = json!({ "epoch": database.epoch().current(), "as_of_version": version, "node": canonical });
    if surroundings {
        let device = caller.device;
        let more = app.shared.hub.ask(caller.workspace, move |replica| Ok(around(replica, &node, device))).await?;
        if let (Some(answer), serde_json::Value::Object(more)) = (answer.as_object_mut(), more) {
            answer.extend(more);
        }
    }
    Ok(Json(answer).into_response())
}

/// What depends on other nodes, and what is disputed.
fn around(replica: &RelayReplica, node: &NodeId, device: nodespace_protocol::ids::DeviceId) -> serde_json::Value {
    let tree = replica.tree();
    let found = replica.conflicts_of(node).unwrap_or_default();
    let shown = found.iter().take(CONFLICTS_MAX).filter_map(|found| conflict_context(replica, found, Some(device)).ok());
    let conflicts: Vec<ConflictContext> = shown.collect();
    json!({ "before_sibling_id": tree.before_sibling(node), "root_id": tree.root(node), "conflicts": conflicts })
}

/// Reads `surroundings=true`, or nothing.
fn parse_query(query: &str) -> Result<bool, Refusal> {
    match query {
        "" | "surroundings=false" => Ok(false),
        "surroundings=true" => Ok(true),
        _ => Err(Refusal::bad_request("bad_query", "the query of a node is `surroundings=true` or `surroundings=false`")),
    }
}
