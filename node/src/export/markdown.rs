//! Nodes in outline order become Markdown files: one for each document, in the folders they were imported from.
//!
//! ```text
//! folder     -> a folder
//! document   -> a file in it, named by its title
//! date       -> a file in it, named by the date
//! all else   -> outside documents: nested lists in files named `outline`
//! ```
//!
//! What is written imports again as the same tree, as far as it was imported or is made of what Markdown has (what becomes of the rest is said
//! in the file `outline.rs` beside this). Names come from titles: a document that was renamed is exported under its new name. What Markdown has no place for (metadata of
//! applications, mentions, a date's own text beside the date) is in the lines of JSON only.

use crate::import::kind::{DATE, FOLDER, extension_of};
use crate::import::path::date_id;
use crate::model::Node;

use super::names::Names;
use super::outline::{Draft, Form};

/// The name of files for what is in no document.
const LOOSE_TITLE: &str = "outline";

/// After how many nodes such a file ends, at the next node that stands by itself: a workspace without a single document must not become one
/// file in memory.
pub const LOOSE_NODES_MAX: usize = 10_000;

/// One exported file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkdownFile {
    /// Its relative path, parts separated by `/`; safe to be joined to a folder.
    pub path: String,
    /// Its text.
    pub markdown: String,
}

/// Makes files of a stream of nodes. Holds one document at a time.
#[derive(Debug, Default)]
pub struct MarkdownExport {
    names: Names,
    /// The open folders: node and path.
    folders: Vec<(String, String)>,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    form: Form,
    path: String,
    /// The folder it is in.
    folder: String,
    draft: Draft,
}

impl MarkdownExport {
    /// Begins.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next node, after its parent and its preceding siblings; gives the file that ends before it.
    #[must_use]
    pub fn push(&mut self, node: Node) -> Option<MarkdownFile> {
        if let Some(open) = &mut self.open
            && node.parent_id.as_deref().is_some_and(|parent| open.draft.holds(parent))
        {
            open.draft.push(node);
            return None;
        }
        while self.folders.last().is_some_and(|(id, _)| Some(id) != node.parent_id.as_ref()) {
            self.folders.pop();
        }
        let folder = self.folders.last().map_or_else(String::new, |(_, path)| path.clone());
        match node.node_type.as_str() {
            FOLDER => {
                let path = self.names.path(&folder, &node.content, None);
                self.folders.push((node.id, path));
                self.finish()
            }
            "document" | DATE => {
                let ended = self.finish();
                self.open_document(folder, &node);
                ended
            }
            _ => self.push_loose(folder, node),
        }
    }

    /// The last file, when there is one.
    #[must_use]
    pub fn finish(&mut self) -> Option<MarkdownFile> {
        self.open.take().map(|open| MarkdownFile { path: open.path, markdown: open.draft.into_markdown() })
    }

    fn open_document(&mut self, folder: String, node: &Node) {
        // A date's file is named by the date, whatever stands in the node: by its name it is known again.
        let is_date = node.node_type == DATE && date_id(&node.id).is_some();
        let title = if is_date { &node.id } else { &node.content };
        let path = self.names.path(&folder, title, Some(extension_of(&node.metadata)));
        let mut draft = Draft::new(Form::Document, title.clone());
        draft.stands_for(&node.id);
        self.open = Some(Open { form: Form::Document, path, folder, draft });
    }

    fn push_loose(&mut self, folder: String, node: Node) -> Option<MarkdownFile> {
        let goes_on = |open: &Open| open.form == Form::Loose && open.folder == folder && open.draft.len() <= LOOSE_NODES_MAX;
        let ended = if self.open.as_ref().is_some_and(goes_on) { None } else { self.finish() };
        let open = self.open.get_or_insert_with(|| {
            let path = self.names.path(&folder, LOOSE_TITLE, Some("md"));
            Open { form: Form::Loose, path, folder, draft: Draft::new(Form::Loose, LOOSE_TITLE.to_owned()) }
        });
        open.draft.push(node);
        ended
    }
}
