//! Outlining: nodes are made, indented, outdented, and moved in runs. Concurrently this is what closes cycles and interleaves.

use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::{NewNode, WriteError};
use nodespace_protocol::tree::Position;

use super::Desk;

pub(super) fn work(desk: &mut Desk<'_>) -> Result<(), WriteError> {
    match desk.dice.weighted(&[4, 2, 2, 2, 3]) {
        0 => create(desk),
        1 => indent(desk),
        2 => outdent(desk),
        3 => move_run(desk),
        _ => move_anywhere(desk),
    }
}

fn create(desk: &mut Desk<'_>) -> Result<(), WriteError> {
    let parent = if desk.dice.chance(300) { None } else { desk.any() };
    let position = position(desk, parent.as_ref(), None);
    let (id, words) = (desk.fresh_id(), desk.words());
    desk.replica.create(desk.now, NewNode { position, ..NewNode::text(id, parent, words) }).map(drop)
}

/// Below the sibling before it.
fn indent(desk: &mut Desk<'_>) -> Result<(), WriteError> {
    let Some(node) = desk.any() else { return Ok(()) };
    match desk.replica.tree().before_sibling(&node) {
        Some(sibling) => put(desk, &node, Some(&sibling), &Position::Last),
        None => Ok(()),
    }
}

/// After its parent.
fn outdent(desk: &mut Desk<'_>) -> Result<(), WriteError> {
    let Some(node) = desk.any() else { return Ok(()) };
    let Some(Some(parent)) = desk.replica.tree().parent(&node) else { return Ok(()) };
    let above = desk.replica.tree().parent(&parent).flatten();
    put(desk, &node, above.as_ref(), &Position::After(parent))
}

/// Several siblings, one after another, to another place.
fn move_run(desk: &mut Desk<'_>) -> Result<(), WriteError> {
    let (Some(node), Some(target)) = (desk.any(), desk.any()) else { return Ok(()) };
    let parent = desk.replica.tree().parent(&node).flatten();
    let run: Vec<NodeId> = desk.replica.tree().children(parent.as_ref()).into_iter().skip_while(|child| *child != node).take(3).collect();
    let mut position = Position::First;
    for child in run {
        put(desk, &child, Some(&target), &position)?;
        position = Position::After(child);
    }
    Ok(())
}

fn move_anywhere(desk: &mut Desk<'_>) -> Result<(), WriteError> {
    let (Some(node), target) = (desk.any(), desk.any()) else { return Ok(()) };
    let target = target.filter(|_| desk.dice.chance(850));
    let position = position(desk, target.as_ref(), Some(&node));
    put(desk, &node, target.as_ref(), &position)
}

/// Moves a node unless it would come to lie below itself here, or its neighbour is no neighbour.
fn put(desk: &mut Desk<'_>, node: &NodeId, parent: Option<&NodeId>, position: &Position) -> Result<(), WriteError> {
    let tree = desk.replica.tree();
    let below_itself = parent.is_some_and(|parent| parent == node || tree.is_ancestor(node, parent));
    let neighbour = match position {
        Position::After(sibling) => sibling != node && tree.children(parent).contains(sibling),
        _ => true,
    };
    let known = parent.is_none_or(|parent| desk.replica.node(parent).ok().flatten().is_some());
    if below_itself || !neighbour || !known {
        return Ok(());
    }
    desk.replica.move_node(desk.now, node, parent, position).map(drop)
}

fn position(desk: &mut Desk<'_>, parent: Option<&NodeId>, except: Option<&NodeId>) -> Position {
    let siblings = desk.replica.tree().children(parent);
    let sibling = desk.dice.pick(&siblings).filter(|sibling| Some(*sibling) != except).cloned();
    match (desk.dice.below(3), sibling) {
        (0, _) => Position::First,
        (1, Some(sibling)) => Position::After(sibling),
        _ => Position::Last,
    }
}
