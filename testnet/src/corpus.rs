//! Real text to work with: a Markdown corpus, found or brought along.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nodespace_outline::{Outline, import_folder};
use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::crypto::Domain;
use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::NewNode;
use nodespace_protocol::tree::Position;
use serde_json::json;

use crate::people::Person;

/// Where larger data lies, when it is there: `NODESPACE_DATA`, else `shared/data` beside the checkout.
pub fn data_folder() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("NODESPACE_DATA").map_or(beside, PathBuf::from);
    folder.is_dir().then_some(folder)
}

/// A trace of the data folder, when it is there.
pub fn trace_file(name: &str) -> Option<PathBuf> {
    Some(data_folder()?.join("traces").join(name)).filter(|path| path.is_file())
}

/// Where the Markdown corpus lies: the larger one when it is there, else the small one of this repository. With its name.
pub fn folder() -> (&'static str, PathBuf) {
    let large = data_folder().map(|folder| folder.join("rust-book/src")).filter(|folder| folder.is_dir());
    match large {
        Some(folder) => ("The Rust Programming Language", folder),
        None => ("the small corpus of this repository", Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")),
    }
}

/// The Markdown corpus, read, with its name.
///
/// # Errors
/// When it cannot be read.
pub fn outlines() -> Result<(String, Vec<Outline>)> {
    let (name, folder) = folder();
    let outlines = import_folder(&folder).with_context(|| format!("cannot import {}", folder.display()))?;
    Ok((name.to_owned(), outlines))
}

/// The id of an outline's node: made of the document's title and the node's number, so that importing again finds it again.
pub fn node_id(title: &str, number: usize) -> NodeId {
    let hash = Domain::Content.hash_parts(&[title.as_bytes(), &(number as u64).to_le_bytes()]);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    NodeId::Uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

/// Writes a document as a tree of nodes. Answers how many.
///
/// # Errors
/// When the replica refuses a node.
pub fn import(person: &mut Person, outline: &Outline, now: Timestamp) -> Result<usize> {
    for (number, node) in outline.nodes.iter().enumerate() {
        let new = NewNode {
            id: node_id(outline.title(), number),
            node_type: node.kind.name().to_owned(),
            content: node.content.clone(),
            metadata: json!({ "source": { "document": outline.title(), "line": node.lines.first } }),
            mentions: Vec::new(),
            parent: node.parent.map(|parent| node_id(outline.title(), parent)),
            position: Position::Last,
        };
        person.replica.create(now, new)?;
    }
    person.replica.commit()?;
    Ok(outline.nodes.len())
}
