//! Which nodes a search is about, as a LanceDB filter.
//!
//! LanceDB takes filters as SQL text. Every text from outside passes through `literal`, the only place where a value becomes SQL:
//! single quotes around it, single quotes within doubled, and no other character means anything between them (the dialect has no
//! backslash escapes). Column names are constants of this crate.

use serde_json::Value;

use crate::{
    columns::{CREATED_AT, DELETED, ID, METADATA_TERMS, MODIFIED_AT, PARENT_ID, ROOT_ID, TYPE},
    error::SearchError,
    metadata,
    row::NAME_BYTES_MAX,
};

/// The most values one filter may list. More are refused: each is part of an SQL text that is parsed for each search.
pub const VALUES_MAX: usize = 10_000;

/// Which nodes a search is about. The default is all that are not deleted; each further field narrows it down.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Nodes of one of these types; empty: any type.
    pub types: Vec<String>,
    /// Nodes whose metadata has each of these keys (dotted for nested ones) with that value.
    pub metadata: Vec<(String, Value)>,
    /// Nodes with this parent.
    pub parent: Option<Parent>,
    /// Nodes below this root.
    pub root_id: Option<String>,
    /// Nodes made in this time.
    pub created: TimeRange,
    /// Nodes last changed in this time.
    pub modified: TimeRange,
    /// Whether deleted nodes are found.
    pub deleted: Deleted,
}

/// Where a node hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parent {
    /// Below no node.
    None,
    /// Directly below this one.
    Is(String),
}

/// Whether deleted nodes are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Deleted {
    /// Only nodes that are not deleted.
    #[default]
    Exclude,
    /// Both.
    Include,
    /// Only deleted ones.
    Only,
}

/// A span of time, in UTC microseconds since 1970. Bounds outside the years 1700 to 2261 count as these.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// The first moment in the range; `None`: the beginning.
    pub from: Option<i64>,
    /// The first moment after the range; `None`: no end.
    pub until: Option<i64>,
}

impl Filter {
    /// The filter as SQL; `None` if it lets every row pass.
    pub(crate) fn to_sql(&self) -> Result<Option<String>, SearchError> {
        let mut terms = Vec::new();
        if !self.types.is_empty() {
            terms.push(one_of(TYPE, "type", &self.types)?);
        }
        for (key, value) in &self.metadata {
            terms.push(has_metadata(key, value)?);
        }
        match &self.parent {
            Some(Parent::None) => terms.push(format!("{PARENT_ID} IS NULL")),
            Some(Parent::Is(id)) => terms.push(one_of(PARENT_ID, "parent id", std::slice::from_ref(id))?),
            None => {}
        }
        if let Some(id) = &self.root_id {
            terms.push(one_of(ROOT_ID, "root id", std::slice::from_ref(id))?);
        }
        terms.extend(self.created.to_sql(CREATED_AT));
        terms.extend(self.modified.to_sql(MODIFIED_AT));
        terms.extend(match self.deleted {
            Deleted::Exclude => Some(format!("{DELETED} = false")),
            Deleted::Only => Some(format!("{DELETED} = true")),
            Deleted::Include => None,
        });
        Ok((!terms.is_empty()).then(|| terms.join(" AND ")))
    }
}

impl TimeRange {
    fn to_sql(self, column: &str) -> Option<String> {
        let from = self.from.map(|time| format!("{column} >= {}", timestamp(time)));
        let until = self.until.map(|time| format!("{column} < {}", timestamp(time)));
        let terms: Vec<_> = from.into_iter().chain(until).collect();
        (!terms.is_empty()).then(|| terms.join(" AND "))
    }
}

/// The filter for rows with one of these ids, which have been checked.
pub(crate) fn with_ids<'a>(ids: impl Iterator<Item = &'a str>) -> String {
    let literals: Vec<_> = ids.map(literal).collect();
    format!("{ID} IN ({})", literals.join(", "))
}

/// A column has one of these values.
fn one_of(column: &str, field: &'static str, values: &[String]) -> Result<String, SearchError> {
    if values.len() > VALUES_MAX {
        return Err(SearchError::TooManyValues { found: values.len() });
    }
    if let Some(long) = values.iter().find(|value| value.len() > NAME_BYTES_MAX) {
        return Err(SearchError::FilterTooLong { field, bytes: long.len() });
    }
    let literals: Vec<_> = values.iter().map(|value| literal(value)).collect();
    Ok(match literals.as_slice() {
        [one] => format!("`{column}` = {one}"),
        many => format!("`{column}` IN ({})", many.join(", ")),
    })
}

fn has_metadata(key: &str, value: &Value) -> Result<String, SearchError> {
    const BYTES_MAX: usize = 1 << 20;
    let bytes = key.len() + value.as_str().map_or(0, str::len);
    if bytes > BYTES_MAX {
        return Err(SearchError::FilterTooLong { field: "metadata", bytes });
    }
    let term = metadata::term(key, value).ok_or_else(|| SearchError::NotScalar { key: key.chars().take(NAME_BYTES_MAX).collect() })?;
    Ok(format!("array_has_any({METADATA_TERMS}, [{}])", literal(&term)))
}

/// A text as an SQL literal that stands for exactly this text, whatever is in it.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A time as an SQL literal; times that LanceDB's literals cannot hold become the nearest that they can.
fn timestamp(micros: i64) -> String {
    // 1700-01-01 and 2261-12-31: literals count nanoseconds in 64 bits, which reach from 1677 to 2262.
    const EARLIEST: i64 = -8_520_336_000_000_000;
    const LATEST: i64 = 9_214_560_000_000_000;
    const SECOND: i64 = 1_000_000;
    const DAY: i64 = 86_400;
    let micros = micros.clamp(EARLIEST, LATEST);
    let (seconds, fraction) = (micros.div_euclid(SECOND), micros.rem_euclid(SECOND));
    let (days, second) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("timestamp '{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{fraction:06}'")
}

/// Year, month and day of a day counted from 1970-01-01 (Howard Hinnant, *chrono-Compatible Low-Level Date Algorithms*, `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    const ERA_DAYS: i64 = 146_097;
    let days = days + 719_468;
    let (era, day_of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn literals_are_closed_texts() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("'; DROP TABLE nodes; --"), "'''; DROP TABLE nodes; --'");
        assert_eq!(literal("\\'"), "'\\'''");
    }

    #[test]
    fn times_are_calendar_times() {
        assert_eq!(timestamp(0), "timestamp '1970-01-01 00:00:00.000000'");
        assert_eq!(timestamp(1_756_557_296_000_007), "timestamp '2025-08-30 12:34:56.000007'");
        assert_eq!(timestamp(-1), "timestamp '1969-12-31 23:59:59.999999'");
        assert_eq!(timestamp(951_782_400_000_000), "timestamp '2000-02-29 00:00:00.000000'");
        assert_eq!(timestamp(i64::MIN), "timestamp '1700-01-01 00:00:00.000000'");
        assert_eq!(timestamp(i64::MAX), "timestamp '2261-12-31 00:00:00.000000'");
    }

    #[test]
    fn an_empty_filter_leaves_out_only_what_is_deleted() {
        assert_eq!(Filter::default().to_sql().unwrap().as_deref(), Some("deleted = false"));
        assert_eq!(Filter { deleted: Deleted::Include, ..Filter::default() }.to_sql().unwrap(), None);
    }

    #[test]
    fn what_cannot_be_filtered_is_refused() {
        let list = Filter { metadata: vec![("tags".into(), json!(["a"]))], ..Filter::default() };
        assert!(matches!(list.to_sql(), Err(SearchError::NotScalar { .. })));
        let long = Filter { types: vec!["x".repeat(NAME_BYTES_MAX + 1)], ..Filter::default() };
        assert!(matches!(long.to_sql(), Err(SearchError::FilterTooLong { .. })));
        let many = Filter { types: vec!["x".into(); VALUES_MAX + 1], ..Filter::default() };
        assert!(matches!(many.to_sql(), Err(SearchError::TooManyValues { .. })));
    }
}
