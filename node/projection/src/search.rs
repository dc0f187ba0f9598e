//! Full-text, vector and hybrid search.
//!
//! LanceDB answers from its indexes and looks through the rows that are not in an index yet, so a node is found as soon as it is written.
//! The filter is applied before the ranking: ten hits are asked for, ten come if there are ten. A vector search asks the index for a few
//! times as many candidates as needed and ranks those by their full vectors, since the index holds them quantised.

use arrow_array::{Array, Float32Array, RecordBatch};
use futures::TryStreamExt;
use lancedb::{
    DistanceType,
    index::scalar::FullTextSearchQuery,
    query::{ColumnOrdering, ExecutableQuery, QueryBase, Select},
};

use crate::{
    columns::{self, CONTENT, ID, MODIFIED_AT},
    error::{Misshapen, SearchError, TableError},
    fusion,
    handle::Handle,
    query::{Hit, Query, QueryVector},
    snippet,
};

/// The column of a full-text score.
const SCORE: &str = "_score";

/// The column of a vector's distance.
const DISTANCE: &str = "_distance";

/// How many times the hits asked for the index gives as candidates, to be ranked by their full vectors.
const REFINE_FACTOR: u32 = 5;

/// Each ranking of a hybrid search is at least this long, so that a node that is good in both is found though first in neither.
const FUSED_MIN: usize = 100;

/// The hits of a query, best first.
pub(crate) async fn search(handle: &Handle, query: &Query) -> Result<Vec<Hit>, SearchError> {
    let window = query.window()?;
    let filter = query.filter.to_sql()?;
    let models = handle.models();
    let vector = query.vector.as_ref().map(|vector| Ok::<_, SearchError>((vector, vector.column(&models)?))).transpose()?;
    let words = query.words()?;
    if query.limit == 0 {
        return Ok(Vec::new());
    }
    let filter = filter.as_deref();
    let hits = match (words, vector) {
        (Some(words), None) => by_text(handle, words, filter, window).await?,
        (None, Some((vector, column))) => by_vector(handle, vector, column, filter, window).await?,
        (Some(words), Some((vector, column))) => {
            let window = window.max(FUSED_MIN);
            let rankings = futures::try_join!(by_text(handle, words, filter, window), by_vector(handle, vector, column, filter, window))?;
            fusion::fuse(rankings.0, rankings.1)
        }
        (None, None) => by_time(handle, filter, window).await?,
    };
    Ok(hits.into_iter().skip(query.offset).take(query.limit).collect())
}

async fn by_text(handle: &Handle, words: &str, filter: Option<&str>, window: usize) -> Result<Vec<Hit>, TableError> {
    let text = FullTextSearchQuery::new(words.to_owned()).with_column(CONTENT.to_owned()).map_err(TableError::from)?;
    let query = handle.table.query().full_text_search(text).select(Select::columns(&[ID, CONTENT, SCORE])).limit(window);
    let batches = filtered(query, filter).execute().await?.try_collect::<Vec<_>>().await?;
    let mut hits = hits(&batches, SCORE, Some(words), |score| (score, Some(score), None))?;
    // Rows outside the index are ranked by themselves.
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
    hits.truncate(window);
    Ok(hits)
}

async fn by_vector(
    handle: &Handle,
    vector: &QueryVector,
    column: &str,
    filter: Option<&str>,
    window: usize,
) -> Result<Vec<Hit>, TableError> {
    let query = handle.table.query().nearest_to(vector.vector.as_slice())?.column(column).distance_type(DistanceType::Cosine);
    let query = query.refine_factor(REFINE_FACTOR).select(Select::columns(&[ID, CONTENT, DISTANCE])).limit(window);
    // Rows without a vector have no distance: they sort last and are left out below. Asking for `IS NOT NULL` would read the whole column.
    let query = match filter {
        Some(filter) => query.only_if(filter),
        None => query,
    };
    let batches = query.execute().await?.try_collect::<Vec<_>>().await?;
    let mut hits = hits(&batches, DISTANCE, None, |distance| (1.0 - distance, None, Some(distance)))?;
    hits.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
    hits.truncate(window);
    Ok(hits)
}

async fn by_time(handle: &Handle, filter: Option<&str>, window: usize) -> Result<Vec<Hit>, TableError> {
    let latest = ColumnOrdering::desc_nulls_last(MODIFIED_AT.to_owned());
    let first = ColumnOrdering::asc_nulls_first(ID.to_owned());
    let query = handle.table.query().order_by(Some(vec![latest, first])).select(Select::columns(&[ID, CONTENT, MODIFIED_AT])).limit(window);
    let batches = filtered(query, filter).execute().await?.try_collect::<Vec<_>>().await?;
    let mut hits = Vec::new();
    for batch in &batches {
        let (ids, contents) = (columns::strings(batch, ID)?, columns::strings(batch, CONTENT)?);
        hits.extend((0..batch.num_rows()).map(|index| Hit {
            id: ids.value(index).to_owned(),
            score: 0.0,
            text_score: None,
            vector_distance: None,
            snippet: snippet::snippet(contents.value(index), None),
        }));
    }
    Ok(hits)
}

fn filtered(query: lancedb::query::Query, filter: Option<&str>) -> lancedb::query::Query {
    match filter {
        Some(filter) => query.only_if(filter),
        None => query,
    }
}

/// The rows of batches as hits; `rate` makes score, text score and distance of the measured column's value. What was not measured is no hit.
fn hits(
    batches: &[RecordBatch],
    measured: &str,
    words: Option<&str>,
    rate: impl Fn(f32) -> (f32, Option<f32>, Option<f32>),
) -> Result<Vec<Hit>, Misshapen> {
    let mut hits = Vec::new();
    for batch in batches {
        let (ids, contents) = (columns::strings(batch, ID)?, columns::strings(batch, CONTENT)?);
        let measures = batch.column_by_name(measured).and_then(|column| column.as_any().downcast_ref::<Float32Array>());
        let measures = measures.ok_or_else(|| Misshapen { column: measured.to_owned(), problem: "is missing from a search's answer" })?;
        for index in (0..batch.num_rows()).filter(|index| !measures.is_null(*index) && measures.value(*index).is_finite()) {
            let (score, text_score, vector_distance) = rate(measures.value(index));
            let snippet = snippet::snippet(contents.value(index), words);
            hits.push(Hit { id: ids.value(index).to_owned(), score, text_score, vector_distance, snippet });
        }
    }
    Ok(hits)
}
