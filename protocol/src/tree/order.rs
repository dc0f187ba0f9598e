//! Sibling order: the tree of places under each parent, kept as a ring.
//!
//! A new place has no descendants, so it stands immediately beside its anchor, or beside the subtree of the next place anchored on
//! the same side. Both are found from the links between places, and the ring of the parent, which is the whole order, is mended
//! in constant time. Of many places on one side of one anchor the neighbours are found by [`crowds`](super::crowds). Where that would take
//! long nevertheless (long runs to step over), or where whole subtrees move (an awaited anchor arrives, a place is removed), the parent's
//! order is rebuilt once at the end of the change: one sort and one walk.

use std::collections::BTreeSet;

use super::arena::{NONE, State};
use super::crowds::{Above, CROWD_MIN, Member};
use super::{Side, Tree};

/// How many links one change (an insert or a batch) follows in all before it stops looking for spots one by one. When reached,
/// the parents that would need more are rebuilt, once each.
const LINK_STEPS_MAX: u32 = 16_384;

/// What a change has spent, and what it leaves to rebuild.
#[derive(Debug)]
pub(super) struct Work {
    steps_left: u32,
    rebuild: BTreeSet<u32>,
}

impl Default for Work {
    fn default() -> Self {
        Self { steps_left: LINK_STEPS_MAX, rebuild: BTreeSet::new() }
    }
}

impl Work {
    /// Has a parent's order rebuilt at the end.
    pub(super) fn rebuild(&mut self, parent: u32) {
        self.rebuild.insert(parent);
    }

    fn step(&mut self) -> Option<()> {
        self.steps_left = self.steps_left.checked_sub(1)?;
        Some(())
    }
}

/// Where in a ring.
#[derive(Debug, Clone, Copy)]
enum Spot {
    First,
    Last,
    Before(u32),
    After(u32),
}

/// A step of the depth-first walk.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// Walk the whole subtree.
    Subtree(u32),
    /// Its left children are done: the place itself.
    Itself(u32),
}

impl Tree {
    /// Gives an admitted placement its place. Anchors come before what is anchored at them.
    pub(super) fn link(&mut self, number: u32, work: &mut Work) {
        let parent = self.operations.places[number as usize].parent;
        let spot = if work.rebuild.contains(&parent) { None } else { self.attach(number, work) };
        if spot.is_none() {
            work.rebuild(parent);
        }
        // A parent that is to be rebuilt only needs to have all its places in the ring, in any order.
        self.enter_ring(number, spot.unwrap_or(Spot::Last));
    }

    /// Takes a place out of the order. What is anchored at it goes to the end when the parent is rebuilt.
    pub(super) fn unlink(&mut self, number: u32, work: &mut Work) {
        let place = self.operations.places[number as usize];
        let node = &mut self.nodes.states[place.parent as usize];
        if place.after == number {
            (node.first, node.roots) = (NONE, NONE);
        } else {
            if node.first == number {
                node.first = place.after;
            }
            self.operations.places[place.before as usize].after = place.after;
            self.operations.places[place.after as usize].before = place.before;
        }
        self.operations.forget(number);
        // Who stood behind it cannot be found from it any more.
        self.pending.reordered.push(place.parent);
        work.rebuild(place.parent);
    }

    /// Rebuilds what could not be mended in passing.
    pub(super) fn settle(&mut self, work: &Work) {
        for &parent in &work.rebuild {
            self.rebuild(parent);
        }
    }

    /// All places under a parent, hidden ones too, in order.
    pub(super) fn ring(&self, parent: u32) -> impl Iterator<Item = u32> {
        let first = self.nodes.states[parent as usize].first;
        let next = move |&place: &u32| Some(self.operations.places[place as usize].after).filter(|&after| after != first);
        std::iter::successors((first != NONE).then_some(first), next)
    }

    /// The last place under a parent, hidden ones too.
    pub(super) fn last(&self, parent: u32) -> Option<u32> {
        let first = self.nodes.states[parent as usize].first;
        self.operations.places.get(first as usize).map(|place| place.before)
    }

    /// Whether a place has a right child.
    pub(super) fn has_right(&self, number: u32) -> bool {
        self.last_child(number).is_some_and(|child| self.operations.places[child as usize].rank == 1)
    }

    fn last_child(&self, number: u32) -> Option<u32> {
        let mut last = self.operations.places[number as usize].child;
        while let Some(place) = self.operations.places.get(last as usize) {
            match place.sibling {
                NONE => return Some(last),
                sibling => last = sibling,
            }
        }
        None
    }

    /// Where a place belongs in the tree of places, and its rank there.
    ///
    /// The smaller version is what makes this a tree: an author's version exceeds all it has seen, so an honest anchor always
    /// passes, and no set of anchors can run in a circle.
    fn above(&self, number: u32) -> (Above, u8) {
        let place = &self.operations.places[number as usize];
        if place.anchor == NONE {
            return (Above::Root(place.parent), 0);
        }
        let anchor = &self.operations.places[place.anchor as usize];
        let earlier = self.operations.stamp(place.anchor).version < self.operations.stamp(number).version;
        if anchor.state != State::Absent && anchor.parent == place.parent && earlier {
            (Above::Place(place.anchor), if place.side == Side::Left { 0 } else { 1 })
        } else {
            (Above::Root(place.parent), 1)
        }
    }

    /// Links a new place, which has no children yet, to the one above it and finds its spot in the ring.
    /// `None` when the steps are used up; nothing is linked then.
    fn attach(&mut self, number: u32, work: &mut Work) -> Option<Spot> {
        let (above, rank) = self.above(number);
        let new = (rank, self.operations.stamp(number).hash, number);
        let (left, right) = self.neighbours(above, new, work)?;
        let spot = self.spot(above, rank, left, right, work)?;
        let place = &mut self.operations.places[number as usize];
        self.crowds.enter(place.parent, above, new);
        (place.rank, place.sibling) = (rank, right);
        match (self.operations.places.get_mut(left as usize), above) {
            (Some(left), _) => left.sibling = number,
            (None, above) => self.set_children_of(above, number),
        }
        Some(spot)
    }

    /// Between which children (or [`NONE`]) of the same place a new one belongs.
    fn neighbours(&mut self, above: Above, new: Member, work: &mut Work) -> Option<(u32, u32)> {
        let parent = self.operations.places[new.2 as usize].parent;
        if self.crowds.before(parent, above, new).is_none() {
            let (mut left, mut right) = (NONE, self.children_of(above));
            for _ in 0..CROWD_MIN {
                match self.operations.places.get(right as usize) {
                    Some(place) if (place.rank, self.operations.stamp(right).hash) <= (new.0, new.1) => {
                        work.step()?;
                        (left, right) = (right, place.sibling);
                    }
                    _ => return Some((left, right)),
                }
            }
            let members = self.members(above);
            self.crowds.gather(parent, above, members);
        }
        let left = self.crowds.before(parent, above, new)?;
        let right = left.map_or_else(|| self.children_of(above), |left| self.operations.places[left as usize].sibling);
        Some((left.unwrap_or(NONE), right))
    }

    /// All children of a place.
    fn members(&self, above: Above) -> BTreeSet<Member> {
        let next = |number: u32| Some((number, self.operations.places.get(number as usize)?));
        let children = std::iter::successors(next(self.children_of(above)), |(_, place)| next(place.sibling));
        children.map(|(number, place)| (place.rank, self.operations.stamp(number).hash, number)).collect()
    }

    /// The spot in the ring of a place of this rank that comes between two children (or [`NONE`]) of the same place.
    fn spot(&self, above: Above, rank: u8, left: u32, right: u32, work: &mut Work) -> Option<Spot> {
        let is_rank = |number: u32, rank: u8| self.operations.places.get(number as usize).is_some_and(|place| place.rank == rank);
        Some(match above {
            Above::Root(_) if left == NONE => Spot::First,
            Above::Root(_) => Spot::After(self.last_below(left, work)?),
            Above::Place(anchor) if rank == 0 => {
                if is_rank(right, 0) {
                    Spot::Before(self.first_below(right, work)?)
                } else {
                    Spot::Before(anchor)
                }
            }
            Above::Place(anchor) => {
                if is_rank(left, 1) {
                    Spot::After(self.last_below(left, work)?)
                } else {
                    Spot::After(anchor)
                }
            }
        })
    }

    /// The first place of a subtree, in order.
    fn first_below(&self, mut number: u32, work: &mut Work) -> Option<u32> {
        loop {
            let child = self.operations.places[number as usize].child;
            if self.operations.places.get(child as usize).is_none_or(|child| child.rank != 0) {
                return Some(number);
            }
            work.step()?;
            number = child;
        }
    }

    /// The last place of a subtree, in order.
    fn last_below(&self, mut number: u32, work: &mut Work) -> Option<u32> {
        loop {
            let mut last = self.operations.places[number as usize].child;
            while let Some(place) = self.operations.places.get(last as usize)
                && place.sibling != NONE
            {
                work.step()?;
                last = place.sibling;
            }
            if self.operations.places.get(last as usize).is_none_or(|last| last.rank != 1) {
                return Some(number);
            }
            work.step()?;
            number = last;
        }
    }

    fn children_of(&self, above: Above) -> u32 {
        match above {
            Above::Root(parent) => self.nodes.states[parent as usize].roots,
            Above::Place(anchor) => self.operations.places[anchor as usize].child,
        }
    }

    fn set_children_of(&mut self, above: Above, first: u32) {
        match above {
            Above::Root(parent) => self.nodes.states[parent as usize].roots = first,
            Above::Place(anchor) => self.operations.places[anchor as usize].child = first,
        }
    }

    fn enter_ring(&mut self, number: u32, spot: Spot) {
        let places = &mut self.operations.places;
        let node = &mut self.nodes.states[places[number as usize].parent as usize];
        if node.first == NONE {
            (places[number as usize].before, places[number as usize].after, node.first) = (number, number, number);
            return;
        }
        let after = match spot {
            Spot::First | Spot::Last => node.first,
            Spot::Before(neighbour) => neighbour,
            Spot::After(neighbour) => places[neighbour as usize].after,
        };
        let before = places[after as usize].before;
        (places[number as usize].before, places[number as usize].after) = (before, after);
        (places[before as usize].after, places[after as usize].before) = (number, number);
        let is_first = match spot {
            Spot::First => true,
            Spot::Before(neighbour) => neighbour == node.first,
            Spot::Last | Spot::After(_) => false,
        };
        if is_first {
            node.first = number;
        }
    }

    /// Makes links and ring of a parent anew from the placements in its ring. Whoever stands behind another place than before is noted; of
    /// many thousand places under one parent these are few.
    fn rebuild(&mut self, parent: u32) {
        self.crowds.forget(parent);
        let ring: Vec<u32> = self.ring(parent).collect();
        let Some(&first) = ring.first() else { return };
        self.link_anew(parent, &ring);
        let order = self.walk(parent, ring.len());
        debug_assert_eq!(order.len(), ring.len(), "every place hangs below a root, because versions grow from anchor to place");
        let mut before = order.last().copied().unwrap_or(first);
        self.nodes.states[parent as usize].first = order.first().copied().unwrap_or(first);
        for (at, number) in order.into_iter().enumerate() {
            self.operations.places[before as usize].after = number;
            let place = &mut self.operations.places[number as usize];
            let stood_behind = std::mem::replace(&mut place.before, before);
            match (at, number == first) {
                (0, true) => {}
                // Nothing is before it: it is noted itself, and who stands behind it.
                (0, false) => {
                    self.pending.nodes.push(place.node);
                    self.pending.spots.push(number);
                }
                (_, was_first) if was_first || stood_behind != before => self.pending.spots.push(before),
                (..) => {}
            }
            before = number;
        }
    }

    /// Links the places of a parent to the ones they are anchored at.
    fn link_anew(&mut self, parent: u32, ring: &[u32]) {
        // The first bytes of the hash decide nearly always; the rest is looked at only when they do not.
        let mut by_hash: Vec<(u64, u32)> = ring.iter().map(|&number| (self.hash_start(number), number)).collect();
        let operations = &self.operations;
        by_hash.sort_unstable_by(|a, b| b.0.cmp(&a.0).then_with(|| operations.stamp(b.1).hash.cmp(&operations.stamp(a.1).hash)));
        self.nodes.states[parent as usize].roots = NONE;
        for &number in ring {
            self.operations.places[number as usize].child = NONE;
            let (_, rank) = self.above(number);
            self.operations.places[number as usize].rank = rank;
        }
        // Each goes in front of those before it, so lists grow backwards: greater rank first, greater hash first.
        for rank in [1, 0] {
            for &(_, number) in &by_hash {
                if self.operations.places[number as usize].rank == rank {
                    let (above, _) = self.above(number);
                    self.operations.places[number as usize].sibling = self.children_of(above);
                    self.set_children_of(above, number);
                }
            }
        }
    }

    fn hash_start(&self, number: u32) -> u64 {
        let bytes = self.operations.stamp(number).hash.0;
        bytes[..8].iter().fold(0, |start, &byte| start << 8 | u64::from(byte))
    }

    /// The places of a parent depth-first: left children, the place itself, right children.
    fn walk(&self, parent: u32, len: usize) -> Vec<u32> {
        let mut order = Vec::with_capacity(len);
        let mut steps = Vec::new();
        self.push_children(&mut steps, self.nodes.states[parent as usize].roots, None);
        while let Some(step) = steps.pop() {
            match step {
                Step::Itself(number) => order.push(number),
                Step::Subtree(number) => match self.operations.places[number as usize].child {
                    NONE => order.push(number),
                    child => self.push_children(&mut steps, child, Some(number)),
                },
            }
        }
        order
    }

    /// Puts the children from `child` on onto the stack, the first to be walked on top, and their anchor between left and right.
    fn push_children(&self, steps: &mut Vec<Step>, mut child: u32, mut anchor: Option<u32>) {
        let base = steps.len();
        while let Some(place) = self.operations.places.get(child as usize) {
            if place.rank == 1 {
                steps.extend(anchor.take().map(Step::Itself));
            }
            steps.push(Step::Subtree(child));
            child = place.sibling;
        }
        steps.extend(anchor.map(Step::Itself));
        steps[base..].reverse();
    }
}
