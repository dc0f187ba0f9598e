//! The packet a device sends to a relay. Document section "Sync Packet".
//!
//! Beside the documented fields it carries what DESIGN asks for: the workspace, the cursor's epoch, and the signed segments
//! from which every view can be made again. A packet either has a view of every operation in its segments, in their order, or,
//! to save bytes, of none; a packet with no operations at all is a pull.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::describe;
use super::encoding::{self, Encoding, Framing, PacketError};
use super::operation::{SyncOperation, ViewError};
use super::{base64, bounded};
use crate::clock::Timestamp;
use crate::compress::{CompressionType, Limits};
use crate::ids::{DeviceId, OpHash, UserId, WorkspaceId, hex};
use crate::op::Op;
use crate::op::segment::Segment;
use crate::replica::{LogRange, Replica};
use crate::store::{Store, StoreError};

/// The most operations in a packet, and the most segments. Longer lists are refused while they are read.
pub const PACKET_OPERATIONS_MAX: usize = 16_384;

/// What a device sends. The document's `SyncPacket`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncPacket {
    /// Who sends.
    pub user_id: UserId,
    /// From which device.
    pub device_id: DeviceId,
    /// Views of the operations in `segments`: of all, in order, or of none.
    #[serde(default, deserialize_with = "bounded::list::<_, _, PACKET_OPERATIONS_MAX>")]
    pub operations: Vec<SyncOperation>,
    /// When, by the sender's clock.
    pub sync_timestamp: DateTime<Utc>,
    /// The last of the relay's versions the sender has seen; 0 = none.
    pub last_known_version: u64,
    /// The attachment's hash in hex of every operation that has one, by operation id.
    #[serde(default)]
    pub vector_checksums: BTreeMap<Uuid, String>,
    /// How the sender compresses the packet. What counts for reading is how it arrives: a proxy may have changed that.
    #[serde(default)]
    pub compression: CompressionType,
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The incarnation of the relay's log that `last_known_version` counts in; 0 with version 0.
    #[serde(default)]
    pub epoch: u64,
    /// The operations as they were signed: what is believed.
    #[serde(default, deserialize_with = "bounded::list::<_, _, PACKET_OPERATIONS_MAX>")]
    pub segments: Vec<PacketSegment>,
}

/// A signed run of one log, with what is needed to check it without knowing what came before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PacketSegment {
    /// The hash of the operation before the first one; `None` at the beginning of a log. The signature covers it.
    pub previous: Option<OpHash>,
    /// An encoded [`Segment`].
    #[serde(with = "base64")]
    pub bytes: Vec<u8>,
}

/// Who sends a packet, and for which workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The workspace.
    pub workspace: WorkspaceId,
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
}

/// A position in a relay's log of a workspace. The beginning is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    /// Which incarnation of the log.
    pub epoch: u64,
    /// The last version seen.
    pub version: u64,
}

/// Why operations could not be put into a packet.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Reading them failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something they refer to is not held.
    #[error(transparent)]
    View(#[from] ViewError),
}

impl SyncPacket {
    /// A packet without operations, which asks for what is new.
    pub fn pull(sender: Sender, cursor: Cursor, now: Timestamp) -> Self {
        Self {
            user_id: sender.user,
            device_id: sender.device,
            operations: Vec::new(),
            sync_timestamp: describe::datetime(now),
            last_known_version: cursor.version,
            vector_checksums: BTreeMap::new(),
            compression: CompressionType::None,
            workspace_id: sender.workspace,
            epoch: cursor.epoch,
            segments: Vec::new(),
        }
    }

    /// Adds the next segment of a range of a replica's log, with views. Answers the sequence number it reaches, or `None` when
    /// nothing of the range can be sent. Parents are named by hash, so that the packet needs no knowledge of other logs.
    ///
    /// # Errors
    /// When the store fails.
    pub fn push<S: Store>(&mut self, replica: &Replica<S>, range: &LogRange) -> Result<Option<u64>, PushError> {
        let Some(segment) = replica.segment(range, true, &|_| 0)? else { return Ok(None) };
        let log = replica.logs().get(&range.log);
        let hash_at = |seq: u64| log.and_then(|log| log.on_path(range.branch, seq)).map(|index| replica.hash_of(index));
        let mut views = Vec::with_capacity(segment.ops.len());
        for seq in segment.first_seq..=segment.last_seq() {
            let Some(index) = log.and_then(|log| log.on_path(range.branch, seq)) else { return Ok(None) };
            let op = replica.store().op(index)?;
            views.push(SyncOperation::of(&op, replica)?);
            self.vector_checksums.extend(vector_checksum(&op));
        }
        self.operations.extend(views);
        self.segments.push(PacketSegment { previous: hash_at(segment.first_seq - 1), bytes: segment.encode() });
        self.compression = CompressionType::for_operations(self.operations.len());
        Ok(Some(segment.last_seq()))
    }

    /// Leaves the views away: the segments say it all in a fraction of the bytes.
    #[must_use]
    pub fn without_views(mut self) -> Self {
        self.operations.clear();
        self
    }

    /// The bytes that travel, compressed as [`SyncPacket::compression`] says.
    ///
    /// # Errors
    /// When a view holds a number that is not finite, or compression fails.
    pub fn to_bytes(&self, encoding: Encoding) -> Result<Vec<u8>, PacketError> {
        encoding::encode(self, Framing { encoding, compression: self.compression })
    }

    /// Reads a packet, telling from the bytes how it was written. Nothing in it has been checked against the signed operations yet:
    /// see [`SyncPacket::verify_consistency`] and [`SyncSecurity`](super::SyncSecurity).
    ///
    /// # Errors
    /// See [`PacketError`].
    pub fn from_bytes(bytes: &[u8], limits: Limits) -> Result<(Self, Framing), PacketError> {
        encoding::decode_any(bytes, limits)
    }

    /// Where the sender stands in the relay's log.
    pub const fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch, version: self.last_known_version }
    }
}

impl PacketSegment {
    /// A segment of its own: for one operation, or a run that was cut elsewhere.
    pub fn new(previous: Option<OpHash>, segment: &Segment) -> Self {
        Self { previous, bytes: segment.encode() }
    }
}

/// The entry of an operation in [`SyncPacket::vector_checksums`].
pub(super) fn vector_checksum(op: &Op) -> Option<(Uuid, String)> {
    op.header.attachment.map(|attachment| (op.hash.uuid(), hex(&attachment.hash)))
}
