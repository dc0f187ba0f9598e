//! Checkpoints: derived state on one's own disk. Damaged ones are no attack, but a device must get over them.

use nodespace_protocol::ids::{NodeId, WorkspaceId};
use nodespace_protocol::replica::Replica;
use nodespace_protocol::store::{Checkpoint, MemoryStore, PartKey, Store};

use crate::workspace;

/// A replica is opened over it all.
pub(crate) const fn allocation_max(len: usize) -> usize {
    16 * len + (8 << 20)
}

/// The first byte says what is damaged: a part of the checkpoint, or a node. Opening must fail or give a state that can be read.
pub(crate) fn open(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let (workspace, store, ids) = checkpointed();
    let Ok(Some(records)) = store.checkpoint() else { return };
    let (parts, which) = (parts_of(&store), usize::from(*which));
    let mut damaged = Checkpoint { records, ..Checkpoint::default() };
    match (parts.get(which), ids.get(which.saturating_sub(parts.len()))) {
        (Some((key, _)), _) => damaged.parts.push((*key, bytes.to_vec())),
        (None, Some(id)) => damaged.nodes.push((id.clone(), bytes.into())),
        (None, None) => return,
    }
    if store.saver().save(damaged).is_err() {
        return;
    }
    if let Ok(mut replica) = Replica::open(workspace, store, None, workspace::now()) {
        workspace::look_at(&mut replica);
    }
}

fn checkpointed() -> (WorkspaceId, MemoryStore, Vec<NodeId>) {
    let mut replica = workspace::open();
    let saved = replica.checkpoint();
    assert!(saved.is_ok(), "memory takes every checkpoint");
    let ids = replica.node_ids();
    (replica.workspace(), replica.into_store(), ids)
}

fn parts_of(store: &MemoryStore) -> Vec<(PartKey, Vec<u8>)> {
    let mut parts = Vec::new();
    let read = store.parts(&mut |key, bytes| parts.push((key, bytes.to_vec())));
    assert!(read.is_ok(), "memory reads every part");
    parts
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let (_, store, ids) = checkpointed();
    let parts = parts_of(&store).into_iter().map(|(_, bytes)| bytes);
    let nodes = ids.iter().filter_map(|id| store.node(id).ok().flatten());
    (0_u8..).zip(parts.chain(nodes)).map(|(which, bytes)| [&[which], bytes.as_slice()].concat()).collect()
}
