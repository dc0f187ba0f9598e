//! Exports read back. Properties:
//!
//! 1. Imported files, exported and imported into another workspace, give the same tree, and exported again the same files.
//! 2. The lines of an export, made into writes, give the same nodes.
//! 3. Every living node is in an export once, after its parent, whatever the size of a page.

use std::collections::HashSet;

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::NewNode;
use nodespace_protocol::tree::Position;
use proptest::prelude::*;

use super::{MarkdownExport, MarkdownFile, Walk, batch_items};
use crate::import::tests::Device;
use crate::model::{BatchItem, Node};

fn lines(device: &Device, deleted: bool, page: usize) -> Vec<Node> {
    let mut walk = Walk::begin(&device.replica, None, deleted).unwrap();
    let mut lines = Vec::new();
    while let Some(page) = walk.page(&device.replica, page).unwrap() {
        lines.extend(page);
    }
    lines
}

fn files(device: &Device) -> Vec<MarkdownFile> {
    let mut export = MarkdownExport::new();
    let mut files: Vec<MarkdownFile> = lines(device, false, 7).into_iter().filter_map(|node| export.push(node)).collect();
    files.extend(export.finish());
    files
}

fn import(files: &[MarkdownFile]) -> Device {
    let mut device = Device::new();
    let files: Vec<(&str, &str)> = files.iter().map(|file| (file.path.as_str(), file.markdown.as_str())).collect();
    let report = device.import(&files);
    assert_eq!(report.failed, 0, "{report:?}");
    device
}

/// Makes nodes of exported lines, as a batch would.
fn replay(lines: &[Node]) -> Device {
    let mut device = Device::new();
    for item in lines.iter().flat_map(batch_items) {
        let now = device.now();
        match item {
            BatchItem::Create { create } => {
                let id = |text: &String| NodeId::parse(text).unwrap();
                let new = NewNode {
                    id: id(create.id.as_ref().unwrap()),
                    node_type: create.node_type.unwrap(),
                    content: create.content,
                    metadata: serde_json::Value::Object(create.metadata),
                    mentions: create.mentions.iter().map(id).collect(),
                    parent: create.parent_id.as_ref().map(id),
                    position: Position::Last,
                };
                device.replica.create(now, new).unwrap();
            }
            BatchItem::Delete { id, .. } => drop(device.replica.delete(now, &NodeId::parse(&id).unwrap(), true).unwrap()),
            other => panic!("{other:?} is no way to make a node"),
        }
    }
    device
}

/// What of a node does not depend on when and by whom it was written.
fn timeless(nodes: &[Node]) -> Vec<Node> {
    let strip = |node: &Node| Node { created_at: String::new(), modified_at: String::new(), version: 0, heads: Vec::new(), ..node.clone() };
    nodes.iter().map(strip).collect()
}

const FILES: [(&str, &str); 4] = [
    ("notes/2025-08-30.md", "- [ ] buy milk\n"),
    (
        "notes/deep/plan.v2.markdown",
        "---\ntitle: x\n---\n\n# Plan\n\ntext\n\n1. one\n2. two\n   - inner\n\n     more\n\n## Part\n\n> quoted\n",
    ),
    ("notes/empty.md", ""),
    ("top.md", "# Top\n\n```\ncode\n```\n"),
];

#[test]
fn files_come_back_as_they_were_imported() {
    let mut device = Device::new();
    device.import(&FILES);
    let exported = files(&device);
    let expected: Vec<MarkdownFile> =
        FILES.iter().map(|(path, markdown)| MarkdownFile { path: (*path).into(), markdown: (*markdown).into() }).collect();
    assert_eq!(exported, expected);
    assert_eq!(import(&exported).tree(), device.tree());
}

#[test]
fn what_was_never_imported_becomes_nested_lists() {
    let mut device = Device::new();
    let now = device.now();
    let top = NodeId::parse("top").unwrap();
    device.replica.create(now, NewNode::text(top.clone(), None, "my outline")).unwrap();
    device.add("a", &top, "first\nwith two lines");
    device.add("b", &NodeId::parse("a").unwrap(), "below");
    device.import(&[("doc.md", "# H\n\nparagraph\n")]);
    let paragraph = device.id("paragraph");
    device.add("c", &paragraph, "below a paragraph");
    let expected = [
        MarkdownFile { path: "outline.md".into(), markdown: "- my outline\n  - first\n    with two lines\n    - below\n".into() },
        MarkdownFile { path: "doc.md".into(), markdown: "# H\n\n- paragraph\n  - below a paragraph\n".into() },
    ];
    assert_eq!(files(&device), expected);
}

#[test]
fn of_a_deleted_node_only_what_lives_below_it_is_exported() {
    let mut device = Device::new();
    device.import(&[("doc.md", "- gone\n  - stays\n- gone too\n  - with it\n")]);
    for text in ["gone", "gone too", "with it"] {
        device.delete(text);
    }
    let shown = |deleted| lines(&device, deleted, 1).into_iter().map(|node| (node.content, node.deleted)).collect::<Vec<_>>();
    let line = |text: &str, deleted| (text.to_owned(), deleted);
    assert_eq!(shown(false), [line("doc", false), line("gone", true), line("stays", false)]);
    assert_eq!(shown(true), [line("doc", false), line("gone", true), line("stays", false), line("gone too", true), line("with it", true)]);
    assert_eq!(files(&device), [MarkdownFile { path: "doc.md".into(), markdown: "- stays\n".into() }]);
}

#[test]
fn a_tree_of_any_depth_is_exported() {
    let mut device = Device::new();
    let now = device.now();
    let mut parent = NodeId::parse("n0").unwrap();
    device.replica.create(now, NewNode::text(parent.clone(), None, "n0")).unwrap();
    for depth in 1..2_000 {
        let id = format!("n{depth}");
        device.add(&id, &parent, &id);
        parent = NodeId::parse(&id).unwrap();
    }
    let exported = files(&device);
    assert_eq!(exported[0].markdown.lines().count(), 2_000);
    assert!(exported[0].markdown.len() < 2_000 * 100);
}

#[test]
fn an_unknown_root_is_refused() {
    let device = Device::new();
    assert!(Walk::begin(&device.replica, Some(NodeId::parse("nowhere").unwrap()), false).is_err());
}

/// Documents of blocks that Markdown reads back as they are.
fn document() -> impl Strategy<Value = String> {
    let word = "[a-z]{1,6}";
    let block = prop_oneof![
        (1_usize..4, word).prop_map(|(level, text)| format!("{} {text}", "#".repeat(level))),
        (word, word).prop_map(|(one, two)| format!("{one}\n{two}")),
        (word, word, word).prop_map(|(one, two, three)| format!("- {one}\n  - {two}\n\n    {three}\n- {one}")),
        (1_u32..200, word).prop_map(|(number, text)| format!("{number}. {text}\n{}. {text}", number + 1)),
        word.prop_map(|text| format!("> {text}")),
        word.prop_map(|text| format!("```{text}\n- {text}\n```")),
    ];
    proptest::collection::vec(block, 0..8).prop_map(|blocks| blocks.join("\n\n") + "\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn imported_files_come_back(documents in proptest::collection::vec((0_u8..3, document()), 1..4)) {
        let named: Vec<(String, String)> = documents.into_iter().enumerate().map(|(at, (folder, text))| (format!("f{folder}/{at}.md"), text)).collect();
        let borrowed: Vec<(&str, &str)> = named.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let mut device = Device::new();
        device.import(&borrowed);
        let exported = files(&device);
        let again = import(&exported);
        prop_assert_eq!(again.tree(), device.tree());
        prop_assert_eq!(files(&again), exported);
    }

    #[test]
    fn lines_come_back(documents in proptest::collection::vec(document(), 1..3), deletions in proptest::collection::vec(0_usize..40, 0..6)) {
        let mut device = Device::new();
        for (at, document) in documents.iter().enumerate() {
            device.import(&[(&format!("{at}.md"), document.as_str())]);
        }
        let ids = device.replica.node_ids();
        for at in deletions {
            let now = device.now();
            device.replica.delete(now, &ids[at % ids.len()], true).unwrap();
        }
        let whole = lines(&device, true, 500);
        prop_assert_eq!(whole.len(), ids.len());
        prop_assert_eq!(timeless(&lines(&replay(&whole), true, 500)), timeless(&whole));
        // Pages of any size give the same lines, every parent first.
        let mut seen = HashSet::new();
        for line in lines(&device, false, 1) {
            prop_assert!(line.parent_id.is_none_or(|parent| seen.contains(&parent)));
            prop_assert!(seen.insert(line.id));
        }
        let living: HashSet<String> = whole.iter().filter(|line| !line.deleted).map(|line| line.id.clone()).collect();
        prop_assert!(living.is_subset(&seen));
    }
}
