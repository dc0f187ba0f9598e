//! From bytes to a packet's operations, checked as far as they can be without the workspace.

use std::cell::Cell;

use axum::body::Bytes;
use nodespace_protocol::ids::{DeviceId, OpHash, UserId};
use nodespace_protocol::op::Op;
use nodespace_protocol::op::segment::Position;
use nodespace_protocol::view::consistency::VerifiedOps;
use nodespace_protocol::view::encoding::PACKET_LIMITS;
use nodespace_protocol::view::{AuthenticatedUser, Authority, Cursor, Encoding, SecurityError, SyncPacket, SyncSecurity, VerifiedSegment};
use tokio::runtime::Handle;

use crate::auth::Caller;
use crate::limits::{Charge, Exceeded, Limit, Limits};
use crate::memory::{Share, unfold};
use crate::refusal::Refusal;
use crate::store::attachments::AttachmentHash;

/// The most bytes of payloads in one segment. Segments are handed out whole, and an answer of one page and one segment must stay below
/// what every reader takes; devices cut theirs at a sixteenth of this.
pub const SEGMENT_BYTES_MAX: usize = 4 << 20;

/// What a packet holds.
#[derive(Debug)]
pub(super) struct Intake {
    /// How it was written.
    pub(super) encoding: Encoding,
    /// Where its sender stands.
    pub(super) cursor: Cursor,
    /// Its operations by segment, authentic, without attachments.
    pub(super) segments: Vec<VerifiedOps>,
    /// The attachments that came along.
    pub(super) carried: Vec<(AttachmentHash, Bytes)>,
}

/// What the checks ask this relay.
struct Desk<'a> {
    limits: &'a Limits,
    runtime: &'a Handle,
    exceeded: Cell<Option<Exceeded>>,
}

impl Authority for Desk<'_> {
    fn allows_rate(&self, user: &AuthenticatedUser, operations: usize) -> bool {
        let charges = [
            Charge::device(Limit::DeviceOperations, &user.device, operations),
            Charge::user(Limit::UserOperations, &user.user, operations),
        ];
        match self.runtime.block_on(self.limits.charge(&charges)) {
            Ok(()) => true,
            Err(exceeded) => {
                self.exceeded.set(Some(exceeded));
                false
            }
        }
    }

    /// Whose a device is, the workspace's membership says when the operations are ingested.
    fn user_of(&self, _device: &DeviceId) -> Option<UserId> {
        None
    }

    /// Packets name parents outside of them by hash.
    fn hash_at(&self, _position: &Position) -> Option<OpHash> {
        None
    }
}

impl Intake {
    /// About how many bytes it takes in memory.
    pub(super) fn bytes(&self) -> u64 {
        let operations = self.segments.iter().flatten().map(|op| size_of::<Op>() + op.payload.len());
        let carried = self.carried.iter().map(|(_, bytes)| bytes.len());
        operations.chain(carried).map(|bytes| bytes as u64).sum()
    }

    pub(super) fn of(bytes: Bytes, caller: &Caller, limits: &Limits, runtime: &Handle, share: &mut Share) -> Result<Self, Refusal> {
        let (packet, framing) = unfold::<SyncPacket>(bytes, PACKET_LIMITS, share)?;
        if packet.workspace_id != caller.workspace {
            return Err(Refusal::forbidden("wrong_workspace", "the packet is of another workspace than the token"));
        }
        let desk = Desk { limits, runtime, exceeded: Cell::new(None) };
        let verified = SyncSecurity::default().validate_sync_packet(&packet, &caller.authenticated(), &desk);
        let segments = verified.map_err(|error| match (desk.exceeded.get(), &error) {
            (Some(exceeded), SecurityError::RateLimitExceeded(_)) => exceeded.into(),
            _ => Refusal::from(&error),
        })?;
        if let Some(large) = segments.iter().find(|segment| payload_bytes(segment) > SEGMENT_BYTES_MAX) {
            let message = format!("a segment has {} bytes of payloads, at most {SEGMENT_BYTES_MAX} are taken", payload_bytes(large));
            return Err(Refusal::too_large("segment_too_large", message));
        }
        let (segments, carried) = detach(segments);
        Ok(Self { encoding: framing.encoding, cursor: packet.cursor(), segments, carried })
    }
}

fn payload_bytes(segment: &VerifiedSegment) -> usize {
    segment.ops.iter().map(|op| op.payload.len()).sum()
}

/// Takes attachments off: they go to object storage, and their hashes stay in the headers.
fn detach(segments: Vec<VerifiedSegment>) -> (Vec<VerifiedOps>, Vec<(AttachmentHash, Bytes)>) {
    let mut carried = Vec::new();
    let mut bare = Vec::with_capacity(segments.len());
    for VerifiedSegment { mut ops, .. } in segments {
        carried.extend(ops.take_attachments().into_iter().map(|(hash, bytes)| (hash, Bytes::copy_from_slice(&bytes))));
        bare.push(ops);
    }
    (bare, carried)
}
