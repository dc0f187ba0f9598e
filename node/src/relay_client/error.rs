//! Why syncing with a relay failed, and what that means to the machines of [`crate::sync`].

use nodespace_protocol::ids::RelayId;
use nodespace_protocol::view::{ConsistencyError, PacketError};

use super::follower::{Alarm, FollowError};
use super::url::RelayUrl;
use crate::model::ServiceError;
use crate::sync::SyncFailure;

/// How long a relay that is busy is left alone when it does not say, in milliseconds.
const BUSY_MS: u64 = 5_000;
/// The longest that a relay is left alone, whatever it asks for, in milliseconds: after that it is asked, and may say so again.
const RETRY_MS_MAX: u64 = 600_000;
/// How long a newcomer waits for somebody else to bring what the relay lacks, in milliseconds.
const JOIN_FIRST_MS: u64 = 30_000;

/// A relay's no.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the relay refused ({status} {code}): {message}")]
pub struct RelayRefusal {
    /// The HTTP status.
    pub status: u16,
    /// The stable word for it.
    pub code: String,
    /// Its reason, for people.
    pub message: String,
    /// When coming back helps.
    pub retry_after_ms: Option<u64>,
}

/// Why an exchange with a relay failed.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// No connection, or it broke.
    #[error("the relay {url} could not be reached")]
    Unreachable {
        /// Which.
        url: RelayUrl,
        /// The library's reason.
        #[source]
        source: reqwest::Error,
    },
    /// It took too long.
    #[error("the relay {url} did not answer within {waited_ms} ms")]
    TimedOut {
        /// Which.
        url: RelayUrl,
        /// How long was waited.
        waited_ms: u64,
    },
    /// It said no.
    #[error(transparent)]
    Refused(#[from] RelayRefusal),
    /// Its answer is longer than any it may give.
    #[error("the relay's answer has more than {max} bytes")]
    TooLarge {
        /// The bound.
        max: usize,
    },
    /// Its answer is none of the protocol.
    #[error("the relay's answer is not understood: {0}")]
    NotUnderstood(String),
    /// A packet cannot be written or read.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// The operations it gave do not hold.
    #[error("the relay gave operations that do not hold")]
    Inconsistent(#[from] ConsistencyError),
    /// Operations that came from it were refused here.
    #[error("{count} segment(s) from the relay were refused here; the first: {first}")]
    RefusedHere {
        /// How many.
        count: usize,
        /// Why the first was.
        first: String,
    },
    /// It did not take some of what this device holds.
    #[error("the relay does not take some operations ({code}): {message}")]
    LeftOut {
        /// The stable word for it.
        code: String,
        /// Its reason, for people.
        message: String,
    },
    /// What it holds and what is remembered of that do not fit.
    #[error("what is remembered of the relay does not fit what it holds; both are compared from the beginning")]
    Stale,
    /// Its answer does not go on where the last one ended.
    #[error(transparent)]
    NotFollowed(FollowError),
    /// It contradicts what it signed before.
    #[error("the relay contradicts itself: {0}; it is not used until somebody has looked: see `nodespace relay check`")]
    Alarm(Box<Alarm>),
    /// Somebody else answers under its URL.
    #[error("another relay ({now}) answers at {url} than before ({known}); if it was replaced on purpose, remove the URL and add it again")]
    AnotherRelay {
        /// Where.
        url: RelayUrl,
        /// Whom this device knows there.
        known: RelayId,
        /// Who is there now.
        now: RelayId,
    },
    /// There is none.
    #[error("no relay is configured for this workspace; add one with `nodespace relay add URL`")]
    None,
    /// Our own store failed, or stops.
    #[error(transparent)]
    Store(#[from] ServiceError),
}

impl From<FollowError> for RelayError {
    fn from(error: FollowError) -> Self {
        match error {
            FollowError::Alarm(alarm) => Self::Alarm(alarm),
            other => Self::NotFollowed(other),
        }
    }
}

impl RelayError {
    /// What it means to whoever decides what to do.
    pub fn failure(&self) -> SyncFailure {
        match self {
            Self::Unreachable { .. } | Self::None => SyncFailure::Unreachable,
            Self::TimedOut { waited_ms, .. } => SyncFailure::Timeout { waited_ms: *waited_ms },
            Self::Refused(refusal) => refusal.failure(),
            Self::TooLarge { .. }
            | Self::NotUnderstood(_)
            | Self::Packet(_)
            | Self::Inconsistent(_)
            | Self::NotFollowed(_)
            | Self::RefusedHere { .. } => SyncFailure::ProtocolBroken,
            Self::LeftOut { code, .. } if code == "not_authorised" => SyncFailure::TurnedAway,
            Self::LeftOut { code, .. } if code == "quota_exceeded" => SyncFailure::RateLimited { retry_after_ms: BUSY_MS },
            Self::LeftOut { .. } => SyncFailure::ProtocolBroken,
            Self::Stale => SyncFailure::VersionMismatch,
            Self::Alarm(_) | Self::AnotherRelay { .. } => SyncFailure::RelayNotTrusted,
            Self::Store(_) => SyncFailure::StoreFailed,
        }
    }

    /// Whether another relay may do better.
    pub fn is_of_this_relay(&self) -> bool {
        !matches!(self, Self::Store(_))
    }

    /// Whether a question about less may be answered, though this one was not as it should be.
    pub(super) fn asks_for_less(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::NotUnderstood(_) | Self::Packet(_) => true,
            Self::Refused(refusal) => refusal.status == 413,
            _ => false,
        }
    }

    /// Whether it says that it does not hold the workspace.
    pub(super) fn is_unknown_workspace(&self) -> bool {
        matches!(self, Self::Refused(refusal) if refusal.is_unknown_workspace())
    }

    /// Whether a newcomer who is told this waits in vain: the relay knows the workspace, and says no.
    pub fn is_final_for_newcomer(&self) -> bool {
        let Self::Refused(refusal) = self else { return false };
        matches!(refusal.code.as_str(), "bad_invite" | "bad_credential" | "not_a_member" | "removed")
    }
}

impl RelayRefusal {
    /// What it means to whoever decides what to do.
    pub fn failure(&self) -> SyncFailure {
        let wait = |default_ms| SyncFailure::RateLimited { retry_after_ms: self.retry_after_ms.unwrap_or(default_ms).min(RETRY_MS_MAX) };
        match (self.status, self.code.as_str()) {
            // A newcomer cannot bring what the relay lacks; members do.
            (_, "join_first") => wait(JOIN_FIRST_MS),
            (_, "missing_previous" | "missing_parent" | "missing_membership") => SyncFailure::VersionMismatch,
            // A token or challenge that ended on the way: the next attempt draws another.
            (401, code) if code != "bad_answer" => SyncFailure::Unreachable,
            (401 | 403, _) => SyncFailure::TurnedAway,
            // Who brings it has not come yet; a member brings it itself.
            (404, "unknown_workspace") => wait(BUSY_MS),
            (408, _) => SyncFailure::Unreachable,
            (429 | 500..=599, _) => wait(BUSY_MS),
            _ => SyncFailure::ProtocolBroken,
        }
    }

    /// Whether it is about what was pushed, so that the rest can go on without.
    pub(super) fn is_of_the_push(&self) -> bool {
        matches!(self.status, 413 | 422)
            || matches!(self.code.as_str(), "not_authorised" | "bad_chain" | "bad_clock" | "no_membership_named" | "join_first")
            || matches!(self.code.as_str(), "unreadable_workspace_operation" | "unauthorized_operation" | "quota_exceeded")
    }

    /// Whether one log may be to blame for what it says of a whole packet: then the others are worth sending by themselves.
    pub(super) fn may_be_of_one_log(&self) -> bool {
        self.is_of_the_push() && !matches!(self.code.as_str(), "quota_exceeded" | "join_first" | "unauthorized_operation")
    }

    /// Whether it says that the workspace is not there.
    pub(super) fn is_unknown_workspace(&self) -> bool {
        self.code == "unknown_workspace"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, code: &str, retry_after_ms: Option<u64>) -> RelayRefusal {
        RelayRefusal { status, code: code.to_owned(), message: String::new(), retry_after_ms }
    }

    #[test]
    fn a_refusal_says_who_has_to_do_something() {
        let cases = [
            (refusal(429, "rate_limit_exceeded", Some(1_200)), SyncFailure::RateLimited { retry_after_ms: 1_200 }),
            (refusal(429, "rate_limit_exceeded", Some(u64::MAX)), SyncFailure::RateLimited { retry_after_ms: RETRY_MS_MAX }),
            (refusal(503, "too_slow", Some(RETRY_MS_MAX + 1)), SyncFailure::RateLimited { retry_after_ms: RETRY_MS_MAX }),
            (refusal(503, "database_unavailable", None), SyncFailure::RateLimited { retry_after_ms: BUSY_MS }),
            (refusal(507, "quota_exceeded", None), SyncFailure::RateLimited { retry_after_ms: BUSY_MS }),
            (refusal(403, "removed", None), SyncFailure::TurnedAway),
            (refusal(401, "bad_answer", None), SyncFailure::TurnedAway),
            (refusal(403, "join_first", None), SyncFailure::RateLimited { retry_after_ms: JOIN_FIRST_MS }),
            (refusal(404, "unknown_workspace", None), SyncFailure::RateLimited { retry_after_ms: BUSY_MS }),
            (refusal(401, "token_expired", None), SyncFailure::Unreachable),
            (refusal(404, "no_such_path", None), SyncFailure::ProtocolBroken),
            (refusal(422, "bad_signature", None), SyncFailure::ProtocolBroken),
            (refusal(408, "body_too_slow", None), SyncFailure::Unreachable),
        ];
        for (refusal, failure) in cases {
            assert_eq!(refusal.failure(), failure, "{refusal}");
        }
        let left_out = |code: &str| RelayError::LeftOut { code: code.to_owned(), message: String::new() }.failure();
        assert_eq!(left_out("not_authorised"), SyncFailure::TurnedAway);
        assert_eq!(left_out("quota_exceeded"), SyncFailure::RateLimited { retry_after_ms: BUSY_MS }, "somebody may make room");
        assert_eq!(left_out("bad_clock"), SyncFailure::ProtocolBroken);
    }

    #[test]
    fn what_is_wrong_with_one_log_is_told_from_what_is_wrong_with_all() {
        for (status, code) in [(422, "malicious_content"), (422, "bad_signature"), (413, "segment_too_large"), (403, "bad_clock")] {
            assert!(refusal(status, code, None).may_be_of_one_log(), "{code}");
        }
        for (status, code) in [(507, "quota_exceeded"), (403, "join_first"), (404, "unknown_workspace"), (503, "too_slow")] {
            assert!(!refusal(status, code, None).may_be_of_one_log(), "{code}");
        }
    }

    #[test]
    fn only_the_relay_that_knows_the_workspace_turns_a_newcomer_away() {
        let said = |status, code| RelayError::Refused(refusal(status, code, None)).is_final_for_newcomer();
        assert!(said(403, "bad_invite") && said(403, "removed"));
        assert!(!said(404, "unknown_workspace") && !said(503, "database_unavailable"));
    }
}
