//! Typing: bursts of small edits in few hot nodes, and sometimes a whole new text.

use nodespace_protocol::replica::WriteError;
use nodespace_protocol::text::TextPatch;

use super::Desk;

pub(super) fn work(desk: &mut Desk<'_>) -> Result<(), WriteError> {
    let node = if desk.dice.chance(800) { desk.hot() } else { desk.any() };
    let Some(node) = node else { return Ok(()) };
    if desk.dice.chance(120) {
        let text = desk.words();
        return desk.replica.set_text(desk.now, &node, &text).map(drop);
    }
    for _ in 0..desk.dice.between(1, 4) {
        let chars = desk.replica.node(&node).ok().flatten().map_or(0, |state| state.content_chars());
        let patches = patches(desk, chars);
        desk.replica.edit_text(desk.now, &node, patches)?;
    }
    Ok(())
}

/// One or two edits that fit a text of this length, each against what the one before left.
fn patches(desk: &mut Desk<'_>, mut chars: u32) -> Vec<TextPatch> {
    let mut patches = Vec::new();
    for _ in 0..desk.dice.between(1, 2) {
        let position = desk.dice.below(u64::from(chars) + 1) as u32;
        let delete = if desk.dice.chance(400) { desk.dice.below(u64::from((chars - position).min(12)) + 1) as u32 } else { 0 };
        let insert = if delete > 0 && desk.dice.chance(500) { String::new() } else { desk.words() };
        chars = chars - delete + insert.chars().count() as u32;
        patches.push(TextPatch::new(position, delete, insert));
    }
    patches
}
