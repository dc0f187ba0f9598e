//! The wall clock: the only place where the engine reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use nodespace_protocol::clock::Timestamp;

/// Now. A clock before 1970 counts as 1970: the protocol's own clocks go on from what they have seen.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
