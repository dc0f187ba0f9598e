//! The nodes of a replica, by id.

use crate::fold::NodeState;
use crate::ids::NodeId;
use crate::lookup::LookupMap;

/// One node and what is kept about it.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) id: NodeId,
    pub(crate) state: NodeState,
    /// What the node adds to the state digest, as of the last time it was asked for.
    pub(crate) digest: Option<[u8; 32]>,
    /// Changed since the digest was computed.
    digest_dirty: bool,
    /// Changed since the last checkpoint.
    checkpoint_dirty: bool,
    /// Changed since changes were last taken.
    changed: bool,
}

/// All nodes, in order of first appearance.
#[derive(Debug, Default)]
pub(crate) struct NodeTable {
    slots: Vec<Slot>,
    by_id: LookupMap<NodeId, u32>,
    digest_dirty: Vec<u32>,
    checkpoint_dirty: Vec<u32>,
    changed: Vec<u32>,
}

impl NodeTable {
    pub(crate) fn find(&self, id: &NodeId) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn find_or_insert(&mut self, id: &NodeId) -> u32 {
        if let Some(slot) = self.by_id.get(id) {
            return *slot;
        }
        self.insert(id.clone(), NodeState::default(), None)
    }

    pub(crate) fn insert(&mut self, id: NodeId, state: NodeState, digest: Option<[u8; 32]>) -> u32 {
        let slot = self.slots.len() as u32;
        self.by_id.insert(id.clone(), slot);
        self.slots.push(Slot { id, state, digest, digest_dirty: false, checkpoint_dirty: false, changed: false });
        slot
    }

    pub(crate) fn get(&self, slot: u32) -> &Slot {
        &self.slots[slot as usize]
    }

    /// The node, to be changed: marks it for the digest, the next checkpoint and whoever watches.
    pub(crate) fn get_mut(&mut self, slot: u32) -> &mut Slot {
        let entry = &mut self.slots[slot as usize];
        for (flag, list) in [
            (&mut entry.digest_dirty, &mut self.digest_dirty),
            (&mut entry.checkpoint_dirty, &mut self.checkpoint_dirty),
            (&mut entry.changed, &mut self.changed),
        ] {
            if !std::mem::replace(flag, true) {
                list.push(slot);
            }
        }
        entry
    }

    /// Marks a node for whoever watches, though its own state is as it was (its place changed).
    pub(crate) fn mark_changed(&mut self, slot: u32) {
        if !std::mem::replace(&mut self.slots[slot as usize].changed, true) {
            self.changed.push(slot);
        }
    }

    pub(crate) fn set_digest(&mut self, slot: u32, digest: [u8; 32]) -> Option<[u8; 32]> {
        self.slots[slot as usize].digest.replace(digest)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        (0..).zip(&self.slots)
    }

    pub(crate) fn existing(&self) -> usize {
        self.slots.iter().filter(|slot| slot.state.exists()).count()
    }

    pub(crate) fn take_digest_dirty(&mut self) -> Vec<u32> {
        let taken = std::mem::take(&mut self.digest_dirty);
        taken.iter().for_each(|slot| self.slots[*slot as usize].digest_dirty = false);
        taken
    }

    pub(crate) fn take_checkpoint_dirty(&mut self) -> Vec<u32> {
        let taken = std::mem::take(&mut self.checkpoint_dirty);
        taken.iter().for_each(|slot| self.slots[*slot as usize].checkpoint_dirty = false);
        taken
    }

    pub(crate) fn take_changed(&mut self) -> Vec<u32> {
        let taken = std::mem::take(&mut self.changed);
        taken.iter().for_each(|slot| self.slots[*slot as usize].changed = false);
        taken
    }
}
