//! I3: after faults heal and writers go quiet, all honest members hold the same operations within a bounded time, and nothing waits.
//! Nobody was told by a lie to wait.

use std::collections::BTreeSet;

use nodespace_protocol::ids::{DeviceId, LogId, OpHash};
use nodespace_protocol::log::frontier::FrontierEntry;
use nodespace_protocol::op::{ParentRef, Segment};
use nodespace_protocol::replica::{LogRange, Replica};
use nodespace_protocol::store::Store;

use super::same_state::feed;
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

/// What a device waits for: operations that it is said to have lost, or whatever would give effect to those it has. What a removed device
/// left behind may wait for ever: for operations that nobody else was given.
fn stuck(world: &World, device: usize) -> Option<String> {
    let replica = world.devices[device].replica.as_ref()?;
    if replica.is_own_log_behind() {
        return Some(format!("device {device} waits for operations of its own that it never lost"));
    }
    let counts = replica.counts();
    if counts.waiting + counts.held == 0 {
        return None;
    }
    let unfolded: BTreeSet<OpHash> = replica.unfolded().into_iter().collect();
    let honest: BTreeSet<DeviceId> = world.devices.iter().filter(|device| device.is_honest()).map(|device| device.id()).collect();
    let honest: BTreeSet<DeviceId> = honest.difference(&world.ledger.removed).copied().collect();
    let mut ops = unfolded.iter().filter_map(|hash| replica.op(hash).ok().flatten());
    let waiting = ops.find(|op| honest.contains(&op.header.log.device))?;
    let (log, seq) = (waiting.header.log, waiting.header.seq);
    let parents: Vec<String> = waiting
        .header
        .parents
        .iter()
        .map(|parent| match parent {
            ParentRef::Own(distance) => format!("{} of its log", seq - distance),
            ParentRef::Other(hash) => {
                let held = matches!(replica.store().find(hash), Ok(Some(_)));
                let took_effect = held && !unfolded.contains(hash);
                let holders: Vec<usize> = (0..world.devices.len())
                    .filter(|other| world.devices[*other].store().is_some_and(|store| matches!(store.find(hash), Ok(Some(_)))))
                    .collect();
                format!("{} (held: {held}, folded: {took_effect}, devices that hold it: {holders:?})", hash.short())
            }
        })
        .collect();
    Some(format!(
        "device {device} has {} operations waiting and {} held back, such as {seq} of {} after {}",
        counts.waiting,
        counts.held,
        name(world, &log),
        parents.join(" and ")
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
    let trial = [(a, b), (b, a)].map(|(from, to)| format!("{to} takes from {from}: {}", trial(world, from, to)));
    format!("devices {a} and {b} hold different operations: {}; {}", gaps.join("; "), trial.join("; "))
}

/// Why one device would not take what it lacks from another, without any network between them.
fn trial(world: &World, from: usize, to: usize) -> String {
    let (Some(giver), Some(taker)) = (&world.devices[from].replica, &world.devices[to].replica) else { return String::new() };
    let held = taker.frontier();
    let mut segments = Vec::new();
    for (log, _) in giver.logs().iter() {
        let heads = held.iter().find(|entry| entry.log == *log).map(|entry| entry.heads.clone()).unwrap_or_default();
        let Ok((ranges, unplaced)) = giver.lacking(*log, &heads) else { continue };
        if !unplaced.is_empty() {
            segments.extend(pieces_of(giver, LogRange { log: *log, branch: 0, after: 0, through: 0 }));
        }
        for range in ranges {
            segments.extend(pieces_of(giver, range));
        }
    }
    let image = taker.store().image();
    let count = segments.len();
    match Replica::open(world.workspace, image, None, world.true_time()) {
        Err(error) => format!("it does not open: {error}"),
        Ok(mut taker) => match feed(&mut taker, segments, world.true_time()) {
            Ok(()) => format!("all of {count} segments"),
            Err(why) => format!("not of {count} segments: {why}"),
        },
    }
}

/// A range as segments.
fn pieces_of<S: Store>(replica: &Replica<S>, mut range: LogRange) -> Vec<Segment> {
    let mut segments = Vec::new();
    while range.after < range.through
        && let Ok(Some(segment)) = replica.segment(&range, true, &|_| 0)
    {
        range.after = segment.last_seq();
        segments.push(segment);
    }
    segments
}

fn name(world: &World, log: &LogId) -> String {
    let of = world.devices.iter().position(|device| device.id() == log.device);
    of.map_or_else(|| log.to_string(), |device| format!("{log} (device {device}, {:?})", world.devices[device].nature))
}

fn ends(entry: Option<&FrontierEntry>) -> String {
    let Some(entry) = entry else { return "nothing".to_owned() };
    entry.heads.iter().map(|head| format!("{}:{}", head.seq, head.hash.short())).collect::<Vec<_>>().join(" ")
}
