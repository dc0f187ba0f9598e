//! The state of one node: what all its operations together make of it.

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::{Embedding, Metadata, map_weight};
use crate::clock::Stamp;
use crate::conflict::{Conflict, ConflictStatus, Policy, ResolutionStrategy};
use crate::crypto::Domain;
use crate::ids::{ConflictId, NodeId, OpHash};
use crate::op::json;
use crate::store::OpIndex;
use crate::wire;

/// An operation that none of the node's operations comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeHead {
    /// Where it is kept.
    pub op: OpIndex,
    /// Its place in the total order.
    pub stamp: Stamp,
}

/// A node. Parent and order are in [`crate::tree`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeState {
    /// The graph's heads, ascending by operation index.
    pub(crate) heads: SmallVec<[NodeHead; 1]>,
    /// The type: last writer.
    pub(crate) node_type: Option<(Stamp, String)>,
    /// The merged text.
    pub(crate) text: String,
    /// Its length in Unicode scalar values.
    pub(crate) chars: u32,
    pub(crate) metadata: Metadata,
    /// Observed-remove set: an id is mentioned while an addition that no removal has seen is left.
    pub(crate) mentions: BTreeMap<NodeId, SmallVec<[OpIndex; 1]>>,
    /// The latest changes that no delete has seen: the node lives while there is one.
    pub(crate) alive: SmallVec<[OpIndex; 1]>,
    /// The latest change and the latest delete.
    pub(crate) last_edit: Option<Stamp>,
    pub(crate) last_delete: Option<(Stamp, bool)>,
    /// By model.
    pub(crate) embeddings: BTreeMap<String, Box<Embedding>>,
    /// The earliest creation.
    pub(crate) created: Option<Stamp>,
    /// The latest operation that had an effect.
    pub(crate) modified: Option<Stamp>,
    /// Conflicts where histories met, ascending by id.
    pub(crate) conflicts: Vec<Conflict>,
    /// Conflicts that operations settled: the earliest such operation of each.
    pub(crate) resolutions: BTreeMap<ConflictId, Stamp>,
}

impl NodeState {
    /// The text.
    pub fn content(&self) -> &str {
        &self.text
    }

    /// Length of the text in Unicode scalar values.
    pub const fn content_chars(&self) -> u32 {
        self.chars
    }

    /// The type; `None` before any creation arrived.
    pub fn node_type(&self) -> Option<&str> {
        self.node_type.as_ref().map(|(_, node_type)| node_type.as_str())
    }

    /// The metadata.
    pub const fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Mentioned node ids, ascending.
    pub fn mentions(&self) -> impl Iterator<Item = &NodeId> {
        self.mentions.keys()
    }

    /// Embeddings by model.
    pub const fn embeddings(&self) -> &BTreeMap<String, Box<Embedding>> {
        &self.embeddings
    }

    /// The heads of the node's operation graph.
    pub fn heads(&self) -> &[NodeHead] {
        &self.heads
    }

    /// The heads' places in the store.
    pub(crate) fn head_indices(&self) -> SmallVec<[OpIndex; 4]> {
        self.heads.iter().map(|head| head.op).collect()
    }

    /// When it was made.
    pub const fn created(&self) -> Option<Stamp> {
        self.created
    }

    /// When it last changed.
    pub const fn modified(&self) -> Option<Stamp> {
        self.modified
    }

    /// Whether the node is deleted under a policy: every change has been seen by some delete, or, where the policy says last
    /// writer wins, the latest operation is a delete.
    pub fn is_deleted(&self, policy: &Policy) -> bool {
        if policy.delete == ResolutionStrategy::LastWriteWins {
            return self.last_delete.is_some_and(|(delete, _)| self.last_edit.is_none_or(|edit| delete > edit));
        }
        self.alive.is_empty() && self.last_delete.is_some()
    }

    /// Whether the latest delete asked for the content to be hidden for good.
    pub fn is_hard_deleted(&self, policy: &Policy) -> bool {
        self.is_deleted(policy) && self.last_delete.is_some_and(|(_, soft)| !soft)
    }

    /// About how many bytes it takes in memory.
    pub(crate) fn weight(&self) -> usize {
        let strings = self.text.capacity() + self.node_type.as_ref().map_or(0, |(_, node_type)| node_type.capacity());
        let conflicts = self.conflicts.iter().map(|found| size_of::<Conflict>() + found.field.capacity() + found.participants.len() * 32);
        let maps = map_weight::<NodeId, SmallVec<[OpIndex; 1]>>(self.mentions.len())
            + map_weight::<String, Box<Embedding>>(self.embeddings.len())
            + self.embeddings.len() * (size_of::<Embedding>() + 32)
            + map_weight::<ConflictId, Stamp>(self.resolutions.len());
        size_of::<Self>() + strings + maps + self.metadata.weight() + conflicts.sum::<usize>()
    }

    /// Whether a creation has arrived and had effect.
    pub const fn exists(&self) -> bool {
        self.created.is_some()
    }

    /// Conflicts found where histories met, with what became of them.
    pub fn conflicts(&self) -> impl Iterator<Item = Conflict> + '_ {
        self.conflicts.iter().map(|conflict| self.with_status(conflict.clone()))
    }

    /// A conflict with the status that this node's resolutions give it.
    pub(crate) fn with_status(&self, mut conflict: Conflict) -> Conflict {
        if let Some(by) = self.resolutions.get(&conflict.id) {
            conflict.status = ConflictStatus::Resolved(by.hash);
        }
        conflict
    }

    /// Adds a conflict. One that was found before, where the same histories met under another policy, stays open if either left it open:
    /// whichever was folded first.
    pub(crate) fn record(&mut self, conflict: Conflict) {
        match self.conflicts.binary_search_by(|known| known.id.cmp(&conflict.id)) {
            Ok(at) => self.conflicts[at].status = self.conflicts[at].status.min(conflict.status),
            Err(at) => self.conflicts.insert(at, conflict),
        }
    }

    /// The hash of everything above: equal on two devices exactly when they agree on this node.
    pub fn digest(&self, id: &NodeId, hash_of: impl Fn(OpIndex) -> OpHash) -> [u8; 32] {
        let bytes = wire::encode_with(|e| {
            wire::encode_node_id(e, id)?;
            let mut heads: Vec<OpHash> = self.heads.iter().map(|head| head.stamp.hash).collect();
            heads.sort_unstable();
            e.array(heads.len() as u64)?;
            heads.iter().try_for_each(|hash| e.bytes(&hash.0).map(drop))?;
            e.str(self.node_type().unwrap_or_default())?.str(&self.text)?;
            json::encode(e, &self.metadata.to_json())?;
            e.array(self.mentions.len() as u64)?;
            self.mentions.keys().try_for_each(|id| wire::encode_node_id(e, id))?;
            // Nearly always a head: then the store need not be asked.
            let head = |dot: &OpIndex| self.heads.iter().find(|head| head.op == *dot).map(|head| head.stamp.hash);
            let mut alive: Vec<OpHash> = self.alive.iter().map(|dot| head(dot).unwrap_or_else(|| hash_of(*dot))).collect();
            alive.sort_unstable();
            e.array(alive.len() as u64)?;
            alive.iter().try_for_each(|hash| e.bytes(&hash.0).map(drop))?;
            e.bool(self.last_delete.is_some_and(|(_, soft)| soft))?;
            e.array(self.embeddings.len() as u64)?;
            for (model, embedding) in &self.embeddings {
                e.array(3)?.str(model)?.bytes(&embedding.attachment.hash)?.bytes(&embedding.source)?;
            }
            for stamp in [self.created, self.modified] {
                e.bytes(&stamp.map_or([0; 32], |stamp| stamp.hash.0))?;
            }
            e.array(self.conflicts.len() as u64)?;
            for conflict in self.conflicts() {
                e.array(2)?.bytes(&conflict.id.0)?.u8(match conflict.status {
                    ConflictStatus::Open => 0,
                    ConflictStatus::AutoResolved(_) => 1,
                    ConflictStatus::Resolved(_) => 2,
                })?;
            }
            Ok(())
        });
        Domain::NodeState.hash(&bytes)
    }
}
