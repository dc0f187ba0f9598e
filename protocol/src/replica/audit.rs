//! The state held against the log: for a doctor.
//!
//! A checkpoint is read and believed, with every sum in it; a sum or an order that is wrong by itself would keep two devices apart for
//! ever, though each node of both is in order. So an [`Audit`] makes everything that two devices compare once more, from the operations
//! alone: the heads, state and digest of each node, the order below each parent, and the sum of it all.
//!
//! It is of one moment, and looks page by page while the replica goes on:
//!
//! 1. [`Audit::begin`] notes how many operations there are, the state digest, and the order below each parent;
//! 2. [`Audit::step`] reads those operations, then folds the nodes one by one and holds each against the one that is shown;
//! 3. [`Audit::conclude`] holds orders and sum against those that were noted.
//!
//! What comes later is no part of it: what operations make does not change by those after them. Only who is a member, and a log that
//! turns out to be forked, can change what earlier ones are worth; then it has to be begun again ([`AuditStep::Outdated`]). Two things it
//! takes as they are, because the journal is checked apart and membership is worked out anew at every start: where the operations of each
//! log are kept, and which of them are void.

mod reading;
mod texts;

use std::collections::{BTreeMap, BTreeSet};

use self::reading::Reading;
use super::Replica;
use super::digest::{Sum, digest_of_order};
use super::nodes::Facts;
use crate::fold::NodeState;
use crate::ids::NodeId;
use crate::store::{OpIndex, Store, StoreError};

/// Something that is not what the log makes of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doubt {
    /// The state of a node.
    Node(NodeId),
    /// The digest that is kept of a node. The next change of the node would make the state digest wrong.
    NodeDigest(NodeId),
    /// What is under a node (`None`: at the top level), or its order.
    Order(Option<NodeId>),
    /// The digest that is kept of that order. The next change of the order would make the state digest wrong.
    OrderDigest(Option<NodeId>),
    /// The state digest: other devices take this one for different.
    StateSum,
}

/// How far an audit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuditStep {
    /// It reads operations.
    Read {
        /// So many were read.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// It folds nodes.
    Folded {
        /// So many were folded.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// Everything was looked at: [`Audit::conclude`].
    Done,
    /// Operations that were looked at may be worth something else now. Begin again.
    Outdated,
}

/// Operations, or nodes, of one step where nobody waits: what is read in one step is in memory together.
const PAGE: u32 = 4_096;

/// Which operations an audit is of.
#[derive(Debug)]
struct Extent {
    /// Those of the store below this index,
    ops: u32,
    /// but for those that had no effect yet.
    unfolded: BTreeSet<OpIndex>,
}

impl Extent {
    fn has(&self, index: OpIndex) -> bool {
        index.0 < self.ops && !self.unfolded.contains(&index)
    }

    /// Whether a node's history goes on after it.
    fn is_before(&self, state: &NodeState) -> bool {
        state.heads().iter().any(|head| !self.has(head.op))
    }
}

/// What decides what operations are worth, in numbers that only grow.
#[derive(Debug, PartialEq, Eq)]
struct Standing {
    /// Operations on the workspace.
    membership: usize,
    /// Places at which logs are forked.
    forks: usize,
}

impl Standing {
    fn of<S: Store>(replica: &Replica<S>) -> Self {
        let forks = replica.logs.iter().map(|(_, log)| log.branches().len().saturating_sub(1)).sum();
        Self { membership: replica.membership.len(), forks }
    }
}

/// An order as it is shown, and as it is kept in the state digest. Zeros stand for no children.
#[derive(Clone, Copy, Debug, Default)]
struct ShownOrder {
    shown: [u8; 32],
    kept: [u8; 32],
}

impl ShownOrder {
    fn doubt(self, parent: Option<NodeId>, digest: [u8; 32]) -> Option<Doubt> {
        match (self.shown == digest, self.kept == digest) {
            (false, _) => Some(Doubt::Order(parent)),
            (true, false) => Some(Doubt::OrderDigest(parent)),
            (true, true) => None,
        }
    }
}

/// A replica as it was at one moment, held against its log. See the module's documentation.
///
/// All calls are for one replica; between them it may be written to. Takes memory for the tree and for the id of each node.
#[derive(Debug)]
pub struct Audit {
    extent: Extent,
    standing: Standing,
    /// The state digest of that moment.
    state: [u8; 32],
    orders: BTreeMap<Option<NodeId>, ShownOrder>,
    reading: Reading,
    /// Nodes to be folded yet, with the last operations of their histories.
    nodes: BTreeMap<NodeId, Vec<OpIndex>>,
    /// How many there were.
    node_count: usize,
    /// The state digest as the log makes it, as far as it was looked at.
    sum: Sum,
    found: Vec<Doubt>,
}

impl Audit {
    /// Begins one of what is shown now.
    pub fn begin<S: Store>(replica: &mut Replica<S>) -> Self {
        let state = replica.state_digest();
        Self {
            extent: Extent { ops: replica.store.op_count(), unfolded: replica.unfolded.clone() },
            standing: Standing::of(replica),
            state,
            orders: shown_orders(replica),
            reading: Reading::default(),
            nodes: BTreeMap::new(),
            node_count: 0,
            sum: Sum::default(),
            found: Vec::new(),
        }
    }

    /// Looks at so many operations, or nodes, more.
    ///
    /// # Errors
    /// When the store fails, or operations in it are damaged. A node's state that is damaged is a doubt.
    pub fn step<S: Store>(&mut self, replica: &Replica<S>, count: u32) -> Result<AuditStep, StoreError> {
        if Standing::of(replica) != self.standing {
            return Ok(AuditStep::Outdated);
        }
        if self.reading.ops() < self.extent.ops {
            self.reading.read(replica, &self.extent, count)?;
            if self.reading.ops() == self.extent.ops {
                self.nodes = self.reading.take_nodes();
                self.node_count = self.nodes.len();
                self.doubt_strangers(replica)?;
            }
            return Ok(AuditStep::Read { done: self.reading.ops().into(), total: self.extent.ops.into() });
        }
        for _ in 0..count {
            let Some((id, heads)) = self.nodes.pop_first() else { return Ok(AuditStep::Done) };
            self.fold(replica, id, &heads)?;
        }
        Ok(AuditStep::Folded { done: (self.node_count - self.nodes.len()) as u64, total: self.node_count as u64 })
    }

    /// What is not as the log makes it, in the order of [`Doubt`]; nothing unless there is a fault.
    pub fn conclude(mut self) -> Vec<Doubt> {
        let tree = self.reading.into_tree();
        for parent in tree.parents() {
            let digest = digest_of_order(parent.as_ref(), &tree.children(parent.as_ref()));
            self.sum.add(&digest);
            let order = self.orders.remove(&parent).unwrap_or_default();
            self.found.extend(order.doubt(parent, digest));
        }
        // Under all others there is nothing.
        self.found.extend(self.orders.into_iter().filter_map(|(parent, order)| order.doubt(parent, [0; 32])));
        if self.sum.bytes() != self.state {
            self.found.push(Doubt::StateSum);
        }
        self.found.sort_unstable();
        self.found
    }

    /// Nodes that are shown, and on which there is no operation.
    fn doubt_strangers<S: Store>(&mut self, replica: &Replica<S>) -> Result<(), StoreError> {
        let exist = replica.nodes.iter().filter(|(_, _, facts)| facts.exists());
        for (slot, id, _) in exist.filter(|(_, id, _)| !self.nodes.contains_key(*id)) {
            let later = match replica.nodes.read(&replica.store, slot) {
                Ok(state) => self.extent.is_before(&state),
                Err(StoreError::Corrupt { .. }) => false,
                Err(error) => return Err(error),
            };
            if !later {
                self.found.push(Doubt::Node(id.clone()));
            }
        }
        Ok(())
    }

    /// Folds a node from its history, adds it to the sum, and holds it against the one that is shown.
    fn fold<S: Store>(&mut self, replica: &Replica<S>, id: NodeId, heads: &[OpIndex]) -> Result<(), StoreError> {
        let state = replica.state_at(heads)?;
        self.sum.add(&state.digest(&id, |index| replica.hash_of(index)));
        let doubt = self.doubt(replica, id, state)?;
        self.found.extend(doubt);
        Ok(())
    }

    /// What of a node is in doubt, given what its history makes of it.
    fn doubt<S: Store>(&self, replica: &Replica<S>, id: NodeId, made: NodeState) -> Result<Option<Doubt>, StoreError> {
        let slot = replica.nodes.find(&id);
        let (slot, shown, kept) = match slot.map(|slot| (slot, replica.nodes.read_with_digest(&replica.store, slot))) {
            Some((slot, Ok((state, digest)))) => (slot, state, digest),
            None | Some((_, Err(StoreError::Corrupt { .. }))) => return Ok(Some(Doubt::Node(id))),
            Some((_, Err(error))) => return Err(error),
        };
        // It went on meanwhile: then it is held against its history of now.
        let made = if self.extent.is_before(&shown) { replica.state_at(&shown.head_indices())? } else { made };
        let hash_of = |index| replica.hash_of(index);
        let digest = made.digest(&id, hash_of);
        let policy = replica.membership.policy();
        // The digest leaves out what follows from the rest, and the times of which it has the operations.
        let rest = |state: &NodeState| (state.created, state.modified, state.is_deleted(&policy));
        let is_made = shown.digest(&id, hash_of) == digest && rest(&shown) == rest(&made) && replica.nodes.facts(slot) == Facts::of(&made);
        Ok(match (is_made, kept.is_none_or(|kept| kept == digest)) {
            (false, _) => Some(Doubt::Node(id)),
            (true, false) => Some(Doubt::NodeDigest(id)),
            (true, true) => None,
        })
    }
}

impl<S: Store> Replica<S> {
    /// A whole [`Audit`] at once, for a replica that nobody waits for: what is not as the log makes it, nothing unless there is a fault.
    ///
    /// # Errors
    /// As [`Audit::step`].
    pub fn audit(&mut self) -> Result<Vec<Doubt>, StoreError> {
        let mut audit = Audit::begin(self);
        // Nobody writes meanwhile, so it is never outdated.
        while audit.step(self, PAGE)? != AuditStep::Done {}
        Ok(audit.conclude())
    }
}

/// The order below each parent, as the tree has it and as its digest was kept.
fn shown_orders<S: Store>(replica: &Replica<S>) -> BTreeMap<Option<NodeId>, ShownOrder> {
    let mut orders: BTreeMap<Option<NodeId>, ShownOrder> = BTreeMap::new();
    for parent in replica.tree.parents() {
        let shown = digest_of_order(parent.as_ref(), &replica.tree.children(parent.as_ref()));
        orders.entry(parent).or_default().shown = shown;
    }
    for (parent, kept) in replica.orders.by_parent(&replica.nodes) {
        orders.entry(parent).or_default().kept = kept;
    }
    orders
}
