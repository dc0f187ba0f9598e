//! An outline: a document as a tree of nodes, and its way back to Markdown.
//!
//! The nodes stand in one vector in the order of the source, each after its parent, so a walk over the tree is a walk over the vector. A
//! node's content is the Markdown source of its block without the indentation that its place gave it; what the place or the kind says
//! already (heading marks, list markers) is kept in the kind instead. So the way back needs no renderer: it puts marks and indentation back.
//!
//! The way back is faithful to the text, not to the layout: blank lines, the style of headings and the indentation of lists come out in one
//! form.

use serde::{Deserialize, Serialize};

/// One document as a tree of nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outline {
    /// The nodes in the order of the source. The first is the [`OutlineKind::Document`], the only one without a parent.
    pub nodes: Vec<OutlineNode>,
}

/// One node of an [`Outline`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutlineNode {
    /// What it is.
    #[serde(flatten)]
    pub kind: OutlineKind,
    /// Its Markdown source; for the document, its title.
    pub content: String,
    /// The index of its parent, always smaller than its own.
    pub parent: Option<usize>,
    /// Where it stands in the file.
    pub lines: LineRange,
}

/// A run of lines, counted from 1, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LineRange {
    /// The first line.
    pub first: usize,
    /// The last line, never before the first.
    pub last: usize,
}

/// What a node of an outline is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum OutlineKind {
    /// The file itself; its content is the title.
    Document,
    /// A YAML block at the very start of the file, with its fences.
    FrontMatter,
    /// A heading; what follows it, up to the next heading of its level or above, stands below it.
    Heading {
        /// From 1, the highest, to 6.
        level: u8,
    },
    /// A paragraph.
    Text,
    /// An item of a list. Its first text is its content, all else in it stands below it.
    ListItem {
        /// What stood before it in the source: `-`, `*`, `+`, `7.` or `7)`.
        marker: String,
    },
    /// A code block with its fences; one that was marked by indentation has been given fences.
    CodeBlock,
    /// A quotation with its `>` marks.
    Quote,
    /// A table.
    Table,
    /// A block of HTML, comments among them.
    Html,
    /// A horizontal rule.
    Divider,
    /// A footnote with its label.
    Footnote,
    /// Definitions of link targets. They are no part of the shown text, but links elsewhere in the file need them.
    LinkDefinition,
}

impl OutlineKind {
    /// Its name as shown to people and written as JSON.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Document => "document",
            Self::FrontMatter => "front-matter",
            Self::Heading { .. } => "heading",
            Self::Text => "text",
            Self::ListItem { .. } => "list-item",
            Self::CodeBlock => "code-block",
            Self::Quote => "quote",
            Self::Table => "table",
            Self::Html => "html",
            Self::Divider => "divider",
            Self::Footnote => "footnote",
            Self::LinkDefinition => "link-definition",
        }
    }
}

impl Outline {
    /// The document's title.
    #[must_use]
    pub fn title(&self) -> &str {
        self.nodes.first().map_or("", |document| document.content.as_str())
    }

    /// How far below the document each node stands; the document itself at 0.
    #[must_use]
    pub fn depths(&self) -> Vec<usize> {
        let mut depths: Vec<usize> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            depths.push(node.parent.and_then(|parent| depths.get(parent)).map_or(0, |depth| depth + 1));
        }
        depths
    }

    /// The document as Markdown. The title is not part of it: it is the name of the file.
    #[must_use]
    pub fn to_markdown(&self) -> String {
        let mut markdown = String::new();
        let mut indents: Vec<usize> = Vec::with_capacity(self.nodes.len());
        for (index, node) in self.nodes.iter().enumerate() {
            let indent = self.indent(node, &indents);
            indents.push(indent);
            if node.kind == OutlineKind::Document {
                continue;
            }
            if !markdown.is_empty() {
                markdown.push_str(if self.is_tight(index) { "\n" } else { "\n\n" });
            }
            push_node(&mut markdown, node, indent);
        }
        if !markdown.is_empty() {
            markdown.push('\n');
        }
        markdown
    }

    /// The column at which a node starts: behind the marker of the item it stands in.
    fn indent(&self, node: &OutlineNode, indents: &[usize]) -> usize {
        let Some((parent, parent_indent)) = node.parent.and_then(|parent| Some((self.nodes.get(parent)?, indents.get(parent)?))) else {
            return 0;
        };
        match &parent.kind {
            OutlineKind::ListItem { marker } => parent_indent + marker.len() + 1,
            _ => *parent_indent,
        }
    }

    /// Whether a node follows the one before it without a blank line, which only happens in lists.
    fn is_tight(&self, index: usize) -> bool {
        let Some((previous, node)) = index.checked_sub(1).and_then(|before| Some((self.nodes.get(before)?, self.nodes.get(index)?))) else {
            return false;
        };
        let OutlineKind::ListItem { .. } = &previous.kind else { return false };
        if node.parent == index.checked_sub(1) {
            // An item without text of its own: a blank line here would end it before it began.
            return previous.content.is_empty() || can_interrupt_text(node);
        }
        let mut ancestors = std::iter::successors(Some(previous), |below| self.nodes.get(below.parent?));
        let sibling = ancestors.find(|ancestor| ancestor.parent == node.parent);
        sibling.and_then(delimiter).is_some_and(|sibling_delimiter| delimiter(node) == Some(sibling_delimiter))
    }
}

/// Whether an item right below a line of text is read as an item: an empty one or one numbered other than 1 would be read as more text.
fn can_interrupt_text(node: &OutlineNode) -> bool {
    match &node.kind {
        OutlineKind::ListItem { marker } => {
            let is_numbered = marker.starts_with(|first: char| first.is_ascii_digit());
            !node.content.is_empty() && (!is_numbered || matches!(marker.as_str(), "1." | "1)"))
        }
        _ => false,
    }
}

/// What tells one list from the next: the last character of its items' markers.
fn delimiter(node: &OutlineNode) -> Option<char> {
    match &node.kind {
        OutlineKind::ListItem { marker } => marker.chars().next_back(),
        _ => None,
    }
}

/// Appends a node, every line but blank ones indented.
fn push_node(markdown: &mut String, node: &OutlineNode, indent: usize) {
    push_spaces(markdown, indent);
    let hanging = match &node.kind {
        OutlineKind::Heading { level } => {
            markdown.extend(std::iter::repeat_n('#', usize::from(*level)));
            markdown.push_str(if node.content.is_empty() { "" } else { " " });
            indent
        }
        OutlineKind::ListItem { marker } => {
            markdown.push_str(marker);
            markdown.push_str(if node.content.is_empty() { "" } else { " " });
            indent + marker.len() + 1
        }
        _ => indent,
    };
    for (number, line) in node.content.split('\n').enumerate() {
        if number > 0 {
            markdown.push('\n');
            push_spaces(markdown, if line.is_empty() { 0 } else { hanging });
        }
        markdown.push_str(line);
    }
}

fn push_spaces(markdown: &mut String, count: usize) {
    markdown.extend(std::iter::repeat_n(' ', count));
}
