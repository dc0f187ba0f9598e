//! I1: no acknowledged operation is lost, neither by its device in a crash nor by the others.
//!
//! Not counted are promises that nobody can keep: of a device whose disk was replaced by an old copy, and of one that was removed
//! (what it did unseen is void by design).

use nodespace_protocol::ids::OpHash;
use nodespace_protocol::store::Store as _;

use crate::sim::world::World;

/// A device has acknowledged the operation at this position of its log.
pub(crate) fn promise(world: &mut World, device: usize, seq: u64) {
    let state = &mut world.devices[device];
    let log = state.log();
    let Some(replica) = &state.replica else { return };
    let index = replica.logs().get(&log).and_then(|log| log.only(seq));
    state.acknowledged_through = seq;
    let Some(hash) = index.and_then(|index| replica.store().op(index).ok()).map(|op| op.hash) else { return };
    state.acknowledged.push(hash);
    if state.is_honest() {
        world.ledger.acknowledged.insert(hash, device);
    }
}

/// A device has come up again: what it acknowledged must be there.
pub(crate) fn after_restart(world: &mut World, device: usize) {
    let state = &world.devices[device];
    let Some(store) = state.store() else { return };
    let lost = state.acknowledged.iter().find(|hash| !matches!(store.find(hash), Ok(Some(_))));
    if let Some(lost) = lost.copied() {
        world.fail("I1", format!("device {device} lost operation {} in a crash, which it had acknowledged", lost.short()));
    }
}

/// All members must hold what honest members acknowledged.
pub(crate) fn at_the_end(world: &mut World) {
    let members = world.honest_members();
    let Some(founder) = &world.devices[0].replica else { return };
    let missing = world.ledger.acknowledged.iter().find_map(|(hash, author)| {
        let id = world.devices[*author].id();
        let kept = !world.ledger.excused.contains(hash) && !world.ledger.removed.contains(&id) && founder.membership().role(&id).is_some();
        let lacking = members.iter().find(|member| kept && !holds(world, **member, hash))?;
        Some((*hash, *author, *lacking))
    });
    if let Some((hash, author, lacking)) = missing {
        world.fail("I1", format!("device {lacking} lacks operation {} of device {author}, which was acknowledged", hash.short()));
    }
}

fn holds(world: &World, device: usize, hash: &OpHash) -> bool {
    world.devices[device].store().is_some_and(|store| matches!(store.find(hash), Ok(Some(_))))
}
