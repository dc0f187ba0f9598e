//! Date nodes: devices that do not know of each other make the same id, with the same text or another.

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::{NewNode, WriteError};
use nodespace_protocol::text::TextPatch;

use super::Desk;

const DATES: [&str; 4] = ["2025-08-30", "2025-08-31", "2025-09-01", "2025-09-02"];

pub(super) fn work(desk: &mut Desk<'_>) -> Result<(), WriteError> {
    let date = desk.dice.pick(&DATES).copied().unwrap_or(DATES[0]);
    let Ok(id) = NodeId::parse(date) else { return Ok(()) };
    let living = desk.replica.node(&id).ok().flatten().is_some_and(|state| !state.is_deleted(&desk.replica.policy()));
    if living {
        let words = desk.words();
        let chars = desk.replica.node(&id).ok().flatten().map_or(0, |state| state.content_chars());
        return desk.replica.edit_text(desk.now, &id, vec![TextPatch::new(chars, 0, words)]).map(drop);
    }
    let content = if desk.dice.chance(700) { String::new() } else { desk.words() };
    desk.replica.create(desk.now, NewNode { node_type: "date".into(), ..NewNode::text(id, None, content) }).map(drop)
}
