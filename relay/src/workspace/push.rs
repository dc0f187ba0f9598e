//! A packet's operations on their way into a workspace.

use std::collections::{BTreeMap, BTreeSet};

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::ids::{DeviceId, LogId, NodeId, OpHash, UserId};
use nodespace_protocol::op::{Op, ParentRef};
use nodespace_protocol::replica::{IngestError, Ingested, Missing, Refusal as IngestRefusal};
use nodespace_protocol::store::{Store as _, StoreError};
use nodespace_protocol::view::consistency::VerifiedOps;
use nodespace_protocol::view::{ConflictContext, LeftOut, PushedRun, conflict_context};

use super::RelayReplica;
use crate::config::QuotaConfig;
use crate::refusal::Refusal;
use crate::store::WorkspaceRow;

/// How often the segments of a packet that must wait are tried again while others of it are taken. A packet in the order of its logs needs
/// two; what still waits after the last is left out, and its sender is told.
const PASSES_MAX: usize = 8;
/// The most conflicts told in one answer, and the most bytes of them as JSON; the rest is left to the device, whose own replica finds all.
const CONFLICTS_MAX: usize = 256;
const CONFLICT_BYTES_MAX: usize = 1 << 20;
/// What an operation takes in the database beside its payload, about.
const HEADER_BYTES: usize = 256;
/// A full workspace takes this part of its quota more of what changes its membership: a removal must reach everybody.
const RESERVE_PART: u64 = 16;
/// The stable name of what a full workspace answers.
const QUOTA_EXCEEDED: &str = "quota_exceeded";

/// A packet's operations: authentic, not yet judged.
#[derive(Debug)]
pub struct PushJob {
    /// Who carries them in.
    pub user: UserId,
    /// On which device.
    pub device: DeviceId,
    /// The operations by segment, verified; without attachments.
    pub segments: Vec<VerifiedOps>,
    /// The workspace's version when the packet came.
    pub seen_version: u64,
}

/// What became of a packet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pushed {
    /// Operations that are stored now, by this packet or before, in the packet's order.
    pub applied: Vec<OpHash>,
    /// Of these, new ones.
    pub stored: usize,
    /// Segments of which nothing was stored.
    pub left_out: Vec<LeftOut>,
    /// Conflicts that the packet's operations are part of.
    pub conflicts: Vec<ConflictContext>,
    /// The workspace as the turn left it; `None` when there was none.
    pub row: Option<WorkspaceRow>,
    /// What it added, when its turn had no other packet.
    pub added: Option<Added>,
}

/// What a packet added that was alone in its turn: between the version before and the turn's there is nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// The workspace's version before.
    pub after: u64,
    /// Bytes of headers and payloads.
    pub bytes: u64,
    /// Its runs in the order of the log, with nothing before or between them.
    pub runs: Vec<PushedRun>,
}

/// What ingesting a packet did to the replica, beside its answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effects {
    pub(super) membership: bool,
    pub(super) held: bool,
}

/// What came of the segments that fit.
#[derive(Debug, Default)]
struct Taken {
    segments: BTreeSet<usize>,
    pushed: Pushed,
    effects: Effects,
}

impl Taken {
    fn note(&mut self, segment: usize, ingested: &Ingested) {
        self.segments.insert(segment);
        self.pushed.stored += ingested.stored as usize;
        self.effects.membership |= ingested.membership;
        self.effects.held |= ingested.held > 0;
    }
}

/// What a workspace may still take, in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    quota_mib: u64,
    /// Of anything.
    left: u64,
    /// Of what changes its membership.
    reserve: u64,
}

impl Room {
    /// What a quota leaves of a workspace.
    pub(super) const fn of(quota: QuotaConfig, row: &WorkspaceRow) -> Self {
        let bytes = quota.workspace_mib << 20;
        let most = bytes.saturating_add(bytes / RESERVE_PART);
        Self { quota_mib: quota.workspace_mib, left: bytes.saturating_sub(row.bytes), reserve: most.saturating_sub(row.bytes) }
    }

    const fn take(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
        self.reserve = self.reserve.saturating_sub(bytes);
    }

    fn message(&self) -> String {
        format!("the workspace's operations would take more than {} MiB; ask the relay's operator for more", self.quota_mib)
    }

    fn refusal(&self) -> Refusal {
        Refusal::new(axum::http::StatusCode::INSUFFICIENT_STORAGE, QUOTA_EXCEEDED, self.message())
    }

    fn left_out(&self, segment: usize) -> LeftOut {
        LeftOut { segment: segment as u32, code: QUOTA_EXCEEDED.into(), message: self.message(), waits: false }
    }
}

impl PushJob {
    /// Operations in it.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.segments.iter().map(|run| run.len()).sum()
    }

    /// About how many bytes they take in the database.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().flatten().map(bytes_of).sum()
    }

    /// Gives every segment to the replica for which there is room. When there is none, and nothing of the packet is stored, that is the
    /// answer.
    pub(super) fn ingest(
        &self,
        replica: &mut RelayReplica,
        now: Timestamp,
        room: &mut Room,
    ) -> Result<(Result<Pushed, Refusal>, Effects), StoreError> {
        self.preload(replica)?;
        let fresh = self.fresh_bytes(replica)?;
        let (fitting, full) = self.fitting(&fresh, *room);
        let Taken { segments, mut pushed, effects } = self.take(replica, now, fitting)?;
        if segments.is_empty() && !full.is_empty() {
            return Ok((Err(room.refusal()), effects));
        }
        room.take(segments.iter().map(|index| fresh[*index]).sum());
        pushed.left_out.extend(full.into_iter().map(|index| room.left_out(index)));
        pushed.left_out.sort_unstable_by_key(|left_out| left_out.segment);
        pushed.applied = segments.iter().flat_map(|index| &self.segments[*index]).map(|op| op.hash).collect();
        Ok((Ok(pushed), effects))
    }

    /// Gives some segments to the replica; those that must wait again while others are taken.
    fn take(&self, replica: &mut RelayReplica, now: Timestamp, mut left: Vec<usize>) -> Result<Taken, StoreError> {
        let mut taken = Taken::default();
        let mut waiting: Vec<(usize, Missing)> = Vec::new();
        for _ in 0..PASSES_MAX {
            waiting.clear();
            let before = taken.segments.len();
            for index in std::mem::take(&mut left) {
                match replica.ingest_verified(&self.segments[index], now) {
                    Ok(ingested) => taken.note(index, &ingested),
                    Err(IngestError::Missing(missing)) => {
                        waiting.push((index, missing));
                        left.push(index);
                    }
                    Err(IngestError::Refused(refusal)) => taken.pushed.left_out.push(refused(index, &refusal)),
                    Err(IngestError::Store(error)) => return Err(error),
                }
            }
            if left.is_empty() || taken.segments.len() == before {
                break;
            }
        }
        taken.pushed.left_out.extend(waiting.iter().map(|(index, missing)| early(*index, missing)));
        Ok(taken)
    }

    /// Reads in one question what ingesting will ask for one by one: operations that may be here already, and parents that are not at hand.
    fn preload(&self, replica: &RelayReplica) -> Result<(), StoreError> {
        let mut wanted = Vec::new();
        for run in &self.segments {
            let Some(Op { header: first, .. }) = run.first() else { continue };
            let held = replica.logs().get(&first.log).map_or(0, |log| log.last_seq());
            wanted.extend(run.iter().filter(|op| op.header.seq <= held).map(|op| op.hash));
            // The operation it continues, for its clocks.
            wanted.extend(first.previous.filter(|_| first.seq <= held + 1));
            for parent in run.iter().flat_map(|op| &op.header.parents) {
                if let ParentRef::Other(hash) = parent {
                    wanted.push(*hash);
                }
            }
        }
        replica.store().preload(wanted)
    }

    /// About how many bytes of each segment are new here.
    fn fresh_bytes(&self, replica: &RelayReplica) -> Result<Vec<u64>, StoreError> {
        let fresh = |run: &VerifiedOps| known(replica, run).map(|known| run[known..].iter().map(bytes_of).sum::<u64>());
        self.segments.iter().map(fresh).collect()
    }

    /// For which segments there is room, and for which there is none. When not for all, then for those that bring nothing new and, out of
    /// the reserve, for those that change the membership, with what stands before them in their logs.
    fn fitting(&self, fresh: &[u64], room: Room) -> (Vec<usize>, Vec<usize>) {
        let all = 0..fresh.len();
        if fresh.iter().sum::<u64>() <= room.left {
            return (all.collect(), Vec::new());
        }
        let mut wanted: BTreeMap<LogId, u64> = BTreeMap::new();
        for first in self.segments.iter().filter(|run| names_membership(run)).filter_map(|run| run.first()) {
            let through = wanted.entry(first.header.log).or_default();
            *through = first.header.seq.max(*through);
        }
        let is_wanted = |first: &Op| wanted.get(&first.header.log).is_some_and(|through| first.header.seq <= *through);
        let mut left = room.reserve;
        all.partition(|index| {
            let bytes = fresh[*index];
            let fits = bytes == 0 || (bytes <= left && self.segments[*index].first().is_some_and(is_wanted));
            left -= if fits { bytes } else { 0 };
            fits
        })
    }

    /// Whether a node that it changes may have conflicts. Reads nothing.
    pub(super) fn is_contested(&self, replica: &RelayReplica) -> bool {
        self.segments.iter().flatten().filter_map(|op| op.header.node.as_ref()).any(|node| replica.is_contested(node))
    }

    /// The conflicts that those of its operations are part of which are stored.
    pub(super) fn conflicts(&self, replica: &RelayReplica, stored: &[OpHash]) -> Result<Vec<ConflictContext>, StoreError> {
        let own: BTreeSet<&OpHash> = stored.iter().collect();
        let ops = self.segments.iter().flatten();
        let nodes: BTreeSet<&NodeId> = ops.filter(|op| own.contains(&op.hash)).filter_map(|op| op.header.node.as_ref()).collect();
        let mut contexts = Vec::new();
        let mut bytes = 0;
        for node in nodes {
            let found = replica.conflicts_of(node)?;
            for found in found.iter().filter(|found| found.conflict.participants.iter().any(|participant| own.contains(participant))) {
                match conflict_context(replica, found, Some(self.device)) {
                    Ok(context) => {
                        bytes += serde_json::to_vec(&context).map_or(CONFLICT_BYTES_MAX, |text| text.len());
                        if contexts.len() == CONFLICTS_MAX || bytes > CONFLICT_BYTES_MAX {
                            return Ok(contexts);
                        }
                        contexts.push(context);
                    }
                    // Told is what can be shown; the operations are stored either way.
                    Err(error) => tracing::warn!(%error, conflict = %found.conflict.id.short(), "a conflict cannot be shown"),
                }
            }
        }
        Ok(contexts)
    }

    /// Whether it brings a workspace operation of the carrying device: what makes a joiner a member.
    #[must_use]
    pub fn brings_membership(&self) -> bool {
        let is_own = |run: &VerifiedOps| run.first().is_some_and(|first| first.header.log.device == self.device);
        self.segments.iter().any(|run| is_own(run) && names_membership(run))
    }

    /// Whether it brings the operation that founds its workspace.
    #[must_use]
    pub fn founds(&self) -> bool {
        self.segments.iter().flatten().any(|op| op.header.is_genesis())
    }
}

/// About how many bytes an operation takes in the database.
fn bytes_of(op: &Op) -> u64 {
    (HEADER_BYTES + op.payload.len()) as u64
}

/// How many operations of a segment are held, from the first on. A log is a chain: the last one that may be held tells of all before it.
fn known(replica: &RelayReplica, run: &VerifiedOps) -> Result<usize, StoreError> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Ok(0) };
    let Some(log) = replica.logs().get(&first.header.log) else { return Ok(0) };
    let held = log.last_seq().min(last.header.seq);
    let Some(at) = held.checked_sub(first.header.seq).and_then(|at| usize::try_from(at).ok()) else { return Ok(0) };
    let found = log.find(held, &run[at].hash, |index| replica.store().op(index).map(|op| op.hash))?;
    Ok(found.map_or(0, |_| at + 1))
}

fn names_membership(run: &[Op]) -> bool {
    run.first().is_some_and(|op| op.header.node.is_none())
}

fn refused(segment: usize, refusal: &IngestRefusal) -> LeftOut {
    LeftOut { segment: segment as u32, code: refusal_code(refusal).into(), message: refusal.to_string(), waits: false }
}

/// The stable name of the protocol's reasons.
const fn refusal_code(refusal: &IngestRefusal) -> &'static str {
    match refusal {
        IngestRefusal::Unauthorised(_) => "not_authorised",
        IngestRefusal::Chain(_) => "bad_chain",
        IngestRefusal::Clock { .. } => "bad_clock",
        IngestRefusal::NoCut { .. } => "no_membership_named",
        IngestRefusal::Workspace(_) => "unreadable_workspace_operation",
    }
}

fn early(segment: usize, missing: &Missing) -> LeftOut {
    let (code, message) = match missing {
        Missing::Previous(position) => ("missing_previous", format!("operation {} of log {} is not here", position.seq, position.log)),
        Missing::Parent(position) => ("missing_parent", format!("operation {} of log {} is not here", position.seq, position.log)),
        Missing::Recent(_) => {
            ("missing_parent", "a parent that is named by the beginning of its hash is not here: send its whole hash".into())
        }
        Missing::Membership(hash) => ("missing_membership", format!("workspace operation {} is not here", hash.short())),
    };
    LeftOut { segment: segment as u32, code: code.into(), message, waits: true }
}
