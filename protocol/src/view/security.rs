//! Whether a packet may be taken at all: the part of the document's `SyncSecurity` that can be decided without a database.
//!
//! In this order, cheapest first: the sender, the structure (segments decode, bounds hold), the rate, every author, integrity
//! (signatures, and views that say what was signed), content. The document puts the rate first; but it counts operations, and views
//! prove nothing, so the segments are decoded before.
//!
//! The document takes only operations of the packet's own user. Here any member may carry what another member signed
//! ([`Authors::Anybody`]), because otherwise changes would be lost with a device that never reaches the relay; the signature says
//! whose they are. What is authentic but cannot be read (a newer program's, or encrypted) is passed: refusing it would cut its
//! author's log in two.

use super::consistency::{ConsistencyError, VerifiedSegment};
use super::packet::{PACKET_OPERATIONS_MAX, SyncPacket};
use crate::ids::{DeviceId, OpHash, UserId};
use crate::op::segment::Position;
use crate::op::{Op, PAYLOAD_BYTES_MAX};
use crate::vector::QuantisedVector;

/// What there are too many of, in words.
const OPERATIONS: &str = "the packet's operations";

/// Who a packet comes from, as the transport has proven it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthenticatedUser {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
}

/// What only whoever takes the packet can know.
pub trait Authority {
    /// Whether this user may bring so many operations now. Counts them when it says yes.
    fn allows_rate(&self, user: &AuthenticatedUser, operations: usize) -> bool;

    /// Whose a device is; `None` when that is not known here.
    fn user_of(&self, device: &DeviceId) -> Option<UserId>;

    /// The hash at a position of a log held here, when there is no fork.
    fn hash_at(&self, position: &Position) -> Option<OpHash>;
}

/// An authority that knows nothing and limits nothing: for looking at a packet where there is no relay.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offline;

impl Authority for Offline {
    fn allows_rate(&self, _user: &AuthenticatedUser, _operations: usize) -> bool {
        true
    }

    fn user_of(&self, _device: &DeviceId) -> Option<UserId> {
        None
    }

    fn hash_at(&self, _position: &Position) -> Option<OpHash> {
        None
    }
}

/// Whose operations a packet may carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Authors {
    /// Any member's; that they are members is for the membership to say.
    #[default]
    Anybody,
    /// Only the sender's own, from any of their devices: the document's rule.
    SenderOnly,
}

/// Judges packets. The document's `SyncSecurity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncSecurity {
    /// Whose operations are taken.
    pub authors: Authors,
    /// The most operations in one packet.
    pub operations_max: usize,
    /// The most payload bytes in one operation. Lowering it below what devices write ([`PAYLOAD_BYTES_MAX`]) keeps their logs out.
    pub payload_bytes_max: usize,
}

impl Default for SyncSecurity {
    fn default() -> Self {
        Self { authors: Authors::default(), operations_max: PACKET_OPERATIONS_MAX, payload_bytes_max: PAYLOAD_BYTES_MAX }
    }
}

/// Why a packet is not taken. Nothing of it was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecurityError {
    /// Too much in too short a time. Try again later.
    #[error("too many operations for now: {0}")]
    RateLimitExceeded(usize),
    /// The packet or an operation in it is somebody else's than may be.
    #[error("{what} belongs to user {}, not to {}", found.map_or_else(|| "nobody known".to_owned(), |user| user.short()), expected.short())]
    UnauthorizedOperation {
        /// The packet, or the operation.
        what: String,
        /// Whose it is.
        found: Option<UserId>,
        /// Whose it may be.
        expected: UserId,
    },
    /// The packet's device is not the one that was authenticated.
    #[error("the packet names device {}, the connection is device {}'s", found.short(), expected.short())]
    UnauthorizedDevice {
        /// What the packet says.
        found: DeviceId,
        /// Who is there.
        expected: DeviceId,
    },
    /// A bound of the packet is passed.
    #[error("{what} has {found}, at most {max} is allowed")]
    MalformedOperation {
        /// What is too large.
        what: &'static str,
        /// Its size.
        found: usize,
        /// The bound.
        max: usize,
    },
    /// An embedding that is none.
    #[error("the attachment of operation {} is not the embedding its payload announces", .0.short())]
    MaliciousContent(OpHash),
    /// Signatures or views do not hold.
    #[error(transparent)]
    Integrity(#[from] ConsistencyError),
}

impl SecurityError {
    /// A stable name, for answers and logs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::RateLimitExceeded(_) => "rate_limit_exceeded",
            Self::UnauthorizedOperation { .. } => "unauthorized_operation",
            Self::UnauthorizedDevice { .. } => "unauthorized_device",
            Self::MalformedOperation { .. } => "malformed_operation",
            Self::MaliciousContent(_) => "malicious_content",
            Self::Integrity(error) => error.code(),
        }
    }
}

impl SyncSecurity {
    /// Judges a packet; answers its operations, authentic and in order.
    ///
    /// # Errors
    /// The first reason against it.
    pub fn validate_sync_packet(
        &self,
        packet: &SyncPacket,
        user: &AuthenticatedUser,
        authority: &impl Authority,
    ) -> Result<Vec<VerifiedSegment>, SecurityError> {
        check_sender(packet, user)?;
        let segments = packet.decode_segments().map_err(|error| match error {
            ConsistencyError::Operations { found, max, .. } => SecurityError::MalformedOperation { what: OPERATIONS, found, max },
            error => error.into(),
        })?;
        let operations = segments.iter().map(|segment| segment.ops.len()).sum();
        Self::check_size(OPERATIONS, operations, self.operations_max)?;
        if !authority.allows_rate(user, operations) {
            return Err(SecurityError::RateLimitExceeded(operations));
        }
        for segment in &segments {
            self.check_author(&segment.log.device, user, authority)?;
            let largest = segment.ops.iter().map(|op| op.payload.len()).max().unwrap_or(0);
            Self::check_size("an operation's payload in bytes", largest, self.payload_bytes_max)?;
        }
        let known = |position: &Position| authority.hash_at(position);
        let verified = packet.verify_decoded(segments, &known)?;
        for op in verified.iter().flat_map(|segment| &segment.ops) {
            check_content(op)?;
        }
        check_claimed_users(packet, authority)?;
        Ok(verified)
    }

    fn check_author(&self, device: &DeviceId, user: &AuthenticatedUser, authority: &impl Authority) -> Result<(), SecurityError> {
        if self.authors == Authors::Anybody || *device == user.device {
            return Ok(());
        }
        let found = authority.user_of(device);
        if found == Some(user.user) {
            return Ok(());
        }
        let what = format!("an operation of device {}", device.short());
        Err(SecurityError::UnauthorizedOperation { what, found, expected: user.user })
    }

    fn check_size(what: &'static str, found: usize, max: usize) -> Result<(), SecurityError> {
        if found > max { Err(SecurityError::MalformedOperation { what, found, max }) } else { Ok(()) }
    }
}

/// The packet must be the sender's own, whatever it carries.
fn check_sender(packet: &SyncPacket, user: &AuthenticatedUser) -> Result<(), SecurityError> {
    if packet.user_id != user.user {
        let what = "the packet".to_owned();
        return Err(SecurityError::UnauthorizedOperation { what, found: Some(packet.user_id), expected: user.user });
    }
    if packet.device_id != user.device {
        return Err(SecurityError::UnauthorizedDevice { found: packet.device_id, expected: user.device });
    }
    Ok(())
}

/// Views say whose an operation is; where that is known here, they must say the same.
fn check_claimed_users(packet: &SyncPacket, authority: &impl Authority) -> Result<(), SecurityError> {
    for view in &packet.operations {
        if let (Some(known), Some(claimed)) = (authority.user_of(&view.device_id), view.user_id)
            && known != claimed
        {
            let what = format!("operation {}", view.id);
            return Err(SecurityError::UnauthorizedOperation { what, found: Some(claimed), expected: known });
        }
    }
    Ok(())
}

/// An attachment must be the embedding that the payload announces: it goes to a database of vectors as it is.
fn check_content(op: &Op) -> Result<(), SecurityError> {
    let (Some(bytes), Ok(payload)) = (&op.attachment, op.decode_payload()) else { return Ok(()) };
    let vector = QuantisedVector::from_bytes(bytes).map_err(|_| SecurityError::MaliciousContent(op.hash))?;
    let announced = payload.embedding.map(|note| note.dimension as usize);
    if announced == Some(vector.values().len()) { Ok(()) } else { Err(SecurityError::MaliciousContent(op.hash)) }
}
