//! The documented protocol's structures: what applications see, and what travels to and from a relay.
//!
//! [`SyncOperation`] and its kin keep the names and fields of the document and add what it lacks. They are *views* over
//! [`crate::op`]: a view has lost the bytes that were hashed and signed, so it proves nothing by itself. A [`SyncPacket`]
//! therefore carries the signed segments beside the views. The segments are what is believed; a view that says something
//! else than the operation it came with is named by [`SyncPacket::verify_consistency`] and refused.
//!
//! ```text
//! Op ---------------- SyncOperation::of ----------> SyncOperation --.
//! Segment + hash of what precedes it -------------> PacketSegment --+--> SyncPacket --> JSON | CBOR --> none | gzip | zstd
//! ```
//!
//! In JSON hashes and keys are hex, ids are text, segments are base64; in CBOR hashes, keys, UUIDs and segments are byte strings.
//! Fields keep their names in both. Unknown fields are ignored, so that a newer writer can be read.
//!
//! Document sections "Data Structures", "Monitoring and Observability", "Security Considerations".

mod action;
mod base64;
mod bounded;
pub mod canonical;
pub mod checkpoint;
pub mod conflict;
pub mod consistency;
mod describe;
pub mod encoding;
pub mod login;
pub mod metrics;
pub mod operation;
pub mod packet;
pub mod response;
pub mod security;
mod source;
#[cfg(test)]
mod tests;

pub use canonical::CanonicalNode;
pub use checkpoint::{Checkpoint, RunningHash};
pub use conflict::{ConflictContext, ConflictSide, conflict_context};
pub use consistency::{ConsistencyError, VerifiedSegment};
pub use encoding::{Encoding, Framing, PacketError};
pub use login::{LoginCertificate, LoginCredential};
pub use metrics::{SyncMetrics, SyncTally};
pub use operation::{Node, OperationData, OperationType, SyncOperation, ViewError};
pub use packet::{Cursor, PacketSegment, Sender, SyncPacket};
pub use response::{LeftOut, PushedRun, SyncResponse};
pub use security::{AuthenticatedUser, Authority, Authors, Offline, SecurityError, SyncSecurity};
pub use source::{Neighbours, ViewSource};
