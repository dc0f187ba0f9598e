//! Exit codes: the one place that says which failure ends with which.

use std::process::ExitCode;

use nodespace_node::api::{ServeError, TokenError};
use nodespace_node::client::ClientError;
use nodespace_node::config::ConfigError;
use nodespace_node::engine::DeviceError;
use nodespace_node::logging::LogError;
use nodespace_node::model::{ErrorCode, ServiceError};
use nodespace_protocol::replica::WriteError;
use nodespace_store::{Cause, HomeError};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Done = 0,
    /// Could not be done.
    Failed = 1,
    /// Not understood.
    Usage = 2,
    /// Not there.
    NotFound = 3,
    /// Something else is there.
    Stale = 4,
    /// Not allowed.
    Refused = 5,
    /// Damaged.
    Damaged = 6,
    /// Not reachable now.
    Unavailable = 7,
    /// No space.
    NoSpace = 8,
}

impl Exit {
    /// Every code and what it means, for the reference.
    pub(crate) const ALL: [(Self, &'static str); 9] = [
        (Self::Done, "Done."),
        (
            Self::Failed,
            "Could not be done; the reason is on standard error. For a batch or an import: some items failed, the others are done.",
        ),
        (Self::Usage, "The command line, the configuration or a value was not understood, or is not allowed."),
        (Self::NotFound, "No such node, operation, conflict or workspace; or there is no home yet."),
        (Self::Stale, "Something else is there: the expected version is stale, the id is taken, the move would close a circle."),
        (Self::Refused, "Not allowed: the token, the role, the invite or the permissions of a file."),
        (Self::Damaged, "The store is damaged, or from a newer program; `nodespace doctor` says more."),
        (Self::Unavailable, "Another process holds the store, or the daemon cannot be reached; try again."),
        (Self::NoSpace, "The disk is full; nothing that was acknowledged is lost."),
    ];

    /// The code of a failure: what the system refused if it did, else the first of its causes that has a code of its own.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let refused = error.chain().filter_map(|cause| cause.downcast_ref::<Cause>()).find_map(Self::of_system);
        refused.or_else(|| error.chain().find_map(Self::of_cause)).unwrap_or(Self::Failed)
    }

    fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if let Some(failure) = cause.downcast_ref::<Failure>() {
            return Some(failure.exit);
        }
        if let Some(error) = cause.downcast_ref::<ServiceError>() {
            return Some(Self::of_code(error.code()));
        }
        if let Some(error) = cause.downcast_ref::<ClientError>() {
            return Some(Self::of_client(error));
        }
        if let Some(error) = cause.downcast_ref::<DeviceError>() {
            return Some(Self::of_device(error));
        }
        if let Some(error) = cause.downcast_ref::<HomeError>() {
            return Some(Self::of_home(error));
        }
        if let Some(error) = cause.downcast_ref::<ServeError>() {
            return Some(Self::of_serve(error));
        }
        if let Some(error) = cause.downcast_ref::<TokenError>() {
            return Some(if matches!(error, TokenError::Exposed { .. }) { Self::Refused } else { Self::Failed });
        }
        (cause.is::<ConfigError>() || cause.is::<LogError>()).then_some(Self::Usage)
    }

    const fn of_system(cause: &Cause) -> Option<Self> {
        match cause {
            Cause::DiskFull { .. } => Some(Self::NoSpace),
            Cause::ReadOnly { .. } | Cause::Permission { .. } => Some(Self::Refused),
            _ => None,
        }
    }

    fn of_device(error: &DeviceError) -> Self {
        match error {
            DeviceError::Home(error) => Self::of_home(error),
            DeviceError::Store { source, .. } => Self::of_code(ServiceError::of_store(source).code()),
            DeviceError::Service(error) => Self::of_code(error.code()),
            DeviceError::Found(WriteError::Invalid(_)) => Self::Usage,
            DeviceError::Found(_) | DeviceError::System(_) => Self::Failed,
        }
    }

    fn of_home(error: &HomeError) -> Self {
        match error {
            HomeError::NotAHome { .. } => Self::NotFound,
            HomeError::Exists { .. } | HomeError::NotEmpty { .. } => Self::Stale,
            HomeError::Locked { .. } => Self::Unavailable,
            HomeError::Future { .. } | HomeError::Damaged { .. } => Self::Damaged,
            HomeError::Exposed { .. } | HomeError::Certificate { .. } => Self::Refused,
            HomeError::Environment(cause) => Self::of_system(cause).unwrap_or(Self::Failed),
        }
    }

    const fn of_serve(error: &ServeError) -> Self {
        match error {
            ServeError::NotLoopback(_) | ServeError::Options(_) => Self::Usage,
            ServeError::Bind { .. } => Self::Unavailable,
            ServeError::Announce(_) | ServeError::Listener(_) => Self::Failed,
        }
    }

    const fn of_client(error: &ClientError) -> Self {
        match error {
            ClientError::Refused { body, .. } => Self::of_code(body.code),
            ClientError::Unreachable { .. } | ClientError::Cut(_) => Self::Unavailable,
            ClientError::NotUnderstood(_) => Self::Failed,
            ClientError::Request(_) => Self::Usage,
            ClientError::Token { .. } | ClientError::TokenOpen { .. } => Self::Refused,
        }
    }

    /// The code of a refusal.
    pub(crate) const fn of_code(code: ErrorCode) -> Self {
        match code {
            ErrorCode::InvalidRequest | ErrorCode::InvalidValue | ErrorCode::TooLarge => Self::Usage,
            ErrorCode::NotFound => Self::NotFound,
            ErrorCode::AlreadyExists | ErrorCode::StaleVersion | ErrorCode::Cycle => Self::Stale,
            ErrorCode::Unauthorised | ErrorCode::Forbidden | ErrorCode::InviteRefused | ErrorCode::NotWritable => Self::Refused,
            ErrorCode::StoreFailed => Self::Damaged,
            ErrorCode::DiskFull => Self::NoSpace,
            ErrorCode::Unavailable => Self::Unavailable,
            ErrorCode::MethodNotAllowed | ErrorCode::UnsupportedMediaType | ErrorCode::Internal => Self::Failed,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// A failure that the command line itself found.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// How the program ends.
    pub(crate) exit: Exit,
    /// What was wrong, and what to do.
    pub(crate) message: String,
}

impl Failure {
    /// Something on the command line was not understood.
    pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Usage, message: message.into() }.into()
    }

    /// A failure of another kind.
    pub(crate) fn with(exit: Exit, message: impl Into<String>) -> anyhow::Error {
        Self { exit, message: message.into() }.into()
    }
}
