//! A record batch to rows.

use arrow_array::{
    Array, BooleanArray, FixedSizeListArray, Float32Array, Int32Array, ListArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use serde_json::Value;

use super::{BEFORE_SIBLING_ID, CONTENT, CREATED_AT, DELETED, DEPTH, ID, MENTIONS, METADATA, MODIFIED_AT, PARENT_ID, ROOT_ID, TYPE};
use crate::{
    error::Misshapen,
    models::{Model, Models},
    row::{Embedding, Embeddings, Row},
};

/// The rows of a batch; with no models the vectors are left out ([`Embeddings::Keep`]).
pub(crate) fn rows(batch: &RecordBatch, models: &Models) -> Result<Vec<Row>, Misshapen> {
    let plain = Plain::of(batch)?;
    let vectors =
        models.iter().map(|model| Ok((model, column::<FixedSizeListArray>(batch, &model.column)?))).collect::<Result<Vec<_>, _>>()?;
    let row = |index| {
        let mut row = plain.row(index)?;
        if !models.is_empty() {
            row.embeddings = Embeddings::Replace(vectors.iter().filter_map(|(model, column)| embedding(model, column, index)).collect());
        }
        Ok(row)
    };
    (0..batch.num_rows()).map(row).collect()
}

/// A text column of a batch.
pub(crate) fn strings<'a>(batch: &'a RecordBatch, name: &str) -> Result<&'a StringArray, Misshapen> {
    column(batch, name)
}

fn column<'a, T: Array + 'static>(batch: &'a RecordBatch, name: &str) -> Result<&'a T, Misshapen> {
    let wrong = |problem| Misshapen { column: name.to_owned(), problem };
    let column = batch.column_by_name(name).ok_or_else(|| wrong("is missing"))?;
    column.as_any().downcast_ref().ok_or_else(|| wrong("has another type"))
}

/// The columns of a batch that every table has.
struct Plain<'a> {
    id: &'a StringArray,
    node_type: &'a StringArray,
    content: &'a StringArray,
    metadata: &'a StringArray,
    parent_id: &'a StringArray,
    root_id: &'a StringArray,
    before_sibling_id: &'a StringArray,
    depth: &'a Int32Array,
    created_at: &'a TimestampMicrosecondArray,
    modified_at: &'a TimestampMicrosecondArray,
    mentions: &'a ListArray,
    deleted: &'a BooleanArray,
}

impl<'a> Plain<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, Misshapen> {
        Ok(Self {
            id: column(batch, ID)?,
            node_type: column(batch, TYPE)?,
            content: column(batch, CONTENT)?,
            metadata: column(batch, METADATA)?,
            parent_id: column(batch, PARENT_ID)?,
            root_id: column(batch, ROOT_ID)?,
            before_sibling_id: column(batch, BEFORE_SIBLING_ID)?,
            depth: column(batch, DEPTH)?,
            created_at: column(batch, CREATED_AT)?,
            modified_at: column(batch, MODIFIED_AT)?,
            mentions: column(batch, MENTIONS)?,
            deleted: column(batch, DELETED)?,
        })
    }

    fn row(&self, index: usize) -> Result<Row, Misshapen> {
        let optional = |column: &StringArray| (!column.is_null(index)).then(|| column.value(index).to_owned());
        Ok(Row {
            id: self.id.value(index).to_owned(),
            node_type: self.node_type.value(index).to_owned(),
            content: self.content.value(index).to_owned(),
            metadata: metadata(self.metadata.value(index))?,
            parent_id: optional(self.parent_id),
            root_id: optional(self.root_id),
            before_sibling_id: optional(self.before_sibling_id),
            depth: (!self.depth.is_null(index)).then(|| self.depth.value(index)).and_then(|depth| u32::try_from(depth).ok()),
            created_at: self.created_at.value(index),
            modified_at: self.modified_at.value(index),
            mentions: texts(self.mentions, index)?,
            deleted: self.deleted.value(index),
            embeddings: Embeddings::Keep,
        })
    }
}

fn metadata(text: &str) -> Result<Value, Misshapen> {
    serde_json::from_str(text).map_err(|_| Misshapen { column: METADATA.to_owned(), problem: "is not JSON in some row" })
}

fn texts(lists: &ListArray, index: usize) -> Result<Vec<String>, Misshapen> {
    let list = lists.value(index);
    let wrong = || Misshapen { column: MENTIONS.to_owned(), problem: "is not a list of texts" };
    let texts = list.as_any().downcast_ref::<StringArray>().ok_or_else(wrong)?;
    Ok(texts.iter().flatten().map(str::to_owned).collect())
}

fn embedding(model: &Model, column: &FixedSizeListArray, index: usize) -> Option<Embedding> {
    if column.is_null(index) {
        return None;
    }
    let list = column.value(index);
    let vector = list.as_any().downcast_ref::<Float32Array>()?.values().to_vec();
    Some(Embedding { model: model.name.clone(), vector })
}
