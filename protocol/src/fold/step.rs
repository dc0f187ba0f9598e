//! One operation applied to its node.

use std::collections::BTreeSet;
use std::sync::Arc;

use smallvec::SmallVec;

use super::text::{OpenText, TextStep};
use super::{Context, Embedding, NodeHead, NodeState};
use crate::clock::Stamp;
use crate::conflict::detect;
use crate::graph::Parents;
use crate::mutant::{self, Mutant};
use crate::op::{Op, OpType, Payload};
use crate::store::{OpIndex, Store, StoreError};

/// An operation on its way into a node: stored, its parents folded.
#[derive(Debug, Clone)]
pub(crate) struct Incoming {
    pub(crate) index: OpIndex,
    pub(crate) op: Arc<Op>,
    pub(crate) parents: Parents,
    /// Whether every head of the node is among the parents.
    pub(crate) after_all: bool,
    /// Whether it has an effect, as far as membership and clocks go.
    pub(crate) effective: bool,
}

/// What one operation did.
#[derive(Debug, Default)]
pub(crate) struct Applied {
    /// The payload, when the operation had an effect.
    pub(crate) payload: Option<Payload>,
    /// The node's text waits for [`OpenText`] to be merged.
    pub(crate) text_pending: bool,
    /// Conflicts were recorded.
    pub(crate) conflicts: bool,
}

/// Whether an operation can stand where it stands: only a creation can be a node's first.
pub(crate) fn may_stand(op: &Op) -> bool {
    op.header.kind == OpType::Create || !op.header.parents.is_empty()
}

/// Which dots an operation has seen.
enum Seen {
    All,
    AllBut(BTreeSet<OpIndex>),
}

impl Seen {
    fn has(&self, dot: OpIndex) -> bool {
        match self {
            Self::All => true,
            Self::AllBut(concurrent) => !concurrent.contains(&dot),
        }
    }
}

impl NodeState {
    /// Applies an operation whose parents have been applied. `open` holds the node's text while it is merged from concurrent edits.
    ///
    /// # Errors
    /// When the store fails; the node must then be folded anew.
    pub(crate) fn apply<S: Store>(
        &mut self,
        context: &Context<'_, S>,
        incoming: &Incoming,
        open: &mut Option<Box<OpenText>>,
    ) -> Result<Applied, StoreError> {
        let payload = if incoming.effective { incoming.op.decode_payload().ok() } else { None };
        let mut applied = Applied::default();
        if incoming.parents.len() > 1 {
            applied.conflicts = self.record_met(context, incoming)?;
        }
        let seen =
            if incoming.after_all { Seen::All } else { Seen::AllBut(context.graph.concurrent(&self.head_indices(), &incoming.parents)?) };
        let text = payload.as_ref().and_then(|payload| payload.text.as_ref());
        applied.text_pending = self.apply_text(context, incoming, text, open)? == TextStep::Pending;
        if let Some(payload) = &payload {
            self.apply_fields(incoming, payload, &seen);
        }
        self.advance_heads(incoming);
        applied.payload = payload;
        Ok(applied)
    }

    /// Records the conflicts between the histories that this operation brings together.
    fn record_met<S: Store>(&mut self, context: &Context<'_, S>, incoming: &Incoming) -> Result<bool, StoreError> {
        let policy = context.policy_of(incoming.index, &incoming.op);
        let conflicts = detect::detect(context, &incoming.parents, &policy)?;
        let any = !conflicts.is_empty();
        conflicts.into_iter().for_each(|conflict| self.record(conflict));
        Ok(any)
    }

    fn apply_fields(&mut self, incoming: &Incoming, payload: &Payload, seen: &Seen) {
        let stamp = incoming.op.stamp();
        let dot = incoming.index;
        self.modified = self.modified.max(Some(stamp));
        if incoming.op.header.kind == OpType::Create && self.created.is_none_or(|created| stamp < created) {
            self.created = Some(stamp);
        }
        if let Some(node_type) = &payload.node_type
            && self.node_type.as_ref().is_none_or(|(earlier, _)| *earlier < stamp || mutant::is(Mutant::LastWriteByArrival))
        {
            self.node_type = Some((stamp, node_type.clone()));
        }
        if let Some(patch) = &payload.metadata {
            self.metadata.apply(patch, stamp);
        }
        self.apply_mentions(dot, payload, seen);
        self.apply_life(dot, stamp, payload.soft_delete, seen);
        self.apply_embedding(incoming, payload);
        for id in &payload.resolves {
            let earliest = self.resolutions.entry(*id).or_insert(stamp);
            *earliest = (*earliest).min(stamp);
        }
    }

    fn apply_mentions(&mut self, dot: OpIndex, payload: &Payload, seen: &Seen) {
        for id in &payload.mentions_removed {
            if let Some(dots) = self.mentions.get_mut(id) {
                dots.retain(|dot| !seen.has(*dot));
                if dots.is_empty() {
                    self.mentions.remove(id);
                }
            }
        }
        for id in &payload.mentions_added {
            let dots = self.mentions.entry(id.clone()).or_default();
            dots.retain(|dot| !seen.has(*dot));
            dots.push(dot);
            dots.sort_unstable();
        }
    }

    fn apply_life(&mut self, dot: OpIndex, stamp: Stamp, delete: Option<bool>, seen: &Seen) {
        match seen {
            Seen::All => self.alive.clear(),
            Seen::AllBut(_) => self.alive.retain(|dot| !seen.has(*dot)),
        }
        match delete {
            Some(soft) => {
                if self.last_delete.is_none_or(|(earlier, _)| earlier < stamp) {
                    self.last_delete = Some((stamp, soft));
                }
            }
            None => {
                self.alive.push(dot);
                self.alive.sort_unstable();
                self.last_edit = self.last_edit.max(Some(stamp));
            }
        }
    }

    fn apply_embedding(&mut self, incoming: &Incoming, payload: &Payload) {
        let (Some(note), Some(attachment)) = (&payload.embedding, incoming.op.header.attachment) else { return };
        let stamp = incoming.op.stamp();
        if self.embeddings.get(&note.model).is_none_or(|known| known.stamp < stamp) {
            let embedding = Embedding { stamp, op: incoming.index, dimension: note.dimension, source: note.source, attachment };
            self.embeddings.insert(note.model.clone(), Box::new(embedding));
        }
    }

    fn advance_heads(&mut self, incoming: &Incoming) {
        let head = NodeHead { op: incoming.index, stamp: incoming.op.stamp() };
        if incoming.after_all {
            self.heads = SmallVec::from_slice(&[head]);
        } else {
            self.heads.retain(|head| !incoming.parents.contains(&head.op));
            self.heads.push(head);
            self.heads.sort_unstable_by_key(|head| head.op);
        }
    }
}
