//! Questions to a tree, and where an author writes a node so that it shows at a wanted position.

use super::arena::{NONE, State, TOP};
use super::{Anchor, Placement, Side, Tree, Verdict};
use crate::ids::{NodeId, OpHash};

/// Where among its siblings a node is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Position {
    /// Before all others.
    First,
    /// After all others.
    Last,
    /// Immediately after this sibling.
    After(NodeId),
}

/// Why a position cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// The node to stand after is not under that parent.
    #[error("node {node} is not a child of {}", parent.as_ref().map_or_else(|| "the top level".to_owned(), ToString::to_string))]
    NotASibling {
        /// The node to stand after.
        node: NodeId,
        /// The wanted parent.
        parent: Option<NodeId>,
    },
    /// A node cannot stand after itself.
    #[error("node {node} cannot be placed after itself")]
    AfterItself {
        /// The node being moved.
        node: NodeId,
    },
    /// The wanted parent is the node being moved, or lies below it.
    #[error("node {node} cannot be placed under {parent}, which is the node itself or lies below it")]
    WouldCycle {
        /// The node being moved.
        node: NodeId,
        /// The wanted parent.
        parent: NodeId,
    },
}

impl Tree {
    /// How many ids and operations have a number, held or only mentioned.
    pub(crate) fn interned(&self) -> (usize, usize) {
        (self.nodes.len(), self.operations.places.len())
    }

    /// The parent of a node, `Some(None)` for the top level; `None` when no placement of the node is in effect.
    pub fn parent(&self, node: &NodeId) -> Option<Option<NodeId>> {
        let parent = self.nodes.parent(self.placed(node)?);
        Some((parent != TOP).then(|| self.nodes.id(parent)))
    }

    /// The children of a node in order; `None` asks for the top level.
    pub fn children(&self, parent: Option<&NodeId>) -> Vec<NodeId> {
        let Some(parent) = self.number_of(parent) else { return Vec::new() };
        self.ring(parent).filter(|&place| self.shows(place)).map(|place| self.node_at(place)).collect()
    }

    /// The sibling immediately before a node; `None` when it is first, or not placed.
    pub fn before_sibling(&self, node: &NodeId) -> Option<NodeId> {
        let node = self.placed(node)?;
        let first = self.nodes.states[self.nodes.parent(node) as usize].first;
        self.backwards(self.nodes.states[node as usize].winner, first)
            .skip(1)
            .find(|&place| self.shows(place))
            .map(|place| self.node_at(place))
    }

    /// The topmost ancestor of a node, itself if it is at the top level; `None` when the node is not placed.
    ///
    /// Below a parent that is not placed yet, that parent is the topmost.
    pub fn root(&self, node: &NodeId) -> Option<NodeId> {
        let node = self.placed(node)?;
        self.upwards(node).last().or(Some(node)).map(|top| self.nodes.id(top))
    }

    /// How many ancestors a node has: 0 at the top level; `None` when the node is not placed.
    pub fn depth(&self, node: &NodeId) -> Option<usize> {
        Some(self.upwards(self.placed(node)?).count())
    }

    /// Whether the first node lies above the second, at any distance. No node is its own ancestor.
    pub fn is_ancestor(&self, ancestor: &NodeId, node: &NodeId) -> bool {
        match (self.nodes.find(ancestor), self.nodes.find(node)) {
            (Some(ancestor), Some(node)) => self.upwards(node).any(|above| above == ancestor),
            _ => false,
        }
    }

    /// What an author writes so that a node shows under `parent` at that position. `moved` is the node if it exists already: it is
    /// passed over as a neighbour, and asked about cycles.
    ///
    /// The rule of Fugue: the right child of the left neighbour's place if that has none yet, else the left child of whatever
    /// place comes next, hidden or not. The operation must carry a version greater than all its author has seen.
    ///
    /// # Errors
    /// When the neighbour is not there, or the move would close a cycle as things stand.
    pub fn place_for(&self, parent: Option<&NodeId>, at: &Position, moved: Option<&NodeId>) -> Result<(Anchor, Side), PlaceError> {
        self.check_cycle(parent, moved)?;
        let number = self.number_of(parent);
        let skip = moved.and_then(|moved| self.nodes.find(moved)).unwrap_or(NONE);
        let left = match at {
            Position::First => None,
            Position::Last => number.and_then(|number| self.last_shown(number, skip)),
            Position::After(sibling) => Some(self.sibling_place(sibling, parent, moved)?),
        };
        Ok(number.map_or((Anchor::Start, Side::Right), |number| self.beside(number, left)))
    }

    /// What became of a placement; `None` when it is not held.
    pub fn verdict(&self, operation: &OpHash) -> Option<Verdict> {
        self.verdict_of(self.operations.present(operation)?)
    }

    /// The placements that would have closed a cycle, in stamp order. Looks at all placements: for reports, not for every change.
    pub fn skipped(&self) -> impl Iterator<Item = Placement> {
        let skipped = |place: &u32| self.operations.places[*place as usize].state == State::Skipped;
        self.log.iter().copied().filter(skipped).map(|place| self.placement(place))
    }

    /// The placement at which a node shows.
    pub fn placement_of(&self, node: &NodeId) -> Option<Placement> {
        Some(self.placement(self.nodes.states[self.placed(node)? as usize].winner))
    }

    /// The nodes that are placed, sorted by id.
    pub fn nodes(&self) -> Vec<NodeId> {
        let placed = (TOP + 1..).zip(&self.nodes.states[1..]).filter(|(_, state)| state.winner != NONE);
        let mut ids: Vec<NodeId> = placed.map(|(node, _)| self.nodes.id(node)).collect();
        ids.sort_unstable();
        ids
    }

    /// The nodes that are not placed but have children, sorted by id: their subtrees hang from no top level until they arrive.
    pub fn detached(&self) -> Vec<NodeId> {
        let mut parents: Vec<u32> = self.nodes.parents().filter(|&up| up != NONE && up != TOP).collect();
        parents.sort_unstable();
        parents.dedup();
        let unplaced = parents.into_iter().filter(|&parent| self.nodes.states[parent as usize].winner == NONE);
        let mut ids: Vec<NodeId> = unplaced.map(|node| self.nodes.id(node)).collect();
        ids.sort_unstable();
        ids
    }

    /// Under whom there are nodes: the top level (`None`) first, then by id.
    pub fn parents(&self) -> Vec<Option<NodeId>> {
        let mut numbers: Vec<u32> = self.nodes.parents().filter(|&up| up != NONE).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut ids: Vec<Option<NodeId>> = numbers.into_iter().map(|parent| (parent != TOP).then(|| self.nodes.id(parent))).collect();
        ids.sort_unstable();
        ids
    }

    /// How many placements are held.
    pub const fn len(&self) -> usize {
        self.log.len()
    }

    /// Whether no placement is held.
    pub const fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// The number of a node that is placed.
    fn placed(&self, node: &NodeId) -> Option<u32> {
        self.nodes.find(node).filter(|&node| self.nodes.states[node as usize].winner != NONE)
    }

    /// The number of a parent, or of the top level.
    fn number_of(&self, parent: Option<&NodeId>) -> Option<u32> {
        parent.map_or(Some(TOP), |parent| self.nodes.find(parent))
    }

    fn node_at(&self, place: u32) -> NodeId {
        self.nodes.id(self.operations.places[place as usize].node)
    }

    /// Whether a node shows at this place.
    pub(super) fn shows(&self, place: u32) -> bool {
        let node = self.operations.places[place as usize].node;
        self.nodes.states[node as usize].winner == place
    }

    /// The ancestors of a node, nearest first. Ends, because moves never close a cycle.
    fn upwards(&self, node: u32) -> impl Iterator<Item = u32> {
        let parent = |&node: &u32| Some(self.nodes.parent(node)).filter(|&up| up != TOP && up != NONE);
        // Bounded all the same: a fault that lets a cycle in must be found, not hang whoever looks for it.
        std::iter::successors(parent(&node), parent).take(self.nodes.len())
    }

    /// The places from this one back to the first of its parent.
    fn backwards(&self, place: u32, first: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(place), move |&place| (place != first).then(|| self.operations.places[place as usize].before))
    }

    fn check_cycle(&self, parent: Option<&NodeId>, moved: Option<&NodeId>) -> Result<(), PlaceError> {
        let (Some(parent), Some(moved)) = (parent, moved) else { return Ok(()) };
        let cycle = parent == moved || self.is_ancestor(moved, parent);
        if cycle { Err(PlaceError::WouldCycle { node: moved.clone(), parent: parent.clone() }) } else { Ok(()) }
    }

    /// The last place under a parent at which a node other than `skip` shows.
    fn last_shown(&self, parent: u32, skip: u32) -> Option<u32> {
        let first = self.nodes.states[parent as usize].first;
        let mut places = self.backwards(self.last(parent)?, first);
        places.find(|&place| self.shows(place) && self.operations.places[place as usize].node != skip)
    }

    /// The place of the sibling to stand after.
    fn sibling_place(&self, sibling: &NodeId, parent: Option<&NodeId>, moved: Option<&NodeId>) -> Result<u32, PlaceError> {
        if moved == Some(sibling) {
            return Err(PlaceError::AfterItself { node: sibling.clone() });
        }
        match self.placed(sibling) {
            Some(node) if Some(self.nodes.parent(node)) == self.number_of(parent) => Ok(self.nodes.states[node as usize].winner),
            _ => Err(PlaceError::NotASibling { node: sibling.clone(), parent: parent.cloned() }),
        }
    }

    /// The anchor and side that make a place come next after `left`, or first.
    fn beside(&self, parent: u32, left: Option<u32>) -> (Anchor, Side) {
        let op = |place: u32| Anchor::Op(self.operations.stamp(place).hash);
        let state = &self.nodes.states[parent as usize];
        match left {
            Some(left) if !self.has_right(left) => (op(left), Side::Right),
            Some(left) => (op(self.operations.places[left as usize].after), Side::Left),
            None if self.operations.places.get(state.roots as usize).is_none_or(|root| root.rank == 1) => (Anchor::Start, Side::Right),
            None => (op(state.first), Side::Left),
        }
    }
}
