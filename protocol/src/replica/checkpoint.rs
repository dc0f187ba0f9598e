//! Opening and checkpoints: derived state at rest, so that a restart reads it instead of folding everything again.
//!
//! A checkpoint is local and versioned: a program that does not know its version, or finds it damaged, folds the operations
//! instead. Its form is therefore free to change; it is CBOR by serde.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Replica;
use super::digest::Sum;
use super::nodes::NodeTable;
use super::standing::on_path_of;
use crate::clock::{Clocks, Timestamp};
use crate::crypto::Signature;
use crate::fold::TextLens;
use crate::ids::{LogId, NodeId, OpHash};
use crate::log::{Log, Split};
use crate::op::{Op, OpType, ParentRef};
use crate::store::{Checkpoint, OpIndex, Record, Store, StoreError};
use crate::tree::{Tree, TreeSnapshot};

/// The version of what [`Replica::checkpoint`] writes.
const CHECKPOINT_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Rest {
    version: u32,
    clocks: Clocks,
    tree: TreeSnapshot,
    text_lens: serde_bytes::ByteBuf,
    /// Operations that were stored and not folded.
    unfolded: Vec<OpIndex>,
    node_sum: serde_bytes::ByteBuf,
    orders: Vec<(Option<NodeId>, serde_bytes::ByteBuf)>,
}

#[derive(Serialize, Deserialize)]
struct NodeRecord {
    state: crate::fold::NodeState,
    digest: Option<serde_bytes::ByteBuf>,
}

impl<S: Store> Replica<S> {
    /// Writes a checkpoint of everything folded so far.
    ///
    /// # Errors
    /// When the store fails; the checkpoint before holds then.
    pub fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.settle()?;
        self.commit()?;
        self.state_digest();
        let mut nodes = Vec::new();
        for slot in self.nodes.take_checkpoint_dirty() {
            let entry = self.nodes.get(slot);
            let digest = entry.digest.map(|digest| serde_bytes::ByteBuf::from(digest.to_vec()));
            let record = NodeRecord { state: entry.state.clone(), digest };
            nodes.push((entry.id.clone(), to_cbor(&record)?));
        }
        nodes.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let rest = Rest {
            version: CHECKPOINT_VERSION,
            clocks: self.clocks,
            tree: self.tree.snapshot(),
            text_lens: self.text_lens.raw().iter().flat_map(|len| len.to_le_bytes()).collect::<Vec<u8>>().into(),
            unfolded: self.unfolded.iter().copied().collect(),
            node_sum: self.node_sum.bytes().to_vec().into(),
            orders: self.order_digests.iter().map(|(parent, digest)| (parent.clone(), digest.to_vec().into())).collect(),
        };
        self.store.save_checkpoint(Checkpoint { records: self.store.record_count(), nodes, rest: to_cbor(&rest)? })
    }

    /// Loads the store: logs and membership from the operations' headers, state from the checkpoint, the tail by folding.
    pub(super) fn restore(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let checkpoint = self.store.checkpoint()?;
        let rest = checkpoint.and_then(|(records, bytes)| {
            let rest: Rest = ciborium::from_reader(bytes.as_slice()).ok()?;
            (rest.version == CHECKPOINT_VERSION && records <= self.store.record_count()).then_some((records, rest))
        });
        let mut folded_ops = 0;
        let mut records: Vec<Record> = Vec::new();
        self.store.replay(0, &mut |record| records.push(record))?;
        if let Some((through, rest)) = rest {
            match self.take_rest(rest) {
                Ok(()) => {
                    let included = records.iter().take(usize::try_from(through).unwrap_or(usize::MAX));
                    folded_ops = included.filter(|record| matches!(record, Record::Op(_))).count() as u32;
                }
                // Derived state is damaged; the operations are not: fold them all.
                Err(StoreError::Corrupt { .. }) => self.forget_state(),
                Err(error) => return Err(error),
            }
        }
        self.offered = folded_ops;
        let mut index = 0;
        let mut judged = false;
        for record in records {
            match record {
                Record::Op(op) => {
                    if index == folded_ops {
                        judged = true;
                        self.resume(folded_ops, now)?;
                    }
                    let changes = self.restore_op(OpIndex(index), &op)?;
                    if index >= folded_ops {
                        if changes {
                            self.restand()?;
                        }
                        self.fold(OpIndex(index), &op, now)?;
                    }
                    index += 1;
                }
                Record::Signature { log, seq, hash, signature } => self.restore_signature(log, seq, &hash, signature)?,
            }
        }
        if !judged {
            self.resume(folded_ops, now)?;
        }
        self.settle()?;
        self.durable = self.store.op_count();
        Ok(())
    }

    /// Back to what an empty workspace has.
    fn forget_state(&mut self) {
        self.clocks = Clocks::default();
        self.tree = Tree::new();
        self.nodes = NodeTable::default();
        self.text_lens = TextLens::default();
        self.unfolded.clear();
        self.node_sum = Sum::default();
        self.order_digests.clear();
    }

    fn take_rest(&mut self, rest: Rest) -> Result<(), StoreError> {
        self.clocks = rest.clocks;
        self.tree = Tree::from_snapshot(rest.tree);
        self.tree.take_changed();
        let lens = rest.text_lens.chunks_exact(4).map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        self.text_lens = TextLens::from_raw(lens.collect());
        self.unfolded = rest.unfolded.into_iter().collect();
        self.node_sum = Sum::from_bytes(&array(&rest.node_sum)?);
        self.order_digests = rest
            .orders
            .into_iter()
            .map(|(parent, digest)| Ok((parent, array(&digest)?)))
            .collect::<Result<BTreeMap<_, _>, StoreError>>()?;
        for id in self.store.node_ids()? {
            let bytes = self.store.node(&id)?.unwrap_or_default();
            let record: NodeRecord = ciborium::from_reader(bytes.as_slice()).map_err(|error| corrupt("a node's state", &error))?;
            let digest = record.digest.map(|digest| array(&digest)).transpose()?;
            self.nodes.insert(id, record.state, digest);
        }
        Ok(())
    }

    /// Puts a stored operation back into its log, and into the membership graph. Answers whether that can change what other
    /// operations are worth.
    fn restore_op(&mut self, index: OpIndex, op: &Op) -> Result<bool, StoreError> {
        let (log, seq) = (op.header.log, op.header.seq);
        let (branch, split) = self.find_place(op)?;
        let was_forked = self.logs.get(&log).is_some_and(Log::is_forked);
        let branch = self.logs.entry(log).append(branch, seq - 1, (index, op.hash), split);
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
        let mut parents: Vec<OpHash> = Vec::new();
        for parent in &op.header.parents {
            parents.push(match parent {
                ParentRef::Other(hash) => *hash,
                ParentRef::Own(distance) => {
                    let found = self.graph().own(index, op, *distance);
                    self.hash_of(found.ok_or_else(|| corrupt("a workspace operation", &"its parent is missing"))?)
                }
            });
        }
        let result = self.membership.insert(op, *action, &parents, on_path_of!(self));
        result.map_err(|error| corrupt("a workspace operation", &error))
    }

    fn restore_signature(&mut self, log: LogId, seq: u64, hash: &OpHash, signature: Signature) -> Result<(), StoreError> {
        let Some(entry) = self.logs.get(&log) else { return Ok(()) };
        if let Some(branch) = entry.find(seq, hash, |index| self.store.op(index).map(|op| op.hash))? {
            self.logs.entry(log).branches_mut()[branch].signatures.insert(seq, signature);
        }
        Ok(())
    }

    /// Takes up work where the checkpoint left it: everything before it is back in its log, and the state loaded knows what of that
    /// has an effect.
    fn resume(&mut self, folded_ops: u32, now: Timestamp) -> Result<(), StoreError> {
        self.membership.reevaluate(on_path_of!(self));
        self.text_strategy = self.membership.only_text_strategy();
        self.live_text_strategy = self.text_strategy.unwrap_or_else(|| self.membership.policy().concurrent_edit);
        let branches: Vec<(LogId, usize)> =
            self.logs.iter().flat_map(|(id, log)| (0..log.branches().len()).map(move |branch| (*id, branch))).collect();
        for (log, branch) in branches {
            self.judge_branch(log, branch);
        }
        let waited: Vec<OpIndex> = self.unfolded.range(..OpIndex(folded_ops)).copied().collect();
        for index in waited {
            let op = self.store.op(index)?;
            self.unfolded.remove(&index);
            self.fold(index, &op, now)?;
        }
        Ok(())
    }
}

fn to_cbor<T: Serialize>(value: &T) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|error| corrupt("derived state", &error))?;
    Ok(bytes)
}

fn array(bytes: &[u8]) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| corrupt("a checkpoint", &"a digest does not have 32 bytes"))
}

fn corrupt(place: &str, what: &dyn std::fmt::Display) -> StoreError {
    StoreError::Corrupt { place: place.to_owned(), what: what.to_string() }
}
