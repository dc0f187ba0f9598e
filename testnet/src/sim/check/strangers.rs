//! I5: no state changes because of a non-member's operation, or one made after its author was removed; and nothing is shown to strangers.

use nodespace_protocol::session::Message;
use nodespace_protocol::store::Store as _;

use crate::sim::device::Nature;
use crate::sim::world::World;

/// Nobody holds what was forged, no mark of a void operation shows, strangers have learnt nothing.
pub(crate) fn at_the_end(world: &mut World) {
    let found = forged(world).or_else(|| marked(world)).or_else(|| shown(world));
    if let Some(what) = found {
        world.fail("I5", what);
    }
}

/// Operations are said to nobody whom the speaker knows to be removed.
pub(crate) fn said(world: &mut World, from: usize, to: usize, frame: &[u8]) {
    let (peer, speaker) = (world.devices[to].id(), &world.devices[from]);
    let Some(replica) = speaker.replica.as_ref().filter(|_| speaker.is_honest()) else { return };
    let membership = replica.membership();
    let removed = membership.knows_device(&peer) && membership.role(&peer).is_none();
    if removed && matches!(Message::decode(frame), Ok(Message::Segments(_))) {
        world.fail("I5", format!("device {from} sends operations to device {to}, which it knows to be removed"));
    }
}

fn forged(world: &World) -> Option<String> {
    for device in world.honest_up() {
        let store = world.devices[device].store()?;
        if let Some((hash, why)) = world.ledger.forged.iter().find(|(hash, _)| matches!(store.find(hash), Ok(Some(_)))) {
            return Some(format!("device {device} holds operation {}: {why}", hash.short()));
        }
    }
    None
}

fn marked(world: &World) -> Option<String> {
    for device in world.honest_members() {
        let replica = world.devices[device].replica.as_ref()?;
        for node in replica.node_ids() {
            let metadata = replica.node(&node).ok()??.metadata().to_json();
            for (key, removal) in &world.ledger.marks {
                let void = removal.is_none_or(|removal| replica.membership().is_effective(&removal));
                if void && metadata.get(key).is_some() {
                    return Some(format!("node {node} of device {device} shows {key}, which was set without the right to"));
                }
            }
        }
    }
    None
}

fn shown(world: &World) -> Option<String> {
    for nature in [Nature::Forger, Nature::Flooder] {
        for device in world.of_nature(nature) {
            let held = world.op_count(device);
            if held > 0 {
                return Some(format!("stranger {device} was shown {held} operations"));
            }
        }
    }
    None
}
