//! What must hold, one file an invariant of `RELIABILITY.md`'s list. Some are looked at all along, some when the quiet is over.

pub(crate) mod agreement;
pub(crate) mod blame;
pub(crate) mod bounds;
pub(crate) mod clocks;
pub(crate) mod no_loss;
pub(crate) mod one_signature;
pub(crate) mod same_state;
pub(crate) mod strangers;
pub(crate) mod synced;
pub(crate) mod tree;

use super::world::World;

/// Everything that is looked at when the quiet is over.
pub(crate) fn at_the_end(world: &mut World) {
    let checks = [
        no_loss::at_the_end,
        one_signature::at_the_end,
        clocks::at_the_end,
        strangers::at_the_end,
        tree::at_the_end,
        same_state::at_the_end,
    ];
    for check in checks {
        if !world.has_failed() {
            check(world);
        }
    }
}
