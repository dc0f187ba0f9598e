//! What an import knows of a document before it looks at the file: what the last import wrote, or else what is found in the tree.

use std::collections::{HashMap, HashSet};

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::Replica;
use nodespace_protocol::store::{Store, StoreError};

use super::OutlineKind;
use super::found;
use super::identity::{ContentHash, Minter, is_computed};
use super::path::DocumentPath;
use super::record::Record;

/// A node of the document as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    /// Its id.
    pub(super) id: NodeId,
    /// Its kind in the file.
    pub(super) kind: OutlineKind,
    /// The hash of its text in the file.
    pub(super) text: ContentHash,
    /// The index of its parent.
    pub(super) parent: Option<usize>,
    /// Whether kind and text are certainly what an import wrote, and not what somebody made of it since.
    pub(super) certain: bool,
}

/// A document as it was, in outline order, the document first; empty when there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KnownDocument {
    pub(super) nodes: Vec<Known>,
    /// Whether this is from the record of the last import.
    pub(super) recorded: bool,
}

/// What the record says, if there is one and all its nodes are there; else what the tree below the document holds.
pub(super) fn known<S: Store>(
    replica: &Replica<S>,
    minter: &Minter,
    path: &DocumentPath,
    document: &NodeId,
    record: Option<Record>,
) -> Result<KnownDocument, StoreError> {
    if let Some(record) = record
        && all_exist(replica, &record)?
    {
        let known = record.nodes.into_iter().map(|node| Known {
            id: node.id,
            kind: node.kind,
            text: node.text,
            parent: node.parent,
            certain: true,
        });
        return Ok(KnownDocument { nodes: known.collect(), recorded: true });
    }
    Ok(KnownDocument { nodes: in_tree(replica, minter, path, document)?, recorded: false })
}

/// A record of another store (or of another life of this one) names nodes that are not here: nothing it says can be relied on.
fn all_exist<S: Store>(replica: &Replica<S>, record: &Record) -> Result<bool, StoreError> {
    for node in &record.nodes {
        if !found::exists(replica, &node.id)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The imported nodes below the document. A person's own nodes there have other ids and are none of the import's business.
fn in_tree<S: Store>(replica: &Replica<S>, minter: &Minter, path: &DocumentPath, document: &NodeId) -> Result<Vec<Known>, StoreError> {
    let Some(top) = found::find(replica, document)? else { return Ok(Vec::new()) };
    let mut nodes = vec![Known { id: document.clone(), kind: OutlineKind::Document, text: top.text, parent: None, certain: false }];
    let mut waiting: Vec<(NodeId, Option<usize>)> =
        replica.tree().children(Some(document)).into_iter().rev().map(|id| (id, Some(0))).collect();
    while let Some((id, parent)) = waiting.pop() {
        let children = replica.tree().children(Some(&id));
        let mut at = None;
        if is_computed(&id)
            && let Some(found) = found::find(replica, &id)?
            && let Some(kind) = found.kind.filter(|kind| *kind != OutlineKind::Document)
        {
            at = Some(nodes.len());
            nodes.push(Known { id, kind, text: found.text, parent, certain: false });
        }
        waiting.extend(children.into_iter().rev().map(|child| (child, at)));
    }
    let untouched = untouched(minter, path, &nodes);
    nodes.iter_mut().for_each(|node| node.certain = untouched.contains(&node.id));
    // Files of one date may share the date's node: what is not certainly this file's may be another's.
    if path.date().as_ref() == Some(document) {
        return Ok(only_certain(nodes));
    }
    Ok(nodes)
}

/// Those nodes whose id is the one that an import computes from the text they have: nobody changed them.
fn untouched(minter: &Minter, path: &DocumentPath, nodes: &[Known]) -> HashSet<NodeId> {
    let mut counts: HashMap<(&str, ContentHash), u32> = HashMap::new();
    for node in nodes {
        *counts.entry((node.kind.name(), node.text)).or_default() += 1;
    }
    let computed = |((kind, text), count): ((&str, ContentHash), u32)| {
        (0..count).map(|occurrence| minter.block(path.as_str(), kind, &text, occurrence)).collect::<Vec<_>>()
    };
    counts.into_iter().flat_map(computed).collect()
}

/// The document and those of its nodes that are certain.
fn only_certain(nodes: Vec<Known>) -> Vec<Known> {
    let mut places = vec![None; nodes.len()];
    let mut certain: Vec<Known> = Vec::new();
    for (at, mut node) in nodes.into_iter().enumerate() {
        if at == 0 || node.certain {
            places[at] = Some(certain.len());
            node.parent = node.parent.and_then(|parent| places[parent]);
            certain.push(node);
        }
    }
    certain
}
