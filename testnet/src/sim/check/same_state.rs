//! I2: the same set of operations gives the same state, whatever the order of arrival, the batching, the crashes and the checkpoints.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::ops::ControlFlow;

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::ids::{NodeId, OpHash};
use nodespace_protocol::op::{ParentRef, Segment};
use nodespace_protocol::replica::{LogRange, Replica};
use nodespace_protocol::store::{MemoryStore, Record, Store, StoreError};

use crate::sim::device::Nature;
use crate::sim::world::World;

/// Compares the states of two running devices when they hold the same, and all of it has taken effect.
pub(crate) fn when_equal(world: &mut World, a: usize, b: usize) {
    let settled = |world: &World, device: usize| {
        let replica = world.devices[device].replica.as_ref()?;
        let counts = replica.counts();
        (counts.held == 0).then(|| replica.frontier_digest())
    };
    let (left, right) = (settled(world, a), settled(world, b));
    if left.is_none() || left != right || state(world, a) == state(world, b) {
        return;
    }
    let what = difference(world, a, b);
    world.fail("I2", format!("devices {a} and {b} hold the same operations and differ: {what}"));
}

fn state(world: &mut World, device: usize) -> Option<[u8; 32]> {
    world.devices[device].replica.as_mut().map(|replica| replica.state_digest())
}

/// The first difference of two devices' nodes, in words.
pub(crate) fn difference(world: &mut World, a: usize, b: usize) -> String {
    let by_itself = |world: &mut World, device: usize| {
        let doubt = doubted(world, device).or_else(|| doubted_texts(world, device));
        doubt.unwrap_or_else(|| "all is as its log makes it".to_owned())
    };
    let (of_left, of_right) = (by_itself(world, a), by_itself(world, b));
    match (&world.devices[a].replica, &world.devices[b].replica) {
        (Some(left), Some(right)) => {
            let difference = first_difference(left, right);
            let apart: BTreeSet<OpHash> = left.unfolded().into_iter().collect();
            let apart: Vec<String> =
                apart.symmetric_difference(&right.unfolded().into_iter().collect()).take(4).map(|hash| describe(left, hash)).collect();
            let (left, right) = (left.counts(), right.counts());
            format!(
                "{difference} (of device {a} {of_left}, of device {b} {of_right}; \
                 {} and {} operations, {} and {} waiting; folded on one only: {apart:?})",
                left.ops, right.ops, left.waiting, right.waiting
            )
        }
        _ => "one of them is down".to_owned(),
    }
}

/// What of a running device is not as its log makes it: nodes, the order of children, and the sums that devices compare.
fn doubted(world: &mut World, device: usize) -> Option<String> {
    in_words(world.devices[device].replica.as_mut()?.audit())
}

/// Texts of a running device that are not what the definition makes of their history.
fn doubted_texts(world: &World, device: usize) -> Option<String> {
    in_words(world.devices[device].replica.as_ref()?.audit_texts())
}

fn in_words<T: Debug>(found: Result<Vec<T>, StoreError>) -> Option<String> {
    match found {
        Ok(found) => found.first().map(|first| format!("{} things are not as its log makes them, such as {first:?}", found.len())),
        Err(error) => Some(format!("the log cannot be read: {error}")),
    }
}

fn first_difference<A: Store, B: Store>(a: &Replica<A>, b: &Replica<B>) -> String {
    let (left, right) = (a.node_ids(), b.node_ids());
    if left != right {
        let one_sided = left.iter().filter(|id| !right.contains(id)).chain(right.iter().filter(|id| !left.contains(id)));
        return format!("nodes that only one has: {:?}", one_sided.take(5).collect::<Vec<_>>());
    }
    for id in &left {
        let differing: Vec<String> = fields(a, id)
            .into_iter()
            .zip(fields(b, id))
            .filter(|(left, right)| left != right)
            .map(|((name, left), (_, right))| format!("{name} {left} against {right}"))
            .collect();
        if !differing.is_empty() {
            return format!("node {id}: {}", differing.join("; "));
        }
    }
    "not in what applications see, but in the digest".to_owned()
}

/// Everything of a node that can be seen, by name.
fn fields<S: Store>(replica: &Replica<S>, id: &NodeId) -> Vec<(&'static str, String)> {
    let Ok(view) = replica.view(id) else { return Vec::new() };
    let heads: Vec<String> = replica
        .node(id)
        .ok()
        .flatten()
        .map(|state| state.heads().iter().map(|head| describe(replica, &head.stamp.hash)).collect())
        .unwrap_or_default();
    let mut conflicts: Vec<String> = replica
        .conflicts_of(id)
        .unwrap_or_default()
        .iter()
        .map(|found| format!("{}:{}:{:?}", found.conflict.field, found.conflict.id.short(), found.conflict.status))
        .collect();
    conflicts.sort_unstable();
    let mut heads = heads;
    heads.sort_unstable();
    vec![
        ("type", view.node_type),
        ("content", format!("{:?}", view.content)),
        ("parent", format!("{:?}", view.parent_id)),
        ("sibling", format!("{:?}", view.before_sibling_id)),
        ("children", format!("{:?}", replica.tree().children(Some(id)))),
        ("created", format!("{:?}", view.created_at)),
        ("modified", format!("{:?}", view.modified_at)),
        ("mentions", format!("{:?}", view.mentions)),
        ("metadata", view.metadata.to_string()),
        ("deleted", view.deleted.to_string()),
        ("heads", heads.join(" | ")),
        ("conflicts", conflicts.join(" | ")),
    ]
}

/// An operation in a few words.
fn describe<S: Store>(replica: &Replica<S>, hash: &OpHash) -> String {
    let Ok(Some(op)) = replica.op(hash) else { return hash.short() };
    let header = &op.header;
    let parents: Vec<String> = header
        .parents
        .iter()
        .map(|parent| match parent {
            ParentRef::Own(distance) => format!("-{distance}"),
            ParentRef::Other(hash) => hash.short(),
        })
        .collect();
    format!("{} {:?} {}:{} parents [{}]", hash.short(), header.kind, header.log, header.seq, parents.join(" "))
}

/// All members equal, and all that run as their logs make them; one opened anew, with and without its checkpoint, equal; one fed in another
/// order, equal.
pub(crate) fn at_the_end(world: &mut World) {
    let members = world.honest_members();
    let Some(first) = members.first().copied() else { return };
    for other in members.iter().copied().skip(1) {
        when_equal(world, first, other);
    }
    // Equal digests do not show what is wrong in both, nor what only the next change would bring to light.
    for device in world.honest_up() {
        if let Some(what) = doubted(world, device) {
            world.fail("I2", format!("device {device}: {what}"));
        }
    }
    let Some(one) = world.dice.pick(&members).copied() else { return };
    if let Some(what) = doubted_texts(world, one) {
        world.fail("I2", format!("texts of device {one}: {what}"));
    }
    reopened(world, one);
    replayed(world, one);
    if world.devices[one].nature == Nature::Honest {
        shuffled(world, one);
    }
}

/// A device that starts again has the state it had.
fn reopened(world: &mut World, device: usize) {
    let (workspace, now) = (world.workspace, world.true_time());
    let Some(replica) = world.devices[device].replica.as_mut() else { return };
    let digest = replica.state_digest();
    let image = replica.store().image();
    compare(world, device, Replica::open(workspace, image, None, now), digest, "opened anew");
}

/// A device that folds everything anew has the state it had.
fn replayed(world: &mut World, device: usize) {
    let (workspace, now) = (world.workspace, world.true_time());
    let Some(replica) = world.devices[device].replica.as_mut() else { return };
    let digest = replica.state_digest();
    let mut bare = MemoryStore::new();
    let replaying = replica.store().replay(0, &mut |record: Record| match bare.append(vec![record]) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    });
    if replaying.is_err() || bare.record_count() != replica.store().record_count() {
        return world.fail("I2", format!("device {device} cannot read its store"));
    }
    compare(world, device, Replica::open(workspace, bare, None, now), digest, "folded anew without a checkpoint");
}

/// A newcomer that gets everything in another order and in other pieces has the same state.
fn shuffled(world: &mut World, device: usize) {
    let (workspace, now) = (world.workspace, world.true_time());
    let mut segments = pieces(world, device);
    world.dice.shuffle(&mut segments);
    let Some(replica) = world.devices[device].replica.as_mut() else { return };
    let (digest, frontier) = (replica.state_digest(), replica.frontier_digest());
    let mut fresh = match Replica::open(workspace, MemoryStore::new(), None, now) {
        Ok(fresh) => fresh,
        Err(error) => return world.fail("I2", format!("an empty store does not open: {error}")),
    };
    if let Err(error) = feed(&mut fresh, segments, now) {
        return world.fail("I2", format!("what device {device} holds is not taken in another order: {error}"));
    }
    if fresh.frontier_digest() != frontier {
        return world.fail("I2", format!("what device {device} holds, taken in another order, ends elsewhere"));
    }
    compare(world, device, Ok::<_, StoreError>(fresh), digest, "fed in another order");
}

/// Everything a device holds, in runs of random length.
fn pieces(world: &mut World, device: usize) -> Vec<Segment> {
    let World { devices, dice, .. } = world;
    let Some(replica) = &devices[device].replica else { return Vec::new() };
    let mut segments = Vec::new();
    for (log, entry) in replica.logs().iter() {
        for branch in entry.leaves() {
            let last = entry.branches()[branch].last_seq();
            let mut after = 0;
            while after < last {
                let through = (after + dice.between(1, 40)).min(last);
                let range = LogRange { log: *log, branch, after, through };
                let Ok(Some(segment)) = replica.segment(&range, true, &|_| 0) else { break };
                after = segment.last_seq();
                segments.push(segment);
            }
        }
    }
    segments
}

/// Feeds segments until all are taken; those that must wait are tried again.
pub(super) fn feed(fresh: &mut Replica<MemoryStore>, mut segments: Vec<Segment>, now: Timestamp) -> Result<(), String> {
    loop {
        let before = segments.len();
        let mut waiting = Vec::new();
        let mut reasons = Vec::new();
        for segment in segments {
            // What a member may do can depend on a workspace operation that is still to come, so a refusal is not final here.
            if let Err(error) = fresh.ingest(&segment, now) {
                reasons.push(format!("{} {}..={}: {error}", segment.log, segment.first_seq, segment.last_seq()));
                waiting.push(segment);
            }
        }
        if waiting.is_empty() {
            return Ok(());
        }
        if waiting.len() == before {
            return Err(reasons.join("; "));
        }
        segments = waiting;
    }
}

fn compare<E: std::fmt::Display>(world: &mut World, device: usize, other: Result<Replica<MemoryStore>, E>, digest: [u8; 32], how: &str) {
    let mut other = match other {
        Ok(other) => other,
        Err(error) => return world.fail("I2", format!("device {device} cannot be {how}: {error}")),
    };
    if other.state_digest() == digest {
        return;
    }
    let what = world.devices[device].replica.as_ref().map(|replica| first_difference(replica, &other)).unwrap_or_default();
    world.fail("I2", format!("device {device} differs when {how}: {what}"));
}
