//! I3: after faults heal and writers go quiet, all honest members hold the same operations within a bounded time, and nothing waits.

use std::collections::BTreeSet;

use nodespace_protocol::ids::{DeviceId, LogId, OpHash};
use nodespace_protocol::log::frontier::FrontierEntry;
use nodespace_protocol::store::{OpIndex, Store as _};

use crate::sim::world::World;

/// Why the honest members do not agree yet.
pub(crate) fn disagreement(world: &World) -> Option<String> {
    let members = world.honest_members();
    let first = *members.first()?;
    let digest = |device: usize| world.devices[device].replica.as_ref().map(|replica| replica.frontier_digest());
    for device in members.iter().copied() {
        if digest(device) != digest(first) {
            return Some(gap(world, first, device));
        }
    }
    members.into_iter().find_map(|device| stuck(world, device))
}

/// What of a device's operations has no effect yet. What a removed device left behind may wait for ever: for operations that nobody else
/// was given.
fn stuck(world: &World, device: usize) -> Option<String> {
    let replica = world.devices[device].replica.as_ref()?;
    let counts = replica.counts();
    if counts.waiting + counts.held == 0 {
        return None;
    }
    let folded: BTreeSet<OpHash> = replica
        .tree()
        .nodes()
        .iter()
        .chain(&replica.node_ids())
        .flat_map(|node| replica.history(node).unwrap_or_default())
        .map(|entry| entry.op)
        .collect();
    let honest: BTreeSet<DeviceId> = world.devices.iter().filter(|device| device.is_honest()).map(|device| device.id()).collect();
    let mut ops = (0..replica.store().op_count()).filter_map(|index| replica.store().op(OpIndex(index)).ok());
    let waiting = ops.find(|op| op.header.node.is_some() && honest.contains(&op.header.log.device) && !folded.contains(&op.hash))?;
    let (log, seq) = (waiting.header.log, waiting.header.seq);
    Some(format!(
        "device {device} has {} operations waiting and {} held back, such as {seq} of {}",
        counts.waiting,
        counts.held,
        name(world, &log)
    ))
}

/// Which logs two devices hold to different ends.
fn gap(world: &World, a: usize, b: usize) -> String {
    let (Some(left), Some(right)) = (&world.devices[a].replica, &world.devices[b].replica) else { return String::new() };
    let (left, right) = (left.frontier(), right.frontier());
    let mut logs: Vec<LogId> = left.iter().chain(&right).map(|entry| entry.log).collect();
    logs.sort_unstable();
    logs.dedup();
    let mut gaps = Vec::new();
    for log in logs {
        let find = |entries: &[FrontierEntry]| entries.iter().find(|entry| entry.log == log).cloned();
        let (left, right) = (find(&left), find(&right));
        if left != right {
            gaps.push(format!("{}: {} against {}", name(world, &log), ends(left.as_ref()), ends(right.as_ref())));
        }
    }
    format!("devices {a} and {b} hold different operations: {}", gaps.join("; "))
}

fn name(world: &World, log: &LogId) -> String {
    let of = world.devices.iter().position(|device| device.id() == log.device);
    of.map_or_else(|| log.to_string(), |device| format!("{log} (device {device}, {:?})", world.devices[device].nature))
}

fn ends(entry: Option<&FrontierEntry>) -> String {
    let Some(entry) = entry else { return "nothing".to_owned() };
    entry.heads.iter().map(|head| format!("{}:{}", head.seq, head.hash.short())).collect::<Vec<_>>().join(" ")
}
