//! PostgreSQL: the log of each workspace, what it folds to, and who may read it.
//!
//! ```text
//!   workspaces   a row each: the counter under whose lock versions are given out
//!   operations   the truth; one row an operation, by (workspace, version)
//!   nodes        the canonical version of each node    \
//!   member_*     who belongs                            > what the protocol makes of it, in the same transaction
//!   attachments  which are named, and which are there  /
//! ```
//!
//! **Invariant:** a version is given out under the lock of the workspace's row and committed with the operation, so versions have no gaps
//! and no reader sees a later one before an earlier one. A PostgreSQL sequence would hand out numbers in one order and commit them in
//! another: a reader that goes on from the last number it saw then misses what commits late (measured: a fifth of all).
//!
//! **Invariant:** nothing is acknowledged before COMMIT has returned.
//!
//! Queries are checked against the schema when the crate is compiled, by the descriptions in `.sqlx`; `scripts/relay-queries.sh` renews them.

pub(crate) mod addresses;
pub(crate) mod attachments;
mod database;
mod epoch;
mod lanes;
pub(crate) mod members;
pub(crate) mod nodes;
pub(crate) mod operations;
mod roles;
mod spares;
mod turns;
mod workspaces;

use std::time::Duration;

pub use database::{Database, MIGRATIONS, MigrationStatus, ServerFacts};
pub use epoch::{Epoch, EpochKeeper, Marker};
pub use members::{DeviceRole, Standing};
pub use operations::{LogRow, PageBounds, PageEnd};
pub use workspaces::{WorkspaceRow, WorkspaceSummary};

pub(crate) use members::MembershipRows;
pub(crate) use nodes::NodeRows;
pub(crate) use operations::{FoundRow, OperationRows};
pub(crate) use roles::standing;
pub(crate) use turns::Turn;

use crate::refusal::Refusal;

/// How long to wait before trying again when the database is away or busy.
pub const RETRY_AFTER: Duration = Duration::from_secs(2);

/// What is said when the database failed: whatever was asked of it last, a commit among others, may have been done before its answer was lost.
const LOST: &str = "the relay's database does not answer; what was sent is perhaps not stored: send it again";

/// Why the database did not do what was asked. Nothing of a failed transaction is kept.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or ended the statement.
    #[error("the database failed while {doing}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        #[source]
        source: sqlx::Error,
    },
    /// It was silent for longer than anything may take.
    #[error("the database has not answered for {0:?}")]
    Silent(Duration),
    /// It was restored from a backup while it was asked.
    #[error("the database was set back meanwhile")]
    SetBack,
    /// It holds what this program did not write.
    #[error("the database is damaged at {place}: {what}")]
    Corrupt {
        /// Where.
        place: String,
        /// What was found.
        what: String,
    },
    /// Its tables are not those of this program.
    #[error("the database needs `nodespace-relay migrate`: {0}")]
    NotMigrated(String),
    /// A commit that it has answered may be gone after a crash.
    #[error(
        "the database has synchronous_commit = off: what is acknowledged could be lost. Set it to on for the relay's role and database"
    )]
    NotDurable,
    /// It belongs to another relay.
    #[error("the database belongs to relay {found}, this is relay {own}: use that relay's key file, or another database")]
    AnotherRelay {
        /// Whose it is.
        found: String,
        /// Who we are.
        own: String,
    },
    /// What the relay remembers of the database cannot be read or written.
    #[error("cannot use {path}, the relay's memory of its database")]
    Marker {
        /// Which file.
        path: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

impl StoreError {
    pub(crate) fn doing(doing: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |source| Self::Database { doing, source }
    }

    pub(crate) fn corrupt(place: impl Into<String>, what: impl std::fmt::Display) -> Self {
        Self::Corrupt { place: place.into(), what: what.to_string() }
    }

    /// Whether trying the same again may help: the environment failed, not the data.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Database { .. } | Self::Silent(_) | Self::SetBack)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::SetBack) {
            return Self::unavailable("database_unavailable", "the relay's database was restored just now; ask again", RETRY_AFTER);
        }
        // Logged once, here: what is answered does not say how the database is set up.
        if error.is_transient() {
            tracing::warn!(error = %chain(&error), "a request could not be served by the database");
            return Self::unavailable("database_unavailable", LOST, RETRY_AFTER);
        }
        tracing::error!(error = %chain(&error), "the database is not what it should be");
        Self::unavailable("relay_fault", "the relay's database needs its operator; nothing was stored", Duration::from_secs(60))
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// A 32-byte value from a row.
pub(crate) fn bytes32(bytes: &[u8], place: &str) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| StoreError::corrupt(place, format!("{} bytes where 32 belong", bytes.len())))
}

/// A count or version from a row.
pub(crate) fn unsigned(value: i64, place: &str) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::corrupt(place, format!("the negative number {value}")))
}

/// A number for a row; what exceeds its range is beyond anything stored.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// All canonical nodes of a workspace, by its number, ascending by the text of their ids: for checks against the fold.
///
/// # Errors
/// When the database fails or holds what is no node.
pub async fn canonical_nodes(database: &Database, workspace: i64) -> Result<Vec<nodespace_protocol::view::CanonicalNode>, StoreError> {
    nodes::read_all(database.read(), workspace).await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer to a commit may be what was lost.
    #[test]
    fn of_a_database_that_does_not_answer_nothing_is_said_to_be_certain() {
        let lost = || StoreError::Database { doing: "committing a turn", source: sqlx::Error::PoolClosed };
        for error in [StoreError::Silent(Duration::from_secs(1)), lost()] {
            let refusal = Refusal::from(error);
            assert_eq!((refusal.code, refusal.retry_after), ("database_unavailable", Some(RETRY_AFTER)));
            assert!(refusal.message.contains("perhaps not stored: send it again"), "{refusal}");
        }
    }
}
