//! Reading from the log what there was no room for.

use serde::{Deserialize, Serialize};

#[cfg(doc)]
use super::BatchOutput;
use super::OpRef;

/// Positions of which nothing is held: those after one and through the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    /// Not this one,
    pub after: u64,
    /// but this one.
    pub through: u64,
}

/// Why an answer to [`BatchOutput::Read`] was not taken. It is asked again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefillError {
    /// Nothing was asked for.
    #[error("no references were asked for; answer each request once")]
    NotAsked,
    /// The positions do not ascend, or are not in the range.
    #[error("references must ascend and lie after {after} and up to {through}; position {position} does not: check the reader of the log")]
    OutOfOrder {
        /// What was asked for.
        after: u64,
        /// How far the answer says it reaches.
        through: u64,
        /// The position that is out of order.
        position: u64,
    },
    /// More than the limit.
    #[error("at most {limit} references were asked for, and {count} came: check the reader of the log")]
    TooMany {
        /// The limit.
        limit: usize,
        /// How many came.
        count: usize,
    },
    /// The answer reaches no further than what was known.
    #[error(
        "the log was read through {through} and holds nothing after {after}, though operations there were announced: run `nodespace doctor`"
    )]
    Nothing {
        /// What was asked for.
        after: u64,
        /// How far the answer says it reaches.
        through: u64,
    },
}

/// A request to read the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) after: u64,
    pub(super) limit: usize,
    /// When it is given up.
    pub(super) deadline: u64,
}

impl Reading {
    /// Whether an answer fits what was asked.
    pub(super) fn accepts(&self, operations: &[OpRef], through: u64) -> Result<(), RefillError> {
        let Self { after, limit, .. } = *self;
        if operations.len() > limit {
            return Err(RefillError::TooMany { limit, count: operations.len() });
        }
        let mut last = after;
        for OpRef { position, .. } in operations {
            if *position <= last || *position > through {
                return Err(RefillError::OutOfOrder { after, through, position: *position });
            }
            last = *position;
        }
        if through <= after { Err(RefillError::Nothing { after, through }) } else { Ok(()) }
    }
}
