//! Which ids the table has.
//!
//! A row whose id is new can be appended, ten times as fast as merging it. To know which are new without asking the table for each batch,
//! the ids are kept in memory as 64-bit hashes, nine bytes an id. Two ids with one hash are no harm: the second is taken for a known one
//! and merged, which is right for new rows too.

use std::hash::{BuildHasher, RandomState};

use futures::TryStreamExt;
use lancedb::{
    Table,
    query::{ExecutableQuery, QueryBase, Select},
};

use super::Hashes;
use crate::{
    columns::{self, ID},
    error::TableError,
};

/// The ids of the table's rows.
#[derive(Debug, Default)]
pub(crate) struct Known {
    hashes: Hashes,
    state: RandomState,
}

impl Known {
    /// Reads all ids of the table. Gives also how many rows there are: more than ids if some id has two.
    pub(crate) async fn load(table: &Table) -> Result<(Self, u64), TableError> {
        let mut known = Self::default();
        let mut rows = 0;
        let mut batches = table.query().select(Select::columns(&[ID])).execute().await?;
        while let Some(batch) = batches.try_next().await? {
            rows += batch.num_rows() as u64;
            columns::strings(&batch, ID)?.iter().flatten().for_each(|id| known.insert(id));
        }
        Ok((known, rows))
    }

    /// How many ids there are.
    pub(crate) fn len(&self) -> u64 {
        self.hashes.len() as u64
    }

    pub(crate) fn contains(&self, id: &str) -> bool {
        self.hashes.contains(&self.state.hash_one(id))
    }

    pub(crate) fn insert(&mut self, id: &str) {
        self.hashes.insert(self.state.hash_one(id));
    }

    // Removed ids are not taken out: another id might have the same hash, and be appended a second time. An id that was removed and comes
    // again is merged, which is slower but right. The next opening forgets it.
}
