//! Times as applications read them: RFC 3339, UTC, milliseconds.

use chrono::{DateTime, SecondsFormat};
use nodespace_protocol::clock::Timestamp;

/// Writes a timestamp; the logical part is left out. A time that no calendar holds is written as the calendar's last one.
pub fn to_text(timestamp: Timestamp) -> String {
    timestamp.to_datetime().unwrap_or(DateTime::<chrono::Utc>::MAX_UTC).to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Reads a time with any offset. The answer is the last timestamp of that millisecond, so that "as it was at" includes what was written
/// within it.
///
/// # Errors
/// When the text is no RFC 3339 time, or one before 1970.
pub fn parse(text: &str) -> Result<Timestamp, String> {
    let ms = u64::try_from(parse_ms(text)?).map_err(|_| format!("`{text}` is before 1970"))?;
    Ok(Timestamp(Timestamp::from_ms(ms).0 | 0xffff))
}

/// Reads a time as milliseconds since 1970.
///
/// # Errors
/// When the text is no RFC 3339 time.
pub fn parse_ms(text: &str) -> Result<i64, String> {
    let time = DateTime::parse_from_rfc3339(text);
    let time = time.map_err(|error| format!("`{text}` is not a time: {error}; write it like 2025-08-30T12:00:00Z"))?;
    Ok(time.timestamp_millis())
}

/// Microseconds since 1970, as the projection keeps times.
pub fn to_micros(timestamp: Timestamp) -> i64 {
    timestamp.to_datetime().map_or(i64::MAX, |time| time.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_keeps_its_milliseconds() {
        let text = "2025-08-30T12:34:56.789Z";
        assert_eq!(to_text(parse(text).unwrap()), text);
        assert_eq!(to_text(parse("2025-08-30T14:34:56.789+02:00").unwrap()), text);
    }

    #[test]
    fn what_is_no_time_is_refused_in_words() {
        assert!(parse("yesterday").unwrap_err().contains("2025-08-30"));
        assert!(parse("1969-12-31T23:59:59Z").is_err());
    }
}
