//! The state digest: equal on two devices exactly when every node, and the order of every list of children, is.
//!
//! A sum, over all nodes, of their hashes as vectors of four 64-bit numbers: a changed node costs one subtraction and one addition,
//! whatever else there is (after Bellare and Micciancio, *A New Paradigm for Collision-free Hashing*, 1997). It finds
//! divergence between honest devices; what is *held* is compared by the frontier's digest, which is an ordinary hash.

use std::collections::BTreeMap;

use super::Replica;
use super::nodes::NodeTable;
use crate::crypto::Domain;
use crate::ids::NodeId;
use crate::log::Head;
use crate::log::frontier::{self, FrontierEntry};
use crate::lookup::LookupMap;
use crate::store::{Store, StoreError};
use crate::wire;

/// A sum of hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum([u64; 4]);

impl Sum {
    fn lanes(hash: &[u8; 32]) -> [u64; 4] {
        let mut lanes = [0; 4];
        for (lane, bytes) in lanes.iter_mut().zip(hash.chunks_exact(8)) {
            *lane = u64::from_le_bytes(bytes.try_into().expect("a chunk has eight bytes"));
        }
        lanes
    }

    pub(crate) fn add(&mut self, hash: &[u8; 32]) {
        self.0.iter_mut().zip(Self::lanes(hash)).for_each(|(sum, lane)| *sum = sum.wrapping_add(lane));
    }

    pub(crate) fn remove(&mut self, hash: &[u8; 32]) {
        self.0.iter_mut().zip(Self::lanes(hash)).for_each(|(sum, lane)| *sum = sum.wrapping_sub(lane));
    }

    pub(crate) fn bytes(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (chunk, lane) in bytes.chunks_exact_mut(8).zip(self.0) {
            chunk.copy_from_slice(&lane.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(Self::lanes(bytes))
    }
}

/// Digests of the order below each parent, as of the last time the state digest was asked for.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// By the parent's number; they are kept with the directory of nodes.
    pub(crate) by_node: LookupMap<u32, [u8; 32]>,
    /// Of the top level, and of parents nothing else is known of.
    pub(crate) loose: BTreeMap<Option<NodeId>, [u8; 32]>,
}

impl Orders {
    /// Each with its parent. Of a parent that comes twice the last one counts.
    pub(crate) fn by_parent(&self, nodes: &NodeTable) -> impl Iterator<Item = (Option<NodeId>, [u8; 32])> {
        let loose = self.loose.iter().map(|(parent, digest)| (parent.clone(), *digest));
        let slots = 0..nodes.len() as u32;
        loose.chain(slots.filter_map(move |slot| Some((Some(nodes.id(slot).clone()), *self.by_node.get(&slot)?))))
    }
}

/// The digest of a list of children, in order.
pub(crate) fn digest_of_order(parent: Option<&NodeId>, children: &[NodeId]) -> [u8; 32] {
    if children.is_empty() {
        // An empty list and one that never was are the same.
        return [0; 32];
    }
    let bytes = wire::encode_with(|e| {
        match parent {
            Some(parent) => wire::encode_node_id(e, parent)?,
            None => e.null().map(drop)?,
        }
        e.array(children.len() as u64)?;
        children.iter().try_for_each(|child| wire::encode_node_id(e, child))
    });
    Domain::NodeState.hash(&bytes)
}

impl<S: Store> Replica<S> {
    /// The digest of all state. Two replicas that hold the same operations, none of them held back, have the same.
    pub fn state_digest(&mut self) -> [u8; 32] {
        for slot in self.nodes.take_digest_dirty() {
            let Some(state) = self.nodes.unsaved_state(slot) else { continue };
            let digest = state.digest(self.nodes.id(slot), |index| self.hash_of(index));
            self.node_sum.add(&digest);
            if let Some(before) = self.nodes.set_digest(slot, digest) {
                self.node_sum.remove(&before);
            }
        }
        for parent in std::mem::take(&mut self.order_dirty) {
            let digest = digest_of_order(parent.as_ref(), &self.tree.children(parent.as_ref()));
            self.node_sum.add(&digest);
            let before = self.set_order_digest(parent, digest);
            self.node_sum.remove(&before);
        }
        self.node_sum.bytes()
    }

    /// Keeps the digest of a parent's order; answers what it was. Zero stands for an empty list.
    fn set_order_digest(&mut self, parent: Option<NodeId>, digest: [u8; 32]) -> [u8; 32] {
        let loose = self.orders.loose.remove(&parent);
        let before = match parent.as_ref().and_then(|parent| self.nodes.find(parent)) {
            Some(slot) => {
                self.nodes.mark_chunk(slot);
                if digest == [0; 32] { self.orders.by_node.remove(&slot) } else { self.orders.by_node.insert(slot, digest) }
            }
            None if digest == [0; 32] => None,
            None => self.orders.loose.insert(parent, digest),
        };
        before.or(loose).unwrap_or_default()
    }

    /// How far each log is held; ascending by log. What a removal voids is held and passed on like everything else: operations of
    /// others may build on it.
    pub fn frontier(&self) -> Vec<FrontierEntry> {
        let entries = self.logs.iter().filter_map(|(id, log)| {
            let mut heads: Vec<Head> = log
                .leaves()
                .map(|leaf| &log.branches()[leaf])
                .filter_map(|branch| branch.last.map(|hash| Head { seq: branch.last_seq(), hash }))
                .collect();
            heads.sort_unstable();
            (!heads.is_empty()).then_some(FrontierEntry { log: *id, heads })
        });
        entries.collect()
    }

    /// The digest of [`Replica::frontier`].
    pub fn frontier_digest(&self) -> [u8; 32] {
        frontier::digest(&self.frontier())
    }

    /// The nodes that changed since the last call, ascending by id: what a projection has to write again.
    ///
    /// # Errors
    /// When the store fails.
    pub fn take_changed(&mut self) -> Result<Vec<NodeId>, StoreError> {
        let mut ids: Vec<NodeId> = self.nodes.take_changed().into_iter().map(|slot| self.nodes.id(slot).clone()).collect();
        ids.sort_unstable();
        Ok(ids)
    }
}
