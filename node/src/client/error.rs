//! What can go wrong between a client and a device.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::model::{ErrorBody, ErrorCode};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The device said no.
    #[error("{}", body.message)]
    Refused {
        /// The HTTP status.
        status: u16,
        /// Its reason.
        body: ErrorBody,
    },
    /// Nobody listens there.
    #[error("no device answers at {address}; start one with `nodespace run`")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The answer ended too early.
    #[error("the connection to the device was cut: {0}; what was acknowledged is kept, ask again for the rest")]
    Cut(String),
    /// The answer is not one of this API.
    #[error("the device's answer is not understood: {0}")]
    NotUnderstood(String),
    /// A name, token or id that cannot be sent.
    #[error("the request cannot be sent: {0}")]
    Request(String),
    /// The token cannot be read.
    #[error("cannot read the token {}", path.display())]
    Token {
        /// Its file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// Others may read the token.
    #[error("{} can be read by others (mode {mode:o}); run: chmod 600 {}", path.display(), path.display())]
    TokenOpen {
        /// Its file.
        path: PathBuf,
        /// The permissions it has.
        mode: u32,
    },
}

impl ClientError {
    pub(super) fn not_understood(error: serde_json::Error) -> Self {
        Self::NotUnderstood(error.to_string())
    }

    /// The device's code, when it was the device that refused.
    pub const fn code(&self) -> Option<ErrorCode> {
        if let Self::Refused { body, .. } = self { Some(body.code) } else { None }
    }
}
