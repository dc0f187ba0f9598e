//! Folding operations into the state of nodes: `state = fold(set of operations)`, whatever the order of arrival.
//!
//! Operations are applied one by one, parents first. When an operation's parents are all of its node's heads (the common case),
//! it comes after everything known and is applied as it is: the *fast path*. Otherwise something is concurrent with it, a walk
//! finds what, and each part of the node merges by its own rule: the *general path*. Both end in the same state; a test folds
//! random graphs in random orders to prove it.

pub mod embedding;
pub mod metadata;
pub mod node;
pub(crate) mod step;
pub(crate) mod text;
pub(crate) mod text_strategy;

pub use embedding::Embedding;
pub use metadata::Metadata;
pub use node::{NodeHead, NodeState};

use std::sync::Arc;

use crate::conflict::{Policy, ResolutionStrategy};
use crate::graph::Graph;
use crate::log::LogTable;
use crate::membership::Membership;
use crate::op::Op;
use crate::store::{OpIndex, Store, StoreError};

/// What folding looks at beside the node.
#[derive(Debug)]
pub(crate) struct Context<'a, S> {
    pub(crate) graph: Graph<'a, S>,
    pub(crate) logs: &'a LogTable,
    pub(crate) membership: &'a Membership,
    /// The strategy for text, when the workspace has only ever had one.
    pub(crate) text_strategy: Option<ResolutionStrategy>,
    /// Text lengths that merges start from.
    pub(crate) text_lens: &'a TextLens,
}

/// The length in scalars of the text that an operation came upon, by operation, for those that came after everything known then. Of
/// the operations right above a version that everything later descends from, the one folded first is among them: so the length of
/// the text at that version is known when a merge is to start from it.
#[derive(Clone, Debug, Default)]
pub(crate) struct TextLens(Vec<u32>);

impl TextLens {
    /// `None`: the operation did not come after everything. Kept as length + 1, so that zero stands for that.
    pub(crate) fn set(&mut self, index: OpIndex, len: Option<u32>) {
        let at = index.0 as usize;
        if self.0.len() <= at {
            if len.is_none() {
                return;
            }
            self.0.resize(at + 1, 0);
        }
        self.0[at] = len.map_or(0, |len| len.saturating_add(1));
    }

    fn get(&self, index: OpIndex) -> Option<u32> {
        self.0.get(index.0 as usize)?.checked_sub(1)
    }

    /// The length of the text at a window's base.
    pub(crate) fn at_base(&self, window: &crate::graph::Window) -> Option<u32> {
        if window.base.is_empty() { Some(0) } else { window.bottoms().find_map(|entry| self.get(entry.index)) }
    }

    pub(crate) fn raw(&self) -> &[u32] {
        &self.0
    }

    pub(crate) const fn from_raw(raw: Vec<u32>) -> Self {
        Self(raw)
    }
}

impl<S: Store> Context<'_, S> {
    /// The policy an operation was made under.
    pub(crate) fn policy_of(&self, index: OpIndex, op: &Op) -> Policy {
        let Some(log) = self.logs.get(&op.header.log) else { return Policy::default() };
        let branch = if log.is_forked() {
            log.branches().iter().position(|branch| branch.get(op.header.seq) == Some(index)).unwrap_or(0)
        } else {
            0
        };
        log.cut_at(branch, op.header.seq).map_or_else(Policy::default, |cut| self.membership.policy_at(cut))
    }

    /// The text strategy an operation was made under.
    pub(crate) fn text_strategy_of(&self, index: OpIndex, op: &Op) -> ResolutionStrategy {
        self.text_strategy.unwrap_or_else(|| self.policy_of(index, op).concurrent_edit)
    }

    /// Whether an operation has no effect because of its author's membership.
    pub(crate) fn is_void(&self, index: OpIndex, op: &Op) -> bool {
        let Some(log) = self.logs.get(&op.header.log) else { return false };
        let mut branches = log.branches().iter();
        branches.find(|branch| branch.get(op.header.seq) == Some(index)).is_some_and(|branch| branch.is_void(op.header.seq))
    }

    /// Whether an operation breaks the clock rules against its parents: such an operation has no effect.
    pub(crate) fn breaks_clock_rules(&self, op: &Op, parents: &[Arc<Op>]) -> bool {
        let latest = parents.iter().map(|parent| parent.header.version).max();
        let declared = op.header.parent_version;
        parents.iter().any(|parent| parent.header.timestamp >= op.header.timestamp)
            || latest != declared
            || parents.len() != op.header.parents.len()
    }

    /// What an operation changes; `None` when it has no effect.
    pub(crate) fn payload_of(&self, index: OpIndex, op: &Op) -> Result<Option<crate::op::Payload>, StoreError> {
        if self.is_void(index, op) {
            return Ok(None);
        }
        let parents = self.graph.parents(index, op)?;
        let parents = parents.iter().map(|parent| self.graph.op(*parent)).collect::<Result<Vec<_>, _>>()?;
        if self.breaks_clock_rules(op, &parents) || !step::may_stand(op) {
            return Ok(None);
        }
        Ok(op.decode_payload().ok())
    }
}
