//! A stranger that sends what waits for something that never comes, and plain rubbish.

use nodespace_protocol::ids::{LogId, OpHash};
use nodespace_protocol::op::{OpType, ParentRef, Payload};

use super::craft::Craft;
use crate::sim::check;
use crate::sim::faults::Fault;
use crate::sim::world::World;

/// Segments of one act: more than a peer may leave waiting.
const SEGMENTS: u64 = 300;

pub(super) fn act(world: &mut World, device: usize) {
    let victims = world.honest_up();
    let Some(victim) = world.dice.pick(&victims).copied() else { return };
    world.count(Fault::Flood);
    world.note(format_args!("device {device} floods {victim}"));
    for _ in 0..SEGMENTS {
        let bytes = if world.dice.chance(100) { world.dice.bytes::<200>().to_vec() } else { orphan(world, device, victim) };
        world.gossip(device, victim, &bytes);
    }
    check::bounds::pending(world, victim);
}

/// A segment in a member's name whose predecessor, parent or membership nobody has.
fn orphan(world: &mut World, device: usize, victim: usize) -> Vec<u8> {
    let log = if world.dice.chance(800) { world.devices[victim].log() } else { LogId { device: world.devices[device].id(), epoch: 7 } };
    let node = world.targets.first().cloned();
    let unknown = OpHash(world.dice.bytes());
    let craft = Craft {
        log,
        seq: world.dice.between(2, 1 << 40),
        previous: Some(OpHash(world.dice.bytes())),
        kind: OpType::Update,
        node: node.or_else(|| nodespace_protocol::ids::NodeId::parse("flood").ok()),
        timestamp: world.true_time(),
        version: world.dice.between(2, 1 << 50),
        parents: vec![ParentRef::Other(unknown)],
        parent_version: Some(1),
        cut: world.dice.chance(500).then(|| vec![unknown]),
        payload: Payload { node_type: Some("flood".into()), ..Payload::default() },
    };
    let (hash, segment) = craft.segment(&world.workspace, &world.devices[device].key);
    world.ledger.forged.insert(hash, "it was made by a stranger out of nothing");
    segment.encode()
}
