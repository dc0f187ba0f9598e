//! Refusals: a code that programs can rely on, a message that says what to do.

use nodespace_protocol::replica::WriteError;
use nodespace_protocol::store::StoreError;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What kind of refusal. Codes are stable: new ones may come, none changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The request is not well formed: JSON, a member's type, an id, a time.
    InvalidRequest,
    /// A value is well formed and not allowed.
    InvalidValue,
    /// No such node, operation or conflict.
    NotFound,
    /// The id is taken.
    AlreadyExists,
    /// The node does not have the expected version: read it again.
    StaleVersion,
    /// The node would come to lie below itself.
    Cycle,
    /// More than is allowed at once.
    TooLarge,
    /// No token, or a wrong one.
    Unauthorised,
    /// The host, origin or role does not allow it.
    Forbidden,
    /// The invite cannot be used (any more): it ended, was used up, was revoked, or is for another device.
    InviteRefused,
    /// The method does not exist on this path.
    MethodNotAllowed,
    /// The body is not JSON.
    UnsupportedMediaType,
    /// This replica cannot write now (read-only, behind its own log, forked).
    NotWritable,
    /// The store is damaged, or stopped after a failure: see the message.
    StoreFailed,
    /// There is no space left.
    DiskFull,
    /// The device is stopping or too busy: try again.
    Unavailable,
    /// A fault of ours.
    Internal,
}

/// The body of every refusal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// What kind.
    pub code: ErrorCode,
    /// What was wrong and what to do, for people.
    pub message: String,
    /// The version the node has, with `stale_version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

/// A refusal on its way to whoever asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.message)]
pub struct ServiceError(pub ErrorBody);

impl ServiceError {
    /// A refusal of a kind.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self(ErrorBody { code, message: message.into(), version: None })
    }

    /// Its kind.
    pub const fn code(&self) -> ErrorCode {
        self.0.code
    }

    /// What the store's failure means to whoever asked, with its causes.
    pub fn of_store(error: &StoreError) -> Self {
        let mut message = error.to_string();
        let mut full = false;
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
            full |= matches!(kind, Some(std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded));
            cause = error.source();
        }
        Self::new(if full { ErrorCode::DiskFull } else { ErrorCode::StoreFailed }, message)
    }

    /// The device is going down.
    pub fn stopping() -> Self {
        Self::new(ErrorCode::Unavailable, "the device is stopping; try again when it runs")
    }
}

impl From<WriteError> for ServiceError {
    fn from(error: WriteError) -> Self {
        let code = match &error {
            WriteError::ReadOnly | WriteError::OwnLogBehind | WriteError::Forked => ErrorCode::NotWritable,
            WriteError::NotMember | WriteError::Viewer | WriteError::Workspace(_) => ErrorCode::Forbidden,
            WriteError::UnknownNode(_) | WriteError::UnknownConflict { .. } => ErrorCode::NotFound,
            WriteError::Exists(_) => ErrorCode::AlreadyExists,
            WriteError::EditsDoNotFit(_) => ErrorCode::StaleVersion,
            WriteError::Place(place) => place_code(place),
            WriteError::TooLarge { .. } => ErrorCode::TooLarge,
            WriteError::Invalid(_) | WriteError::Vector(_) => ErrorCode::InvalidValue,
            WriteError::Store(error) => return Self::of_store(error),
        };
        Self::new(code, error.to_string())
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        Self::of_store(&error)
    }
}

const fn place_code(error: &nodespace_protocol::tree::PlaceError) -> ErrorCode {
    use nodespace_protocol::tree::PlaceError;
    match error {
        PlaceError::WouldCycle { .. } => ErrorCode::Cycle,
        PlaceError::NotASibling { .. } => ErrorCode::NotFound,
        PlaceError::AfterItself { .. } => ErrorCode::InvalidValue,
    }
}
