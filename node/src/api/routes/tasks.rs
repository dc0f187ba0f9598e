//! Long work: import, export, backup, doctor, rebuild.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use futures::{Stream, StreamExt as _};

use super::super::body::{ImportBody, JsonBody, NoBody};
use super::super::call::Call;
use super::super::parameters::{FromParameters, Parameters};
use super::super::state::ApiState;
use super::super::task::{self, MEDIA_TYPE, to_line};
use crate::model::{BackupRequest, DoctorRequest, ExportQuery, ImportRequest, Node, ServiceError, TaskLine};
use crate::service::Export;

/// What to export.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct ExportParameters {
    /// Only this node and what is below it.
    root: Option<String>,
    /// Deleted nodes too. Without, only those deleted ones are written that have something living below them.
    #[param(required = false)]
    deleted: bool,
}

impl FromParameters for ExportParameters {
    fn take(from: &mut Parameters) -> Result<Self, ServiceError> {
        Ok(Self { root: from.text("root")?, deleted: from.flag("deleted")? })
    }
}

/// Import Markdown files.
///
/// Headings, lists and paragraphs become trees. Importing the same files again writes nothing; importing changed ones changes the nodes
/// that were made of them.
#[utoipa::path(post, operation_id = "importDocuments", path = "/v1/import", tag = "tasks", request_body = ImportRequest, responses(
    (status = 200, description = "Lines, each a TaskLine; `result` is an ImportReport", body = String, content_type = "application/x-ndjson"),
))]
pub(in super::super) async fn import(
    State(state): State<ApiState>,
    call: Call,
    ImportBody(request): ImportBody<ImportRequest>,
) -> Result<Response, ServiceError> {
    let Call { workspace, client, .. } = call;
    task::run(&state, move |report| async move { workspace.import(client, request, move |progress| report.progress(progress)).await }).await
}

/// Write a backup, without the device's identity, into a new file on the device's machine.
#[utoipa::path(post, operation_id = "backUp", path = "/v1/tasks/backup", tag = "tasks", request_body = BackupRequest, responses(
    (status = 200, description = "Lines, each a TaskLine; `result` is a BackupReport", body = String, content_type = "application/x-ndjson"),
))]
pub(in super::super) async fn backup(
    State(state): State<ApiState>,
    call: Call,
    JsonBody(request): JsonBody<BackupRequest>,
) -> Result<Response, ServiceError> {
    let workspace = call.workspace;
    task::run(&state, move |report| async move { workspace.backup(request, move |progress| report.progress(progress)).await }).await
}

/// Check everything that is stored, and repair what can be repaired without losing anything if that is wanted.
#[utoipa::path(post, operation_id = "runDoctor", path = "/v1/tasks/doctor", tag = "tasks", request_body = DoctorRequest, responses(
    (status = 200, description = "Lines, each a TaskLine; `result` is a DoctorReport", body = String, content_type = "application/x-ndjson"),
))]
pub(in super::super) async fn doctor(
    State(state): State<ApiState>,
    call: Call,
    JsonBody(request): JsonBody<DoctorRequest>,
) -> Result<Response, ServiceError> {
    let workspace = call.workspace;
    task::run(&state, move |report| async move { workspace.doctor(request, move |progress| report.progress(progress)).await }).await
}

/// Make the LanceDB table anew.
#[utoipa::path(post, operation_id = "rebuildProjection", path = "/v1/tasks/rebuild", tag = "tasks", responses(
    (status = 200, description = "Lines, each a TaskLine; `result` is a RebuildReport", body = String, content_type = "application/x-ndjson"),
))]
pub(in super::super) async fn rebuild(State(state): State<ApiState>, call: Call, _body: NoBody) -> Result<Response, ServiceError> {
    let workspace = call.workspace;
    task::run(&state, move |report| async move { workspace.rebuild(move |progress| report.progress(progress)).await }).await
}

/// All nodes, one a line (JSON Lines), in outline order.
#[utoipa::path(get, operation_id = "exportNodes", path = "/v1/export", tag = "tasks", params(ExportParameters), responses(
    (status = 200, description = "One Node a line; a line with the single member `error` ends an export that broke off", body = String,
     content_type = "application/x-ndjson"),
))]
pub(in super::super) async fn export(call: Call<ExportParameters>) -> Result<Response, ServiceError> {
    let ExportParameters { root, deleted } = call.query;
    let mut export = call.workspace.export(ExportQuery { root, deleted }).await?;
    // Read before the answer begins, so that what cannot be read at all is refused.
    let first = export.page().await?.map(lines);
    let body = futures::stream::iter(first).chain(rest(export)).map(Ok::<_, Infallible>);
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], Body::from_stream(body)).into_response())
}

/// The pages after the first, read as the client takes them.
fn rest(export: Export) -> impl Stream<Item = Bytes> + Send + 'static {
    futures::stream::unfold(Some(export), |export| async move {
        let mut export = export?;
        match export.page().await {
            Ok(page) => page.map(|nodes| (lines(nodes), Some(export))),
            Err(error) => Some((to_line(&TaskLine::<()>::Error(error.0)), None)),
        }
    })
}

fn lines(nodes: Vec<Node>) -> Bytes {
    let mut text = Vec::new();
    for node in &nodes {
        text.extend_from_slice(&to_line(node));
    }
    text.into()
}
