//! Importing: a whole tree of nodes at once, as from a folder of Markdown.

use nodespace_protocol::replica::WriteError;

use super::Desk;

/// Nodes of one import.
const NODES: (u64, u64) = (30, 120);

pub(super) fn work(desk: &mut Desk<'_>) -> Result<(), WriteError> {
    let root = desk.create(None)?;
    let mut open = vec![root];
    for _ in 0..desk.dice.between(NODES.0, NODES.1) {
        let parent = desk.dice.pick(&open).cloned();
        open.push(desk.create(parent)?);
        if open.len() > 8 {
            let closed = desk.dice.index(open.len());
            open.swap_remove(closed);
        }
    }
    Ok(())
}
