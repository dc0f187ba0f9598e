//! The tree has no cycle and loses no node: from every node that exists a walk up ends at the top level, and the lists of children show it
//! exactly once.

use std::collections::BTreeMap;

use nodespace_protocol::ids::NodeId;

use crate::sim::world::World;

/// Every member's tree is one.
pub(crate) fn at_the_end(world: &mut World) {
    let found = world.honest_members().into_iter().find_map(|device| fault(world, device));
    if let Some(what) = found {
        world.fail("tree", what);
    }
}

fn fault(world: &World, device: usize) -> Option<String> {
    let replica = world.devices[device].replica.as_ref()?;
    let tree = replica.tree();
    let ids = replica.node_ids();
    let mut shown: BTreeMap<NodeId, usize> = BTreeMap::new();
    for parent in std::iter::once(None).chain(ids.iter().map(Some)) {
        for child in tree.children(parent) {
            *shown.entry(child).or_insert(0) += 1;
        }
    }
    for id in &ids {
        let mut at = Some(id.clone());
        let mut steps = 0;
        while let Some(node) = at {
            at = tree.parent(&node).flatten();
            steps += 1;
            if steps > ids.len() + 1 {
                return Some(format!("node {id} of device {device} lies in a cycle"));
            }
        }
        // A parent that was never created here (its creation is void) shows no list of its own.
        let orphan = tree.parent(id).flatten().is_some_and(|parent| matches!(replica.node(&parent), Ok(None)));
        if shown.get(id).copied().unwrap_or(0) != 1 && !orphan {
            return Some(format!("node {id} of device {device} is shown {} times", shown.get(id).copied().unwrap_or(0)));
        }
    }
    None
}
