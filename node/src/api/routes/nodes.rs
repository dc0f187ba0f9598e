//! Single nodes: make, read, change, move, delete, restore, look back.

use axum::Json;
use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::body::{JsonBody, NoBody};
use super::super::call::{Call, Segments};
use super::super::parameters::{FromParameters, Parameters};
use super::super::refusal::invalid;
use crate::model::{CreateNode, DeleteNode, HistoryStep, MoveNode, Node, NodePage, PutEmbedding, ServiceError, UpdateNode, WriteReply};
use crate::service::{ListQuery, NodeAt};

/// The steps of a node's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct History {
    /// Oldest first; each after those its author had seen.
    pub steps: Vec<HistoryStep>,
}

/// Which nodes to list.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct ListParameters {
    /// Only nodes of this type; may be given several times.
    #[param(rename = "type", required = false)]
    types: Vec<String>,
    /// Deleted nodes too.
    #[param(required = false)]
    deleted: bool,
    /// Go on after this id: the `next` of the page before.
    after: Option<String>,
    /// How many nodes at most.
    limit: Option<usize>,
}

impl FromParameters for ListParameters {
    fn take(from: &mut Parameters) -> Result<Self, ServiceError> {
        Ok(Self { types: from.texts("type"), deleted: from.flag("deleted")?, after: from.text("after")?, limit: from.number("limit")? })
    }
}

/// Which page.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct PageParameters {
    /// Go on after this id: the `next` of the page before.
    pub(super) after: Option<String>,
    /// How many nodes at most.
    pub(super) limit: Option<usize>,
}

impl FromParameters for PageParameters {
    fn take(from: &mut Parameters) -> Result<Self, ServiceError> {
        Ok(Self { after: from.text("after")?, limit: from.number("limit")? })
    }
}

/// How to delete.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct DeleteParameters {
    /// For good: the content is not shown any more, nor restored. Otherwise it can be restored.
    #[param(required = false)]
    hard: bool,
    /// Refuse with `stale_version` unless the node's history ends with just these operations. Give it once for each.
    #[param(required = false)]
    expected_heads: Vec<String>,
    /// Refuse with `stale_version` unless the node has this version.
    expected_version: Option<u64>,
}

impl FromParameters for DeleteParameters {
    fn take(from: &mut Parameters) -> Result<Self, ServiceError> {
        let expected_heads = from.texts("expected_heads");
        Ok(Self { hard: from.flag("hard")?, expected_heads, expected_version: from.number("expected_version")? })
    }
}

/// As of when. Give one of the two.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct AtParameters {
    /// A time (RFC 3339).
    time: Option<String>,
    /// An operation of the node's history, or an unambiguous beginning of its hash.
    op: Option<String>,
}

impl FromParameters for AtParameters {
    fn take(from: &mut Parameters) -> Result<Self, ServiceError> {
        Ok(Self { time: from.text("time")?, op: from.text("op")? })
    }
}

impl AtParameters {
    fn point(self) -> Result<NodeAt, ServiceError> {
        match (self.time, self.op) {
            (Some(time), None) => Ok(NodeAt::Time(time)),
            (None, Some(op)) => Ok(NodeAt::Op(op)),
            _ => Err(invalid("give either `time` or `op`")),
        }
    }
}

/// Make a node.
///
/// Its id is the caller's to choose (a UUID, or a short string such as a date); without one it gets a random UUID.
#[utoipa::path(post, operation_id = "createNode", path = "/v1/nodes", tag = "nodes", request_body = CreateNode, responses(
    (status = 201, description = "Made, and durable", body = WriteReply, headers(("Location" = String, description = "The node's path"))),
    (status = 409, description = "`already_exists`: the id is taken; `cycle`", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn create(call: Call, JsonBody(node): JsonBody<CreateNode>) -> Result<Response, ServiceError> {
    let reply = call.workspace.create_node(call.client, node).await?;
    let location = HeaderValue::from_str(&format!("/v1/nodes/{}", encode(&reply.node.id)));
    let mut response = (StatusCode::CREATED, Json(reply)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// All nodes, by id, in pages.
#[utoipa::path(get, operation_id = "listNodes", path = "/v1/nodes", tag = "nodes", params(ListParameters), responses(
    (status = 200, description = "A page", body = NodePage),
))]
pub(in super::super) async fn list(call: Call<ListParameters>) -> Result<Json<NodePage>, ServiceError> {
    let ListParameters { types, deleted, after, limit } = call.query;
    call.workspace.list(ListQuery { types, deleted, after, limit }).await.map(Json)
}

/// A node as it is now.
#[utoipa::path(get, operation_id = "getNode", path = "/v1/nodes/{id}", tag = "nodes", params(("id" = String, Path, description = "The node, percent-encoded")),
responses(
    (status = 200, description = "The node", body = Node, headers(("ETag" = String, description = "Changes whenever the answer does"))),
    (status = 304, description = "Unchanged since the `ETag` that `If-None-Match` named"),
    (status = 404, description = "`not_found`", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn get(call: Call, Segments(id): Segments<String>, headers: HeaderMap) -> Result<Response, ServiceError> {
    let node = call.workspace.node(&id).await?;
    let mut response = Json(&node).into_response();
    if let Some(tag) = entity_tag(&node) {
        if headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == tag) {
            response = (StatusCode::NOT_MODIFIED, Body::empty()).into_response();
        }
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// Change a node's text, type, metadata or mentions.
///
/// What is absent stays. Metadata is a JSON merge patch (RFC 7396): `null` removes a member.
#[utoipa::path(patch, operation_id = "updateNode", path = "/v1/nodes/{id}", tag = "nodes", params(("id" = String, Path, description = "The node, percent-encoded")),
request_body = UpdateNode, responses(
    (status = 200, description = "Changed, and durable", body = WriteReply),
    (status = 409, description = "`stale_version`: read the node again", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn update(
    call: Call,
    Segments(id): Segments<String>,
    JsonBody(update): JsonBody<UpdateNode>,
) -> Result<Json<WriteReply>, ServiceError> {
    call.workspace.update_node(call.client, &id, update).await.map(Json)
}

/// Delete a node.
///
/// What stands below it stays. Without `hard` it can be restored.
#[utoipa::path(delete, operation_id = "deleteNode", path = "/v1/nodes/{id}", tag = "nodes",
params(("id" = String, Path, description = "The node, percent-encoded"), DeleteParameters), responses(
    (status = 200, description = "Deleted, and durable", body = WriteReply),
    (status = 409, description = "`stale_version`: read the node again", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn delete(
    call: Call<DeleteParameters>,
    Segments(id): Segments<String>,
    _body: NoBody,
) -> Result<Json<WriteReply>, ServiceError> {
    let DeleteParameters { hard, expected_heads, expected_version } = call.query;
    let expected_heads = (!expected_heads.is_empty()).then_some(expected_heads);
    call.workspace.delete_node(call.client, &id, DeleteNode { hard, expected_heads, expected_version }).await.map(Json)
}

/// Move a node, with everything below it.
#[utoipa::path(post, operation_id = "moveNode", path = "/v1/nodes/{id}/move", tag = "nodes", params(("id" = String, Path, description = "The node, percent-encoded")),
request_body = MoveNode, responses(
    (status = 200, description = "Moved, and durable; `node` shows the resulting place", body = WriteReply),
    (status = 409, description = "`cycle`: the target lies below the node; `stale_version`", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn relocate(
    call: Call,
    Segments(id): Segments<String>,
    JsonBody(to): JsonBody<MoveNode>,
) -> Result<Json<WriteReply>, ServiceError> {
    call.workspace.move_node(call.client, &id, to).await.map(Json)
}

/// Bring a deleted node back.
#[utoipa::path(post, operation_id = "restoreNode", path = "/v1/nodes/{id}/restore", tag = "nodes",
params(("id" = String, Path, description = "The node, percent-encoded")), responses(
    (status = 200, description = "Restored, and durable; a node that is not deleted stays as it is", body = WriteReply),
))]
pub(in super::super) async fn restore(call: Call, Segments(id): Segments<String>, _body: NoBody) -> Result<Json<WriteReply>, ServiceError> {
    call.workspace.restore_node(call.client, &id).await.map(Json)
}

/// Attach an embedding of the node's present text.
///
/// The first one of a model sets the model's dimension. An all-zero vector means "none".
#[utoipa::path(put, operation_id = "putEmbedding", path = "/v1/nodes/{id}/embeddings/{model}", tag = "nodes",
params(("id" = String, Path, description = "The node, percent-encoded"), ("model" = String, Path, description = "The model's name")),
request_body = PutEmbedding, responses(
    (status = 200, description = "Attached, and durable", body = WriteReply),
))]
pub(in super::super) async fn embed(
    call: Call,
    Segments((id, model)): Segments<(String, String)>,
    JsonBody(embedding): JsonBody<PutEmbedding>,
) -> Result<Json<WriteReply>, ServiceError> {
    call.workspace.put_embedding(call.client, &id, &model, embedding).await.map(Json)
}

/// What stands directly below a node, in sibling order, in pages.
#[utoipa::path(get, operation_id = "listChildren", path = "/v1/nodes/{id}/children", tag = "nodes",
params(("id" = String, Path, description = "The parent, percent-encoded"), PageParameters), responses(
    (status = 200, description = "A page", body = NodePage),
))]
pub(in super::super) async fn children(call: Call<PageParameters>, Segments(id): Segments<String>) -> Result<Json<NodePage>, ServiceError> {
    let PageParameters { after, limit } = call.query;
    call.workspace.children(Some(&id), after, limit).await.map(Json)
}

/// Every operation on a node.
#[utoipa::path(get, operation_id = "getHistory", path = "/v1/nodes/{id}/history", tag = "nodes",
params(("id" = String, Path, description = "The node, percent-encoded")), responses(
    (status = 200, description = "The steps, oldest first", body = History),
))]
pub(in super::super) async fn history(call: Call, Segments(id): Segments<String>) -> Result<Json<History>, ServiceError> {
    Ok(Json(History { steps: call.workspace.history(&id).await? }))
}

/// A node as it was.
#[utoipa::path(get, operation_id = "getNodeAt", path = "/v1/nodes/{id}/at", tag = "nodes",
params(("id" = String, Path, description = "The node, percent-encoded"), AtParameters), responses(
    (status = 200, description = "The node as of then", body = Node),
    (status = 404, description = "`not_found`: no such node, or not then", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn at(call: Call<AtParameters>, Segments(id): Segments<String>) -> Result<Json<Node>, ServiceError> {
    let point = call.query.point()?;
    call.workspace.node_at(&id, point).await.map(Json)
}

/// A digest of all that the answer says: its heads name a node's history, and not the sibling before it.
fn entity_tag(node: &Node) -> Option<HeaderValue> {
    let bytes = serde_json::to_vec(node).ok()?;
    HeaderValue::from_str(&format!("\"{}\"", &blake3::hash(&bytes).to_hex()[..32])).ok()
}

/// An id as a segment of a path (RFC 3986, section 2.3: everything but unreserved characters is encoded).
fn encode(id: &str) -> String {
    let mut path = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}
