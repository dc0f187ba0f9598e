//! What a relay answers to a packet. The document names its fields in "Cloud Sync Service".

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::bounded;
use super::checkpoint::Checkpoint;
use super::conflict::ConflictContext;
use super::encoding::{self, Encoding, Framing, PacketError};
use super::operation::SyncOperation;
use super::packet::{Cursor, PACKET_OPERATIONS_MAX, PacketSegment};
use crate::compress::{CompressionType, Limits};
use crate::ids::OpHash;

/// A relay's answer. The document's `SyncResponse`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SyncResponse {
    /// The ids of the packet's operations that are stored now, whether by this packet or before.
    #[serde(default, deserialize_with = "bounded::list::<_, _, PACKET_OPERATIONS_MAX>")]
    pub applied_operations: Vec<Uuid>,
    /// Conflicts that the packet's operations are part of: told, never a reason to refuse.
    #[serde(default, deserialize_with = "bounded::list::<_, _, PACKET_OPERATIONS_MAX>")]
    pub conflicts: Vec<ConflictContext>,
    /// Views of the operations in `segments`: of all, in order, or of none.
    #[serde(default, deserialize_with = "bounded::list::<_, _, PACKET_OPERATIONS_MAX>")]
    pub new_operations: Vec<SyncOperation>,
    /// The version up to which this answer reaches: the next packet's `last_known_version`.
    pub latest_version: u64,
    /// The incarnation of the relay's log. Another one than asked for means: start again from 0.
    #[serde(default)]
    pub epoch: u64,
    /// Operations the device had not seen, as they were signed.
    #[serde(default, deserialize_with = "bounded::list::<_, _, PACKET_OPERATIONS_MAX>")]
    pub segments: Vec<PacketSegment>,
    /// The relay's word on its log as of `latest_version`.
    #[serde(default)]
    pub checkpoint: Option<Checkpoint>,
    /// Whether there is more: ask again from `latest_version`.
    #[serde(default)]
    pub more: bool,
    /// The packet's own operations among those up to `latest_version`, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "bounded::list::<_, _, PACKET_OPERATIONS_MAX>")]
    pub pushed: Vec<PushedRun>,
    /// Segments of the packet that were not taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "bounded::list::<_, _, PACKET_OPERATIONS_MAX>")]
    pub left_out: Vec<LeftOut>,
}

/// Operations of the packet that hold these places in the relay's log: not sent back, since the sender has them. Whoever follows the
/// running hash ([`RunningHash`](super::RunningHash)) takes them in where they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushedRun {
    /// The run comes before the segment with this number in [`SyncResponse::segments`], and after those before.
    pub before_segment: u32,
    /// How many operations, each the one before the next in one log.
    pub operations: u32,
    /// The last of them.
    pub last: OpHash,
}

/// A segment of the packet of which nothing was stored; the others were.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Which, counted from 0.
    pub segment: u32,
    /// A stable name of the reason.
    pub code: String,
    /// The reason, for people.
    pub message: String,
    /// It only came too early: send it again with, or after, what it builds on.
    pub waits: bool,
}

impl SyncResponse {
    /// An answer that brings nothing: everything is known.
    pub const fn nothing_new(cursor: Cursor) -> Self {
        Self {
            applied_operations: Vec::new(),
            conflicts: Vec::new(),
            new_operations: Vec::new(),
            latest_version: cursor.version,
            epoch: cursor.epoch,
            segments: Vec::new(),
            checkpoint: None,
            more: false,
            pushed: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// Where the device stands after this answer.
    pub const fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch, version: self.latest_version }
    }

    /// The bytes that travel; compressed above [`COMPRESS_ABOVE_OPERATIONS`](crate::compress::COMPRESS_ABOVE_OPERATIONS) views or segments.
    ///
    /// # Errors
    /// When a view holds a number that is not finite, or compression fails.
    pub fn to_bytes(&self, encoding: Encoding) -> Result<Vec<u8>, PacketError> {
        let count = self.new_operations.len().max(self.segments.len()).max(self.conflicts.len());
        encoding::encode(self, Framing { encoding, compression: CompressionType::for_operations(count) })
    }

    /// Reads an answer, telling from the bytes how it was written.
    ///
    /// # Errors
    /// See [`PacketError`].
    pub fn from_bytes(bytes: &[u8], limits: Limits) -> Result<(Self, Framing), PacketError> {
        encoding::decode_any(bytes, limits)
    }
}
