//! What the last import of a document wrote: kept on this device beside the log, so that the next import can tell the file's changes from
//! local ones.
//!
//! A record lists the document's nodes in outline order, each with the hash of the text the *file* had. The text a node has here may be
//! another since; comparing the three (record, file, node) is what tells who changed it. Records are local and may be lost: an import
//! without one falls back to what it finds in the tree.
//!
//! Stored form: one byte of format, then CBOR (RFC 8949).

use nodespace_protocol::ids::NodeId;
use serde::{Deserialize, Serialize};

use super::OutlineKind;
use super::identity::ContentHash;

/// The format of a stored record. Another one is taken for no record at all.
const FORMAT: u8 = 1;

/// A document as the last import left it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its nodes in outline order; the first is the document.
    pub nodes: Vec<RecordedNode>,
}

/// A node as the last import left it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedNode {
    /// Its id.
    pub id: NodeId,
    /// Its kind in the file.
    pub kind: OutlineKind,
    /// The hash of its text in the file.
    pub text: ContentHash,
    /// The index of its parent, smaller than its own; none for the document.
    pub parent: Option<usize>,
}

impl Record {
    /// Under which key a document's record is kept.
    #[must_use]
    pub fn key(under: Option<&NodeId>, path: &str) -> String {
        let under = under.map(ToString::to_string).unwrap_or_default();
        // No id and no path contains a control character, so the key is unambiguous.
        format!("import\0{under}\0{path}")
    }

    /// The bytes to keep.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        ciborium::into_writer(self, &mut bytes).expect("a record has no map keys or numbers that CBOR lacks, and memory takes every byte");
        bytes
    }

    /// Reads kept bytes; none when they are damaged or of another format, which is as if there were no record.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (format, body) = bytes.split_first()?;
        if *format != FORMAT {
            return None;
        }
        let record: Self = ciborium::from_reader(body).ok()?;
        let sound = |(index, node): (usize, &RecordedNode)| match node.parent {
            None => index == 0,
            Some(parent) => parent < index,
        };
        (!record.nodes.is_empty() && record.nodes.iter().enumerate().all(sound)).then_some(record)
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::content_hash;
    use super::*;

    fn record() -> Record {
        let node = |id: &str, kind, parent| RecordedNode { id: NodeId::parse(id).unwrap(), kind, text: content_hash(id), parent };
        let item = OutlineKind::ListItem { marker: "7.".into() };
        Record {
            nodes: vec![
                node("a", OutlineKind::Document, None),
                node("b", OutlineKind::Heading { level: 2 }, Some(0)),
                node("c", item, Some(1)),
            ],
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was() {
        assert_eq!(Record::decode(&record().encode()), Some(record()));
    }

    #[test]
    fn damaged_records_are_no_records() {
        let bytes = record().encode();
        for end in 0..bytes.len() {
            assert_eq!(Record::decode(&bytes[..end]), None, "cut to {end}");
        }
        assert_eq!(Record::decode(&[2, 0xa0]), None);
        let mut unsound = record();
        unsound.nodes[1].parent = Some(1);
        assert_eq!(Record::decode(&unsound.encode()), None);
    }

    #[test]
    fn keys_tell_documents_apart() {
        let under = NodeId::parse("a").unwrap();
        assert_ne!(Record::key(None, "a/b.md"), Record::key(Some(&under), "b.md"));
    }
}
