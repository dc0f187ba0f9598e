//! A member that is removed and does not care: it hears nothing any more and goes on writing under the membership it knew, also in a
//! fresh log with a clock set back to before its removal.

use nodespace_protocol::membership::Role;
use nodespace_protocol::op::{OpType, ParentRef, Payload};
use nodespace_protocol::store::Store as _;
use serde_json::json;

use super::craft::Craft;
use crate::sim::faults::Fault;
use crate::sim::workload::Work;
use crate::sim::world::World;

/// Milliseconds by which a rogue backdates.
const BACK_MS: u64 = 600_000;

pub(super) fn act(world: &mut World, device: usize) {
    match world.devices[device].removal {
        None => remove(world, device),
        Some(_) if world.dice.chance(250) => backdate(world, device),
        Some(_) if world.dice.chance(200) => {
            // Whatever a member may do, the workspace included.
            world.do_work(device, Work::Membership);
            send_last(world, device);
        }
        Some(_) => go_on(world, device),
    }
}

/// Somebody with the right removes it.
fn remove(world: &mut World, device: usize) {
    let (id, user) = (world.devices[device].id(), world.users[world.devices[device].user].user());
    let honest = world.honest_up();
    let may = honest.into_iter().filter(|other| {
        let Some(replica) = &world.devices[*other].replica else { return false };
        let members = replica.membership();
        members.role(&world.devices[*other].id()) == Some(Role::Owner) && members.role(&id).is_some()
    });
    let may: Vec<usize> = may.collect();
    let Some(owner) = world.dice.pick(&may).copied() else { return };
    let (now, whole) = (world.time(owner), world.dice.chance(500));
    let Some(replica) = world.devices[owner].replica.as_mut() else { return };
    let result = if whole { replica.remove_member(now, user) } else { replica.remove_device(now, id) };
    let Ok(removal) = result else { return };
    world.note(format_args!("device {owner} removes rogue {device}"));
    world.devices[device].removal = Some(removal);
    world.devices[device].deaf = true;
    world.ledger.removed.insert(id);
    let ids: Vec<u64> = world.devices[device].sessions.keys().copied().collect();
    ids.into_iter().for_each(|id| world.cut(id));
    world.commit(owner);
}

/// Marks a node, and a new one.
fn go_on(world: &mut World, device: usize) {
    let removal = world.devices[device].removal;
    let mark = world.ledger.mark(removal);
    let now = world.time(device);
    let Some(replica) = world.devices[device].replica.as_mut() else { return };
    let ids = replica.node_ids();
    let Some(node) = world.dice.pick(&ids).cloned() else { return };
    if replica.patch_metadata(now, &node, json!({ mark: true })).is_ok() {
        world.count(Fault::RemovedWrites);
        world.note(format_args!("rogue {device} goes on writing"));
        send_last(world, device);
    }
}

/// Hands everything it has written since to some of the others.
fn send_last(world: &mut World, device: usize) {
    let state = &mut world.devices[device];
    let log = state.log();
    let Some(replica) = state.replica.as_mut() else { return };
    if replica.commit().is_err() {
        return;
    }
    let held = replica.logs().get(&log).map_or(0, |log| log.last_seq());
    let after = std::mem::replace(&mut state.gossiped, held);
    for seq in after + 1..=held {
        if let Some(bytes) = world.single(device, seq) {
            world.spread(device, &bytes);
        }
    }
}

/// A fresh log, an old membership, a time before the removal.
fn backdate(world: &mut World, device: usize) {
    let removal = world.devices[device].removal;
    let mark = world.ledger.mark(removal);
    let mut log = world.devices[device].log();
    log.epoch = world.dice.non_zero();
    let now = world.true_time();
    let state = &world.devices[device];
    let Some(replica) = &state.replica else { return };
    let ids = replica.node_ids();
    let Some(node) = world.dice.pick(&ids).cloned() else { return };
    let Some(head) = replica.node(&node).and_then(|state| state.heads().first()).map(|head| head.stamp) else { return };
    let early = nodespace_protocol::clock::Timestamp::from_ms(now.ms().saturating_sub(BACK_MS));
    let craft = Craft {
        log,
        seq: 1,
        previous: None,
        node: Some(node),
        kind: OpType::Metadata,
        timestamp: early.max(head.timestamp.next()),
        version: head.version + 1,
        parents: vec![ParentRef::Other(head.hash)],
        parent_version: Some(head.version),
        cut: Some(replica.membership().heads().to_vec()),
        payload: Payload { metadata: Some(json!({ mark: true })), ..Payload::default() },
    };
    debug_assert!(replica.store().op_count() > 0);
    let (_, segment) = craft.segment(&world.workspace, &state.key);
    world.count(Fault::Backdated);
    world.note(format_args!("rogue {device} writes into the past"));
    world.spread(device, &segment.encode());
}
