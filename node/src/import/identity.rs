//! The ids of imported nodes: computed, not drawn, so that two devices which import one folder make the same nodes.
//!
//! An id is a UUIDv8 (RFC 9562, section 5.8) from BLAKE3 over the document's path, the block's kind and text, and which occurrence of that
//! text in the document it is. Two devices of a workspace that import the same files apart from each other thus write the same nodes, and
//! when they meet there is one of each.
//!
//! Ids travel in the clear part of an operation. So that nobody outside can guess a text by computing its id, the hash is keyed with the
//! workspace's secret, which only members hold.

use nodespace_protocol::ids::NodeId;
use uuid::{Builder, Uuid, Version};

/// What separates these hashes from all others. Part of what ids mean: a change would double every document that is imported again.
const CONTEXT: &str = "nodespace 1 import node id";

/// The first half of BLAKE3 over a text: enough to tell texts of one document apart.
pub type ContentHash = [u8; 16];

/// The hash of a node's text.
#[must_use]
pub fn content_hash(text: &str) -> ContentHash {
    half(blake3::hash(text.as_bytes()))
}

/// Computes ids for one import.
#[derive(Debug, Clone)]
pub struct Minter {
    keyed: blake3::Hasher,
}

impl Minter {
    /// For a workspace, by its secret, and the node that is imported under.
    #[must_use]
    pub fn new(secret: &[u8; 32], under: Option<&NodeId>) -> Self {
        let mut keyed = blake3::Hasher::new_derive_key(CONTEXT);
        keyed.update(secret);
        put(&mut keyed, under.map(ToString::to_string).unwrap_or_default().as_bytes());
        Self { keyed }
    }

    /// The node of a folder.
    #[must_use]
    pub fn folder(&self, path: &str) -> NodeId {
        self.mint(&[b"folder", path.as_bytes()])
    }

    /// The node of a document.
    #[must_use]
    pub fn document(&self, path: &str) -> NodeId {
        self.mint(&[b"document", path.as_bytes()])
    }

    /// The node of a block: the `occurrence`th (from 0) of this kind and text in its document.
    #[must_use]
    pub fn block(&self, path: &str, kind: &str, text: &ContentHash, occurrence: u32) -> NodeId {
        self.mint(&[b"block", path.as_bytes(), kind.as_bytes(), text, &occurrence.to_le_bytes()])
    }

    fn mint(&self, parts: &[&[u8]]) -> NodeId {
        let mut hasher = self.keyed.clone();
        parts.iter().for_each(|part| put(&mut hasher, part));
        NodeId::Uuid(Builder::from_custom_bytes(half(hasher.finalize())).into_uuid())
    }
}

/// Whether an id was computed, by this import or another: no person's node has a UUID of that version.
#[must_use]
pub fn is_computed(id: &NodeId) -> bool {
    matches!(id, NodeId::Uuid(uuid) if Uuid::get_version(uuid) == Some(Version::Custom))
}

/// Each part with its length in front, so that no two lists of parts look alike.
fn put(hasher: &mut blake3::Hasher, part: &[u8]) {
    hasher.update(&(part.len() as u64).to_le_bytes());
    hasher.update(part);
}

fn half(hash: blake3::Hash) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&hash.as_bytes()[..16]);
    half
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_name_counts() {
        let under = NodeId::parse("elsewhere").unwrap();
        let minter = Minter::new(&[1; 32], None);
        let text = content_hash("text");
        let mut ids = vec![
            minter.document("a"),
            minter.folder("a"),
            minter.document("b"),
            minter.block("a", "text", &text, 0),
            minter.block("a", "text", &text, 1),
            minter.block("a", "quote", &text, 0),
            minter.block("a", "text", &content_hash("other"), 0),
            minter.block("atext", "", &text, 0),
            Minter::new(&[2; 32], None).document("a"),
            Minter::new(&[1; 32], Some(&under)).document("a"),
        ];
        assert!(ids.iter().all(is_computed));
        let count = ids.len();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), count);
        assert!(!is_computed(&NodeId::parse("5f1c2a70-3d0a-4c0f-9c55-8b9f4f4d9a10").unwrap()));
    }

    #[test]
    fn ids_never_change() {
        assert_eq!(Minter::new(&[1; 32], None).document("notes/a.md").to_string(), "089e1eac-aa21-8891-9c24-a673ef287497");
    }
}
