//! The description of the API (OpenAPI 3.1), made from the handlers themselves.
//!
//! Routes and their description are registered together, so none can be served and not described. What all of them have in common
//! (`?workspace=`, the client's name, the token, refusals) is added here once. `docs/openapi.json` is this document, checked in; a test
//! says when it is not current.

mod closed;

use axum::Router;
use utoipa::openapi::path::{Operation, Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, ObjectBuilder, Ref, ResponseBuilder};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::routes::{
    batch, changes, conflicts, devices, invites, join, members, meta, network, nodes, outline, relays, search, status, sync, tasks,
    workspaces,
};
use super::state::ApiState;
use crate::model;

const SECURITY: &str = "token";

/// The operations on the device as a whole, which take no `?workspace=`.
const OF_DEVICE: [&str; 10] = [
    "listWorkspaces",
    "createWorkspace",
    "updateWorkspace",
    "cancelJoin",
    "joinWorkspace",
    "addDevice",
    "getDevice",
    "getNetwork",
    "addPeer",
    "removePeer",
];

/// What is said of the API as a whole.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "NodeSpace local API",
        description = "Notes on this device, for the applications of this machine. See docs/API.md.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0")
    ),
    servers((url = "/", description = "Where this was fetched from; `api.json` in the home folder says the address")),
    components(schemas(
        model::ErrorBody,
        model::Change,
        model::WorkspaceStatus,
        model::TaskLine<model::ImportReport>,
        model::TaskLine<model::JoinReport>,
        model::TaskLine<model::BackupReport>,
        model::TaskLine<model::DoctorReport>,
        model::TaskLine<model::RebuildReport>
    )),
    tags(
        (name = "nodes", description = "Notes and their places"),
        (name = "search", description = "Finding"),
        (name = "changes", description = "What happened, from a cursor on"),
        (name = "conflicts", description = "What stands side by side"),
        (name = "status", description = "How a workspace is doing"),
        (name = "workspaces", description = "The workspaces of this device: making, joining, naming them"),
        (name = "members", description = "Who belongs to a workspace: invites, members, devices"),
        (name = "sync", description = "How this device agrees with others"),
        (name = "relays", description = "Relays: by way of which devices sync that are never online together"),
        (name = "network", description = "The connections to others"),
        (name = "tasks", description = "Long work, answered line by line"),
        (name = "device", description = "The API itself"),
    ),
)]
struct Description;

/// The whole document as it is checked in.
pub fn document() -> String {
    to_text(&routes().1)
}

/// The routes with their description.
pub(super) fn routes() -> (Router<ApiState>, utoipa::openapi::OpenApi) {
    let (router, mut document) = OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(meta::health))
        .routes(routes!(meta::show_metrics))
        .routes(routes!(meta::openapi))
        .routes(routes!(status::now))
        .routes(routes!(status::follow))
        .routes(routes!(nodes::create, nodes::list))
        .routes(routes!(nodes::get, nodes::update, nodes::delete))
        .routes(routes!(nodes::relocate))
        .routes(routes!(nodes::restore))
        .routes(routes!(nodes::embed))
        .routes(routes!(nodes::children))
        .routes(routes!(nodes::history))
        .routes(routes!(nodes::at))
        .routes(routes!(outline::top_level))
        .routes(routes!(outline::tree))
        .routes(routes!(batch::batch))
        .routes(routes!(search::search))
        .routes(routes!(conflicts::list))
        .routes(routes!(conflicts::show))
        .routes(routes!(conflicts::resolve))
        .routes(routes!(changes::page))
        .routes(routes!(changes::follow))
        .routes(routes!(workspaces::list, workspaces::create))
        .routes(routes!(workspaces::update, workspaces::cancel))
        .routes(routes!(join::join))
        .routes(routes!(invites::list, invites::create))
        .routes(routes!(invites::revoke))
        .routes(routes!(members::list, members::add))
        .routes(routes!(members::change, members::remove))
        .routes(routes!(devices::list, devices::add))
        .routes(routes!(devices::remove))
        .routes(routes!(devices::identity))
        .routes(routes!(sync::now, sync::start))
        .routes(routes!(sync::follow))
        .routes(routes!(relays::list, relays::add, relays::remove))
        .routes(routes!(relays::check))
        .routes(routes!(network::now))
        .routes(routes!(network::add, network::remove))
        .routes(routes!(tasks::import))
        .routes(routes!(tasks::export))
        .routes(routes!(tasks::backup))
        .routes(routes!(tasks::doctor))
        .routes(routes!(tasks::rebuild))
        .split_for_parts();
    Common.modify(&mut document);
    (router, document)
}

/// The document as text, the same on every run.
pub(super) fn to_text(document: &utoipa::openapi::OpenApi) -> String {
    let mut text = document.to_pretty_json().expect("a description of strings and maps can be written as JSON");
    text.push('\n');
    text
}

/// What all routes have in common.
struct Common;

impl Modify for Common {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let mut http = Http::new(HttpAuthScheme::Bearer);
        http.description = Some("The content of `api-token` in the home folder".to_owned());
        let components = document.components.get_or_insert_default();
        components.add_security_scheme(SECURITY, SecurityScheme::Http(http));
        closed::write_out(&mut components.schemas);
        document.security = Some(vec![SecurityRequirement::new(SECURITY, Vec::<String>::new())]);
        for (path, item) in &mut document.paths.paths {
            let methods = [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
            for operation in methods.into_iter().flatten() {
                describe_refusals(operation);
                if path.starts_with("/v1/") {
                    let of_workspace = operation.operation_id.as_deref().is_none_or(|id| !OF_DEVICE.contains(&id));
                    let parameters = operation.parameters.get_or_insert_default();
                    parameters.extend(of_workspace.then(|| workspace().into()));
                    parameters.push(client().into());
                }
            }
        }
    }
}

fn describe_refusals(operation: &mut Operation) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("ErrorBody"))).build();
    let refusal = ResponseBuilder::new().description("A refusal: see its `code`").content("application/json", content).build();
    operation.responses.responses.insert("default".to_owned(), refusal.into());
}

fn workspace() -> Parameter {
    text("workspace", ParameterIn::Query, "The workspace's id; the home's default when absent")
}

fn client() -> Parameter {
    text("X-NodeSpace-Client", ParameterIn::Header, "The client's name (1 to 64 visible ASCII characters), as the change stream shows it")
}

fn text(name: &str, place: ParameterIn, description: &str) -> Parameter {
    let schema = ObjectBuilder::new().schema_type(utoipa::openapi::Type::String).build();
    ParameterBuilder::new().name(name).parameter_in(place).description(Some(description)).schema(Some(schema)).build()
}
