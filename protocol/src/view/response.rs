//! What a relay answers to a packet. The document names its fields in "Cloud Sync Service".

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::conflict::ConflictContext;
use super::encoding::{self, Encoding, Framing, PacketError};
use super::operation::SyncOperation;
use super::packet::{Cursor, PACKET_OPERATIONS_MAX, PacketSegment};
use super::{base64, bounded};
use crate::compress::{CompressionType, Limits};
use crate::ids::WorkspaceId;

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
}

/// A relay's signed word on its log: two that differ for one version prove that it told two stories.
///
/// These are its fields; it is the relay that makes them and whoever knows the relay's key that checks them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The incarnation of the log.
    pub epoch: u64,
    /// How far it reaches.
    pub version: u64,
    /// The hash over all operations up to there, in order.
    #[serde(with = "base64")]
    pub running_hash: Vec<u8>,
    /// The relay's signature.
    #[serde(with = "base64")]
    pub signature: Vec<u8>,
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
