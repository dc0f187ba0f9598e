//! Whether a packet's views say what its signed operations say.
//!
//! Every segment is decoded and chained onto the hash before it, its signature checked, and from each operation the view is made
//! again and compared. What an operation does not say (whose the device is, which sibling stands before, the root) is taken from the view
//! as it is: it is the application's hint, and nothing is decided by it. Floating-point numbers may differ in their last digits, because
//! JSON readers do.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use serde_json::Value;
use uuid::Uuid;

use super::operation::{OperationData, SyncOperation};
use super::packet::{PACKET_OPERATIONS_MAX, PacketSegment, SyncPacket, vector_checksum};
use super::response::SyncResponse;
use super::source::{Neighbours, ViewSource};
use crate::crypto::Signature;
use crate::ids::{DeviceId, LogId, OpHash, UserId, WorkspaceId};
use crate::op::segment::{ChainError, PREFIX_BYTES, Position, Resolve, Segment};
use crate::op::{Op, ParentRef, Place};
use crate::wire::DecodeError;

/// How far two floating-point numbers may be apart, relative to the greater. Single precision has seven digits.
const TOLERANCE: f64 = 1e-6;

/// A segment of a packet whose operations are authentic. Their authors may still not be members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedSegment {
    /// As it was decoded.
    pub segment: Segment,
    /// Its operations with their hashes.
    pub ops: VerifiedOps,
}

/// The operations of a segment whose hashes and signature have been checked. There is no other way to one, and nothing that was hashed
/// can be changed in it: what takes these ([`Replica::ingest_verified`](crate::replica::Replica::ingest_verified)) need not check again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedOps {
    /// The workspace that the hashes are of.
    workspace: WorkspaceId,
    /// In order; never empty.
    ops: Vec<Op>,
    signature: Signature,
}

impl VerifiedOps {
    /// The workspace that the hashes are of.
    pub const fn workspace(&self) -> WorkspaceId {
        self.workspace
    }

    /// The signature over the last operation's hash.
    pub const fn signature(&self) -> Signature {
        self.signature
    }

    /// Takes attachments off, each with its hash. Operations name them by it; no operation's hash covers their bytes.
    pub fn take_attachments(&mut self) -> Vec<([u8; 32], Arc<[u8]>)> {
        let take = |op: &mut Op| op.header.attachment.zip(op.attachment.take()).map(|(blob, bytes)| (blob.hash, bytes));
        self.ops.iter_mut().filter_map(take).collect()
    }
}

impl Deref for VerifiedOps {
    type Target = [Op];

    fn deref(&self) -> &[Op] {
        &self.ops
    }
}

impl<'a> IntoIterator for &'a VerifiedOps {
    type Item = &'a Op;
    type IntoIter = std::slice::Iter<'a, Op>;

    fn into_iter(self) -> Self::IntoIter {
        self.ops.iter()
    }
}

/// What is wrong with a packet's segments or views. Segments and operations are counted from 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConsistencyError {
    /// The bytes are no segment.
    #[error("segment {segment}: {why}")]
    Decode {
        /// Which.
        segment: usize,
        /// What is wrong with it.
        why: DecodeError,
    },
    /// The segments up to one of them have more operations than a packet may. Those behind it were not decoded.
    #[error("the segments up to number {segment} have {found} operations, at most {max} are allowed")]
    Operations {
        /// The one with the first too many.
        segment: usize,
        /// How many there are up to it.
        found: usize,
        /// The bound.
        max: usize,
    },
    /// The hash before the segment is not the one the segment continues.
    #[error("segment {segment} does not continue the operation the packet says it does")]
    Previous {
        /// Which.
        segment: usize,
    },
    /// A header, reference or signature does not hold.
    #[error("segment {segment}: {why}")]
    Chain {
        /// Which.
        segment: usize,
        /// What is wrong with it.
        why: ChainError,
    },
    /// There are views, but not as many as operations.
    #[error("the packet has {views} views of {operations} operations; it needs one of each, or none")]
    Count {
        /// Views.
        views: usize,
        /// Operations in the segments.
        operations: usize,
    },
    /// A view says something else than its operation.
    #[error("view {index} ({id}) lies about its {field}")]
    Lie {
        /// Which view.
        index: usize,
        /// The id it gives.
        id: Uuid,
        /// The field.
        field: &'static str,
    },
    /// The checksums are not those of the operations' attachments.
    #[error("the vector checksum of operation {0} is missing, wrong, or of no operation in the packet")]
    VectorChecksum(Uuid),
}

impl ConsistencyError {
    /// A stable name, for answers and logs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Decode { .. } => "malformed_segment",
            Self::Operations { .. } => "malformed_operation",
            Self::Previous { .. } => "wrong_previous",
            Self::Chain { why: ChainError::UnknownParent(_) | ChainError::UnknownPrefix(_), .. } => "unknown_parent",
            Self::Chain { why: ChainError::Header { .. }, .. } => "malformed_header",
            Self::Chain { why: ChainError::Signature { .. }, .. } => "bad_signature",
            Self::Count { .. } => "view_count",
            Self::Lie { .. } => "lying_view",
            Self::VectorChecksum(_) => "wrong_vector_checksum",
        }
    }
}

impl SyncPacket {
    /// Decodes the segments.
    ///
    /// # Errors
    /// [`ConsistencyError::Decode`] for the first that is none, [`ConsistencyError::Operations`] when there are too many.
    pub fn decode_segments(&self) -> Result<Vec<Segment>, ConsistencyError> {
        decode_all(&self.segments)
    }

    /// Checks signatures and views; answers the operations. `known` finds operations outside the packet that are named by
    /// position.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn verify_consistency(&self, known: &impl Resolve) -> Result<Vec<VerifiedSegment>, ConsistencyError> {
        self.verify_decoded(self.decode_segments()?, known)
    }

    /// The same, of what [`Self::decode_segments`] answered.
    pub(super) fn verify_decoded(&self, decoded: Vec<Segment>, known: &impl Resolve) -> Result<Vec<VerifiedSegment>, ConsistencyError> {
        let segments = verify_segments(&self.workspace_id, &self.segments, decoded, known)?;
        check_views(&self.operations, &segments, known)?;
        self.check_vector_checksums(&segments)?;
        Ok(segments)
    }

    fn check_vector_checksums(&self, segments: &[VerifiedSegment]) -> Result<(), ConsistencyError> {
        let expected: BTreeMap<Uuid, String> = segments.iter().flat_map(|segment| &segment.ops).filter_map(vector_checksum).collect();
        let wrong = |(id, hash): (&Uuid, &String), other: &BTreeMap<Uuid, String>| (other.get(id) != Some(hash)).then_some(*id);
        let mut wrong_ids = self.vector_checksums.iter().filter_map(|entry| wrong(entry, &expected));
        let mut missing = expected.iter().filter_map(|entry| wrong(entry, &self.vector_checksums));
        match wrong_ids.next().or_else(|| missing.next()) {
            Some(id) => Err(ConsistencyError::VectorChecksum(id)),
            None => Ok(()),
        }
    }
}

impl SyncResponse {
    /// Checks signatures and views of an answer about `workspace`, as [`SyncPacket::verify_consistency`] does.
    ///
    /// # Errors
    /// The first thing that does not hold.
    pub fn verify_consistency(&self, workspace: &WorkspaceId, known: &impl Resolve) -> Result<Vec<VerifiedSegment>, ConsistencyError> {
        let segments = verify_segments(workspace, &self.segments, decode_all(&self.segments)?, known)?;
        check_views(&self.new_operations, &segments, known)?;
        Ok(segments)
    }
}

/// Decodes segments, up to the first with an operation too many: one of five bytes takes some 250 in memory, and a packet has room for
/// millions of them.
fn decode_all(segments: &[PacketSegment]) -> Result<Vec<Segment>, ConsistencyError> {
    let mut decoded = Vec::with_capacity(segments.len());
    let mut found = 0;
    for (index, packed) in segments.iter().enumerate() {
        let segment = Segment::decode(&packed.bytes).map_err(|why| ConsistencyError::Decode { segment: index, why })?;
        found += segment.ops.len();
        if found > PACKET_OPERATIONS_MAX {
            return Err(ConsistencyError::Operations { segment: index, found, max: PACKET_OPERATIONS_MAX });
        }
        decoded.push(segment);
    }
    Ok(decoded)
}

/// Chains decoded segments and checks their signatures. Operations that later segments name by position may be in earlier ones.
fn verify_segments(
    workspace: &WorkspaceId,
    packed: &[PacketSegment],
    segments: Vec<Segment>,
    known: &impl Resolve,
) -> Result<Vec<VerifiedSegment>, ConsistencyError> {
    let mut seen: BTreeMap<(LogId, u64), OpHash> = BTreeMap::new();
    let mut verified = Vec::with_capacity(segments.len());
    for (index, (segment, packed)) in segments.into_iter().zip(packed).enumerate() {
        let prefix = packed.previous.map_or([0; PREFIX_BYTES], |previous| prefix_of(&previous));
        if prefix != segment.previous_prefix || packed.previous.is_none() != (segment.first_seq == 1) {
            return Err(ConsistencyError::Previous { segment: index });
        }
        let resolve = |at: &Position| seen.get(&(at.log, at.seq)).copied().or_else(|| known.hash_at(at));
        let ops = segment.verify(workspace, packed.previous, &resolve).map_err(|why| ConsistencyError::Chain { segment: index, why })?;
        seen.extend(ops.iter().map(|op| ((op.header.log, op.header.seq), op.hash)));
        let ops = VerifiedOps { workspace: *workspace, ops, signature: segment.signature };
        verified.push(VerifiedSegment { segment, ops });
    }
    Ok(verified)
}

fn prefix_of(hash: &OpHash) -> [u8; PREFIX_BYTES] {
    let mut prefix = [0; PREFIX_BYTES];
    prefix.copy_from_slice(&hash.0[..PREFIX_BYTES]);
    prefix
}

/// Compares views with the operations they came with, one by one.
fn check_views(views: &[SyncOperation], segments: &[VerifiedSegment], known: &impl Resolve) -> Result<(), ConsistencyError> {
    let operations = segments.iter().map(|segment| segment.ops.len()).sum();
    if views.is_empty() {
        return Ok(());
    }
    if views.len() != operations {
        return Err(ConsistencyError::Count { views: views.len(), operations });
    }
    let ops = segments.iter().flat_map(|segment| segment.ops.iter().map(move |op| (segment, op)));
    for (index, (view, (segment, op))) in views.iter().zip(ops).enumerate() {
        let claim = Claim { view, segment, known };
        if let Some(field) = claim.lie_about(op) {
            return Err(ConsistencyError::Lie { index, id: view.id, field });
        }
    }
    Ok(())
}

/// A view, and what is known to judge it.
struct Claim<'a, R> {
    view: &'a SyncOperation,
    segment: &'a VerifiedSegment,
    known: &'a R,
}

impl<R: Resolve> Claim<'_, R> {
    /// The first field in which the view differs from what the operation says.
    fn lie_about(&self, op: &Op) -> Option<&'static str> {
        let claimed = self.view;
        // The cheap fields first: they name a mix-up better than its consequences would.
        if claimed.checksum != op.hash {
            return Some("checksum");
        }
        let Ok(made) = SyncOperation::of(op, self) else { return Some("parents") };
        let same = [
            (claimed.id == made.id, "id"),
            (claimed.node_id == made.node_id, "node_id"),
            (claimed.device_id == made.device_id, "device_id"),
            (claimed.operation_type == made.operation_type, "operation_type"),
            (claimed.timestamp == made.timestamp, "timestamp"),
            (claimed.version == made.version, "version"),
            (claimed.parent_version == made.parent_version, "parent_version"),
            (claimed.parents == made.parents, "parents"),
            (claimed.resolves == made.resolves, "resolves"),
            (same_data(&claimed.data, &made.data), "data"),
        ];
        same.iter().find(|(same, _)| !same).map(|(_, field)| *field)
    }

    /// The hash at a position of the segment's own log, when it is in the packet before or known here.
    fn hash_at(&self, seq: u64) -> Option<OpHash> {
        let Segment { log, first_seq, .. } = self.segment.segment;
        match seq.checked_sub(first_seq) {
            Some(at) => self.segment.ops.get(usize::try_from(at).ok()?).map(|op| op.hash),
            None if seq + 1 == first_seq => self.segment.ops.first().and_then(|op| op.header.previous),
            None => self.known.hash_at(&Position { log, seq }),
        }
    }
}

impl<R: Resolve> ViewSource for Claim<'_, R> {
    fn user_of(&self, _device: &DeviceId) -> Option<UserId> {
        self.view.user_id
    }

    fn own_hash(&self, op: &Op, distance: u64) -> Option<OpHash> {
        let found = op.header.seq.checked_sub(distance).and_then(|seq| self.hash_at(seq));
        // Further back than anything known here: what the view says cannot be refuted.
        let claimed = || {
            let place = op.header.parents.iter().position(|parent| *parent == ParentRef::Own(distance))?;
            self.view.parents.get(place).copied()
        };
        found.or_else(claimed)
    }

    fn neighbours(&self, _op: &Op, _place: &Place) -> Neighbours {
        match &self.view.data {
            OperationData::Create { node, .. } => Neighbours { before_sibling: node.before_sibling_id.clone(), root: node.root_id.clone() },
            OperationData::Move { new_before_sibling_id, .. } => Neighbours { before_sibling: new_before_sibling_id.clone(), root: None },
            _ => Neighbours::default(),
        }
    }
}

fn same_data(claimed: &OperationData, made: &OperationData) -> bool {
    // Nearly always equal as they are; only numbers that went through JSON need a second look.
    claimed == made
        || match (serde_json::to_value(claimed), serde_json::to_value(made)) {
            (Ok(claimed), Ok(made)) => same_value(&claimed, &made),
            _ => false,
        }
}

/// Equality of JSON values with a tolerance for floating-point numbers.
fn same_value(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_value(a, b)),
        (Value::Object(a), Value::Object(b)) => a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same_value(a, b))),
        (Value::Number(a), Value::Number(b)) if a.is_f64() || b.is_f64() => match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
            _ => false,
        },
        _ => a == b,
    }
}
