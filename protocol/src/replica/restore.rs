//! Opening: everything as the last checkpoint has it, then the operations that came after.
//!
//! Logs, the directory of nodes and the tree are read at once; states of nodes when they are asked for; membership is worked out anew from
//! the few operations that make it. What does not fit together is no checkpoint: then all operations are folded.

use std::ops::ControlFlow;

use super::Replica;
use super::checkpoint::base::{Base, Counts};
use super::checkpoint::{HAS_ORDER, Kind};
use super::digest::{Orders, Sum};
use super::nodes::{Facts, NodeTable};
use super::standing::on_path_of;
use crate::clock::{Clocks, Timestamp};
use crate::crypto::Signature;
use crate::fold::TextLens;
use crate::fold::record::read_node_id;
use crate::ids::{LogId, OpHash};
use crate::log::{Appended, Log, LogTable, Split};
use crate::membership::Membership;
use crate::op::{Op, OpType, ParentRef};
use crate::store::{OpIndex, PartKey, Record, Store, StoreError};
use crate::tree::{Tree, TreeReader};
use crate::wire::{DecodeError, Reader};

/// How many records are read before they are folded: bounds the memory that opening takes.
const REPLAY_BATCH: usize = 4096;

/// The parts of a checkpoint as they are read.
#[derive(Default)]
struct Loading {
    base: Option<Base>,
    logs: LogTable,
    nodes: NodeTable,
    orders: Orders,
    tree: TreeReader,
    text_lens: TextLens,
}

impl Loading {
    fn part(&mut self, key: PartKey, bytes: &[u8]) -> Result<(), DecodeError> {
        let (kind, log, chunk) = Kind::of(key).ok_or(DecodeError::Invalid("a part of a checkpoint is of no known kind"))?;
        if kind == Kind::Base {
            let base = Base::decode(bytes)?;
            self.reserve(&base);
            self.base = Some(base);
            return Ok(());
        }
        let ops = self.base.as_ref().ok_or(DecodeError::Invalid("a checkpoint has no base"))?.ops;
        match kind {
            Kind::Base => Ok(()),
            Kind::Log => self.logs.read_head(log, bytes, ops),
            Kind::Positions => self.logs.read_chunk(log, chunk, bytes, ops),
            Kind::Directory => self.directory(chunk, bytes),
            Kind::TreeNodes => self.tree.read_nodes(chunk, bytes),
            Kind::TreePlaces => self.tree.read_places(chunk, bytes),
            Kind::TextLens => self.text_lens.read_chunk(chunk, bytes, ops),
        }
    }

    /// Makes room. Counts are believed only as far as there are operations: each node and placement comes from one.
    fn reserve(&mut self, base: &Base) {
        let bound = |count: u64| count.min(base.ops.into()) as usize;
        self.nodes.reserve(bound(base.counts.nodes));
        self.tree.reserve(bound(base.counts.tree_nodes), bound(base.counts.tree_places));
    }

    fn directory(&mut self, chunk: u32, bytes: &[u8]) -> Result<(), DecodeError> {
        const WHAT: &str = "the directory of nodes";
        if self.nodes.len() != chunk as usize * super::nodes::DIRECTORY_CHUNK {
            return Err(DecodeError::Invalid("the directory of nodes is not in order"));
        }
        let mut reader = Reader::new(bytes);
        while reader.remaining() > 0 {
            let flags = reader.byte(WHAT)?;
            let id = read_node_id(&mut reader)?;
            if flags & !(HAS_ORDER | Facts::ALL) != 0 || self.nodes.find(&id).is_some() {
                return Err(DecodeError::Invalid("a node comes twice in the directory, or is of no known form"));
            }
            let slot = self.nodes.insert(id, Facts(flags & Facts::ALL));
            if flags & HAS_ORDER != 0 {
                self.orders.by_node.insert(slot, reader.array(WHAT)?);
            }
        }
        Ok(())
    }

    /// Whether what was read is all there is.
    fn counts(&self, tree: &Tree) -> Counts {
        let (tree_nodes, tree_places) = tree.interned();
        Counts {
            logs: self.logs.len() as u64,
            nodes: self.nodes.len() as u64,
            tree_nodes: tree_nodes as u64,
            tree_places: tree_places as u64,
        }
    }
}

impl<S: Store> Replica<S> {
    /// Loads the last checkpoint, if there is one that can be read, and folds what came after.
    pub(super) fn restore(&mut self, now: Timestamp) -> Result<(), StoreError> {
        match self.load_checkpoint() {
            Ok(records) => self.replay_from(records, now),
            // Derived state is damaged; the operations are not: fold them all.
            Err(StoreError::Corrupt { .. }) => {
                self.forget_state();
                self.replay_from(0, now)
            }
            Err(error) => Err(error),
        }
    }

    /// Back to what an empty workspace has.
    fn forget_state(&mut self) {
        self.clocks = Clocks::default();
        self.membership = Membership::new(self.workspace);
        self.logs = LogTable::default();
        self.tree = Tree::new();
        self.nodes = NodeTable::default();
        self.text_lens = TextLens::default();
        self.unfolded.clear();
        self.node_sum = Sum::default();
        self.orders = Orders::default();
        self.offered = 0;
    }

    /// Reads the last checkpoint; answers how many records it includes.
    fn load_checkpoint(&mut self) -> Result<u64, StoreError> {
        let Some(records) = self.store.checkpoint()? else { return Ok(0) };
        let mut loading = Loading::default();
        let mut read = Ok(());
        self.store.parts(&mut |key, bytes| {
            if read.is_ok() {
                read = loading.part(key, bytes);
            }
        })?;
        read.map_err(|error| corrupt("a checkpoint", &error))?;
        let tree = std::mem::take(&mut loading.tree).finish().map_err(|error| corrupt("a checkpoint", &error))?;
        let base = loading.base.take().ok_or_else(|| corrupt("a checkpoint", &"it has no base"))?;
        let fits = records <= self.store.record_count() && base.ops <= self.store.op_count();
        if !fits || loading.logs.ops() != u64::from(base.ops) || loading.counts(&tree) != base.counts {
            return Err(corrupt("a checkpoint", &"its parts do not fit together"));
        }
        let Loading { logs, nodes, orders, text_lens, .. } = loading;
        (self.tree, self.logs, self.nodes, self.text_lens) = (tree, logs, nodes, text_lens);
        self.orders = Orders { loose: base.orders, ..orders };
        (self.clocks, self.node_sum, self.offered) = (base.clocks, base.node_sum, base.ops);
        self.unfolded = base.unfolded.into_iter().collect();
        self.nodes.set_loaded();
        self.readmit(&base.membership, &base.cuts)?;
        Ok(records)
    }

    /// Takes back the membership graph, and the cuts by their numbers.
    fn readmit(&mut self, ops: &[OpIndex], cuts: &[Vec<usize>]) -> Result<(), StoreError> {
        let missing = || corrupt("a checkpoint", &"its membership does not fit together");
        for index in ops {
            let op = self.store.op(*index).map_err(|error| corrupt("a checkpoint", &error))?;
            let parents = self.membership_parents(*index, &op)?;
            let action = op.decode_payload().map_err(|error| corrupt("a workspace operation", &error))?.action.ok_or_else(missing)?;
            self.membership.readmit(&op, *action, &parents).ok_or_else(missing)?;
        }
        cuts.iter().try_for_each(|heads| self.membership.read_cut(heads)).ok_or_else(missing)
    }

    /// Takes up work after the checkpoint (or at the beginning) and folds the records that came after.
    pub(super) fn replay_from(&mut self, mut from: u64, now: Timestamp) -> Result<(), StoreError> {
        self.resume(now)?;
        let mut index = self.offered;
        loop {
            let mut batch: Vec<Record> = Vec::with_capacity(REPLAY_BATCH);
            self.store.replay(from, &mut |record| {
                batch.push(record);
                if batch.len() == REPLAY_BATCH { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if batch.is_empty() {
                break;
            }
            from += batch.len() as u64;
            for record in batch {
                match record {
                    Record::Op(op) => {
                        if self.restore_op(OpIndex(index), &op)? {
                            self.restand()?;
                        }
                        self.fold(OpIndex(index), &op, now)?;
                        index += 1;
                    }
                    Record::Signature { log, seq, hash, signature } => self.restore_signature(log, seq, &hash, signature)?,
                }
            }
            self.settle()?;
        }
        self.durable = self.store.op_count();
        Ok(())
    }

    /// Judges everything that the checkpoint includes, and takes up again what waited.
    fn resume(&mut self, now: Timestamp) -> Result<(), StoreError> {
        self.membership.reevaluate(on_path_of!(self));
        self.text_strategy = self.membership.only_text_strategy();
        self.live_text_strategy = self.text_strategy.unwrap_or_else(|| self.membership.policy().concurrent_edit);
        let branches: Vec<(LogId, usize)> =
            self.logs.iter().flat_map(|(id, log)| (0..log.branches().len()).map(move |branch| (*id, branch))).collect();
        for (log, branch) in branches {
            self.judge_branch(log, branch);
        }
        let waited: Vec<OpIndex> = self.unfolded.iter().copied().collect();
        for index in waited {
            let op = self.store.op(index)?;
            self.unfolded.remove(&index);
            self.fold(index, &op, now)?;
        }
        self.settle()
    }

    /// Puts a stored operation back into its log, and into the membership graph. Answers whether that can change what other
    /// operations are worth.
    fn restore_op(&mut self, index: OpIndex, op: &Op) -> Result<bool, StoreError> {
        let (log, seq) = (op.header.log, op.header.seq);
        let (branch, split) = self.find_place(op)?;
        let was_forked = self.logs.get(&log).is_some_and(Log::is_forked);
        let branch = self.logs.entry(log).append(branch, seq - 1, Appended::of(index, op), split);
        let own = [op.hash];
        let mut heads = op.header.cut.as_deref();
        if op.header.kind == OpType::Workspace {
            self.restore_membership(index, op)?;
            heads = Some(&own);
        }
        if let Some(heads) = heads {
            let cut = self.membership.cut(heads, on_path_of!(self));
            let cut = cut.map_err(|missing| corrupt("a log", &format!("membership operation {} is missing", missing.short())))?;
            self.note_cut(log, branch, seq, cut);
        }
        let is_forked = self.logs.get(&log).is_some_and(Log::is_forked);
        let forked = is_forked && (!was_forked || self.membership.has_removals());
        Ok(forked || op.header.kind == OpType::Workspace)
    }

    /// The branch a stored operation continues, and where that branch must be split.
    fn find_place(&self, op: &Op) -> Result<(usize, Option<Split>), StoreError> {
        let Some(log) = self.logs.get(&op.header.log) else { return Ok((0, None)) };
        let after = op.header.seq - 1;
        let mut found = None;
        if let Some(previous) = op.header.previous {
            found = log.find(after, &previous, |index| self.store.op(index).map(|op| op.hash))?;
        }
        let branch = found.unwrap_or(0);
        let next = log.branches()[branch].get(op.header.seq);
        Ok((branch, next.map(|next| Split { last: op.header.previous, next: self.hash_of(next) })))
    }

    fn restore_membership(&mut self, index: OpIndex, op: &Op) -> Result<(), StoreError> {
        let payload = op.decode_payload().map_err(|error| corrupt("a workspace operation", &error))?;
        let Some(action) = payload.action else { return Ok(()) };
        let parents = self.membership_parents(index, op)?;
        let result = self.membership.insert(op, *action, &parents, on_path_of!(self));
        result.map_err(|error| corrupt("a workspace operation", &error))
    }

    /// The hashes of a stored workspace operation's parents.
    fn membership_parents(&self, index: OpIndex, op: &Op) -> Result<Vec<OpHash>, StoreError> {
        let parent = |parent: &ParentRef| match parent {
            ParentRef::Other(hash) => Ok(*hash),
            ParentRef::Own(distance) => {
                let found = self.graph().own(index, op, *distance);
                Ok(self.hash_of(found.ok_or_else(|| corrupt("a workspace operation", &"its parent is missing"))?))
            }
        };
        op.header.parents.iter().map(parent).collect()
    }

    fn restore_signature(&mut self, log: LogId, seq: u64, hash: &OpHash, signature: Signature) -> Result<(), StoreError> {
        let Some(entry) = self.logs.get(&log) else { return Ok(()) };
        if let Some(branch) = entry.find(seq, hash, |index| self.store.op(index).map(|op| op.hash))? {
            self.logs.entry(log).branches_mut()[branch].sign(seq, signature);
        }
        Ok(())
    }
}

fn corrupt(place: &str, what: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt { place: place.to_owned(), what: what.to_string() }
}
