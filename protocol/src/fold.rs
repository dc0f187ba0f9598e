//! Folding operations into the state of nodes: `state = fold(set of operations)`, whatever the order of arrival.
//!
//! Operations are applied one by one, parents first. When an operation's parents are all of its node's heads (the common case),
//! it comes after everything known and is applied as it is: the *fast path*. Otherwise something is concurrent with it, a walk
//! finds what, and each part of the node merges by its own rule: the *general path*. Both end in the same state; a test folds
//! random graphs in random orders to prove it.

pub mod embedding;
pub mod metadata;
pub mod node;
pub(crate) mod record;
pub(crate) mod step;
pub(crate) mod text;
pub(crate) mod text_strategy;

pub use embedding::Embedding;
pub use metadata::Metadata;
pub use node::{NodeHead, NodeState};

use std::sync::Arc;

use crate::conflict::{Policy, ResolutionStrategy};
use crate::graph::Graph;
use crate::ids::OpHash;
use crate::log::{Head, LogTable};
use crate::marks::Marks;
use crate::membership::Membership;
use crate::op::Op;
use crate::replica::standing::on_path;
use crate::store::{OpIndex, Store, StoreError};
use crate::wire::{DecodeError, Reader, put_uint};

/// About how many bytes a `BTreeMap` takes for its entries themselves. Its nodes have room for eleven and are never less than half full
/// but for the root.
const fn map_weight<K, V>(len: usize) -> usize {
    len.div_ceil(6) * 11 * size_of::<(K, V)>()
}

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
pub(crate) struct TextLens {
    lens: Vec<u32>,
    /// Chunks of it that the last checkpoint lacks.
    chunks: Marks,
}

/// Operations in one chunk of the lengths at rest.
pub(crate) const LENS_CHUNK: usize = 1 << 14;

impl TextLens {
    /// `None`: the operation did not come after everything. Kept as length + 1, so that zero stands for that.
    pub(crate) fn set(&mut self, index: OpIndex, len: Option<u32>) {
        let at = index.0 as usize;
        if self.lens.len() <= at {
            if len.is_none() {
                return;
            }
            self.lens.resize(at + 1, 0);
        }
        self.lens[at] = len.map_or(0, |len| len.saturating_add(1));
        self.chunks.mark((at / LENS_CHUNK) as u32);
    }

    fn get(&self, index: OpIndex) -> Option<u32> {
        self.lens.get(index.0 as usize)?.checked_sub(1)
    }

    /// The length of the text at a window's base.
    pub(crate) fn at_base(&self, window: &crate::graph::Window) -> Option<u32> {
        if window.base.is_empty() { Some(0) } else { window.bottoms().find_map(|entry| self.get(entry.index)) }
    }

    /// The chunks that the last checkpoint lacks, as bytes.
    pub(crate) fn begin_save(&mut self) -> Vec<(u32, Vec<u8>)> {
        let Self { lens, chunks } = self;
        let encode = |number: &u32| {
            let mut bytes = Vec::with_capacity(2 * LENS_CHUNK);
            let chunk = lens.iter().skip(*number as usize * LENS_CHUNK).take(LENS_CHUNK);
            chunk.for_each(|len| put_uint(&mut bytes, (*len).into()));
            (*number, bytes)
        };
        chunks.begin().iter().map(encode).collect()
    }

    pub(crate) fn finish_save(&mut self, saved: bool) {
        self.chunks.finish(saved);
    }

    /// Reads one chunk; all must be read, in order. `ops` is how many operations there are.
    pub(crate) fn read_chunk(&mut self, number: u32, bytes: &[u8], ops: u32) -> Result<(), DecodeError> {
        let first = (number as usize).saturating_mul(LENS_CHUNK);
        // Chunks in which no operation came after everything were never written.
        if first < self.lens.len() || first >= ops as usize {
            return Err(DecodeError::Invalid("a chunk of text lengths is out of order"));
        }
        self.lens.resize(first, 0);
        let mut reader = Reader::new(bytes);
        while reader.remaining() > 0 && self.lens.len() < first + LENS_CHUNK {
            let len = u32::try_from(reader.uint("a text's length")?);
            self.lens.push(len.map_err(|_| DecodeError::Invalid("a text's length exceeds 32 bits"))?);
        }
        reader.finish()
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
        let on_path = |log, seq, hash: &OpHash, head: &Head| on_path(self.graph.store, self.logs, log, seq, hash, head);
        log.cut_at(branch, op.header.seq).map_or_else(Policy::default, |cut| self.membership.policy_at(cut, &on_path))
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
