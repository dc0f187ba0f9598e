//! The tree, as a page of an outline or whole as lines.

use axum::Json;

use super::super::call::Call;
use super::super::parameters::{FromParameters, Parameters};
use super::nodes::PageParameters;
use crate::model::{NodePage, ServiceError, TreePage};
use crate::service::TreeQuery;

/// Which part of the tree.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct TreeParameters {
    /// The node to begin with; all of the top level when absent.
    root: Option<String>,
    /// How many levels at most.
    depth: Option<usize>,
    /// How many lines at most.
    limit: Option<usize>,
    /// Go on after this id: the last line of the page before.
    after: Option<String>,
}

impl FromParameters for TreeParameters {
    fn take(from: &mut Parameters) -> Result<Self, ServiceError> {
        Ok(Self { root: from.text("root")?, depth: from.number("depth")?, limit: from.number("limit")?, after: from.text("after")? })
    }
}

/// The tree as an outline: each node after its parent and after what stands below its preceding sibling.
#[utoipa::path(get, operation_id = "getTree", path = "/v1/tree", tag = "nodes", params(TreeParameters), responses(
    (status = 200, description = "A page", body = TreePage),
))]
pub(in super::super) async fn tree(call: Call<TreeParameters>) -> Result<Json<TreePage>, ServiceError> {
    let TreeParameters { root, depth, limit, after } = call.query;
    call.workspace.tree(TreeQuery { root, depth, limit, after }).await.map(Json)
}

/// The nodes at top level, in sibling order, in pages.
#[utoipa::path(get, operation_id = "listTopLevel", path = "/v1/children", tag = "nodes", params(PageParameters), responses(
    (status = 200, description = "A page", body = NodePage),
))]
pub(in super::super) async fn top_level(call: Call<PageParameters>) -> Result<Json<NodePage>, ServiceError> {
    let PageParameters { after, limit } = call.query;
    call.workspace.children(None, after, limit).await.map(Json)
}
