//! A member that is removed and does not care: it hears nothing any more and goes on writing under the membership it knew, also in a
//! fresh log with a clock set back to before its removal.

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::ids::OpHash;
use nodespace_protocol::membership::Role;
use nodespace_protocol::op::{OpType, ParentRef, Payload};
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
        Some(_) if world.dice.chance(250) => defy(world, device),
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

/// A fresh log under the very membership that removed it: nobody may hold this.
fn defy(world: &mut World, device: usize) {
    let id = world.devices[device].id();
    let knows = |other: &usize| {
        let membership = world.devices[*other].replica.as_ref().map(|replica| replica.membership());
        membership.is_some_and(|membership| membership.knows_device(&id) && membership.role(&id).is_none())
    };
    let Some(witness) = world.honest_up().into_iter().find(knows) else { return };
    let cut = world.devices[witness].replica.as_ref().map(|replica| replica.membership().heads().to_vec());
    let Some(mut craft) = fresh_log(world, device, None) else { return };
    craft.cut = cut;
    let (hash, segment) = craft.segment(&world.workspace, &world.devices[device].key);
    world.ledger.forged.insert(hash, "its author was removed by what it names");
    world.count(Fault::RemovedWrites);
    world.note(format_args!("rogue {device} writes although it knows that it was removed"));
    world.spread(device, &segment.encode());
}

/// A fresh log, an old membership, a time before the removal.
fn backdate(world: &mut World, device: usize) {
    let removal = world.devices[device].removal;
    let Some(craft) = fresh_log(world, device, removal) else { return };
    let (_, segment) = craft.segment(&world.workspace, &world.devices[device].key);
    world.count(Fault::Backdated);
    world.note(format_args!("rogue {device} writes into the past"));
    world.spread(device, &segment.encode());
}

/// The first operation of a log of a new epoch: a mark on a node, as early as can be, under the membership that the rogue knows.
fn fresh_log(world: &mut World, device: usize, voided_by: Option<OpHash>) -> Option<Craft> {
    let mark = world.ledger.mark(voided_by);
    let mut log = world.devices[device].log();
    log.epoch = world.dice.non_zero();
    let early = Timestamp::from_ms(world.true_time().ms().saturating_sub(BACK_MS));
    let replica = world.devices[device].replica.as_ref()?;
    let node = world.dice.pick(&replica.node_ids()).cloned()?;
    let head = replica.node(&node).ok()??.heads().first()?.stamp;
    Some(Craft {
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
    })
}
