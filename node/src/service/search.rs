//! Searching: the table answers which nodes, the state answers what they are.

use nodespace_projection::{Deleted, Filter, Parent, Query, QueryVector, SearchError, TimeRange};
use nodespace_protocol::replica::NodeView;

use super::parse;
use crate::engine::Workspace;
use crate::model::search::SEARCH_LIMIT_MAX;
use crate::model::{ErrorCode, SearchFilters, SearchHit, SearchMode, SearchReply, SearchRequest, ServiceError, time};

/// Hits when no limit is given.
const SEARCH_LIMIT_DEFAULT: usize = 20;

impl Workspace {
    /// Searches by words, by a vector, or by both. The answer includes everything that was acknowledged before it was asked.
    ///
    /// # Errors
    /// When the request does not say what to search for, a vector does not fit its model, or the table is not there.
    pub async fn search(&self, request: SearchRequest) -> Result<SearchReply, ServiceError> {
        let projector = self.projector().await?;
        let cursor = self.feed().end();
        projector.catch_up(cursor.position.ops).await?;
        let vector = self.vector_of(&request).await?;
        let query = query(request, vector)?;
        let found = projector.search(query).await?;
        let ids = found.iter().map(|hit| parse::node_id(&hit.id)).collect::<Result<Vec<_>, _>>()?;
        let views = self.read(move |replica| ids.iter().map(|id| replica.view(id)).collect::<Vec<_>>()).await?;
        let hits = found.into_iter().zip(views).filter_map(|(hit, view)| Some(self::hit(&hit, view.ok()?))).collect();
        Ok(SearchReply { hits, cursor: cursor.to_string() })
    }

    /// The vector to search near: the one given, or the embedding of the node named.
    async fn vector_of(&self, request: &SearchRequest) -> Result<Option<QueryVector>, ServiceError> {
        if request.vector.is_some() && request.near.is_some() {
            return Err(ServiceError::new(ErrorCode::InvalidRequest, "give either `vector` or `near`, not both"));
        }
        let models = self.projector().await?.models()?;
        let vector = match (&request.vector, &request.near) {
            (Some(vector), _) => vector.clone(),
            (None, Some(near)) => {
                let (id, wanted) = (parse::node_id(near)?, request.model.clone());
                let found = self.read(move |replica| crate::engine::embeddings_of(replica, &id)).await??;
                let found = found.into_iter().find(|(model, _)| wanted.as_ref().is_none_or(|wanted| wanted == model));
                let Some((model, vector)) = found else {
                    return Err(ServiceError::new(ErrorCode::NotFound, format!("node `{near}` has no embedding to search near")));
                };
                return Ok(Some(QueryVector { model, vector }));
            }
            (None, None) => return Ok(None),
        };
        let model = match (&request.model, models.as_slice()) {
            (Some(model), _) => model.clone(),
            (None, [only]) => only.clone(),
            (None, []) => return Err(ServiceError::new(ErrorCode::InvalidValue, "no node has an embedding yet")),
            (None, several) => {
                let message = format!("there are several models: name one of {} as `model`", several.join(", "));
                return Err(ServiceError::new(ErrorCode::InvalidRequest, message));
            }
        };
        Ok(Some(QueryVector { model, vector }))
    }
}

fn query(request: SearchRequest, vector: Option<QueryVector>) -> Result<Query, ServiceError> {
    let limit = request.limit.unwrap_or(SEARCH_LIMIT_DEFAULT);
    if !(1..=SEARCH_LIMIT_MAX).contains(&limit) {
        let message = format!("`limit` is between 1 and {SEARCH_LIMIT_MAX}, not {limit}");
        return Err(ServiceError::new(ErrorCode::InvalidValue, message));
    }
    let text = request.text.filter(|text| !text.trim().is_empty());
    let missing = |what: &str| Err(ServiceError::new(ErrorCode::InvalidRequest, format!("this kind of search needs {what}")));
    let (text, vector) = match request.mode {
        Some(SearchMode::Text) if text.is_none() => return missing("`text`"),
        Some(SearchMode::Vector) if vector.is_none() => return missing("`vector` or `near`"),
        Some(SearchMode::Hybrid) if text.is_none() || vector.is_none() => return missing("`text` and one of `vector` and `near`"),
        Some(SearchMode::Text) => (text, None),
        Some(SearchMode::Vector) => (None, vector),
        Some(SearchMode::Hybrid) | None => (text, vector),
    };
    Ok(Query { text, vector, filter: filter(request.filters)?, limit, offset: 0 })
}

fn filter(filters: SearchFilters) -> Result<Filter, ServiceError> {
    let micros = |text: Option<String>| -> Result<Option<i64>, ServiceError> {
        let invalid = |message| ServiceError::new(ErrorCode::InvalidRequest, message);
        text.map(|text| time::parse_ms(&text).map(|ms| ms.saturating_mul(1_000)).map_err(invalid)).transpose()
    };
    Ok(Filter {
        types: filters.node_types,
        metadata: filters.metadata.into_iter().collect(),
        parent: filters.parent_id.map(|id| parse::node_id(&id).map(|id| Parent::Is(id.to_string()))).transpose()?,
        created: TimeRange { from: micros(filters.created_after)?, until: micros(filters.created_before)? },
        modified: TimeRange { from: micros(filters.modified_after)?, until: micros(filters.modified_before)? },
        root_id: None,
        deleted: if filters.include_deleted { Deleted::Include } else { Deleted::Exclude },
    })
}

fn hit(hit: &nodespace_projection::Hit, view: NodeView) -> SearchHit {
    SearchHit {
        id: hit.id.clone(),
        node_type: view.node_type,
        content: view.content,
        parent_id: view.parent_id.map(|id| id.to_string()),
        score: hit.score,
        text_score: hit.text_score,
        distance: hit.vector_distance,
    }
}

/// What a failed search means to whoever asked.
pub(crate) fn refusal(error: &SearchError) -> ServiceError {
    let code = match error {
        SearchError::Table(_) => ErrorCode::StoreFailed,
        _ => ErrorCode::InvalidValue,
    };
    ServiceError::new(code, error.to_string())
}
