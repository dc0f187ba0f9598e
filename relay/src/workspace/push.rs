//! A packet's operations on their way into a workspace.

use std::collections::BTreeSet;

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::ids::{DeviceId, NodeId, OpHash, UserId};
use nodespace_protocol::op::{ParentRef, Segment};
use nodespace_protocol::replica::{IngestError, Missing, Refusal as IngestRefusal};
use nodespace_protocol::store::StoreError;
use nodespace_protocol::view::{ConflictContext, LeftOut, VerifiedSegment, conflict_context};

use super::RelayReplica;
use crate::store::WorkspaceRow;

/// How often the segments of a packet that must wait are tried again while others of it are taken. A packet in the order of its logs needs
/// two; what still waits after the last is left out, and its sender is told.
const PASSES_MAX: usize = 8;
/// The most conflicts told in one answer, and the most bytes of them as JSON; the rest is left to the device, whose own replica finds all.
const CONFLICTS_MAX: usize = 256;
const CONFLICT_BYTES_MAX: usize = 1 << 20;

/// A packet's operations: authentic, not yet judged.
#[derive(Debug)]
pub struct PushJob {
    /// Who carries them in.
    pub user: UserId,
    /// On which device.
    pub device: DeviceId,
    /// The segments, verified; without attachments.
    pub segments: Vec<VerifiedSegment>,
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
}

/// What ingesting a packet did to the replica, beside its answer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effects {
    pub(super) membership: bool,
    pub(super) held: bool,
}

impl PushJob {
    /// Operations in it.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.segments.iter().map(|segment| segment.ops.len()).sum()
    }

    /// About how many bytes they take in the database.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        const HEADER_BYTES: usize = 256;
        self.segments.iter().flat_map(|segment| &segment.ops).map(|op| (op.payload.len() + HEADER_BYTES) as u64).sum()
    }

    /// Gives every segment to the replica.
    pub(super) fn ingest(&self, replica: &mut RelayReplica, now: Timestamp) -> Result<(Pushed, Effects), StoreError> {
        self.preload(replica)?;
        let mut pushed = Pushed::default();
        let mut effects = Effects::default();
        let mut taken = BTreeSet::new();
        let mut waiting: Vec<(usize, Missing)> = Vec::new();
        let mut left: Vec<usize> = (0..self.segments.len()).collect();
        for _ in 0..PASSES_MAX {
            waiting.clear();
            let before = taken.len();
            for index in std::mem::take(&mut left) {
                match replica.ingest(&self.segments[index].segment, now) {
                    Ok(ingested) => {
                        taken.insert(index);
                        pushed.stored += ingested.stored as usize;
                        effects.membership |= ingested.membership && ingested.stored > 0;
                        effects.held |= ingested.held > 0;
                    }
                    Err(IngestError::Missing(missing)) => {
                        waiting.push((index, missing));
                        left.push(index);
                    }
                    Err(IngestError::Refused(refusal)) => pushed.left_out.push(refused(index, &refusal)),
                    Err(IngestError::Store(error)) => return Err(error),
                }
            }
            if left.is_empty() || taken.len() == before {
                break;
            }
        }
        pushed.left_out.extend(waiting.iter().map(|(index, missing)| early(*index, missing)));
        pushed.left_out.sort_unstable_by_key(|left_out| left_out.segment);
        pushed.applied = taken.iter().flat_map(|index| &self.segments[*index].ops).map(|op| op.hash).collect();
        Ok((pushed, effects))
    }

    /// Reads in one question what ingesting will ask for one by one: operations that may be here already, and parents that are not at hand.
    fn preload(&self, replica: &RelayReplica) -> Result<(), StoreError> {
        let mut wanted = Vec::new();
        for VerifiedSegment { segment, ops } in &self.segments {
            let held = replica.logs().get(&segment.log).map_or(0, |log| log.last_seq());
            wanted.extend(ops.iter().filter(|op| op.header.seq <= held).map(|op| op.hash));
            // The operation it continues, for its clocks.
            wanted.extend(ops.first().and_then(|op| op.header.previous).filter(|_| segment.first_seq <= held + 1));
            for parent in ops.iter().flat_map(|op| &op.header.parents) {
                if let ParentRef::Other(hash) = parent {
                    wanted.push(*hash);
                }
            }
        }
        replica.store().preload(wanted)
    }

    /// The conflicts that these operations are part of.
    pub(super) fn conflicts(&self, replica: &RelayReplica, pushed: &mut Pushed) -> Result<(), StoreError> {
        let own: BTreeSet<OpHash> = pushed.applied.iter().copied().collect();
        let ops = self.segments.iter().flat_map(|segment| &segment.ops);
        let nodes: BTreeSet<&NodeId> = ops.filter(|op| own.contains(&op.hash)).filter_map(|op| op.header.node.as_ref()).collect();
        let mut bytes = 0;
        for node in nodes {
            let found = replica.conflicts_of(node)?;
            for found in found.iter().filter(|found| found.conflict.participants.iter().any(|participant| own.contains(participant))) {
                match conflict_context(replica, found, Some(self.device)) {
                    Ok(context) => {
                        bytes += serde_json::to_vec(&context).map_or(CONFLICT_BYTES_MAX, |text| text.len());
                        if pushed.conflicts.len() == CONFLICTS_MAX || bytes > CONFLICT_BYTES_MAX {
                            return Ok(());
                        }
                        pushed.conflicts.push(context);
                    }
                    // Told is what can be shown; the operations are stored either way.
                    Err(error) => tracing::warn!(%error, conflict = %found.conflict.id.short(), "a conflict cannot be shown"),
                }
            }
        }
        Ok(())
    }

    /// Whether it brings a workspace operation of the carrying device: what makes a joiner a member.
    #[must_use]
    pub fn brings_membership(&self) -> bool {
        self.segments.iter().any(|segment| segment.segment.log.device == self.device && names_membership(&segment.segment))
    }

    /// Whether it brings the operation that founds its workspace.
    #[must_use]
    pub fn founds(&self) -> bool {
        self.segments.iter().flat_map(|segment| &segment.ops).any(|op| op.header.is_genesis())
    }
}

fn names_membership(segment: &Segment) -> bool {
    segment.ops.first().is_some_and(|op| op.node.is_none())
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
