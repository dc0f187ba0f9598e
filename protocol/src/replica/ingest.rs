//! Segments from others: checked, stored, folded.
//!
//! In this order, cheapest first: bounds (by the decoder), a known author, the position in the log, the hash chain and
//! the signature, the clocks along the log, the right to write under the membership named. A segment is taken whole or not at all, so
//! that the last operation held of a log always has a signature to pass on.
//!
//! What a packet's checks have verified already ([`VerifiedOps`]) goes the same way without the hashes and the signature.

use std::sync::Arc;

use super::Replica;
use super::fold_op::Folded;
use super::standing::on_path_of;
use crate::clock::Timestamp;
use crate::crypto::{BadSignature, Signature};
use crate::ids::{LogId, NodeId, OpHash};
use crate::log::{Appended, Log, Split};
use crate::membership::{CutId, Role, Unauthorised};
use crate::mutant::{self, Mutant};
use crate::op::segment::{ChainError, PREFIX_BYTES, Position, Resolve, Segment, WireParent};
use crate::op::{Header, Op, OpType, ParentRef, PayloadError};
use crate::store::{OpIndex, Record, Store, StoreError};
use crate::view::consistency::VerifiedOps;

/// What a segment brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ingested {
    /// Operations that were new.
    pub stored: u32,
    /// Of these, without effect until a parent arrives.
    pub waiting: u32,
    /// Of these, held back until their time comes.
    pub held: u32,
    /// Operations that were known.
    pub duplicates: u32,
    /// The log was found to be forked.
    pub forked: bool,
    /// The membership was judged anew, and may be another: a workspace operation came, or of a forked log what a removal's reach depends on.
    pub membership: bool,
}

/// What must arrive before a segment can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The operation before its first.
    Previous(Position),
    /// A parent that it names by position.
    Parent(Position),
    /// A parent that it names by the beginning of its hash.
    Recent([u8; PREFIX_BYTES]),
    /// A workspace operation.
    Membership(OpHash),
}

/// Why a segment is not taken, now or ever.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its author is no member, or may not do this.
    #[error(transparent)]
    Unauthorised(#[from] Unauthorised),
    /// A header breaks a rule, or the signature is wrong.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Clocks do not advance along the log.
    #[error("operation {seq} of log {log}: time and version must exceed those of the operation before and of its parents")]
    Clock {
        /// The log.
        log: LogId,
        /// The operation.
        seq: u64,
    },
    /// The first operation of a log must say under which membership it is made.
    #[error("operation {seq} of log {log} names no membership, nor does any before it")]
    NoCut {
        /// The log.
        log: LogId,
        /// The operation.
        seq: u64,
    },
    /// A workspace operation's payload could not be read; others may be void, these may not.
    #[error("a workspace operation that cannot be read: {0}")]
    Workspace(PayloadError),
}

/// Why [`Replica::ingest`] did not take a segment. Nothing of it was stored.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The peer sent what must not be taken.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// Something else must come first.
    #[error("something it builds on has not arrived: {0:?}")]
    Missing(Missing),
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is new of a verified segment, and where it goes.
struct Placed {
    log: LogId,
    ops: Vec<Op>,
    signature: Signature,
    spot: Spot,
}

/// Where a segment goes on from what is known.
struct Spot {
    /// Where its first new operation continues: branch and sequence number.
    branch: usize,
    after: u64,
    duplicates: u32,
    /// The operations a fork would divide.
    split: Option<Split>,
}

impl<S: Store> Replica<S> {
    /// Takes a segment: checks it, stores what is new and folds it. Not durable before [`Replica::commit`].
    ///
    /// # Errors
    /// When it is refused, must wait, or storage fails.
    pub fn ingest(&mut self, segment: &Segment, now: Timestamp) -> Result<Ingested, IngestError> {
        // Settled at once: what follows may end with an error.
        self.tick(now)?;
        if let Some(first) = segment.ops.first() {
            self.check_author(segment.log, segment.first_seq, first.kind, first.cut.as_deref())?;
        }
        let placed = self.place(segment)?;
        self.ingest_placed(placed, now)
    }

    /// As [`Self::ingest`], of operations whose hashes and signature have been checked: judges only what depends on what is held here.
    ///
    /// # Errors
    /// When they are refused, must wait, or storage fails.
    pub fn ingest_verified(&mut self, run: &VerifiedOps, now: Timestamp) -> Result<Ingested, IngestError> {
        self.tick(now)?;
        let Some(first) = run.first() else { return Ok(Ingested::default()) };
        let header = &first.header;
        self.check_author(header.log, header.seq, header.kind, header.cut.as_deref())?;
        let placed = self.place_verified(run, header)?;
        self.ingest_placed(placed, now)
    }

    fn ingest_placed(&mut self, placed: Placed, now: Timestamp) -> Result<Ingested, IngestError> {
        let changes_membership = placed.ops.iter().any(|op| op.header.kind == OpType::Workspace);
        let before = changes_membership.then(|| self.membership.clone());
        let cuts = match self.authorise(&placed) {
            Ok(cuts) => cuts,
            Err(error) => {
                if let Some(before) = before {
                    self.membership = before;
                }
                return Err(error);
            }
        };
        let ingested = self.store_placed(placed, &cuts, changes_membership, now)?;
        self.settle()?;
        Ok(ingested)
    }

    /// A device that no workspace operation names can only bring the operation that names it. Anything else of it is refused, or
    /// waits while what would name the device may still be under way: the beginning of its log, or the membership it was made under.
    fn check_author(&self, log: LogId, first_seq: u64, kind: OpType, cut: Option<&[OpHash]>) -> Result<(), IngestError> {
        let known = self.logs.get(&log).is_some() || self.membership.knows_device(&log.device);
        if known || kind == OpType::Workspace {
            return Ok(());
        }
        if first_seq > 1 {
            return Err(IngestError::Missing(Missing::Previous(Position { log, seq: first_seq - 1 })));
        }
        match cut.into_iter().flatten().find(|head| !self.membership.contains(head)) {
            Some(missing) => Err(IngestError::Missing(Missing::Membership(*missing))),
            None => Err(Refusal::Unauthorised(Unauthorised::NotMember(log.device)).into()),
        }
    }

    /// Finds where a segment continues its log, computes its hashes, checks its signature, and skips what is known.
    fn place(&self, segment: &Segment) -> Result<Placed, IngestError> {
        let empty = Log::default();
        let log = self.logs.get(&segment.log).unwrap_or(&empty);
        let begins = |hash: &OpHash| hash.0[..PREFIX_BYTES] == segment.previous_prefix;
        let (branch, previous) = self.find_previous(log, segment.log, segment.first_seq, begins)?;
        let mut ops = segment.verify(&self.workspace, previous, self).map_err(|error| match (error, segment.named_loosely()) {
            // With a parent taken for another than was meant, a header and its hash come out wrong, and nobody is to blame: two recent
            // operations' hashes begin alike, or a log is forked and the sender holds another branch of it. A sender that knows of that
            // spells the hash out.
            (ChainError::UnknownParent(position), _)
            | (ChainError::Header { .. } | ChainError::Signature { .. }, Some(WireParent::At(position))) => {
                IngestError::Missing(Missing::Parent(position))
            }
            (ChainError::UnknownPrefix(prefix), _)
            | (ChainError::Header { .. } | ChainError::Signature { .. }, Some(WireParent::Prefix(prefix))) => {
                IngestError::Missing(Missing::Recent(prefix))
            }
            (other, _) => Refusal::Chain(other).into(),
        })?;
        let spot = self.skip_known(log, branch, &ops)?;
        ops.drain(..spot.duplicates as usize);
        Ok(Placed { log: segment.log, ops, signature: segment.signature, spot })
    }

    /// The same for what is verified: it says itself, by its whole hash, which operation it continues.
    fn place_verified(&self, run: &VerifiedOps, first: &Header) -> Result<Placed, IngestError> {
        if run.workspace() != self.workspace {
            // Another workspace's hashes: of this one's nobody has signed them.
            let seq = first.seq + run.len() as u64 - 1;
            return Err(Refusal::Chain(ChainError::Signature { seq, why: BadSignature }).into());
        }
        let empty = Log::default();
        let log = self.logs.get(&first.log).unwrap_or(&empty);
        let (branch, _) = self.find_previous(log, first.log, first.seq, |hash| first.previous == Some(*hash))?;
        let spot = self.skip_known(log, branch, run)?;
        let ops = run[spot.duplicates as usize..].to_vec();
        Ok(Placed { log: first.log, ops, signature: run.signature(), spot })
    }

    /// The branch that holds the operation before a position, and its hash.
    fn find_previous(
        &self,
        log: &Log,
        id: LogId,
        first_seq: u64,
        is_previous: impl Fn(&OpHash) -> bool,
    ) -> Result<(usize, Option<OpHash>), IngestError> {
        let Some(seq) = first_seq.checked_sub(1).filter(|seq| *seq > 0) else { return Ok((0, None)) };
        for (index, branch) in log.branches().iter().enumerate() {
            let Some(op) = branch.get(seq) else { continue };
            let hash = if seq == branch.last_seq() { branch.last } else { Some(self.store.op(op)?.hash) };
            if let Some(hash) = hash.filter(&is_previous) {
                return Ok((index, Some(hash)));
            }
        }
        Err(IngestError::Missing(Missing::Previous(Position { log: id, seq })))
    }

    fn skip_known(&self, log: &Log, mut branch: usize, ops: &[Op]) -> Result<Spot, IngestError> {
        let mut after = ops.first().map_or(0, |first| first.header.seq - 1);
        let mut duplicates = 0;
        let mut split = None;
        for op in ops {
            if mutant::is(Mutant::NoDedup) {
                break;
            }
            let next = after + 1;
            if let Some(index) = log.branches().get(branch).and_then(|branch| branch.get(next)) {
                let known = self.store.op(index)?.hash;
                if known != op.hash {
                    let last = op.header.previous;
                    split = Some(Split { last, next: known });
                    break;
                }
            } else {
                let children = log.branches().iter().enumerate().filter(|(_, child)| child.parent == Some(branch));
                match children.filter(|(_, child)| child.name == Some(op.hash)).map(|(index, _)| index).next() {
                    Some(child) => branch = child,
                    None => break,
                }
            }
            after = next;
            duplicates += 1;
        }
        Ok(Spot { branch, after, duplicates, split })
    }

    /// Checks clocks and rights of every new operation; workspace operations enter the membership graph. Answers the cut each
    /// operation is made under.
    fn authorise(&mut self, placed: &Placed) -> Result<Vec<CutId>, IngestError> {
        let log = self.logs.get(&placed.log);
        let mut cut = log.and_then(|log| log.cut_at(placed.spot.branch, placed.spot.after));
        let mut before = match log.and_then(|log| log.on_path(placed.spot.branch, placed.spot.after)) {
            Some(index) => {
                let op = self.store.op(index)?;
                Some((op.header.timestamp, op.header.version))
            }
            None => None,
        };
        let mut checked: Option<CutId> = None;
        let mut cuts = Vec::with_capacity(placed.ops.len());
        for op in &placed.ops {
            let (log, seq) = (placed.log, op.header.seq);
            if before.is_some_and(|(timestamp, version)| timestamp >= op.header.timestamp || version >= op.header.version) {
                return Err(Refusal::Clock { log, seq }.into());
            }
            before = Some((op.header.timestamp, op.header.version));
            if op.header.kind == OpType::Workspace {
                self.enter(op, placed)?;
            }
            let own = [op.hash];
            let named = if op.header.kind == OpType::Workspace { Some(own.as_slice()) } else { op.header.cut.as_deref() };
            if let Some(heads) = named {
                let id = self.membership.cut(heads, on_path_of!(self));
                cut = Some(id.map_err(|missing| IngestError::Missing(Missing::Membership(missing)))?);
            }
            let current = cut.ok_or(Refusal::NoCut { log, seq })?;
            if op.header.kind != OpType::Workspace && checked != Some(current) {
                let role = self.membership.role_at(current, &log.device, on_path_of!(self));
                check_writer(role, log)?;
                checked = Some(current);
            }
            cuts.push(current);
        }
        Ok(cuts)
    }

    /// Takes a workspace operation into the membership graph.
    fn enter(&mut self, op: &Op, placed: &Placed) -> Result<(), IngestError> {
        let payload = op.decode_payload().map_err(Refusal::Workspace)?;
        let Some(action) = payload.action else {
            return Err(Refusal::Workspace(PayloadError::Missing { kind: OpType::Workspace, field: "a workspace action" }).into());
        };
        let mut parents = Vec::with_capacity(op.header.parents.len());
        for parent in &op.header.parents {
            let hash = match parent {
                ParentRef::Other(hash) => *hash,
                ParentRef::Own(distance) => self.own_hash(op, placed, *distance)?,
            };
            if !self.membership.contains(&hash) {
                return Err(IngestError::Missing(Missing::Membership(hash)));
            }
            parents.push(hash);
        }
        let stamps: Vec<_> = parents.iter().filter_map(|parent| self.membership.stamp_of(parent)).collect();
        let latest = stamps.iter().map(|stamp| stamp.version).max();
        if latest != op.header.parent_version || stamps.iter().any(|stamp| stamp.timestamp >= op.header.timestamp) {
            return Err(Refusal::Clock { log: placed.log, seq: op.header.seq }.into());
        }
        let result = self.membership.insert(op, *action, &parents, on_path_of!(self));
        result.map_err(|why| Refusal::Unauthorised(why).into())
    }

    /// The hash `distance` before an operation that may not be stored yet.
    fn own_hash(&self, op: &Op, placed: &Placed, distance: u64) -> Result<OpHash, IngestError> {
        let seq = op.header.seq - distance;
        if let Some(found) = placed.ops.iter().find(|other| other.header.seq == seq) {
            return Ok(found.hash);
        }
        let index = self.logs.get(&placed.log).and_then(|log| log.on_path(placed.spot.branch, seq));
        let index = index.ok_or(IngestError::Missing(Missing::Previous(Position { log: placed.log, seq })))?;
        Ok(self.store.op(index)?.hash)
    }

    fn store_placed(&mut self, placed: Placed, cuts: &[CutId], changes_membership: bool, now: Timestamp) -> Result<Ingested, IngestError> {
        let mut ingested = Ingested { duplicates: placed.spot.duplicates, ..Ingested::default() };
        let Some(last) = placed.ops.last() else { return Ok(ingested) };
        let signed = (last.header.seq, last.hash);
        let was_forked = self.logs.get(&placed.log).is_some_and(Log::is_forked);
        let first = self.store.op_count();
        let stored: Vec<(OpIndex, Arc<Op>)> = (first..).map(OpIndex).zip(placed.ops.into_iter().map(Arc::new)).collect();
        let mut group: Vec<Record> = stored.iter().map(|(_, op)| Record::Op(Arc::clone(op))).collect();
        group.push(Record::Signature { log: placed.log, seq: signed.0, hash: signed.1, signature: placed.signature });
        self.store.append(group)?;
        let Spot { mut branch, mut after, mut split, .. } = placed.spot;
        for ((index, op), cut) in stored.iter().zip(cuts) {
            branch = self.logs.entry(placed.log).append(branch, after, Appended::of(*index, op), split.take());
            after = op.header.seq;
            self.note_cut(placed.log, branch, after, *cut);
        }
        self.logs.entry(placed.log).branches_mut()[branch].sign(signed.0, placed.signature);
        ingested.stored = stored.len() as u32;
        ingested.forked = !was_forked && self.logs.get(&placed.log).is_some_and(Log::is_forked);
        // What a removal covers of a forked log depends on which of its branches are held.
        let judged_anew = self.membership.has_removals() && self.logs.get(&placed.log).is_some_and(Log::is_forked);
        ingested.membership = changes_membership || ingested.forked || judged_anew;
        if ingested.membership {
            self.restand()?;
        }
        for (index, op) in &stored {
            match self.fold(*index, op, now)? {
                Folded::Done => {}
                Folded::Waiting => ingested.waiting += 1,
                Folded::Held => ingested.held += 1,
            }
        }
        Ok(ingested)
    }

    /// Remembers the cut in force from a position on, and what it means for the operations from there.
    pub(crate) fn note_cut(&mut self, log: LogId, branch: usize, seq: u64, cut: CutId) {
        if self.logs.get(&log).and_then(|log| log.cut_at(branch, seq)) == Some(cut) {
            return;
        }
        self.logs.entry(log).branches_mut()[branch].cuts.push((seq, cut));
        self.judge_branch(log, branch);
    }
}

/// How many of a node's operations are looked at for one whose hash begins in a certain way.
const RECENT_MAX: usize = 64;

impl<S: Store> Resolve for Replica<S> {
    fn hash_at(&self, position: &Position) -> Option<OpHash> {
        let index = self.logs.get(&position.log)?.only(position.seq)?;
        self.store.op(index).ok().map(|op| op.hash)
    }

    fn hash_like(&self, node: Option<&NodeId>, prefix: &[u8; PREFIX_BYTES]) -> Option<OpHash> {
        let begins = |hash: &OpHash| hash.0[..PREFIX_BYTES] == *prefix;
        let Some(node) = node else { return self.membership.heads().iter().copied().find(begins) };
        let slot = self.nodes.find(node)?;
        self.graph().recent(&self.nodes.read(&self.store, slot).ok()?.head_indices(), RECENT_MAX).ok()?.into_iter().find(begins)
    }
}

/// Whether a device of this role may write nodes.
fn check_writer(role: Option<Role>, log: LogId) -> Result<(), IngestError> {
    match role {
        _ if mutant::is(Mutant::NoMembershipCheck) => Ok(()),
        Some(role) if role.can_write() => Ok(()),
        Some(role) => Err(Refusal::Unauthorised(Unauthorised::Role { device: log.device, role, what: "writing nodes" }).into()),
        None => Err(Refusal::Unauthorised(Unauthorised::NotMember(log.device)).into()),
    }
}
