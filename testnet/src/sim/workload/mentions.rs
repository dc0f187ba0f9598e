//! Mentions, added and removed.

use nodespace_protocol::replica::WriteError;

use super::Desk;

pub(super) fn work(desk: &mut Desk<'_>) -> Result<(), WriteError> {
    let (Some(node), Some(other)) = (desk.hot(), desk.any()) else { return Ok(()) };
    let mentioned: Vec<_> = desk.replica.node(&node).ok().flatten().map(|state| state.mentions().cloned().collect()).unwrap_or_default();
    let removed = if desk.dice.chance(600) { desk.dice.pick(&mentioned).cloned() } else { None };
    desk.replica.mention(desk.now, &node, vec![other], removed.into_iter().collect()).map(drop)
}
