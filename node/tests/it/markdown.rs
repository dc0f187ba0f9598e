//! Markdown as an outline.
//!
//! Properties, on any text put together from Markdown's own marks:
//!
//! 1. Reading ends without a panic, and every parent stands before its children.
//! 2. The words of the exported Markdown are exactly the words of the source: none lost, none twice.
//! 3. Line ranges lie within the file and never run backwards.

use nodespace_node::import::markdown::{LISTS_DEPTH_MAX, parse};
use nodespace_node::import::{Outline, OutlineKind, OutlineNode};
use proptest::prelude::*;

use crate::words;

/// The tree as indented text, one node a line: kind and content.
fn drawn(outline: &Outline) -> String {
    let line =
        |(node, depth): (&OutlineNode, usize)| format!("{}{} {}", "  ".repeat(depth), node.kind.name(), node.content.replace('\n', "|"));
    outline.nodes.iter().zip(outline.depths()).map(line).collect::<Vec<_>>().join("\n")
}

fn tree(source: &str) -> String {
    drawn(&parse("note", source))
}

#[test]
fn headings_nest_by_level_and_hold_what_follows() {
    let source = "before\n\n# One\ntext\n\n### Deep\nx\n\n## Two ##\n\nTitle\nin two\n======\ny\n";
    let expected = "document note\n  text before\n  heading One\n    text text\n    heading Deep\n      text x\n    heading Two\n  heading Title in two\n    text y";
    assert_eq!(tree(source), expected);
}

#[test]
fn items_nest_and_hold_their_other_blocks() {
    let source = "- one\n  more\n  - inner **bold**\n\n    second text\n\n    ```rust\n    fn main() {\n        x\n    }\n    ```\n- [ ] two\n\n3. three\n";
    let expected = "document note\n  list-item one|more\n    list-item inner **bold**\n      text second text\n      code-block ```rust|fn main() {|    x|}|```\n  list-item [ ] two\n  list-item three";
    assert_eq!(tree(source), expected);
    let markers = |source| -> Vec<String> {
        let kinds = parse("", source).nodes.into_iter().map(|node| node.kind);
        kinds.filter_map(|kind| if let OutlineKind::ListItem { marker } = kind { Some(marker) } else { None }).collect()
    };
    assert_eq!(markers("- a\n\n* b\n\n7) c\n"), ["-", "*", "7)"]);
}

#[test]
fn every_kind_of_block_is_known() {
    let source = "---\ntitle: x\n---\n# H\n\n> quoted\n> more\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n<!-- note -->\n\n***\n\n    let x = 1;\n\n[^1]: footnote\n\n[link]: https://example.org\n";
    let expected = "document note\n  front-matter ---|title: x|---\n  heading H\n    quote > quoted|> more\n    table | a | b |||---|---||| 1 | 2 |\n    html <!-- note -->\n    divider ***\n    code-block ```|let x = 1;|```\n    footnote [^1]: footnote\n    link-definition [link]: https://example.org";
    assert_eq!(tree(source), expected);
}

#[test]
fn escapes_and_inline_marks_stay_as_written() {
    assert_eq!(
        tree("# \\*not\\* `code #`\n\n- \\# [a](b \"c\")  \n"),
        "document note\n  heading \\*not\\* `code #`\n    list-item \\# [a](b \"c\")"
    );
}

#[test]
fn line_ranges_point_into_the_file() {
    let outline = parse("note", "# One\n\ntext\nmore\n\n- a\n\n  b\n");
    let lines: Vec<_> = outline.nodes.iter().map(|node| (node.lines.first, node.lines.last)).collect();
    assert_eq!(lines, [(1, 8), (1, 1), (3, 4), (6, 6), (8, 8)]);
}

#[test]
fn windows_line_ends_and_a_byte_order_mark_make_no_difference() {
    let source = "# One\n\n- a\n  b\n\n```\nx\n  y\n```\n";
    assert_eq!(tree(&format!("\u{feff}{}", source.replace('\n', "\r\n"))), tree(source));
}

#[test]
fn nothing_is_an_empty_document() {
    assert_eq!(tree(""), "document note");
    assert_eq!(parse("note", " \n\n").to_markdown(), "");
}

#[test]
fn export_reads_back_as_the_same_tree() {
    for source in [
        "# A\n\n- one\n- two\n  - three\n\n    four\n- five\n\ntext\n",
        "- a\n  2. second\n\n- b\n\n  2. second\n",
        "- a\n+ b\n\n1. c\n1) d\n",
        "-\n  ```\n  x\n  ```\n- - - deep\n",
        "- \n- a\n  - \n",
        "1. a\n\n       code\n10. b\n",
        "> - quoted list\n\n<div>\n\ntext\n\n</div>\n",
    ] {
        let first = parse("note", source);
        let second = parse("note", &first.to_markdown());
        assert_eq!(drawn(&first), drawn(&second), "{source:?} became {:?}", first.to_markdown());
    }
}

#[test]
fn lists_nested_beyond_the_bound_are_kept_as_text() {
    let source = format!("{}end", "- ".repeat(100_000));
    let outline = parse("note", &source);
    // The document and its items; what is nested deeper is the text of the last.
    assert_eq!(outline.nodes.len(), LISTS_DEPTH_MAX + 1);
    let exported = outline.to_markdown();
    assert!(exported.contains("end"));
    assert!(exported.len() < 2 * source.len());
}

/// Texts made of Markdown's own marks, which is where a reader goes wrong.
fn marked_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z]{1,4}",
        proptest::sample::select(vec![
            "\n",
            "\n",
            "\n\n",
            "\n  ",
            "\n    ",
            "\n      ",
            "\n\t",
            " ",
            "- ",
            "* ",
            "1. ",
            "23) ",
            "# ",
            "## ",
            "\n===\n",
            "\n---\n",
            "```\n",
            "~~~ x\n",
            "> ",
            "`",
            "**",
            "_",
            "\\",
            "|",
            "\n|-|-|\n",
            "<div>",
            "<!-- ",
            " -->",
            "[",
            "](",
            ")",
            "]: ",
            "[^a]",
            ": ",
            "[ ] ",
            "&amp;",
            "é",
            "\u{3000}",
            "\r\n",
            "\r",
            "\0",
            "***",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn no_word_is_lost_and_the_tree_is_sound(source in marked_text()) {
        let outline = parse("note", &source);
        let exported = outline.to_markdown();
        prop_assert_eq!(words::counts(&exported), words::counts(&source));
        let line_count = source.replace("\r\n", "\n").replace('\r', "\n").lines().count().max(1);
        for (index, node) in outline.nodes.iter().enumerate() {
            prop_assert_eq!(node.parent.is_none(), index == 0);
            prop_assert!(node.parent.is_none_or(|parent| parent < index));
            prop_assert!(1 <= node.lines.first && node.lines.first <= node.lines.last && node.lines.last <= line_count);
        }
    }
}
