//! Long work: progress line by line, then a result.
//!
//! Import, doctor, rebuild, backup and export answer with lines of JSON (`application/x-ndjson`): any number of `progress`, then one
//! `result` or one `error`. A connection that ends without either was cut: ask again, all of them can be repeated.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::error::ErrorBody;

/// How far a task is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Progress {
    /// What is being done, for people.
    pub step: String,
    /// How much of it is done.
    pub done: u64,
    /// How much there is; `null` when it is not known.
    pub total: Option<u64>,
}

/// One line of a task's answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskLine<T> {
    /// Not done yet.
    Progress(Progress),
    /// Done.
    Result(T),
    /// Could not be done.
    Error(ErrorBody),
}
