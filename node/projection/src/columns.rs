//! The columns of table `nodes`, and rows to and from Arrow.
//!
//! | Column | Type | |
//! |---|---|---|
//! | `id` | text | unique |
//! | `type` | text | |
//! | `content` | text | |
//! | `metadata` | text | JSON, keys in order |
//! | `metadata_terms` | list of text | `path=value`, see [`crate::metadata`] |
//! | `parent_id`, `root_id`, `before_sibling_id` | text or null | |
//! | `depth` | int32 or null | |
//! | `created_at`, `modified_at` | timestamp, microseconds, UTC | |
//! | `mentions` | list of text | |
//! | `deleted` | boolean | |
//! | `embedding`, `embedding_…` | fixed-size list of float32, or null | one a model, see [`crate::models`] |

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, TimeUnit};

use crate::models::{Model, Models};

mod decode;
mod encode;

pub(crate) use decode::{rows, strings};
pub(crate) use encode::encode;

pub(crate) const ID: &str = "id";
pub(crate) const TYPE: &str = "type";
pub(crate) const CONTENT: &str = "content";
pub(crate) const METADATA: &str = "metadata";
pub(crate) const METADATA_TERMS: &str = "metadata_terms";
pub(crate) const PARENT_ID: &str = "parent_id";
pub(crate) const ROOT_ID: &str = "root_id";
pub(crate) const BEFORE_SIBLING_ID: &str = "before_sibling_id";
pub(crate) const DEPTH: &str = "depth";
pub(crate) const CREATED_AT: &str = "created_at";
pub(crate) const MODIFIED_AT: &str = "modified_at";
pub(crate) const MENTIONS: &str = "mentions";
pub(crate) const DELETED: &str = "deleted";

/// The version of the table's columns. A table with another one is rebuilt.
pub(crate) const SCHEMA_VERSION: u32 = 1;

/// The time zone of timestamps.
pub(crate) const ZONE: &str = "UTC";

/// The columns that a table with these models has.
pub(crate) fn schema(models: &Models) -> Arc<Schema> {
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some(ZONE.into()));
    let texts = || DataType::List(Arc::new(list_item()));
    let mut fields = vec![
        Field::new(ID, DataType::Utf8, false),
        Field::new(TYPE, DataType::Utf8, false),
        Field::new(CONTENT, DataType::Utf8, false),
        Field::new(METADATA, DataType::Utf8, false),
        Field::new(METADATA_TERMS, texts(), false),
        Field::new(PARENT_ID, DataType::Utf8, true),
        Field::new(ROOT_ID, DataType::Utf8, true),
        Field::new(BEFORE_SIBLING_ID, DataType::Utf8, true),
        Field::new(DEPTH, DataType::Int32, true),
        Field::new(CREATED_AT, time(), false),
        Field::new(MODIFIED_AT, time(), false),
        Field::new(MENTIONS, texts(), false),
        Field::new(DELETED, DataType::Boolean, false),
    ];
    fields.extend(models.iter().map(embedding_field));
    Arc::new(Schema::new(fields))
}

/// The names of all columns but the vectors.
pub(crate) fn plain_columns() -> Vec<String> {
    schema(&Models::default()).fields().iter().map(|field| field.name().clone()).collect()
}

/// The column of one model's vectors.
pub(crate) fn embedding_field(model: &Model) -> Field {
    // Models are added with a dimension of at most DIMENSION_MAX.
    let dimension = i32::try_from(model.dimension).unwrap_or(i32::MAX);
    Field::new(&model.column, DataType::FixedSizeList(Arc::new(vector_item()), dimension), true)
}

fn vector_item() -> Field {
    Field::new("item", DataType::Float32, true)
}

fn list_item() -> Field {
    Field::new("item", DataType::Utf8, true)
}
