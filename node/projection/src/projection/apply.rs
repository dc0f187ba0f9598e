//! Writing changes.
//!
//! A batch becomes at most three kinds of commit: rows with new ids are appended, the others are merged by id, removed ones deleted. All
//! rows are checked before the first is written.

use std::{collections::HashMap, time::Duration};

use arrow_array::{RecordBatch, RecordBatchIterator};
use lancedb::table::NewColumnTransform;

use super::{MODELS_FILE, Projection, known::Known};
use crate::{
    columns, durable,
    error::{TableError, WriteError},
    filter,
    models::{MODELS_MAX, Models},
    row::{Change, Embedding, Embeddings, Row, RowError},
};

/// The most rows of one commit; more become several.
const COMMIT_ROWS_MAX: usize = 20_000;

/// About the most bytes of one commit, which are in memory twice while it is written; more become several commits.
const COMMIT_BYTES_MAX: usize = 32 << 20;

/// The most ids one deletion names; more become several commits.
const DELETE_IDS_MAX: usize = 5_000;

/// Merging looks ids up in the index if the table has at least so many rows, and reads the whole id column otherwise. Below, reading the
/// column is as fast, and does not slow down as rows outside the index pile up: at 20,000 rows with 60 commits outside it, a sixth of the time.
const INDEXED_MERGE_ROWS_MIN: u64 = 250_000;

/// And if the rows to merge are fewer than the table's by this factor: each is a look-up of its own.
const INDEXED_MERGE_FACTOR: u64 = 500;

/// What a batch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Rows with new ids.
    pub appended: u64,
    /// Rows whose ids were there.
    pub merged: u64,
    /// Rows removed.
    pub removed: u64,
    /// Commits made.
    pub commits: u32,
}

impl Projection {
    /// Writes changes, of which the last for each id counts; afterwards the table is current up to `position`.
    ///
    /// Best with a thousand changes at a time: a commit costs some milliseconds whatever it holds. If this fails, the table may have part
    /// of the changes and the position is as before; applying the same changes again is safe.
    pub async fn apply(&mut self, changes: Vec<Change>, position: u64, now: Duration) -> Result<Applied, WriteError> {
        let models = self.plan(&changes)?;
        let mut applied = Applied::default();
        let written = self.write(changes, models, &mut applied).await;
        self.schedule.wrote(applied.commits, applied.appended + applied.merged + applied.removed, now);
        match written {
            Ok(()) => self.position = self.position.max(position),
            // Some commit may have been made though LanceDB reported a failure: what the table holds is to be read anew.
            Err(_) => self.known = None,
        }
        written.map(|()| applied)
    }

    /// Takes out of changes what the table could not hold, and says what that is: a row may come from another device, which knows nothing of
    /// this table, and one vector must not keep thousands of other rows away. What is taken out stays in the log.
    #[must_use = "somebody should be told what is missing in the table"]
    pub fn take_out_unfit(&self, changes: &mut [Change]) -> Vec<RowError> {
        let mut models = (*self.handle.models()).clone();
        let mut unfit = Vec::new();
        for change in changes {
            let Change::Upsert(row) = change else { continue };
            unfit.extend(row.take_out_unfit());
            let Row { id, embeddings: Embeddings::Replace(embeddings), .. } = &mut **row else { continue };
            embeddings.retain(|embedding| match admit(&mut models, id, embedding) {
                Ok(()) => true,
                Err(error) => {
                    unfit.push(error);
                    false
                }
            });
        }
        unfit
    }

    /// Checks all rows, and gives the models that the table has to have columns for.
    fn plan(&self, changes: &[Change]) -> Result<Models, RowError> {
        let mut models = (*self.handle.models()).clone();
        for change in changes {
            let Change::Upsert(row) = change else { continue };
            row.check()?;
            let Embeddings::Replace(embeddings) = &row.embeddings else { continue };
            embeddings.iter().try_for_each(|embedding| admit(&mut models, &row.id, embedding))?;
        }
        Ok(models)
    }

    async fn write(&mut self, changes: Vec<Change>, models: Models, applied: &mut Applied) -> Result<(), WriteError> {
        self.load_known().await?;
        self.add_columns(&models, applied).await?;
        let (upserts, removals) = last_of_each(changes);
        let known = |row: &Row| self.known.as_ref().is_some_and(|known| known.contains(&row.id));
        let (mut old, new): (Vec<Row>, Vec<Row>) = upserts.into_iter().partition(known);
        for part in parts(&new) {
            self.append(part, &models).await?;
            applied.commits += 1;
            applied.appended += part.len() as u64;
        }
        self.keep_embeddings(&mut old, &models).await?;
        for part in parts(&old) {
            self.merge(part, &models).await?;
            applied.commits += 1;
            applied.merged += part.len() as u64;
        }
        self.remove(&removals, applied).await
    }

    /// Reads the table's ids again if a failure left them in doubt.
    async fn load_known(&mut self) -> Result<(), TableError> {
        if self.known.is_none() {
            self.handle.table.checkout_latest().await?;
            self.known = Some(Known::load(&self.handle.table).await?.0);
        }
        Ok(())
    }

    /// Gives the table columns for models that it has none for, and tells other clients.
    async fn add_columns(&mut self, models: &Models, applied: &mut Applied) -> Result<(), WriteError> {
        let known = self.handle.models();
        let fields: Vec<_> = models.iter().filter(|model| known.find(&model.name).is_none()).map(columns::embedding_field).collect();
        if fields.is_empty() {
            return Ok(());
        }
        let present = self.handle.table.schema().await.map_err(TableError::from)?;
        // A failure after this commit but before the next line leaves a column that nobody knows of; it is found here.
        let fields: Vec<_> = fields.into_iter().filter(|field| present.field_with_name(field.name()).is_err()).collect();
        if !fields.is_empty() {
            let nulls = NewColumnTransform::AllNulls(arrow_schema::Schema::new(fields).into());
            self.handle.table.add_columns().transform(nulls).execute().await.map_err(TableError::from)?;
            applied.commits += 1;
        }
        self.handle.set_models(models.clone());
        self.write_models()
    }

    /// Writes the file that tells other clients which model is in which column.
    pub(super) fn write_models(&self) -> Result<(), WriteError> {
        let bytes = serde_json::to_vec_pretty(&*self.handle.models()).expect("text and numbers are always JSON");
        durable::replace(&self.folder.join(MODELS_FILE), &bytes).map_err(|(path, source)| WriteError::File { path, source })
    }

    async fn append(&mut self, rows: &[Row], models: &Models) -> Result<(), TableError> {
        let batch = columns::encode(rows, models)?;
        self.handle.table.add(batch).write_parallelism(1).execute().await?;
        if let Some(known) = &mut self.known {
            rows.iter().for_each(|row| known.insert(&row.id));
        }
        Ok(())
    }

    async fn merge(&self, rows: &[Row], models: &Models) -> Result<(), TableError> {
        let batch: RecordBatch = columns::encode(rows, models)?;
        let schema = batch.schema();
        let table_rows = self.known.as_ref().map_or(0, Known::len);
        let mut merge = self.handle.table.merge_insert(&[columns::ID]);
        merge.when_matched_update_all(None).when_not_matched_insert_all();
        merge.use_index(table_rows >= INDEXED_MERGE_ROWS_MIN.max((rows.len() as u64).saturating_mul(INDEXED_MERGE_FACTOR)));
        merge.execute(Box::new(RecordBatchIterator::new([Ok(batch)], schema))).await?;
        Ok(())
    }

    /// Gives rows that are to keep their vectors the vectors that the table has, since merging writes whole rows.
    async fn keep_embeddings(&self, rows: &mut [Row], models: &Models) -> Result<(), TableError> {
        if models.is_empty() {
            return Ok(());
        }
        let keeping = rows.iter().filter(|row| row.embeddings == Embeddings::Keep).map(|row| row.id.as_str());
        let stored = self.handle.rows(keeping, models).await?;
        let mut stored: HashMap<String, Embeddings> = stored.into_iter().map(|row| (row.id, row.embeddings)).collect();
        for row in rows.iter_mut().filter(|row| row.embeddings == Embeddings::Keep) {
            row.embeddings = stored.remove(&row.id).unwrap_or_default();
        }
        Ok(())
    }

    async fn remove(&self, ids: &[String], applied: &mut Applied) -> Result<(), WriteError> {
        let known = |id: &&String| self.known.as_ref().is_some_and(|known| known.contains(id));
        let ids: Vec<_> = ids.iter().filter(known).collect();
        for part in ids.chunks(DELETE_IDS_MAX) {
            let gone = filter::with_ids(part.iter().map(|id| id.as_str()));
            let deleted = self.handle.table.delete(&gone).await.map_err(TableError::from)?;
            applied.commits += 1;
            applied.removed += deleted.num_deleted_rows;
        }
        Ok(())
    }
}

/// The last change of each id, as rows to write and ids to remove.
fn last_of_each(changes: Vec<Change>) -> (Vec<Row>, Vec<String>) {
    let last: HashMap<String, usize> = changes.iter().enumerate().map(|(index, change)| (change.id().to_owned(), index)).collect();
    let (mut upserts, mut removals) = (Vec::with_capacity(changes.len()), Vec::new());
    for (index, change) in changes.into_iter().enumerate() {
        if last.get(change.id()) != Some(&index) {
            continue;
        }
        match change {
            Change::Upsert(row) => upserts.push(*row),
            Change::Remove(id) => removals.push(id),
        }
    }
    (upserts, removals)
}

/// The rows in parts of one commit each.
fn parts(rows: &[Row]) -> impl Iterator<Item = &[Row]> {
    let mut rest = rows;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fitting = rest.iter().take(COMMIT_ROWS_MAX).take_while(|row| {
            bytes += row.bytes();
            bytes <= COMMIT_BYTES_MAX
        });
        // A row too large for any part is one by itself.
        let length = fitting.count().max(1);
        let (part, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(part)
    })
}

/// Whether there is a column for a vector; a model that is new gets one.
fn admit(models: &mut Models, id: &str, embedding: &Embedding) -> Result<(), RowError> {
    if embedding.is_none() {
        return Ok(());
    }
    let (model, found) = (embedding.model.clone(), embedding.vector.len());
    match models.find(&model) {
        Some(known) if known.dimension == found => {}
        Some(known) => return Err(RowError::WrongDimension { id: id.to_owned(), model, expected: known.dimension, found }),
        None if models.is_full() => return Err(RowError::TooManyModels { id: id.to_owned(), model, limit: MODELS_MAX }),
        None => {
            models.add(&model, found);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn row(id: u32, content: String) -> Row {
        Row {
            id: id.to_string(),
            node_type: String::new(),
            content,
            metadata: Value::Null,
            parent_id: None,
            root_id: None,
            before_sibling_id: None,
            depth: None,
            created_at: 0,
            modified_at: 0,
            mentions: Vec::new(),
            deleted: false,
            embeddings: Embeddings::Keep,
        }
    }

    #[test]
    fn commits_are_bounded_in_rows_and_bytes() {
        let lengths = |rows: &[Row]| parts(rows).map(<[Row]>::len).collect::<Vec<_>>();
        let small: Vec<_> = (0..COMMIT_ROWS_MAX as u32 * 2 + 1).map(|id| row(id, String::new())).collect();
        assert_eq!(lengths(&small), [COMMIT_ROWS_MAX, COMMIT_ROWS_MAX, 1]);
        let half = "x".repeat(COMMIT_BYTES_MAX / 2 - 1_000);
        let contents = [half.clone(), half.clone(), "x".repeat(COMMIT_BYTES_MAX + 1), half];
        let large: Vec<_> = contents.into_iter().enumerate().map(|(id, content)| row(id as u32, content)).collect();
        assert_eq!(lengths(&large), [2, 1, 1]);
        assert_eq!(lengths(&[]), [0; 0]);
    }

    #[test]
    fn the_last_change_of_each_id_is_left() {
        let upsert = |id: u32, content: &str| Change::Upsert(Box::new(row(id, content.to_owned())));
        let changes = vec![
            upsert(1, "a"),
            Change::Remove("2".into()),
            upsert(1, "b"),
            upsert(2, "c"),
            Change::Remove("3".into()),
            upsert(3, "d"),
            Change::Remove("3".into()),
        ];
        let (upserts, removals) = last_of_each(changes);
        assert_eq!(upserts, [row(1, "b".into()), row(2, "c".into())]);
        assert_eq!(removals, ["3"]);
    }
}
