//! Markdown into an [`Outline`].
//!
//! The parser ([`pulldown_cmark`], CommonMark with tables, task lists, strikethrough and footnotes) is asked only where blocks begin and end;
//! the text itself is cut from the source. So inline marks, links and odd spacing survive as they were written, and nothing is rendered
//! and read back.
//!
//! ```text
//! source --parser--> events with byte ranges --Walk--> blocks and the gaps between them --> nodes
//! ```
//!
//! **Nothing is lost by construction**: between the blocks the parser reports there are gaps (the text of a tight list item, definitions of
//! link targets), and a gap that is not blank becomes a node too. Within an item the first text is the item's content.
//!
//! The walk keeps its own stack and takes lists below [`LISTS_DEPTH_MAX`] as text, so hostile nesting costs neither stack nor quadratic space.
//!
//! Source: CommonMark 0.31.2, <https://spec.commonmark.org/0.31.2/>.

use std::borrow::Cow;
use std::ops::Range;

use pulldown_cmark::{CodeBlockKind, Event, Options, Parser, Tag};

use super::outline::{LineRange, Outline, OutlineKind, OutlineNode};

/// How deep lists may stand within lists. A list below that is kept whole, as one text: nobody writes such a list, but an exported line
/// repeats the indentation of all its ancestors, and without a bound a small file would become a huge one.
pub const LISTS_DEPTH_MAX: usize = 32;

/// What Markdown takes for blank. Other spaces of Unicode are text.
const BLANKS: [char; 5] = [' ', '\t', '\n', '\u{b}', '\u{c}'];

/// Reads Markdown text as an outline. Any text is an outline: Markdown knows no errors.
#[must_use]
pub fn parse(title: &str, text: &str) -> Outline {
    let text = &with_unix_line_ends(text.strip_prefix('\u{feff}').unwrap_or(text));
    let mut walk = Walk::new(title, text);
    let body_start = front_matter_bytes(text);
    if body_start > 0 {
        walk.push_leaf(&Leaf { kind: LeafKind::Kept(OutlineKind::FrontMatter), start: 0 }, body_start);
    }
    let options = Options::ENABLE_TABLES | Options::ENABLE_TASKLISTS | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_FOOTNOTES;
    for (event, range) in Parser::new_ext(&text[body_start..], options).into_offset_iter() {
        walk.handle(&event, range.start + body_start..range.end + body_start);
    }
    walk.finish()
}

/// The text with every line end as one `\n`, which is all that the rest of this file knows.
fn with_unix_line_ends(text: &str) -> Cow<'_, str> {
    if text.contains('\r') { Cow::Owned(text.replace("\r\n", "\n").replace('\r', "\n")) } else { Cow::Borrowed(text) }
}

/// The length of a YAML block at the start of the text with both its fences, or 0. The parser would see such a block anywhere between two
/// rules, and take the text between them for it.
fn front_matter_bytes(text: &str) -> usize {
    let mut lines = text.split_inclusive('\n');
    if lines.next().is_none_or(|line| line.trim_end() != "---") {
        return 0;
    }
    let mut end = text.find('\n').map_or(text.len(), |newline| newline + 1);
    for (number, line) in lines.enumerate() {
        end += line.len();
        match line.trim_end() {
            "" if number == 0 => return 0,
            "---" | "..." if number > 0 => return end,
            _ => {}
        }
    }
    0
}

/// A block whose inside is not looked at.
#[derive(Debug)]
struct Leaf {
    kind: LeafKind,
    /// The byte at which it starts.
    start: usize,
}

/// How a leaf's source becomes a node.
#[derive(Debug)]
enum LeafKind {
    /// As it stands.
    Kept(OutlineKind),
    /// Without its marks.
    Heading(u8),
    /// From the text the parser reports, to be put between fences.
    IndentedCode(String),
}

/// The document, or a list item that is still open.
#[derive(Debug)]
struct Frame {
    /// The item's node; none for the document, whose blocks go below the last heading.
    item: Option<usize>,
    /// Everything before this byte has become nodes.
    taken: usize,
    /// Whether the parser has reported text in the gap that starts at `taken`.
    text_in_gap: bool,
}

/// The walk over the parser's events.
#[derive(Debug)]
struct Walk<'text> {
    text: &'text str,
    /// The byte at which each line starts.
    line_starts: Vec<usize>,
    nodes: Vec<OutlineNode>,
    /// The open headings: level and node, levels strictly growing.
    headings: Vec<(u8, usize)>,
    /// The document at the bottom, above it the open items.
    frames: Vec<Frame>,
    leaf: Option<Leaf>,
    /// How many tags are open within the leaf.
    leaf_depth: usize,
}

impl<'text> Walk<'text> {
    fn new(title: &str, text: &'text str) -> Self {
        let line_starts: Vec<usize> = std::iter::once(0).chain(text.match_indices('\n').map(|(newline, _)| newline + 1)).collect();
        let lines = LineRange { first: 1, last: text.lines().count().max(1) };
        let document = OutlineNode { kind: OutlineKind::Document, content: title.to_owned(), parent: None, lines };
        let frames = vec![Frame { item: None, taken: 0, text_in_gap: false }];
        Self { text, line_starts, nodes: vec![document], headings: Vec::new(), frames, leaf: None, leaf_depth: 0 }
    }

    fn handle(&mut self, event: &Event<'_>, range: Range<usize>) {
        if self.leaf.is_some() {
            return self.handle_in_leaf(event, range);
        }
        match event {
            Event::Start(Tag::List(_)) if self.frames.len() <= LISTS_DEPTH_MAX => self.take_gap(range.start),
            Event::Start(Tag::Item) => self.open_item(range.start),
            Event::Start(tag) => match leaf_kind(tag) {
                Some(kind) => self.open_leaf(kind, range.start),
                None => self.frame().text_in_gap = true,
            },
            Event::End(pulldown_cmark::TagEnd::Item) => self.close_item(range.end),
            Event::End(_) => {}
            Event::Rule => {
                self.take_gap(range.start);
                self.push_leaf(&Leaf { kind: LeafKind::Kept(OutlineKind::Divider), start: range.start }, range.end);
            }
            _ => self.frame().text_in_gap = true,
        }
    }

    fn handle_in_leaf(&mut self, event: &Event<'_>, range: Range<usize>) {
        match event {
            Event::Start(_) => self.leaf_depth += 1,
            Event::End(_) if self.leaf_depth > 0 => self.leaf_depth -= 1,
            Event::End(_) => {
                if let Some(leaf) = self.leaf.take() {
                    self.push_leaf(&leaf, range.end);
                }
            }
            Event::Text(text) => {
                if let Some(Leaf { kind: LeafKind::IndentedCode(code), .. }) = &mut self.leaf {
                    code.push_str(text);
                }
            }
            _ => {}
        }
    }

    fn open_leaf(&mut self, kind: LeafKind, start: usize) {
        self.take_gap(start);
        self.leaf = Some(Leaf { kind, start });
        self.leaf_depth = 0;
    }

    fn open_item(&mut self, start: usize) {
        self.take_gap(start);
        let marker_start = self.skip_space(start);
        let marker = list_marker(&self.text[marker_start..]);
        let taken = marker_start + marker.len();
        let kind = OutlineKind::ListItem { marker: marker.to_owned() };
        let item = self.push(kind, String::new(), marker_start..taken);
        self.frames.push(Frame { item: Some(item), taken, text_in_gap: false });
    }

    fn close_item(&mut self, end: usize) {
        self.take_gap(end);
        if self.frames.len() > 1 {
            self.frames.pop();
        }
        self.frame().taken = end;
    }

    fn finish(mut self) -> Outline {
        self.take_gap(self.text.len());
        Outline { nodes: self.nodes }
    }

    /// Makes a node of what lies between the last block and this one, if it is not blank.
    fn take_gap(&mut self, end: usize) {
        let frame = self.frame();
        let kind = if frame.text_in_gap { OutlineKind::Text } else { OutlineKind::LinkDefinition };
        let leaf = Leaf { kind: LeafKind::Kept(kind), start: frame.taken };
        frame.text_in_gap = false;
        if leaf.start < end && !self.text[leaf.start..end].trim_matches(BLANKS).is_empty() {
            self.push_leaf(&leaf, end);
        }
    }

    /// Makes a node of a leaf that ends here, or, of an item's first text, the item's content.
    fn push_leaf(&mut self, leaf: &Leaf, end: usize) {
        let start = self.skip_space(leaf.start).min(end);
        let trimmed_end = start + self.text[start..end].trim_end_matches(BLANKS).len();
        let content = match &leaf.kind {
            LeafKind::Kept(_) => self.dedented(start..trimmed_end),
            LeafKind::Heading(_) => heading_text(&self.dedented(start..trimmed_end)),
            LeafKind::IndentedCode(code) => fenced(code),
        };
        match &leaf.kind {
            LeafKind::Kept(kind) => self.push_content(kind.clone(), content, start..trimmed_end),
            LeafKind::IndentedCode(_) => self.push_content(OutlineKind::CodeBlock, content, start..trimmed_end),
            LeafKind::Heading(level) => self.push_heading(*level, content, start..trimmed_end),
        }
        self.frame().taken = end;
    }

    fn push_content(&mut self, kind: OutlineKind, content: String, bytes: Range<usize>) {
        let lines = self.lines(&bytes);
        let item = self.frame().item;
        // The item's first text becomes its content, as long as nothing stands below it: content comes before children.
        if kind == OutlineKind::Text
            && item.is_some_and(|item| item + 1 == self.nodes.len())
            && let Some(node) = self.nodes.last_mut().filter(|node| node.content.is_empty())
        {
            node.content = content;
            node.lines.last = lines.last;
            return;
        }
        self.push(kind, content, bytes);
    }

    /// Outside lists a heading closes those of its level and below, and becomes the place for what follows.
    fn push_heading(&mut self, level: u8, content: String, bytes: Range<usize>) {
        if self.frame().item.is_some() {
            self.push(OutlineKind::Heading { level }, content, bytes);
            return;
        }
        while self.headings.last().is_some_and(|(open, _)| *open >= level) {
            self.headings.pop();
        }
        let index = self.push(OutlineKind::Heading { level }, content, bytes);
        self.headings.push((level, index));
    }

    fn push(&mut self, kind: OutlineKind, content: String, bytes: Range<usize>) -> usize {
        let below_heading = self.headings.last().map_or(0, |(_, heading)| *heading);
        let parent = Some(self.frame().item.unwrap_or(below_heading));
        let lines = self.lines(&bytes);
        self.nodes.push(OutlineNode { kind, content, parent, lines });
        self.nodes.len() - 1
    }

    fn frame(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("the document's frame is never popped")
    }

    fn skip_space(&self, start: usize) -> usize {
        self.text.len() - self.text[start..].trim_start_matches(BLANKS).len()
    }

    fn line_of(&self, byte: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= byte)
    }

    fn lines(&self, bytes: &Range<usize>) -> LineRange {
        LineRange { first: self.line_of(bytes.start), last: self.line_of(bytes.end.saturating_sub(1).max(bytes.start)) }
    }

    /// The source without the indentation that its first line has: in an item, that of the item's content.
    fn dedented(&self, bytes: Range<usize>) -> String {
        let line_start = self.line_of(bytes.start).checked_sub(1).and_then(|line| self.line_starts.get(line)).copied().unwrap_or_default();
        let column = self.text[line_start..bytes.start].chars().fold(0, column_after);
        let mut content = String::with_capacity(bytes.len());
        for (number, line) in self.text[bytes].lines().enumerate() {
            if number == 0 {
                content.push_str(line);
            } else {
                content.push('\n');
                push_dedented(&mut content, line, column);
            }
        }
        content
    }
}

/// What kind of node a block becomes; none for inline marks and for the containers that are walked into.
fn leaf_kind(tag: &Tag<'_>) -> Option<LeafKind> {
    let kind = match tag {
        Tag::Heading { level, .. } => return Some(LeafKind::Heading(*level as u8)),
        Tag::CodeBlock(CodeBlockKind::Indented) => return Some(LeafKind::IndentedCode(String::new())),
        Tag::CodeBlock(CodeBlockKind::Fenced(_)) => OutlineKind::CodeBlock,
        Tag::Paragraph | Tag::List(_) | Tag::DefinitionList => OutlineKind::Text,
        Tag::BlockQuote(_) => OutlineKind::Quote,
        Tag::Table(_) => OutlineKind::Table,
        Tag::HtmlBlock => OutlineKind::Html,
        Tag::FootnoteDefinition(_) => OutlineKind::Footnote,
        _ => return None,
    };
    Some(LeafKind::Kept(kind))
}

/// The list marker at the start of an item's source.
fn list_marker(source: &str) -> &str {
    let digits = source.bytes().take_while(u8::is_ascii_digit).count();
    let delimiter = source[digits..].chars().next().map_or(0, char::len_utf8);
    &source[..digits + delimiter]
}

/// A heading's text without its marks, on one line. One with marks in front (`## Title ##`) is a line; one with a line drawn below is more.
fn heading_text(source: &str) -> String {
    if let Some((text, _underline)) = source.rsplit_once('\n') {
        return text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    }
    let text = source.trim_start_matches('#').trim();
    let without_closing = text.trim_end_matches('#');
    // Closing marks count only when they stand apart from the text.
    if without_closing.is_empty() || without_closing.ends_with([' ', '\t']) { without_closing.trim_end() } else { text }.to_owned()
}

/// Code between fences that are longer than any run of backticks in it.
fn fenced(code: &str) -> String {
    let longest_run = code.split(|character| character != '`').map(str::len).max().unwrap_or_default();
    let fence = "`".repeat(longest_run.max(2) + 1);
    let code = code.lines().collect::<Vec<_>>().join("\n");
    format!("{fence}\n{}\n{fence}", code.trim_end())
}

/// The column after a character, with a tab reaching to the next multiple of four.
fn column_after(column: usize, character: char) -> usize {
    if character == '\t' { (column / 4 + 1) * 4 } else { column + 1 }
}

/// Appends a line without its first `columns` columns, as far as they are blank. A tab that is cut in two leaves spaces behind.
fn push_dedented(content: &mut String, line: &str, columns: usize) {
    let mut column = 0;
    let mut rest = line;
    while column < columns {
        let Some(character) = rest.chars().next().filter(|character| matches!(character, ' ' | '\t')) else { break };
        column = column_after(column, character);
        rest = &rest[1..];
    }
    content.extend(std::iter::repeat_n(' ', column.saturating_sub(columns)));
    content.push_str(rest);
}
