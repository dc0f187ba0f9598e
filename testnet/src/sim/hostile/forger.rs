//! A stranger that knows everything and may do nothing: it alters what others wrote, signs in their names, writes as if it belonged,
//! carries operations over from another workspace, and knocks at everybody's door.

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::{LogId, OpHash, WorkspaceId};
use nodespace_protocol::membership::certificate::join_proof;
use nodespace_protocol::membership::{Certificate, Role, WorkspaceAction};
use nodespace_protocol::op::{OpType, ParentRef, Payload};
use nodespace_protocol::store::Store as _;
use serde_json::json;

use super::craft::Craft;
use crate::sim::faults::Fault;
use crate::sim::world::World;

pub(super) fn act(world: &mut World, device: usize) {
    let victims = world.honest_up();
    let (Some(victim), Some(other)) = (world.dice.pick(&victims).copied(), world.dice.pick(&victims).copied()) else { return };
    if world.dice.chance(300) {
        world.connect(device, victim);
    }
    let Some(mut craft) = next_of(world, victim) else { return };
    world.count(Fault::Forgery);
    let (key, members) = (world.devices[device].key.clone(), world.devices[victim].key.clone());
    let workspace = world.workspace;
    let (why, (hash, mut segment)) = match world.dice.below(6) {
        0 => ("it is signed by another key than its log's", craft.segment(&workspace, &key)),
        1 => {
            let (hash, mut segment) = craft.segment(&workspace, &key);
            segment.signature = members.sign(nodespace_protocol::crypto::Purpose::Operation, &[&world.dice.bytes()]);
            (("its signature is over something else"), (hash, segment))
        }
        2 => {
            craft.log = own_log(world, device);
            (craft.seq, craft.previous, craft.parents, craft.parent_version) = (1, None, craft.parents, craft.parent_version);
            ("its author is no member", craft.segment(&workspace, &key))
        }
        3 => ("its author is no member and changes the workspace", intrusion(world, device, &craft).segment(&workspace, &key)),
        4 => {
            // Genuine in another workspace: there its author may well be a member.
            let elsewhere = WorkspaceId(world.dice.bytes());
            let (_, segment) = craft.segment(&elsewhere, &members);
            ("it was signed in another workspace", (craft.op(&workspace).hash, segment))
        }
        _ => {
            let (_, mut segment) = craft.segment(&workspace, &members);
            craft.payload.node_type = Some("altered".into());
            let altered = craft.op(&workspace);
            if let Some(op) = segment.ops.first_mut() {
                op.payload = altered.payload.clone();
            }
            ("its payload was altered", (altered.hash, segment))
        }
    };
    segment.first_seq = segment.first_seq.max(1);
    world.ledger.forged.insert(hash, why);
    world.note(format_args!("device {device} forges: {why}"));
    let bytes = segment.encode();
    world.gossip(device, other, &bytes);
    world.gossip(device, victim, &bytes);
}

const fn own_log_of(device: nodespace_protocol::ids::DeviceId) -> LogId {
    LogId { device, epoch: 1 }
}

fn own_log(world: &World, device: usize) -> LogId {
    own_log_of(world.devices[device].id())
}

/// What a device would write next, of all things a mark on a node.
fn next_of(world: &mut World, victim: usize) -> Option<Craft> {
    let mark = world.ledger.mark(None);
    let now = world.true_time();
    let state = &world.devices[victim];
    let replica = state.replica.as_ref()?;
    let log = state.log();
    let seq = replica.logs().get(&log).map_or(0, |log| log.last_seq());
    let last = replica.logs().get(&log).and_then(|log| log.only(seq)).and_then(|index| replica.store().op(index).ok());
    let ids = replica.node_ids();
    let node = world.dice.pick(&ids).cloned()?;
    let head = world.devices[victim].replica.as_ref()?.node(&node).ok()??.heads().first()?.stamp;
    let heads = world.devices[victim].replica.as_ref()?.membership().heads().to_vec();
    Some(Craft {
        log,
        seq: seq + 1,
        previous: last.as_ref().map(|op| op.hash),
        node: Some(node),
        kind: OpType::Metadata,
        timestamp: now.max(head.timestamp.next()).max(last.as_ref().map_or(Timestamp::ZERO, |op| op.header.timestamp.next())),
        version: head.version.max(last.as_ref().map_or(0, |op| op.header.version)) + 1,
        parents: vec![ParentRef::Other(head.hash)],
        parent_version: Some(head.version),
        cut: Some(heads),
        payload: Payload { metadata: Some(json!({ mark: true })), ..Payload::default() },
    })
}

/// A change of the workspace that the forger has no right to.
fn intrusion(world: &mut World, device: usize, like: &Craft) -> Craft {
    let heads: Vec<OpHash> = like.cut.clone().unwrap_or_default();
    let user = world.users[world.devices[device].user].clone();
    let founder = world.users[0].user();
    let certificate = Certificate::issue(&user, world.devices[device].id());
    let action = match world.dice.below(5) {
        0 => WorkspaceAction::AddMember { user: user.user(), role: Role::Owner },
        // In the founder's name, certified by another.
        1 => WorkspaceAction::AddDevice { certificate: Certificate { user: founder, ..certificate } },
        2 => WorkspaceAction::AddDevice { certificate },
        3 => {
            let key = KeyPair::from_seed(&world.dice.bytes());
            let proof = join_proof(&key, &world.workspace, &certificate);
            WorkspaceAction::Join { invite: heads.first().copied().unwrap_or(OpHash([1; 32])), certificate, proof }
        }
        _ => WorkspaceAction::RemoveMember { user: founder, seen: Vec::new() },
    };
    Craft {
        log: own_log(world, device),
        seq: 1,
        previous: None,
        node: None,
        kind: OpType::Workspace,
        parents: heads.into_iter().map(ParentRef::Other).collect(),
        cut: None,
        payload: Payload { action: Some(Box::new(action)), ..Payload::default() },
        ..like.clone()
    }
}
