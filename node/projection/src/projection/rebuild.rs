//! Writing the whole table anew.

use std::time::Duration;

use arrow_array::RecordBatch;
use lancedb::table::AddDataMode;

use super::{Applied, Projection, known::Known};
use crate::{
    columns,
    error::{TableError, WriteError},
    models::Models,
    row::{Change, Row},
};

/// How many rows are taken from the caller at a time.
const ROWS_AT_A_TIME: usize = 20_000;

impl Projection {
    /// Empties the table, as one commit: no rows, no models, no indexes. Whoever reads an older version goes on reading it.
    pub async fn reset(&mut self, now: Duration) -> Result<(), WriteError> {
        self.known = None;
        self.position = 0;
        let models = Models::default();
        let nothing = RecordBatch::new_empty(columns::schema(&models));
        let table = &self.handle.table;
        table.add(nothing).mode(AddDataMode::Overwrite).execute().await.map_err(TableError::from)?;
        self.known = Some(Known::default());
        self.handle.set_models(models);
        self.schedule.wrote(1, 0, now);
        self.make_text_index().await?;
        self.write_models()
    }

    /// Empties the table and writes these rows; afterwards it is current up to `position`.
    ///
    /// New rows are appended, so this is as fast as writing gets; of rows with one id the last counts. Readers see the table fill. After
    /// a failure do it again, or open the projection without a mark and then do it again.
    pub async fn rebuild<I>(&mut self, rows: I, position: u64, now: Duration) -> Result<Applied, WriteError>
    where
        I: IntoIterator<Item = Row>,
        I::IntoIter: Send,
    {
        let mut rows = rows.into_iter();
        self.reset(now).await?;
        let mut sum = Applied::default();
        loop {
            let part: Vec<_> = rows.by_ref().take(ROWS_AT_A_TIME).map(|row| Change::Upsert(Box::new(row))).collect();
            if part.is_empty() {
                self.position = position;
                return Ok(sum);
            }
            let applied = self.apply(part, 0, now).await?;
            sum.appended += applied.appended;
            sum.merged += applied.merged;
            sum.commits += applied.commits;
        }
    }
}
