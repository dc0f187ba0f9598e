//! What the view of an operation needs to know beside the operation.

use crate::ids::{DeviceId, NodeId, OpHash, UserId};
use crate::op::{Op, Place, PlaceAnchor};
use crate::replica::Replica;
use crate::store::Store;
use crate::tree::Side;

/// Where a node stands, in the document's terms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// The sibling immediately before it; `None` = first, or not known any more.
    pub before_sibling: Option<NodeId>,
    /// Its topmost ancestor.
    pub root: Option<NodeId>,
}

/// Knows what surrounds an operation. Implemented by [`Replica`], and by the check of a packet, which takes from the view
/// what cannot be known.
pub trait ViewSource {
    /// Whose a device is.
    fn user_of(&self, device: &DeviceId) -> Option<UserId>;

    /// The operation `distance` before `op` in its own log.
    fn own_hash(&self, op: &Op, distance: u64) -> Option<OpHash>;

    /// Where `op` puts its node. An operation says "beside what another operation placed"; which sibling that is follows from
    /// the tree. While the placement holds this is the sibling it has now; afterwards the one it was put behind, where the
    /// operation says so.
    fn neighbours(&self, op: &Op, place: &Place) -> Neighbours;
}

impl<S: Store> ViewSource for Replica<S> {
    fn user_of(&self, device: &DeviceId) -> Option<UserId> {
        self.membership().user(device)
    }

    fn own_hash(&self, op: &Op, distance: u64) -> Option<OpHash> {
        let index = self.store().find(&op.hash).ok()??;
        let found = self.graph().own(index, op, distance)?;
        self.store().op(found).ok().map(|op| op.hash)
    }

    fn neighbours(&self, op: &Op, place: &Place) -> Neighbours {
        let Some(node) = &op.header.node else { return Neighbours::default() };
        let holds = self.tree().placement_of(node).is_some_and(|placement| placement.stamp.hash == op.hash);
        let before_sibling = if holds { self.tree().before_sibling(node) } else { self.anchor_node(op, place) };
        Neighbours { before_sibling, root: self.tree().root(node) }
    }
}

impl<S: Store> Replica<S> {
    /// The node that an operation puts its own behind, when the operation names it.
    fn anchor_node(&self, op: &Op, place: &Place) -> Option<NodeId> {
        let anchor = match place.anchor {
            PlaceAnchor::Start => return None,
            PlaceAnchor::Own(distance) => self.own_hash(op, distance)?,
            PlaceAnchor::Other(hash) => hash,
        };
        let anchor = self.op(&anchor).ok()??;
        anchor.header.node.clone().filter(|_| place.side == Side::Right)
    }
}
