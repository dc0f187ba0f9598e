//! The nodes of one file as an [`Outline`], whatever they are.
//!
//! Imported nodes come back as the blocks they were. All others must become something that Markdown can nest, and only list items can: a
//! node with others below it, a person's own outline, a type that Markdown has not, become items of lists.

use std::collections::HashMap;

use crate::import::kind::{FOLDER, kind_of};
use crate::import::markdown::LISTS_DEPTH_MAX;
use crate::import::{LineRange, Outline, OutlineKind, OutlineNode};
use crate::model::Node;

/// How deep nodes are nested in a file. What is deeper becomes a sibling of its parent: every line repeats the indentation of all its
/// ancestors, and without a bound a deep tree would become a file of gigabytes. An imported document is never deeper: headings have six
/// levels, lists [`LISTS_DEPTH_MAX`].
pub(super) const DEPTH_MAX: usize = LISTS_DEPTH_MAX + 8;

/// How a file's own nodes are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// A document: paragraphs are paragraphs.
    Document,
    /// An outline that never was a document: every text is an item.
    Loose,
}

/// A file whose nodes are still coming.
#[derive(Debug)]
pub(super) struct Draft {
    form: Form,
    nodes: Vec<DraftNode>,
    /// By node id the place in `nodes` where its children go.
    places: HashMap<String, usize>,
}

#[derive(Debug)]
struct DraftNode {
    kind: Option<OutlineKind>,
    content: String,
    parent: Option<usize>,
    depth: usize,
}

impl Draft {
    /// A file with this title.
    pub(super) fn new(form: Form, title: String) -> Self {
        let top = DraftNode { kind: Some(OutlineKind::Document), content: title, parent: None, depth: 0 };
        Self { form, nodes: vec![top], places: HashMap::new() }
    }

    /// Lets children of this node go below the document itself.
    pub(super) fn stands_for(&mut self, id: &str) {
        self.places.insert(id.to_owned(), 0);
    }

    /// Whether a node is in this file.
    pub(super) fn holds(&self, id: &str) -> bool {
        self.places.contains_key(id)
    }

    /// How many nodes it has, the document included.
    pub(super) const fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Adds a node below its parent, or below the document when that is not in this file. Of a deleted node only the children are shown.
    pub(super) fn push(&mut self, node: Node) {
        let mut parent = node.parent_id.as_deref().and_then(|parent| self.places.get(parent)).copied().unwrap_or(0);
        if node.deleted {
            self.places.insert(node.id, parent);
            return;
        }
        while self.nodes[parent].depth >= DEPTH_MAX {
            parent = self.nodes[parent].parent.unwrap_or(0);
        }
        let kind = kind_of(&node.node_type, &node.metadata).filter(|kind| *kind != OutlineKind::Document && node.node_type != FOLDER);
        self.places.insert(node.id, self.nodes.len());
        self.nodes.push(DraftNode { kind, content: node.content, parent: Some(parent), depth: self.nodes[parent].depth + 1 });
    }

    /// The file as Markdown.
    pub(super) fn into_markdown(self) -> String {
        let mut has_children = vec![false; self.nodes.len()];
        for node in &self.nodes {
            if let Some(parent) = node.parent {
                has_children[parent] = true;
            }
        }
        let mut nodes: Vec<OutlineNode> = Vec::with_capacity(self.nodes.len());
        // Which nodes are items only because they could be nothing else.
        let mut made_items = vec![false; self.nodes.len()];
        for (at, node) in self.nodes.into_iter().enumerate() {
            let parent = node.parent.and_then(|parent| nodes.get(parent).map(|above: &OutlineNode| (&above.kind, made_items[parent])));
            let shown = shown(self.form, node.kind.as_ref(), parent, has_children[at]);
            made_items[at] = matches!(shown, OutlineKind::ListItem { .. }) && !matches!(node.kind, Some(OutlineKind::ListItem { .. }));
            let content = match shown {
                OutlineKind::Heading { .. } => node.content.replace('\n', " "),
                _ => node.content,
            };
            nodes.push(OutlineNode { kind: shown, content, parent: node.parent, lines: LineRange { first: 1, last: 1 } });
        }
        Outline { nodes }.to_markdown()
    }
}

/// As what a node is shown, below a parent that is shown as this (and was made an item for it).
fn shown(form: Form, kind: Option<&OutlineKind>, parent: Option<(&OutlineKind, bool)>, has_children: bool) -> OutlineKind {
    let item = || OutlineKind::ListItem { marker: "-".to_owned() };
    let Some((above, above_is_made)) = parent else { return OutlineKind::Document };
    match kind {
        None => item(),
        Some(OutlineKind::Heading { level }) => match above {
            OutlineKind::Heading { level: above } if *above >= 6 => item(),
            OutlineKind::Heading { level: above } => OutlineKind::Heading { level: (*level).max(above + 1) },
            // In an item a heading holds nothing: what is below it here would be beside it there.
            OutlineKind::ListItem { .. } if has_children || above_is_made => item(),
            _ => OutlineKind::Heading { level: *level },
        },
        Some(kind @ OutlineKind::ListItem { .. }) => kind.clone(),
        Some(OutlineKind::Text) if form == Form::Loose => item(),
        Some(_) if has_children || above_is_made => item(),
        Some(kind) => kind.clone(),
    }
}
