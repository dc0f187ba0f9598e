//! Embeddings of a node: the newest per model, and whether they still fit the text.

use crate::clock::Stamp;
use crate::crypto::Domain;
use crate::op::BlobRef;
use crate::store::OpIndex;

/// An embedding as an operation brought it. The quantised vector itself is the operation's attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Embedding {
    /// The operation that brought it.
    pub stamp: Stamp,
    /// Where the attachment is kept.
    pub op: OpIndex,
    /// Components of the vector.
    pub dimension: u32,
    /// Hash of the text it was computed from.
    pub source: [u8; 32],
    /// Hash and length of the quantised vector.
    pub attachment: BlobRef,
}

impl Embedding {
    /// Whether the text has changed since: the application should compute it anew.
    pub fn is_stale(&self, content: &str) -> bool {
        self.source != content_hash(content)
    }
}

/// The hash by which an embedding names the text it was computed from.
pub fn content_hash(content: &str) -> [u8; 32] {
    Domain::Content.hash(content.as_bytes())
}
