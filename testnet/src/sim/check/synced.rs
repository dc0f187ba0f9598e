//! I8: "synced" is said only when the peer has confirmed an equal digest.

use super::same_state;
use crate::sim::world::World;

/// A session says that its peer confirmed this digest.
pub(crate) fn confirmed(world: &mut World, device: usize, peer: usize, frontier: &[u8; 32], corrupted: bool) {
    if corrupted || !world.devices[peer].is_honest() {
        return;
    }
    if !world.devices[peer].digests.contains(frontier) {
        world.fail("I8", format!("device {device} says that {peer} confirmed what {peer} never held"));
    }
    same_state::when_equal(world, device, peer);
}

/// What a device's sessions say now is what their peers once confirmed.
pub(crate) fn claims(world: &mut World, device: usize) {
    let Some(replica) = &world.devices[device].replica else { return };
    let digest = replica.frontier_digest();
    let ids: Vec<u64> = world.devices[device].sessions.keys().copied().collect();
    for id in ids {
        let Some(connection) = world.connections.get(&id).copied() else { continue };
        let peer = connection.other(device);
        let honest = world.devices[peer].is_honest() && !connection.corrupted;
        if honest && world.says_synced(device, id) && !world.devices[peer].digests.contains(&digest) {
            world.fail("I8", format!("device {device} says it is synced with {peer}, which never held the same"));
        }
    }
}
