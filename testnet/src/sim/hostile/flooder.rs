//! A stranger that sends what waits for something that never comes, and plain rubbish.

use nodespace_protocol::ids::{LogId, NodeId, OpHash};
use nodespace_protocol::op::{OpType, ParentRef, Payload, Segment};

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
    let mut segment = orphan(world, device, victim);
    for _ in 0..SEGMENTS {
        segment.first_seq = world.dice.between(2, 1 << 40);
        segment.previous_prefix = world.dice.bytes();
        let bytes = if world.dice.chance(100) { world.dice.bytes::<200>().to_vec() } else { segment.encode() };
        world.gossip(device, victim, &bytes);
    }
    check::bounds::pending(world, victim);
}

/// A segment in a member's name whose predecessor, parent or membership nobody has.
fn orphan(world: &mut World, device: usize, victim: usize) -> Segment {
    let log = if world.dice.chance(800) { world.devices[victim].log() } else { LogId { device: world.devices[device].id(), epoch: 7 } };
    let unknown = OpHash(world.dice.bytes());
    let craft = Craft {
        log,
        seq: world.dice.between(2, 1 << 40),
        previous: Some(OpHash(world.dice.bytes())),
        kind: OpType::Update,
        node: NodeId::parse("flood").ok(),
        timestamp: world.true_time(),
        version: world.dice.between(2, 1 << 50),
        parents: vec![ParentRef::Other(unknown)],
        parent_version: Some(1),
        cut: world.dice.chance(500).then(|| vec![unknown]),
        payload: Payload { node_type: Some("flood".into()), ..Payload::default() },
    };
    craft.segment(&world.workspace, &world.devices[device].key).1
}
