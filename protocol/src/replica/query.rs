//! What applications ask: nodes as they are and were, their history, their conflicts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::Replica;
use super::fold_op::context;
use super::nodes::Facts;
use super::write::WriteError;
use crate::clock::Timestamp;
use crate::conflict::{Conflict, ConflictType, NodeConflict, ResolutionStrategy, detect};
use crate::fold::step::Incoming;
use crate::fold::{Context, NodeState};
use crate::graph::Graph;
use crate::ids::{DeviceId, NodeId, OpHash, UserId};
use crate::op::{OpType, Place};
use crate::store::{OpIndex, Store, StoreError};

/// A node as applications see it. The document's `Node`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeView {
    /// Its id.
    pub id: NodeId,
    /// Its type.
    #[serde(rename = "type")]
    pub node_type: String,
    /// Its text.
    pub content: String,
    /// Its parent; `None` = top level.
    pub parent_id: Option<NodeId>,
    /// Its topmost ancestor; derived.
    pub root_id: Option<NodeId>,
    /// The sibling immediately before it; `None` = it is first.
    pub before_sibling_id: Option<NodeId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub modified_at: Timestamp,
    /// Ids it mentions.
    pub mentions: Vec<NodeId>,
    /// Its metadata.
    pub metadata: Value,
    /// Whether it is deleted.
    pub deleted: bool,
    /// Models whose embedding no longer fits the text.
    pub stale_embeddings: Vec<String>,
    /// Conflicts that wait for a person.
    pub open_conflicts: usize,
}

/// One step of a node's history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryEntry {
    /// The operation.
    pub op: OpHash,
    /// What it did.
    pub kind: OpType,
    /// When, by its author's clock.
    pub timestamp: Timestamp,
    /// Its version.
    pub version: u64,
    /// By which device.
    pub device: DeviceId,
    /// By which user, while the device is a member.
    pub user: Option<UserId>,
    /// What its author had seen.
    pub parents: Vec<OpHash>,
    /// Whether it has an effect.
    pub effective: bool,
}

impl<S: Store> Replica<S> {
    /// A node's state.
    ///
    /// # Errors
    /// When the store fails.
    pub fn node(&self, id: &NodeId) -> Result<Option<Arc<NodeState>>, StoreError> {
        let slot = self.nodes.find(id).filter(|slot| self.nodes.facts(*slot).exists());
        slot.map(|slot| self.nodes.read(&self.store, slot)).transpose()
    }

    /// The ids of all nodes that exist, deleted ones included, ascending.
    pub fn node_ids(&self) -> Vec<NodeId> {
        let mut ids: Vec<NodeId> = self.nodes.iter().filter(|(_, _, facts)| facts.exists()).map(|(_, id, _)| id.clone()).collect();
        ids.sort_unstable();
        ids
    }

    /// A node as it is now.
    ///
    /// # Errors
    /// When it is not there.
    pub fn view(&self, id: &NodeId) -> Result<NodeView, WriteError> {
        let state = self.nodes.read(&self.store, self.existing(id)?)?;
        let open = self.conflicts_in(id, &state)?.iter().filter(|found| found.conflict.is_open()).count();
        Ok(NodeView { open_conflicts: open, ..self.view_of(id, &state) })
    }

    fn view_of(&self, id: &NodeId, state: &NodeState) -> NodeView {
        let policy = self.membership.policy();
        let hidden = state.is_hard_deleted(&policy);
        let stale = state.embeddings.iter().filter(|(_, embedding)| embedding.is_stale(&state.text));
        NodeView {
            id: id.clone(),
            node_type: state.node_type().unwrap_or_default().to_owned(),
            content: if hidden { String::new() } else { state.text.clone() },
            parent_id: self.tree.parent(id).flatten(),
            root_id: self.tree.root(id),
            before_sibling_id: self.tree.before_sibling(id),
            created_at: state.created.map(|stamp| stamp.timestamp).unwrap_or_default(),
            modified_at: state.modified.map(|stamp| stamp.timestamp).unwrap_or_default(),
            mentions: state.mentions.keys().cloned().collect(),
            metadata: if hidden { Value::Null } else { state.metadata.to_json() },
            deleted: state.is_deleted(&policy),
            stale_embeddings: stale.map(|(model, _)| model.clone()).collect(),
            open_conflicts: state.conflicts().filter(Conflict::is_open).count(),
        }
    }

    /// A node as it was when its history ended at these operations. Place and siblings are those of now.
    ///
    /// # Errors
    /// When the node or one of the operations is not there.
    pub fn view_at(&self, id: &NodeId, heads: &[OpHash]) -> Result<NodeView, WriteError> {
        self.existing(id)?;
        Ok(self.view_of(id, &self.state_at(&self.indices_of(id, heads)?)?))
    }

    /// Where the histories of some operations of a node last met: the latest operations that are in the past of all of them (or are
    /// one of them). Empty when they have no common past. Looks at the first 64.
    ///
    /// # Errors
    /// When one of the operations is not one of the node's.
    pub fn common_heads(&self, id: &NodeId, ops: &[OpHash]) -> Result<Vec<OpHash>, WriteError> {
        let sides = self.indices_of(id, &ops[..ops.len().min(detect::SIDES_MAX)])?;
        let each: Vec<&[OpIndex]> = sides.iter().map(std::slice::from_ref).collect();
        let window = self.graph().window_above(&sides, &each)?;
        let everybody = u64::MAX.checked_shr(64 - sides.len() as u32).unwrap_or(0);
        let mut seen_by = vec![0_u64; window.ops.len()];
        for (side, index) in sides.iter().enumerate() {
            window.places(&[*index]).iter().for_each(|place| seen_by[*place] |= 1 << side);
        }
        let mut below_common = vec![false; window.ops.len()];
        let mut heads = Vec::new();
        for place in (0..window.ops.len()).rev() {
            let common = seen_by[place] == everybody;
            if common && !below_common[place] {
                heads.push(window.ops[place].op.hash);
            }
            for parent in &window.ops[place].parents {
                seen_by[*parent] |= seen_by[place];
                below_common[*parent] |= common || below_common[place];
            }
        }
        if heads.is_empty() {
            heads.extend(window.base.iter().map(|index| self.hash_of(*index)));
        }
        heads.sort_unstable();
        Ok(heads)
    }

    /// What an operation's author had seen of a node.
    ///
    /// # Errors
    /// When the operation is not one of the node's.
    pub fn parents_of(&self, id: &NodeId, op: &OpHash) -> Result<Vec<OpHash>, WriteError> {
        let mut parents = Vec::new();
        for index in self.indices_of(id, &[*op])? {
            let found = self.graph().parents(index, self.store.op(index)?.as_ref())?;
            parents.extend(found.iter().map(|parent| self.hash_of(*parent)));
        }
        Ok(parents)
    }

    /// Where the last operation on a node's place, in the past of these, put it, as that operation says.
    ///
    /// # Errors
    /// When one of the operations is not one of the node's.
    pub fn place_at(&self, id: &NodeId, heads: &[OpHash]) -> Result<Option<Place>, WriteError> {
        let window = self.graph().window(&self.indices_of(id, heads)?, |_| false)?;
        let context = context!(self);
        let mut last = None;
        for entry in &window.ops {
            let place = context.payload_of(entry.index, &entry.op)?.and_then(|payload| payload.place);
            if let Some(place) = place
                && last.as_ref().is_none_or(|(stamp, _)| *stamp < entry.op.stamp())
            {
                last = Some((entry.op.stamp(), place));
            }
        }
        Ok(last.map(|(_, place)| place))
    }

    /// Where operations of a node are kept.
    fn indices_of(&self, id: &NodeId, ops: &[OpHash]) -> Result<Vec<OpIndex>, WriteError> {
        let mut indices = Vec::with_capacity(ops.len());
        for op in ops {
            let index = self.store.find(op)?.ok_or(WriteError::Invalid("no such operation is held here"))?;
            if self.store.op(index)?.header.node.as_ref() != Some(id) {
                return Err(WriteError::Invalid("the operation is not one of this node"));
            }
            indices.push(index);
        }
        Ok(indices)
    }

    /// A node's state folded from the history below some operations.
    pub(crate) fn state_at(&self, heads: &[OpIndex]) -> Result<NodeState, StoreError> {
        let window = self.graph().window(heads, |_| false)?;
        let mut state = NodeState::default();
        let mut open = None;
        let mut lens = crate::fold::TextLens::default();
        for entry in &window.ops {
            let parents: crate::graph::Parents = entry.parents.iter().map(|place| window.ops[*place].index).collect();
            let context = Context { text_lens: &lens, ..context!(self) };
            let effective = context.payload_of(entry.index, &entry.op)?.is_some();
            let after_all = state.heads.iter().all(|head| parents.contains(&head.op));
            if after_all {
                state.close_text(&context, &mut open)?;
            }
            lens.set(entry.index, after_all.then_some(state.chars));
            let context = Context { text_lens: &lens, ..context!(self) };
            let op = Arc::clone(&entry.op);
            state.apply(&context, &Incoming { index: entry.index, op, parents, after_all, effective }, &mut open)?;
        }
        let context = Context { text_lens: &lens, ..context!(self) };
        state.close_text(&context, &mut open)?;
        Ok(state)
    }

    /// A node's operations, in the order (version, hash).
    ///
    /// # Errors
    /// When the node is not there.
    pub fn history(&self, id: &NodeId) -> Result<Vec<HistoryEntry>, WriteError> {
        let slot = self.existing(id)?;
        let window = self.graph().window(&self.nodes.read(&self.store, slot)?.head_indices(), |_| false)?;
        let context = context!(self);
        let entry = |place: usize| -> Result<HistoryEntry, StoreError> {
            let found = &window.ops[place];
            let header = &found.op.header;
            Ok(HistoryEntry {
                op: found.op.hash,
                kind: header.kind,
                timestamp: header.timestamp,
                version: header.version,
                device: header.log.device,
                user: self.membership.user(&header.log.device),
                parents: found.parents.iter().map(|parent| window.ops[*parent].op.hash).collect(),
                effective: context.payload_of(found.index, &found.op)?.is_some(),
            })
        };
        Ok((0..window.ops.len()).map(entry).collect::<Result<_, _>>()?)
    }

    /// The heads a node's history had at a time, by its authors' clocks.
    ///
    /// # Errors
    /// When the node is not there.
    pub fn heads_at(&self, id: &NodeId, at: Timestamp) -> Result<Vec<OpHash>, WriteError> {
        let history = self.history(id)?;
        let past: Vec<&HistoryEntry> = history.iter().filter(|entry| entry.timestamp <= at).collect();
        let parents: BTreeSet<OpHash> = past.iter().flat_map(|entry| entry.parents.iter().copied()).collect();
        Ok(past.iter().map(|entry| entry.op).filter(|op| !parents.contains(op)).collect())
    }

    /// A node's conflicts: those where histories met, and those between its present heads.
    ///
    /// # Errors
    /// When the store fails.
    pub fn conflicts_of(&self, id: &NodeId) -> Result<Vec<NodeConflict>, StoreError> {
        match self.nodes.find(id).filter(|slot| self.nodes.facts(*slot).is_contested()) {
            Some(slot) => self.conflicts_in(id, &*self.nodes.read(&self.store, slot)?),
            None => Ok(Vec::new()),
        }
    }

    /// Whether a node may have conflicts: it has several heads, or histories met in it that were in conflict. Reads no state.
    pub fn is_contested(&self, id: &NodeId) -> bool {
        self.nodes.find(id).is_some_and(|slot| self.nodes.facts(slot).is_contested())
    }

    fn conflicts_in(&self, id: &NodeId, state: &NodeState) -> Result<Vec<NodeConflict>, StoreError> {
        let wrap = |conflict: Conflict, live| NodeConflict { node: id.clone(), conflict, live };
        let mut found: BTreeMap<_, _> = state.conflicts().map(|conflict| (conflict.id, wrap(conflict, false))).collect();
        if state.heads.len() > 1 {
            for conflict in detect::detect(&context!(self), &state.head_indices(), &self.membership.policy())? {
                found.entry(conflict.id).or_insert_with(|| wrap(state.with_status(conflict), true));
            }
        }
        Ok(found.into_values().collect())
    }

    /// All conflicts of the workspace, by node, and the moves that would have closed a cycle.
    ///
    /// # Errors
    /// When the store fails.
    pub fn conflicts(&self) -> Result<Vec<NodeConflict>, StoreError> {
        let mut found = Vec::new();
        for (slot, id, _) in self.nodes.iter().filter(|(_, _, facts)| facts.exists() && facts.is_contested()) {
            found.extend(self.conflicts_in(id, &*self.nodes.read(&self.store, slot)?)?);
        }
        found.extend(self.skipped_moves()?);
        found.sort_by(|a, b| (&a.node, a.conflict.id).cmp(&(&b.node, b.conflict.id)));
        Ok(found)
    }

    /// Moves that would have closed a cycle when their turn came, as conflicts of the nodes they were to move.
    pub(crate) fn skipped_moves(&self) -> Result<Vec<NodeConflict>, StoreError> {
        let mut found = Vec::new();
        for skipped in self.tree.skipped() {
            let Some(state) = self.node(&skipped.node)? else { continue };
            let kind = ConflictType::MoveConflict;
            let conflict = Conflict::new(kind, "place".into(), vec![skipped.stamp.hash], ResolutionStrategy::LastWriteWins);
            found.push(NodeConflict { node: skipped.node, conflict: state.with_status(conflict), live: false });
        }
        Ok(found)
    }

    /// Deleted nodes that have a living one below them: shown as placeholders, so that nothing becomes unreachable.
    pub fn placeholders(&self) -> BTreeSet<NodeId> {
        let policy = self.membership.policy();
        let mut shown = BTreeSet::new();
        let lives = |facts: Facts| facts.exists() && !facts.is_deleted(&policy);
        for (_, id, _) in self.nodes.iter().filter(|(_, _, facts)| lives(*facts)) {
            let mut at = self.tree.parent(id).flatten();
            while let Some(parent) = at {
                let living = self.nodes.find(&parent).is_some_and(|slot| lives(self.nodes.facts(slot)));
                if !living && !shown.insert(parent.clone()) {
                    break;
                }
                at = self.tree.parent(&parent).flatten();
            }
        }
        shown
    }

    /// The attachment of an embedding, when it is held.
    ///
    /// # Errors
    /// When the store fails.
    pub fn attachment(&self, op: OpIndex) -> Result<Option<Arc<[u8]>>, StoreError> {
        Ok(self.store.op(op)?.attachment.clone())
    }

    /// The digest of a node's state: equal wherever the same operations on it are held. `None` when there is no such node.
    ///
    /// # Errors
    /// When the store fails.
    pub fn node_digest(&self, id: &NodeId) -> Result<Option<[u8; 32]>, StoreError> {
        let state = self.node(id)?;
        Ok(state.map(|state| state.digest(id, |index| self.hash_of(index))))
    }

    /// The operations that are held and not folded yet: they wait for a parent or for their time.
    pub fn unfolded(&self) -> Vec<OpHash> {
        self.unfolded.iter().map(|index| self.hash_of(*index)).collect()
    }

    /// An operation by hash.
    ///
    /// # Errors
    /// When the store fails.
    pub fn op(&self, hash: &OpHash) -> Result<Option<Arc<crate::op::Op>>, StoreError> {
        self.store.find(hash)?.map(|index| self.store.op(index)).transpose()
    }
}
