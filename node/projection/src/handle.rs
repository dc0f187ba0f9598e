//! The connection to the table that the writer and all readers share.

use std::sync::{Arc, PoisonError, RwLock};

use futures::TryStreamExt;
use lancedb::{
    Table,
    query::{ExecutableQuery, Query, QueryBase, Select},
};

use crate::{
    columns,
    error::TableError,
    filter,
    models::Models,
    row::{NAME_BYTES_MAX, Row},
};

/// How many ids one look-up asks for; more are asked for in parts, since each is part of an SQL text.
const IDS_A_QUERY: usize = 1_000;

/// The table and what is known of its columns. Clones share everything.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    pub(crate) table: Table,
    models: Arc<RwLock<Arc<Models>>>,
}

impl Handle {
    pub(crate) fn new(table: Table, models: Models) -> Self {
        Self { table, models: Arc::new(RwLock::new(Arc::new(models))) }
    }

    /// The models whose columns the table has.
    pub(crate) fn models(&self) -> Arc<Models> {
        // The lock is only held to copy or to set a pointer, so a poisoned one still guards a whole value.
        self.models.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Says that the table has these models' columns now.
    pub(crate) fn set_models(&self, models: Models) {
        *self.models.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(models);
    }

    /// The rows with these ids, in no order; `models` says which vectors to read.
    pub(crate) async fn rows<'a>(&self, ids: impl Iterator<Item = &'a str>, models: &Models) -> Result<Vec<Row>, TableError> {
        let ids: Vec<_> = ids.filter(|id| id.len() <= NAME_BYTES_MAX).collect();
        let mut rows = Vec::with_capacity(ids.len());
        for part in ids.chunks(IDS_A_QUERY) {
            let query = self.query(models).only_if(filter::with_ids(part.iter().copied()));
            rows.extend(collect(query, models).await?);
        }
        Ok(rows)
    }

    /// A query for whole rows, with the vectors of `models`.
    pub(crate) fn query(&self, models: &Models) -> Query {
        let mut names = columns::plain_columns();
        names.extend(models.iter().map(|model| model.column.clone()));
        self.table.query().select(Select::Columns(names))
    }
}

/// All rows of a query made by [`Handle::query`] with the same models.
pub(crate) async fn collect(query: Query, models: &Models) -> Result<Vec<Row>, TableError> {
    let mut rows = Vec::new();
    let mut batches = query.execute().await?;
    while let Some(batch) = batches.try_next().await? {
        rows.extend(columns::rows(&batch, models)?);
    }
    Ok(rows)
}
