//! Pages of the change stream: operations read from the store, with the derived changes behind them.

use nodespace_protocol::op::{Op, OpType};
use nodespace_protocol::replica::Replica;
use nodespace_protocol::store::{OpIndex, Store, StoreError};

use super::feed::{Cursor, Feed, Position};
use crate::model::{Change, ChangeKind, ChangePage, Origin, time};

/// The most changes of one page.
pub(crate) const PAGE_CHANGES_MAX: usize = 1_000;

/// The changes after a cursor, at most `limit`.
///
/// # Errors
/// When the store does not give back an operation.
pub(super) fn page<S: Store>(feed: &Feed, replica: &Replica<S>, cursor: Cursor, limit: usize) -> Result<ChangePage, StoreError> {
    if feed.must_reset(cursor) {
        let end = feed.end().to_string();
        return Ok(ChangePage { changes: vec![reset(end.clone())], cursor: end, more: false });
    }
    let limit = limit.clamp(1, PAGE_CHANGES_MAX);
    let end = feed.end().position;
    let mut at = cursor.position;
    let mut changes = Vec::new();
    while changes.len() < limit && at < end {
        let derived = feed.derived_after(at, limit - changes.len());
        if let Some((last, _)) = derived.last() {
            at = *last;
            changes.extend(derived.into_iter().map(|(position, node)| Change {
                cursor: feed.cursor(position).to_string(),
                node_id: Some(node.to_string()),
                ..without_op(ChangeKind::Derived)
            }));
        } else if at.ops < end.ops {
            let op = replica.store().op(OpIndex(at.ops))?;
            let client = feed.client_of(at.ops);
            at = Position { ops: at.ops + 1, derived: 0 };
            let local = replica.device() == Some(op.header.log.device);
            let origin = Origin { local, device: Some(op.header.log.device.to_string()), client: client.map(|name| name.to_string()) };
            changes.push(Change { cursor: feed.cursor(at).to_string(), origin, ..of(&op) });
        } else {
            // Derived changes that are not kept any more.
            at = end;
        }
    }
    Ok(ChangePage { changes, cursor: feed.cursor(at).to_string(), more: at < end })
}

fn of(op: &Op) -> Change {
    let kind = match op.header.kind {
        OpType::Create => ChangeKind::Create,
        OpType::Update => ChangeKind::Update,
        OpType::Delete => ChangeKind::Delete,
        OpType::Move => ChangeKind::Move,
        OpType::Metadata => ChangeKind::Metadata,
        OpType::Workspace => ChangeKind::Workspace,
    };
    Change {
        node_id: op.header.node.as_ref().map(ToString::to_string),
        op: Some(op.hash.to_string()),
        at: Some(time::to_text(op.header.timestamp)),
        ..without_op(kind)
    }
}

fn reset(cursor: String) -> Change {
    Change { cursor, ..without_op(ChangeKind::Reset) }
}

const fn without_op(kind: ChangeKind) -> Change {
    let origin = Origin { local: true, device: None, client: None };
    Change { cursor: String::new(), kind, node_id: None, op: None, at: None, origin }
}
