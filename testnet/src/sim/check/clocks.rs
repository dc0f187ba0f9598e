//! A clock that is wrong elsewhere must not drag ours: an honest device's operations are never further ahead of what its own wall clock
//! has shown than what it may have accepted from others.

use nodespace_protocol::clock::AHEAD_MS_MAX;
use nodespace_protocol::store::{OpIndex, Store as _};

use crate::sim::device::Nature;
use crate::sim::world::World;

/// Every operation of an honest device's log is within the bound of the latest time its clock has shown.
pub(crate) fn at_the_end(world: &mut World) {
    let mut wrong = None;
    for (index, device) in world.devices.iter().enumerate().filter(|(_, device)| device.nature == Nature::Honest && !device.copy) {
        let Some(replica) = &device.replica else { continue };
        let latest = device.clock.latest().plus_ms(AHEAD_MS_MAX + 1);
        let ahead = (0..replica.store().op_count()).filter_map(|op| replica.store().op(OpIndex(op)).ok());
        if let Some(op) = ahead.into_iter().find(|op| op.header.log == device.log() && op.header.timestamp > latest) {
            let by = op.header.timestamp.ms() - device.clock.latest().ms();
            wrong = Some(format!("operation {} of device {index} is {by} ms ahead of its clock", op.header.seq));
        }
    }
    if let Some(what) = wrong {
        world.fail("clock", what);
    }
}
