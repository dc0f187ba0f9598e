//! Checkpoints: derived state on one's own disk. Damaged ones are no attack, but a device must get over them.

use nodespace_protocol::replica::Replica;
use nodespace_protocol::store::{Checkpoint, MemoryStore, Store};

use crate::workspace;

/// A replica is opened over it all.
pub(crate) const fn allocation_max(len: usize) -> usize {
    16 * len + (8 << 20)
}

/// The first byte says what is damaged: the rest of the checkpoint, or a node. Opening must fail or give a state that can be read.
pub(crate) fn open(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let (workspace, mut store) = checkpointed();
    let (Ok(Some((records, rest))), Ok(ids)) = (store.checkpoint(), store.node_ids()) else { return };
    let damaged = match ids.get(usize::from(*which)) {
        Some(id) => Checkpoint { records, nodes: vec![(id.clone(), bytes.to_vec())], rest },
        None => Checkpoint { records, nodes: Vec::new(), rest: bytes.to_vec() },
    };
    if store.save_checkpoint(damaged).is_err() {
        return;
    }
    if let Ok(mut replica) = Replica::open(workspace, store, None, workspace::now()) {
        workspace::look_at(&mut replica);
    }
}

fn checkpointed() -> (nodespace_protocol::ids::WorkspaceId, MemoryStore) {
    let mut replica = workspace::open();
    let saved = replica.checkpoint();
    assert!(saved.is_ok(), "memory takes every checkpoint");
    (replica.workspace(), replica.into_store())
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let (_, store) = checkpointed();
    let mut seeds = Vec::new();
    if let Ok(Some((_, rest))) = store.checkpoint() {
        seeds.push([&[255], rest.as_slice()].concat());
    }
    for (which, id) in (0_u8..).zip(store.node_ids().unwrap_or_default()) {
        if let Ok(Some(bytes)) = store.node(&id) {
            seeds.push([&[which], bytes.as_slice()].concat());
        }
    }
    seeds
}
