//! What can be asked of the table, and the form of the answer.

use crate::{error::SearchError, filter::Filter, models::Models};

/// The hits a search can give, counted from the best; asking for later ones is refused.
///
/// Each kind of search fetches as many candidates as the last hit's number, so this bounds the memory of one search.
pub const WINDOW_MAX: usize = 10_000;

/// The longest text to search for, in bytes. A longer one is refused: each word costs a look at the index.
pub const TEXT_BYTES_MAX: usize = 16 << 10;

/// A search. With a text, the nodes whose content has its words; with a vector, the nearest nodes; with both, both rankings fused; with
/// neither, the nodes that pass the filter, the last changed first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Query {
    /// Words to find; one of them is enough, more of them and rarer ones rank higher (BM25).
    pub text: Option<String>,
    /// A vector to be near to, by the cosine.
    pub vector: Option<QueryVector>,
    /// Which nodes to look at.
    pub filter: Filter,
    /// How many hits to give at most.
    pub limit: usize,
    /// How many of the best hits to leave out, for the next page.
    pub offset: usize,
}

/// A vector to search by.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryVector {
    /// The model that made it; only vectors of this model are compared.
    pub model: String,
    /// The vector.
    pub vector: Vec<f32>,
}

/// A node that a search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The node's id.
    pub id: String,
    /// How good a hit it is, for comparing hits of one search only: BM25 for text, `1 - distance` for a vector, the sum of reciprocal
    /// ranks for both, 0 for a mere filter.
    pub score: f32,
    /// The text's BM25 score, if the text search found the node.
    pub text_score: Option<f32>,
    /// The cosine distance, from 0 (same direction) to 2 (opposite), if the vector search found the node.
    pub vector_distance: Option<f32>,
    /// A part of the content, around the first word that was searched for.
    pub snippet: String,
}

impl Query {
    /// How many candidates each kind of search has to fetch.
    pub(crate) fn window(&self) -> Result<usize, SearchError> {
        let asked = self.offset.saturating_add(self.limit);
        if asked > WINDOW_MAX { Err(SearchError::TooManyHits { asked }) } else { Ok(asked) }
    }

    /// The text to search for, if there is one with anything in it.
    pub(crate) fn words(&self) -> Result<Option<&str>, SearchError> {
        let Some(text) = self.text.as_deref().map(str::trim) else { return Ok(None) };
        match text.len() {
            0 => Ok(None),
            bytes if bytes > TEXT_BYTES_MAX => Err(SearchError::TextTooLong { bytes }),
            _ => Ok(Some(text)),
        }
    }
}

impl QueryVector {
    /// The column to compare with, if the vector can be compared.
    pub(crate) fn column<'a>(&self, models: &'a Models) -> Result<&'a str, SearchError> {
        let Some(model) = models.find(&self.model) else {
            return Err(SearchError::UnknownModel {
                model: self.model.clone(),
                known: models.iter().map(|model| model.name.clone()).collect(),
            });
        };
        if model.dimension != self.vector.len() {
            return Err(SearchError::WrongDimension { model: self.model.clone(), expected: model.dimension, found: self.vector.len() });
        }
        if let Some(index) = self.vector.iter().position(|element| !element.is_finite()) {
            return Err(SearchError::NotFinite { index });
        }
        if self.vector.iter().all(|element| *element == 0.0) {
            return Err(SearchError::ZeroVector);
        }
        Ok(&model.column)
    }
}
