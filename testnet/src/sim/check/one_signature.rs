//! I4: an honest device never signs two operations with one sequence number, not even across crashes or a restored backup.

use nodespace_protocol::ids::{LogId, OpHash};
use nodespace_protocol::store::{OpIndex, Store as _};

use crate::sim::device::Nature;
use crate::sim::world::World;

/// Takes down what is durable of an honest device's own log.
pub(crate) fn record(world: &mut World, device: usize) {
    let state = &mut world.devices[device];
    let log = state.log();
    let Some(replica) = &state.replica else { return };
    let Some(entry) = replica.logs().get(&log) else { return };
    let durable = replica.store().durable_ops();
    let mut found: Vec<(u64, OpHash)> = Vec::new();
    for seq in state.recorded + 1..=entry.last_seq() {
        let Some(index) = entry.only(seq).filter(|index| *index < OpIndex(durable)) else { break };
        let Ok(op) = replica.store().op(index) else { break };
        found.push((seq, op.hash));
        state.recorded = seq;
    }
    for (seq, hash) in found {
        let known = *world.ledger.signed.entry((log, seq)).or_insert(hash);
        if known != hash {
            world.fail("I4", format!("device {device} signed two operations at {seq} of log {log}"));
        }
    }
}

/// No log of an honest device is forked anywhere, and all hold what was signed.
pub(crate) fn at_the_end(world: &mut World) {
    let honest: Vec<LogId> = world.devices.iter().filter(|device| device.nature == Nature::Honest).map(|device| device.log()).collect();
    let mut wrong = None;
    for member in world.honest_members() {
        let Some(replica) = &world.devices[member].replica else { continue };
        let forked = honest.iter().find(|log| replica.logs().get(log).is_some_and(|log| log.is_forked()));
        if let Some(log) = forked {
            wrong = Some(format!("log {log} of an honest device is forked at device {member}"));
        }
        let other = world.ledger.signed.iter().find(|((log, seq), hash)| {
            let held = replica.logs().get(log).and_then(|log| log.only(*seq)).and_then(|index| replica.store().op(index).ok());
            held.is_some_and(|op| op.hash != **hash)
        });
        if let Some(((log, seq), _)) = other {
            wrong = Some(format!("device {member} holds another operation at {seq} of log {log} than its device made durable"));
        }
    }
    if let Some(what) = wrong {
        world.fail("I4", what);
    }
}
