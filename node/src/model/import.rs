//! Importing and exporting: what goes in, and what became of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ErrorBody;

/// One Markdown file to be imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportDocument {
    /// Its relative path, parts separated by `/`, with the name of the imported folder in front: `notes/2025/plan.md`. It is what a
    /// document is known by when it is imported again.
    pub path: String,
    /// Its text.
    pub markdown: String,
}

/// Markdown files to be imported.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportRequest {
    /// The files. One that cannot be imported does not stop the others.
    pub documents: Vec<ImportDocument>,
    /// The node to import below; `null` or absent = top level. The same file below another node is another document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub under: Option<String>,
}

/// What an import did, in nodes. A node may count as updated and as moved; otherwise each counts once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportCounts {
    /// Nodes made, or made again after they had vanished from the file.
    pub created: u64,
    /// Nodes whose text or kind the file changed.
    pub updated: u64,
    /// Nodes the file has elsewhere now.
    pub moved: u64,
    /// Nodes that vanished from the file and were deleted; they can be restored.
    pub deleted: u64,
    /// Nodes that are as in the file.
    pub unchanged: u64,
    /// Nodes that were changed, moved or deleted here while the file stayed: left as they are.
    pub kept: u64,
    /// Of the updated ones, those that had been changed here too: the file's text shows, the other is in the history.
    pub overwritten: u64,
}

impl ImportCounts {
    /// Adds what another part of the import did.
    pub const fn add(&mut self, other: &Self) {
        self.created += other.created;
        self.updated += other.updated;
        self.moved += other.moved;
        self.deleted += other.deleted;
        self.unchanged += other.unchanged;
        self.kept += other.kept;
        self.overwritten += other.overwritten;
    }
}

/// What became of one file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DocumentOutcome {
    /// Its path.
    pub path: String,
    /// Its node.
    pub id: Option<String>,
    /// What was done to its nodes, its own included.
    #[serde(flatten)]
    pub counts: ImportCounts,
    /// Why it was not imported, or not wholly: import it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorBody>,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImportReport {
    /// Files that were imported.
    pub documents: u64,
    /// Files that were not; their outcomes say why.
    pub failed: u64,
    /// Operations written: none when nothing had changed.
    pub operations: u64,
    /// What was done to the nodes of all files and to the folders.
    #[serde(flatten)]
    pub counts: ImportCounts,
    /// One for each file of the request, in its order.
    pub outcomes: Vec<DocumentOutcome>,
}

/// What to export.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportQuery {
    /// Only this node and what is below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// Deleted nodes too. Without, only those deleted ones are written that have something living below them.
    #[serde(default)]
    pub deleted: bool,
}
