//! I6: memory per hostile byte is bounded: what waits for something that may never come has a limit a peer.

use nodespace_protocol::replica::PENDING_SEGMENTS_MAX;

use crate::sim::world::World;

/// Looks at what waits at a device.
pub(crate) fn pending(world: &mut World, device: usize) {
    let waiting = world.devices[device].pending.len();
    let most = PENDING_SEGMENTS_MAX * world.devices.len();
    if waiting > most {
        world.fail("I6", format!("device {device} keeps {waiting} segments that wait, at most {most} are allowed"));
    }
}
