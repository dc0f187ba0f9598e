//! Questions to the table, from anywhere, while it is written.
//!
//! A reader sees each commit of the writer it came from as soon as that is made, and a question sees one version of the table from
//! beginning to end: LanceDB's versions are immutable, and the writer keeps recent ones for those who still read them.

use futures::{Stream, TryStreamExt, stream};
use lancedb::query::{ExecutableQuery, QueryBase};

use crate::{
    columns,
    error::{SearchError, TableError},
    filter::{Deleted, Filter, Parent},
    handle::{Handle, collect},
    models::{Model, Models},
    query::{Hit, Query},
    row::{Digest, Row},
    search,
};

/// Asks the table. Cheap to clone; clones may ask at once, from any task.
#[derive(Clone, Debug)]
pub struct Reader {
    handle: Handle,
}

impl Reader {
    pub(crate) fn new(handle: Handle) -> Self {
        Self { handle }
    }

    /// The nodes that match, best first.
    pub async fn search(&self, query: &Query) -> Result<Vec<Hit>, SearchError> {
        search::search(&self.handle, query).await
    }

    /// The rows with these ids, vectors included, in the order of the ids; unknown ids are left out.
    pub async fn get(&self, ids: &[&str]) -> Result<Vec<Row>, SearchError> {
        let rows = self.handle.rows(ids.iter().copied(), &self.handle.models()).await?;
        let mut rows: std::collections::BTreeMap<String, Row> = rows.into_iter().map(|row| (row.id.clone(), row)).collect();
        Ok(ids.iter().filter_map(|id| rows.remove(*id)).collect())
    }

    /// The rows directly below `parent`, without vectors, deleted ones included, in no order: the order of siblings is the caller's.
    pub async fn children(&self, parent: Parent) -> Result<Vec<Row>, SearchError> {
        let filter = Filter { parent: Some(parent), deleted: Deleted::Include, ..Filter::default() };
        self.filtered(&filter).await
    }

    /// All rows that pass the filter, without vectors, in no order. For filters that few rows pass: the answer is in memory at once.
    pub async fn filtered(&self, filter: &Filter) -> Result<Vec<Row>, SearchError> {
        let models = Models::default();
        let mut query = self.handle.query(&models);
        if let Some(sql) = filter.to_sql()? {
            query = query.only_if(sql);
        }
        Ok(collect(query, &models).await?)
    }

    /// How many rows pass the filter.
    pub async fn count(&self, filter: &Filter) -> Result<u64, SearchError> {
        let sql = filter.to_sql()?;
        Ok(self.handle.table.count_rows(sql).await.map_err(TableError::from)? as u64)
    }

    /// Every row, deleted ones included, without vectors, in no order; one batch is in memory at a time.
    pub async fn rows(&self) -> Result<impl Stream<Item = Result<Row, TableError>> + Send + use<>, TableError> {
        let batches = self.handle.query(&Models::default()).execute().await?;
        let rows = batches.map_err(TableError::from).map_ok(|batch| match columns::rows(&batch, &Models::default()) {
            Ok(rows) => stream::iter(rows.into_iter().map(Ok).collect::<Vec<_>>()),
            Err(error) => stream::iter(vec![Err(TableError::from(error))]),
        });
        Ok(rows.try_flatten())
    }

    /// Every row's id and digest, for comparing the table with the log ([`Row::digest`]).
    pub async fn digests(&self) -> Result<impl Stream<Item = Result<(String, Digest), TableError>> + Send + use<>, TableError> {
        Ok(self.rows().await?.map_ok(|row| {
            let digest = row.digest();
            (row.id, digest)
        }))
    }

    /// The models whose vectors the table holds, in the order in which they came.
    pub fn models(&self) -> Vec<Model> {
        self.handle.models().iter().cloned().collect()
    }
}
