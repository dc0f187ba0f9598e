//! Exporting: nodes in outline order, a page at a time.

use super::parse;
use crate::engine::Workspace;
use crate::export::{PAGE_NODES_DEFAULT, Walk};
use crate::model::{ExportQuery, Node, ServiceError};

/// An export in progress.
#[derive(Debug)]
pub struct Export {
    workspace: Workspace,
    /// None when it has ended.
    walk: Option<Walk>,
}

impl Workspace {
    /// Begins an export of everything, or of a node and what is below it.
    ///
    /// # Errors
    /// When the root is not there.
    pub async fn export(&self, query: ExportQuery) -> Result<Export, ServiceError> {
        let root = query.root.as_deref().map(parse::node_id).transpose()?;
        let walk = self.read(move |replica| Walk::begin(replica, root, query.deleted)).await??;
        Ok(Export { workspace: self.clone(), walk: Some(walk) })
    }
}

impl Export {
    /// The next nodes, each after its parent and its preceding siblings; read when they are asked for, and never an empty page. None at the
    /// end, and after an error.
    ///
    /// # Errors
    /// When the store fails or the device is stopping.
    pub async fn page(&mut self) -> Result<Option<Vec<Node>>, ServiceError> {
        while let Some(mut walk) = self.walk.take() {
            let (walk, page) =
                self.workspace.read(move |replica| walk.page(replica, PAGE_NODES_DEFAULT).map(|page| (walk, page))).await??;
            let Some(page) = page else { return Ok(None) };
            self.walk = Some(walk);
            if !page.is_empty() {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }
}
