//! The wall clock, as the protocol counts time.

use std::time::{SystemTime, UNIX_EPOCH};

use nodespace_protocol::clock::Timestamp;

/// Milliseconds since the Unix epoch; a clock set before 1970 stands at its beginning.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The time now.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_ms(now_ms())
}
