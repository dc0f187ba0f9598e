//! What happened, as positions: who watches keeps a cursor and pulls; nobody is sent anything he might miss.
//!
//! Every operation is an event of the change stream, and its place in the journal is its place in the stream: what was seen before a
//! restart is found again after it, without a second log. A **derived** change (a sibling's `before_sibling_id`, a node whose waiting
//! operation took effect) belongs to no operation of its own; it stands after the group of operations that caused it, and is kept for the
//! last [`DERIVED_KEPT_MAX`] of them. A cursor from before those still gets every operation. What changed without any operation (one
//! held back for its time took effect) is remembered by its place alone: a cursor from before it is answered with a reset.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::Replica;
use nodespace_protocol::store::{OpIndex, Store, StoreError};
use tokio::sync::{Notify, watch};

use crate::model::ChangePage;

/// How many derived changes are kept; a cursor from before them gets the operations only.
pub(super) const DERIVED_KEPT_MAX: usize = 65_536;

/// Behind all derived changes that an earlier run can have given out after its last operation.
const DERIVED_BEFORE_MAX: u32 = 1 << 30;

/// How many writes are remembered with the client that made them; for older ones the change stream names none.
pub(super) const CLIENTS_KEPT_MAX: usize = 16_384;

/// A place in the change stream: after operation `ops - 1` and `derived` derived changes behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// How many operations are before it.
    pub ops: u32,
    /// How many derived changes after them.
    pub derived: u32,
}

/// A position with the incarnation of the store that it is a position in, as clients keep it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The epoch of the device's log: another one means another store, in another order.
    pub epoch: u32,
    /// The place.
    pub position: Position,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}-{}", self.epoch, self.position.ops, self.position.derived)
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a cursor; pass one as an earlier answer gave it, or `start`");
        let mut parts = text.split('-');
        let (epoch, ops, derived) = (parts.next(), parts.next(), parts.next());
        let number = |part: Option<&str>| part.and_then(|part| part.parse().ok()).ok_or_else(bad);
        let epoch = epoch.and_then(|epoch| u32::from_str_radix(epoch, 16).ok()).ok_or_else(bad)?;
        let position = Position { ops: number(ops)?, derived: number(derived)? };
        if parts.next().is_some() { Err(bad()) } else { Ok(Self { epoch, position }) }
    }
}

/// The writes that became durable together.
#[derive(Debug)]
pub(super) struct Group {
    start: u32,
    end: u32,
    clients: Vec<(u32, u32, Arc<str>)>,
}

impl Group {
    pub(super) const fn starting_at(ops: u32) -> Self {
        Self { start: ops, end: ops, clients: Vec::new() }
    }

    pub(super) const fn start(&self) -> u32 {
        self.start
    }

    /// Notes that a write has brought the number of operations to `end`.
    pub(super) fn wrote(&mut self, end: u32, client: Option<Arc<str>>) {
        if let Some(client) = client.filter(|_| end > self.end) {
            self.clients.push((self.end, end, client));
        }
        self.end = end;
    }
}

/// Nodes whose rows are not as they should be, and up to which operation that accounts for everything.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    /// The nodes.
    pub(super) nodes: BTreeSet<NodeId>,
    /// All operations before this one are accounted for.
    pub(super) ops: u32,
}

#[derive(Debug, Default)]
struct Recent {
    derived: VecDeque<(Position, NodeId)>,
    /// Derived changes at or before this position are not kept any more.
    forgotten: Position,
    /// What changed without an operation at or before this number of operations is not known any more; 0 = nothing did.
    reset: u32,
    clients: VecDeque<(u32, u32, Arc<str>)>,
    dirty: Dirty,
}

/// Where the stream ends now, and what of it only memory knows.
#[derive(Debug)]
pub(crate) struct Feed {
    epoch: u32,
    recent: Mutex<Recent>,
    end: watch::Sender<Position>,
    /// Told when rows became dirty.
    pub(super) dirtied: Notify,
}

impl Feed {
    /// The stream of a store that holds `ops` operations and was told to `reset` cursors at or before a number of them.
    pub(super) fn new(epoch: u32, ops: u32, reset: u32) -> Self {
        Self::begin(epoch, Position { ops, derived: 0 }, reset, BTreeSet::new())
    }

    /// The stream of a store of which operations that had been held back took effect when it was opened: no cursor from before can know.
    pub(super) fn released(epoch: u32, ops: u32, changed: Vec<NodeId>) -> Self {
        Self::begin(epoch, Position { ops, derived: DERIVED_BEFORE_MAX }, ops, changed.into_iter().collect())
    }

    fn begin(epoch: u32, end: Position, reset: u32, nodes: BTreeSet<NodeId>) -> Self {
        let recent = Recent { forgotten: end, reset, dirty: Dirty { nodes, ops: end.ops }, ..Recent::default() };
        Self { epoch, recent: Mutex::new(recent), end: watch::Sender::new(end), dirtied: Notify::new() }
    }

    /// Takes note of a durable group and of the nodes that show differently because of it. Answers whether something changed without
    /// an operation, which whoever keeps the store has to remember.
    ///
    /// # Errors
    /// When the store does not give back an operation.
    pub(super) fn publish<S: Store>(&self, group: Group, changed: Vec<NodeId>, replica: &Replica<S>) -> Result<Option<u32>, StoreError> {
        let ops = replica.store().op_count();
        if group.start == ops && changed.is_empty() {
            return Ok(None);
        }
        let mut named: BTreeSet<NodeId> = BTreeSet::new();
        for index in group.start..ops {
            let op = replica.store().op(OpIndex(index))?;
            named.extend(op.header.node.clone());
        }
        let mut recent = self.recent();
        let mut end = *self.end.borrow();
        let without_op = group.start == ops && !changed.is_empty();
        end = if end.ops == ops { end } else { Position { ops, derived: 0 } };
        for node in &changed {
            if !named.contains(node) {
                end.derived += 1;
                recent.derived.push_back((end, node.clone()));
            }
        }
        recent.dirty.nodes.extend(changed);
        recent.dirty.ops = ops;
        recent.clients.extend(group.clients);
        recent.forget();
        drop(recent);
        self.end.send_replace(end);
        self.dirtied.notify_one();
        Ok(without_op.then_some(ops))
    }

    /// Where the stream begins.
    pub(crate) const fn start(&self) -> Cursor {
        self.cursor(Position { ops: 0, derived: 0 })
    }

    /// Where the stream will end once what a replica holds now is durable.
    pub(crate) fn cursor_after<S: Store>(&self, replica: &Replica<S>) -> Cursor {
        self.cursor(Position { ops: replica.store().op_count(), derived: 0 })
    }

    /// A page of changes.
    ///
    /// # Errors
    /// When the store does not give back an operation.
    pub(crate) fn page<S: Store>(&self, replica: &Replica<S>, cursor: Cursor, limit: usize) -> Result<ChangePage, StoreError> {
        super::changes::page(self, replica, cursor, limit)
    }

    /// Where the stream ends.
    pub(crate) fn end(&self) -> Cursor {
        self.cursor(*self.end.borrow())
    }

    pub(super) const fn cursor(&self, position: Position) -> Cursor {
        Cursor { epoch: self.epoch, position }
    }

    /// Watches the end of the stream.
    pub(crate) fn watch(&self) -> watch::Receiver<Position> {
        self.end.subscribe()
    }

    /// Whether nothing can be said of what lies between a cursor and now.
    pub(crate) fn must_reset(&self, cursor: Cursor) -> bool {
        let recent = self.recent();
        let position = cursor.position;
        let beyond = position > *self.end.borrow();
        cursor.epoch != self.epoch || beyond || (recent.reset > 0 && position.ops <= recent.reset && position < recent.forgotten)
    }

    /// The derived changes right after a position, before the next operation.
    pub(super) fn derived_after(&self, position: Position, limit: usize) -> Vec<(Position, NodeId)> {
        let recent = self.recent();
        let from = recent.derived.partition_point(|(at, _)| *at <= position);
        recent.derived.range(from..).take_while(|(at, _)| at.ops == position.ops).take(limit).cloned().collect()
    }

    /// Which client wrote an operation, if that is remembered.
    pub(super) fn client_of(&self, op: u32) -> Option<Arc<str>> {
        let recent = self.recent();
        let at = recent.clients.partition_point(|(_, end, _)| *end <= op);
        recent.clients.get(at).filter(|(start, ..)| *start <= op).map(|(.., client)| Arc::clone(client))
    }

    /// Takes the nodes to project.
    pub(super) fn take_dirty(&self) -> Dirty {
        let mut recent = self.recent();
        let ops = recent.dirty.ops;
        std::mem::replace(&mut recent.dirty, Dirty { ops, ..Dirty::default() })
    }

    /// Gives back what could not be projected, or names what else must be.
    pub(super) fn add_dirty(&self, nodes: impl IntoIterator<Item = NodeId>) {
        self.recent().dirty.nodes.extend(nodes);
        self.dirtied.notify_one();
    }

    /// How many nodes wait to be projected.
    pub(crate) fn dirty_count(&self) -> usize {
        self.recent().dirty.nodes.len()
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        // Nothing in here panics half-way; what a panic elsewhere left is whole.
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn forget(&mut self) {
        while self.derived.len() > DERIVED_KEPT_MAX
            && let Some((position, _)) = self.derived.pop_front()
        {
            self.forgotten = position;
        }
        let surplus = self.clients.len().saturating_sub(CLIENTS_KEPT_MAX);
        self.clients.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_was_written() {
        let cursor = Cursor { epoch: 0xdead_beef, position: Position { ops: 12, derived: 3 } };
        assert_eq!(cursor.to_string(), "deadbeef-12-3");
        assert_eq!("deadbeef-12-3".parse(), Ok(cursor));
        for bad in ["", "12", "deadbeef-12", "deadbeef-12-3-4", "deadbeef--1-3", "x-1-1", "deadbeef-1-99999999999"] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_cursor_of_another_store_is_answered_with_a_reset() {
        let feed = Feed::new(7, 10, 0);
        let at = |epoch, ops| Cursor { epoch, position: Position { ops, derived: 0 } };
        assert!(!feed.must_reset(at(7, 3)), "operations before the start are still in the journal");
        assert!(feed.must_reset(at(8, 3)));
        assert!(feed.must_reset(at(7, 11)), "a store that lost operations");
        let reset = Feed::new(7, 10, 5);
        assert!(reset.must_reset(at(7, 5)));
        assert!(!reset.must_reset(at(7, 6)));
    }

    #[test]
    fn what_took_effect_at_the_opening_resets_every_earlier_cursor_once() {
        let feed = Feed::released(7, 10, vec![NodeId::parse("x").unwrap()]);
        for derived in [0, 5] {
            assert!(feed.must_reset(Cursor { epoch: 7, position: Position { ops: 10, derived } }));
        }
        assert!(!feed.must_reset(feed.end()), "who begins anew goes on from there");
        assert_eq!(feed.take_dirty().nodes.len(), 1, "the table is told");
        assert!(Feed::new(7, 10, 10).must_reset(feed.end()), "after one more start it is a cursor of another run");
    }
}
