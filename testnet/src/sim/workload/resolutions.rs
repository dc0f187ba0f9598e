//! Settling conflicts that are found, in every way there is.

use nodespace_protocol::conflict::NodeConflict;
use nodespace_protocol::replica::{Choice, WriteError};
use serde_json::json;

use super::Desk;

pub(super) fn work(desk: &mut Desk<'_>) -> Result<(), WriteError> {
    let conflicts: Vec<NodeConflict> = desk.replica.conflicts()?;
    // Settled ones too: settling twice must be harmless.
    let open: Vec<&NodeConflict> = conflicts.iter().filter(|found| found.conflict.is_open()).collect();
    let found = if desk.dice.chance(800) { desk.dice.pick(&open).copied() } else { desk.dice.pick(&conflicts) };
    let Some(found) = found.cloned() else { return Ok(()) };
    let kept = desk.dice.pick(&found.conflict.participants).copied();
    let choice = match (desk.dice.below(5), kept) {
        (0, _) => Choice::Dismiss,
        (1, _) => Choice::Text(desk.words()),
        (2, _) => Choice::Value(json!(desk.dice.below(9))),
        (_, Some(kept)) => Choice::Keep(kept),
        (_, None) => Choice::Dismiss,
    };
    desk.replica.resolve_conflict(desk.now, &found.node, found.conflict.id, choice).map(drop)
}
