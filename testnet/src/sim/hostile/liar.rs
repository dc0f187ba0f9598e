//! A member that may only read, and tells others that they have lost operations of their own: whoever believed it would write nothing any
//! more. It has no proof, or a false one.

use nodespace_protocol::crypto::{Purpose, Signature};
use nodespace_protocol::ids::{DeviceId, LogId, NodeId, OpHash};
use nodespace_protocol::log::Head;
use nodespace_protocol::log::frontier::FrontierEntry;
use nodespace_protocol::op::{Header, OpType, Payload};
use nodespace_protocol::replica::LogClaim;
use nodespace_protocol::session::message::{Message, Range, RangeContent};
use nodespace_protocol::session::{Session, SyncState};
use nodespace_protocol::store::Store as _;

use super::craft::Craft;
use crate::sim::world::World;

/// How far it says a log goes.
const FAR: u64 = 1 << 63;

pub(super) fn act(world: &mut World, device: usize) {
    let victims = world.honest_up();
    let Some(victim) = world.dice.pick(&victims).copied() else { return };
    let Some(connection) = greeted(world, device, victim) else {
        if !world.are_connected(device, victim) {
            world.connect(device, victim);
        }
        return;
    };
    let log = world.devices[victim].log();
    let message = match world.dice.below(4) {
        0 => position(log),
        1 => {
            let header = made_up(world, log);
            let hash = header.hash(&world.workspace, &mut Vec::new());
            let signature = world.devices[device].key.sign(Purpose::Operation, &[&hash.0]);
            claim(world, header, signature)
        }
        2 => {
            let (header, signature) = (made_up(world, log), Signature(world.dice.bytes()));
            claim(world, header, signature)
        }
        _ => {
            let Some((header, signature)) = moved_on(world, device, log) else { return };
            claim(world, header, signature)
        }
    };
    world.note(format_args!("device {device} lies to {victim} about the log of {victim}"));
    world.send(connection, device, message.encode());
}

/// A connection with the victim on which both have said hello.
fn greeted(world: &World, device: usize, victim: usize) -> Option<u64> {
    let liar = &world.devices[device];
    let replica = liar.replica.as_ref()?;
    let stands = |session: &Session| !matches!(session.status(replica).state, SyncState::Greeting | SyncState::Ended);
    let with_victim = |id: &u64| world.connections.get(id).is_some_and(|connection| connection.other(device) == victim);
    liar.sessions.iter().find(|(id, session)| with_victim(id) && stands(session)).map(|(id, _)| *id)
}

/// Nothing but a position.
fn position(log: LogId) -> Message {
    let entries = vec![FrontierEntry { log, heads: vec![Head { seq: FAR, hash: OpHash([7; 32]) }] }];
    let first = LogId { device: DeviceId([0; 32]), epoch: 0 };
    Message::Frontier { reply: true, ranges: vec![Range { from: first, to: None, content: RangeContent::Entries(entries) }] }
}

/// A header with a signature by whoever.
fn claim(world: &mut World, header: Header, signature: Signature) -> Message {
    Message::Claims(vec![LogClaim { workspace: world.workspace, header, signature }])
}

/// The header of an operation that nobody wrote.
fn made_up(world: &mut World, log: LogId) -> Header {
    let craft = Craft {
        log,
        seq: FAR,
        previous: Some(OpHash(world.dice.bytes())),
        node: NodeId::parse("lost").ok(),
        kind: OpType::Update,
        timestamp: world.true_time(),
        version: 1,
        parents: Vec::new(),
        parent_version: None,
        cut: None,
        payload: Payload::default(),
    };
    craft.op(&world.workspace).header
}

/// What the victim wrote last, moved to a later position, with its genuine signature.
fn moved_on(world: &World, device: usize, log: LogId) -> Option<(Header, Signature)> {
    let replica = world.devices[device].replica.as_ref()?;
    let branch = replica.logs().get(&log)?.branches().last()?;
    let (seq, signature) = branch.signatures.last_key_value()?;
    let op = replica.store().op(branch.get(*seq)?).ok()?;
    let header = Header { seq: FAR, previous: Some(op.hash), ..op.header.clone() };
    Some((header, *signature))
}
