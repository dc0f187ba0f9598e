//! Stored operations on their way into the state: when they can be folded, and what follows from it.

use std::sync::Arc;

use smallvec::SmallVec;

use super::nodes::Resident;
use super::{OPEN_TEXTS_MAX, Replica};
use crate::clock::{AHEAD_MS_MAX, Timestamp};
use crate::fold::step::{Incoming, may_stand};
use crate::fold::{Context, NodeHead, NodeState};
use crate::graph::{Graph, Parents};
use crate::ids::{NodeId, OpHash};
use crate::mutant::{self, Mutant};
use crate::op::{Op, ParentRef, Place, PlaceAnchor};
use crate::store::{OpIndex, Store, StoreError};
use crate::tree::{Anchor, Placement};

/// What became of an operation that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Folded {
    Done,
    Waiting,
    Held,
}

/// Borrows what folding looks at, leaving the nodes free to be changed.
macro_rules! context {
    ($replica:expr) => {
        Context {
            graph: Graph { store: &$replica.store, logs: &$replica.logs },
            logs: &$replica.logs,
            membership: &$replica.membership,
            text_strategy: $replica.text_strategy,
            text_lens: &$replica.text_lens,
        }
    };
}
pub(crate) use context;

impl<S: Store> Replica<S> {
    pub(crate) fn graph(&self) -> Graph<'_, S> {
        Graph { store: &self.store, logs: &self.logs }
    }

    /// Folds an operation that has just been stored, and those that waited for it.
    pub(crate) fn fold(&mut self, index: OpIndex, op: &Arc<Op>, now: Timestamp) -> Result<Folded, StoreError> {
        self.offered = self.offered.max(index.0 + 1);
        // Our own log goes on from where it is, whatever the wall clock says now; and what we wrote ourselves we see at once.
        let own = self.own_log() == Some(op.header.log);
        self.clocks.observe(op.header.timestamp, op.header.version, if own { Timestamp(u64::MAX) } else { now });
        if op.header.node.is_none() {
            return Ok(Folded::Done);
        }
        if op.header.timestamp > now.plus_ms(AHEAD_MS_MAX) && !own && !mutant::is(Mutant::NoClockBound) {
            self.unfolded.insert(index);
            self.held.insert((op.header.timestamp, index));
            return Ok(Folded::Held);
        }
        let folded = self.fold_ready(index, op)?;
        if folded == Folded::Done && !self.waiting.is_empty() {
            self.wake(op.hash, now)?;
        }
        Ok(folded)
    }

    /// Folds what waited for `hash`, and what waited for that, and so on.
    fn wake(&mut self, hash: OpHash, now: Timestamp) -> Result<(), StoreError> {
        let mut ready = vec![hash];
        while let Some(hash) = ready.pop() {
            for index in self.waiting.remove(&hash).unwrap_or_default() {
                let op = self.store.op(index)?;
                self.unfolded.remove(&index);
                if self.fold_ready(index, &op)? == Folded::Done {
                    ready.push(op.hash);
                }
            }
        }
        let _ = now;
        Ok(())
    }

    /// Lets operations take effect that are no longer too far ahead.
    pub(crate) fn release_held(&mut self, now: Timestamp) -> Result<(), StoreError> {
        while let Some((timestamp, index)) = self.held.first().copied() {
            if timestamp > now.plus_ms(AHEAD_MS_MAX) {
                break;
            }
            self.held.remove(&(timestamp, index));
            self.unfolded.remove(&index);
            let op = self.store.op(index)?;
            self.clocks.observe(timestamp, op.header.version, now);
            if self.fold_ready(index, &op)? == Folded::Done {
                self.wake(op.hash, now)?;
            }
        }
        Ok(())
    }

    fn fold_ready(&mut self, index: OpIndex, op: &Arc<Op>) -> Result<Folded, StoreError> {
        let Some(node) = &op.header.node else { return Ok(Folded::Done) };
        let slot = self.nodes.find_or_insert(node);
        // An error leaves the state out, and the replica is dropped after one.
        let resident = self.nodes.take(&self.store, slot)?;
        match self.resolve_parents(index, op, resident.state.heads())? {
            Ok(parents) => {
                self.fold_into(slot, resident, (index, op), parents)?;
                return Ok(Folded::Done);
            }
            Err(_) if mutant::is(Mutant::LostWaiting) => {}
            Err(missing) => {
                self.unfolded.insert(index);
                self.waiting.entry(missing).or_default().push(index);
            }
        }
        self.nodes.put_back(slot, resident);
        Ok(Folded::Waiting)
    }

    /// The parents in the store, all folded; or the hash of one that is not.
    fn resolve_parents(&self, index: OpIndex, op: &Op, heads: &[NodeHead]) -> Result<Result<Parents, OpHash>, StoreError> {
        let mut parents = Parents::new();
        let named = if mutant::is(Mutant::ForgottenParent) { 1 } else { op.header.parents.len() };
        for parent in op.header.parents.iter().take(named) {
            let found = match parent {
                ParentRef::Own(distance) => self.graph().own(index, op, *distance),
                ParentRef::Other(hash) => match heads.iter().find(|head| head.stamp.hash == *hash) {
                    Some(head) => Some(head.op),
                    None => self.store.find(hash)?,
                },
            };
            let Some(found) = found else {
                // Only another log's operation can be missing: a log is held without gaps.
                let ParentRef::Other(hash) = parent else { continue };
                return Ok(Err(*hash));
            };
            if found.0 >= self.offered || (!self.unfolded.is_empty() && self.unfolded.contains(&found)) {
                return Ok(Err(self.store.op(found)?.hash));
            }
            // A parent on another node is no parent; the operation is void for it (see `breaks_clock_rules`).
            let is_head = heads.iter().any(|head| head.op == found);
            if (is_head || self.store.op(found)?.header.node == op.header.node) && !parents.contains(&found) {
                parents.push(found);
            }
        }
        Ok(Ok(parents))
    }

    /// Applies an operation to its node.
    fn fold_into(
        &mut self,
        slot: u32,
        mut resident: Box<Resident>,
        (index, op): (OpIndex, &Arc<Op>),
        parents: Parents,
    ) -> Result<(), StoreError> {
        let after_all = resident.state.heads.iter().all(|head| parents.contains(&head.op));
        let effective = self.is_effective(index, op, &resident.state, &parents)?;
        let incoming = Incoming { index, op: Arc::clone(op), parents, after_all, effective };
        let mut open = self.open_texts.remove(&slot);
        let state = resident.edit();
        if after_all {
            state.close_text(&context!(self), &mut open)?;
        }
        self.text_lens.set(index, after_all.then_some(state.chars));
        let applied = state.apply(&context!(self), &incoming, &mut open)?;
        self.nodes.put(slot, resident);
        if applied.text_pending {
            self.texts_pending.insert(slot);
        }
        if let Some(open) = open {
            self.open_texts.insert(slot, open);
        }
        if let (Some(place), Some(node)) = (applied.payload.and_then(|payload| payload.place), &op.header.node) {
            let placement = self.placement(index, op, node.clone(), &place);
            self.placements.push(placement);
        }
        Ok(())
    }

    fn is_effective(&self, index: OpIndex, op: &Op, state: &NodeState, parents: &Parents) -> Result<bool, StoreError> {
        let context = context!(self);
        if !may_stand(op) || context.is_void(index, op) {
            return Ok(false);
        }
        // The common case needs no look at the store: the only parent is the only head.
        if let ([head], [parent], 1) = (state.heads(), parents.as_slice(), op.header.parents.len())
            && head.op == *parent
        {
            return Ok(head.stamp.timestamp < op.header.timestamp && op.header.parent_version == Some(head.stamp.version));
        }
        let parents: SmallVec<[Arc<Op>; 4]> = parents.iter().map(|parent| self.store.op(*parent)).collect::<Result<_, _>>()?;
        Ok(!context.breaks_clock_rules(op, &parents))
    }

    /// A payload's place with its anchor resolved to an operation.
    pub(crate) fn placement(&self, index: OpIndex, op: &Op, node: NodeId, place: &Place) -> Placement {
        let anchor = match place.anchor {
            PlaceAnchor::Start => Anchor::Start,
            PlaceAnchor::Other(hash) => Anchor::Op(hash),
            // A distance that leads nowhere stands for nothing: as an unknown anchor it sorts last.
            PlaceAnchor::Own(distance) => {
                Anchor::Op(self.graph().own(index, op, distance).map_or(OpHash([0; 32]), |anchor| self.hash_of(anchor)))
            }
        };
        Placement { stamp: op.stamp(), node, parent: place.parent.clone(), anchor, side: place.side }
    }

    /// Brings texts and tree up to date after a batch.
    pub(crate) fn settle(&mut self) -> Result<(), StoreError> {
        for slot in std::mem::take(&mut self.texts_pending) {
            let mut open = self.open_texts.remove(&slot);
            let mut resident = self.nodes.take(&self.store, slot)?;
            resident.edit().merge_text(&context!(self), &mut open)?;
            if let Some(open) = open.filter(|_| resident.state.heads.len() > 1) {
                self.open_texts.insert(slot, open);
            }
            self.nodes.put(slot, resident);
        }
        if self.open_texts.len() > OPEN_TEXTS_MAX {
            self.open_texts.clear();
        }
        if !self.placements.is_empty() {
            self.tree.insert_batch(std::mem::take(&mut self.placements));
            self.note_tree_changes();
        }
        Ok(())
    }

    /// Passes on what changed in the tree to the digest and to whoever watches.
    pub(crate) fn note_tree_changes(&mut self) {
        let changed = self.tree.take_changed();
        self.order_dirty.extend(changed.parents);
        for node in changed.nodes {
            if let Some(slot) = self.nodes.find(&node) {
                self.nodes.mark_changed(slot);
            }
        }
    }

    /// Folds a node anew from all its operations: what had an effect may not have one any more, or the other way round.
    pub(crate) fn refold(&mut self, slot: u32) -> Result<(), StoreError> {
        let mut resident = self.nodes.take(&self.store, slot)?;
        let heads = resident.state.head_indices();
        let window = self.graph().window(&heads, |_| false)?;
        let hashes: Vec<OpHash> = window.ops.iter().map(|entry| entry.op.hash).collect();
        self.tree.remove_batch(&hashes);
        self.note_tree_changes();
        self.open_texts.remove(&slot);
        self.texts_pending.remove(&slot);
        self.placements.retain(|placement| !hashes.contains(&placement.stamp.hash));
        *resident.edit() = NodeState::default();
        self.nodes.put(slot, resident);
        for entry in &window.ops {
            let parents = entry.parents.iter().map(|place| window.ops[*place].index).collect();
            let resident = self.nodes.take(&self.store, slot)?;
            self.fold_into(slot, resident, (entry.index, &entry.op), parents)?;
        }
        Ok(())
    }
}
