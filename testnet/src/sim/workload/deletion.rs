//! Deleting, softly and for good, and restoring.

use nodespace_protocol::replica::WriteError;

use super::Desk;

pub(super) fn work(desk: &mut Desk<'_>) -> Result<(), WriteError> {
    let node = if desk.dice.chance(500) { desk.hot() } else { desk.any() };
    let Some(node) = node else { return Ok(()) };
    let policy = desk.replica.policy();
    let state = desk.replica.node(&node).ok().flatten();
    let (deleted, for_good) = state.map_or((false, false), |state| (state.is_deleted(&policy), state.is_hard_deleted(&policy)));
    match deleted {
        true if for_good => Ok(()),
        true => desk.replica.restore_node(desk.now, &node).map(drop),
        false => {
            let soft = desk.dice.chance(800);
            desk.replica.delete(desk.now, &node, soft).map(drop)
        }
    }
}
