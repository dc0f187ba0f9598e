//! I3: nobody is turned away because of another. What a hostile device left somewhere is held against nobody else; an honest one sends
//! nothing that could be held against itself.

use crate::sim::world::World;

/// A device turns away the one at the other end of a connection, for what it sent.
pub(crate) fn turned_away(world: &mut World, device: usize, id: u64) {
    let Some(connection) = world.connections.get(&id).copied() else { return };
    let peer = connection.other(device);
    let honest = world.devices[device].is_honest() && world.devices[peer].is_honest();
    // What a wire has changed is refused, and its sender cannot know.
    let garbled = connection.corrupted || world.ledger.garbled.contains(&(world.devices[peer].id(), device));
    if honest && !garbled {
        world.fail("I3", format!("device {device} turns {peer} away for what it sent, though {peer} keeps to the rules"));
    }
}
