//! Devices that do not keep to the rules: one file a kind.

mod craft;
mod equivocator;
mod flooder;
mod forger;
mod liar;
mod rogue;

use super::device::Nature;
use super::world::World;

/// Lets a hostile device act.
pub(crate) fn act(world: &mut World, device: usize) {
    if !world.devices[device].is_up() {
        return;
    }
    world.trace.numbers(&[world.now, 9, device as u64]);
    match world.devices[device].nature {
        Nature::Honest => {}
        Nature::Equivocator => equivocator::act(world, device),
        Nature::Rogue => rogue::act(world, device),
        Nature::Forger => forger::act(world, device),
        Nature::Flooder => flooder::act(world, device),
        Nature::Liar => liar::act(world, device),
    }
}
