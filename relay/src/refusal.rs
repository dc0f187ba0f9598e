//! Why a request is not served: a stable code for programs, a message for people, and for limits when to come back.

use std::time::Duration;

use axum::http::StatusCode;
use nodespace_protocol::view::{ConsistencyError, PacketError, SecurityError};

/// A refusal. Everything that can go wrong for a caller ends as one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// The HTTP status.
    pub status: StatusCode,
    /// A stable name; `docs/RELAY-API.md` lists them.
    pub code: &'static str,
    /// The reason, for people.
    pub message: String,
    /// When it is worth trying again.
    pub retry_after: Option<Duration>,
}

/// The longest message, in characters: parsers quote what they stumble over, and somebody else wrote that.
const MESSAGE_CHARACTERS_MAX: usize = 300;

impl Refusal {
    /// A refusal by status and code.
    pub fn new(status: StatusCode, code: &'static str, message: impl AsRef<str>) -> Self {
        let shown = |character: char| if character.is_control() { ' ' } else { character };
        let message = message.as_ref().chars().take(MESSAGE_CHARACTERS_MAX).map(shown).collect();
        Self { status, code, message, retry_after: None }
    }

    /// The request itself is wrong; sending it again will not help.
    pub fn bad_request(code: &'static str, message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// Nobody has shown who is asking, or it no longer holds.
    pub fn unauthorised(code: &'static str, message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, message)
    }

    /// Who is asking may not.
    pub fn forbidden(code: &'static str, message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// It is not there, or not for the caller to know.
    pub fn not_found(code: &'static str, message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// Larger than is taken.
    pub fn too_large(code: &'static str, message: impl AsRef<str>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, code, message)
    }

    /// Too much for now.
    pub fn too_many(code: &'static str, message: impl AsRef<str>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, message) }
    }

    /// The relay cannot, at present.
    pub fn unavailable(code: &'static str, message: impl AsRef<str>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, code, message) }
    }
}

impl From<&PacketError> for Refusal {
    fn from(error: &PacketError) -> Self {
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(error);
        while let Some(error) = cause {
            message = format!("{message}: {error}");
            cause = error.source();
        }
        match error.code() {
            code @ "packet_too_large" => Self::too_large(code, message),
            code => Self::bad_request(code, message),
        }
    }
}

impl From<&SecurityError> for Refusal {
    fn from(error: &SecurityError) -> Self {
        let (code, message) = (error.code(), error.to_string());
        match error {
            SecurityError::RateLimitExceeded(_) => Self::too_many(code, message, Duration::from_secs(1)),
            SecurityError::UnauthorizedOperation { .. } | SecurityError::UnauthorizedDevice { .. } => Self::forbidden(code, message),
            SecurityError::MalformedOperation { .. } => Self::too_large(code, message),
            SecurityError::MaliciousContent(_) | SecurityError::Integrity(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, message),
        }
    }
}

impl From<&ConsistencyError> for Refusal {
    fn from(error: &ConsistencyError) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.code(), error.to_string())
    }
}
