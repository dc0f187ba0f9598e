//! The journal, read from the first record to the last: everything an operation says about itself must be so.

use nodespace_protocol::ids::WorkspaceId;
use nodespace_protocol::op::{Op, attachment_hash, payload_hash};
use nodespace_protocol::store::Record;

use super::finding;
use crate::model::{Finding, Severity};

const AREA: &str = "journal";

/// What to do about a damaged journal.
pub const ADVICE: &str = "the journal is the truth, so nothing here can mend it: restore the last backup into a new home and sync, which brings \
                          back what others hold; keep this folder until then";

/// Checks a page of records. The store has checked its own checksums by reading them.
#[must_use]
pub fn check(records: &[Record], workspace: &WorkspaceId) -> Vec<Finding> {
    let ops = records.iter().filter_map(|record| match record {
        Record::Op(op) => Some(op.as_ref()),
        Record::Signature { .. } => None,
    });
    ops.filter_map(|op| wrong(op, workspace).map(|what| (op, what)))
        .map(|(op, what)| finding(Severity::Error, AREA, format!("operation {}: {what}", op.hash.short()), ADVICE))
        .collect()
}

/// A part of the journal that cannot be read.
#[must_use]
pub fn unreadable(error: &crate::model::ServiceError) -> Finding {
    finding(Severity::Error, AREA, error.to_string(), ADVICE)
}

fn wrong(op: &Op, workspace: &WorkspaceId) -> Option<&'static str> {
    if op.header.hash(workspace, &mut Vec::new()) != op.hash {
        return Some("its header is not the one that was hashed");
    }
    if payload_hash(&op.payload) != op.header.payload.hash {
        return Some("its payload is not the one that was signed");
    }
    let attachment = op.attachment.as_ref().zip(op.header.attachment.as_ref());
    attachment.is_some_and(|(bytes, blob)| attachment_hash(bytes) != blob.hash).then_some("its attachment is not the one that was signed")
}
