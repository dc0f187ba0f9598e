//! Rows to a record batch.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    builder::{FixedSizeListBuilder, Float32Builder, ListBuilder, StringBuilder},
};
use arrow_schema::ArrowError;

use super::{ZONE, list_item, schema, vector_item};
use crate::{
    metadata,
    models::{Model, Models},
    row::{Embeddings, Row},
};

/// `rows` as a batch with the columns of `models`. The rows have been checked, and their vectors have the dimensions of their models.
pub(crate) fn encode(rows: &[Row], models: &Models) -> Result<RecordBatch, ArrowError> {
    let mut columns: Vec<ArrayRef> = vec![
        required(rows, |row| &row.id),
        required(rows, |row| &row.node_type),
        required(rows, |row| &row.content),
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| metadata::to_text(&row.metadata)))),
        lists(rows.iter().map(|row| metadata::terms(&row.metadata))),
        optional(rows, |row| row.parent_id.as_deref()),
        optional(rows, |row| row.root_id.as_deref()),
        optional(rows, |row| row.before_sibling_id.as_deref()),
        // A depth beyond an i32 is none that memory could hold.
        Arc::new(rows.iter().map(|row| row.depth.and_then(|depth| i32::try_from(depth).ok())).collect::<Int32Array>()),
        times(rows, |row| row.created_at),
        times(rows, |row| row.modified_at),
        lists(rows.iter().map(|row| &row.mentions)),
        Arc::new(rows.iter().map(|row| Some(row.deleted)).collect::<BooleanArray>()),
    ];
    columns.extend(models.iter().map(|model| vectors(rows, model)));
    RecordBatch::try_new(schema(models), columns)
}

fn required(rows: &[Row], text: impl Fn(&Row) -> &String) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(rows.iter().map(text)))
}

fn optional(rows: &[Row], text: impl Fn(&Row) -> Option<&str>) -> ArrayRef {
    Arc::new(rows.iter().map(text).collect::<StringArray>())
}

fn times(rows: &[Row], time: impl Fn(&Row) -> i64) -> ArrayRef {
    Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(time)).with_timezone(ZONE))
}

fn lists<T: AsRef<[String]>>(lists: impl Iterator<Item = T>) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new()).with_field(list_item());
    for list in lists {
        list.as_ref().iter().for_each(|text| builder.values().append_value(text));
        builder.append(true);
    }
    Arc::new(builder.finish())
}

fn vectors(rows: &[Row], model: &Model) -> ArrayRef {
    let dimension = i32::try_from(model.dimension).unwrap_or(i32::MAX);
    let mut builder =
        FixedSizeListBuilder::new(Float32Builder::with_capacity(rows.len() * model.dimension), dimension).with_field(vector_item());
    for row in rows {
        match vector(row, model) {
            Some(vector) => builder.values().append_slice(vector),
            None => builder.values().append_nulls(model.dimension),
        }
        builder.append(vector(row, model).is_some());
    }
    Arc::new(builder.finish())
}

/// The row's vector of this model; a vector of zeros is none.
fn vector<'a>(row: &'a Row, model: &Model) -> Option<&'a [f32]> {
    let Embeddings::Replace(embeddings) = &row.embeddings else { return None };
    let embedding = embeddings.iter().find(|embedding| embedding.model == model.name && !embedding.is_none())?;
    (embedding.vector.len() == model.dimension).then_some(&embedding.vector)
}
