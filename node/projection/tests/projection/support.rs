//! What the tests share: folders, rows, and ways to look at a table.

use std::{collections::BTreeMap, path::Path, time::Duration};

use futures::TryStreamExt;
use nodespace_projection::{Change, Digest, Embedding, Embeddings, Mark, Opened, Projection, Reader, Rhythm, Row, Settings, State, Work};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::json;

pub(crate) const MODEL: &str = "test-model";
pub(crate) const DIMENSION: usize = 16;

/// A node with an id and a text, and nothing else of note.
pub(crate) fn row(id: &str, content: &str) -> Row {
    Row {
        id: id.to_owned(),
        node_type: "text".to_owned(),
        content: content.to_owned(),
        metadata: json!({}),
        parent_id: None,
        root_id: Some(id.to_owned()),
        before_sibling_id: None,
        depth: Some(0),
        created_at: 1_700_000_000_000_000,
        modified_at: 1_700_000_000_000_000,
        mentions: Vec::new(),
        deleted: false,
        embeddings: Embeddings::Keep,
    }
}

/// A node with something in every field.
pub(crate) fn full_row(number: u64) -> Row {
    let words = ["apple", "river", "stone", "cloud", "lantern", "harbour", "meadow", "copper"];
    let word = |index: u64| words[(index % words.len() as u64) as usize];
    Row {
        node_type: if number.is_multiple_of(3) { "task" } else { "text" }.to_owned(),
        content: format!("node {number} {} {} unique{number}", word(number), word(number / 8)),
        metadata: json!({"status": if number.is_multiple_of(2) { "open" } else { "done" }, "number": number, "tags": [word(number), "all"]}),
        parent_id: (number > 0).then(|| id(number / 10)),
        root_id: Some(id(0)),
        before_sibling_id: (number > 1).then(|| id(number - 1)),
        depth: Some(number.checked_ilog10().unwrap_or(0)),
        modified_at: 1_700_000_000_000_000 + number as i64 * 1_000_000,
        mentions: vec![id(number / 2)],
        embeddings: vectors(vector(number)),
        ..row(&id(number), "")
    }
}

pub(crate) fn id(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

/// A vector that only this number has.
pub(crate) fn vector(number: u64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(number);
    (0..DIMENSION).map(|_| (random.next_u32() as f32 / u32::MAX as f32) - 0.5).collect()
}

pub(crate) fn vectors(vector: Vec<f32>) -> Embeddings {
    Embeddings::Replace(vec![Embedding { model: MODEL.to_owned(), vector }])
}

pub(crate) fn upsert(row: Row) -> Change {
    Change::Upsert(Box::new(row))
}

pub(crate) fn upserts(rows: impl IntoIterator<Item = Row>) -> Vec<Change> {
    rows.into_iter().map(upsert).collect()
}

/// Settings under which a few hundred rows get every index.
pub(crate) fn small() -> Settings {
    Settings {
        scalar_index_rows_min: 50,
        vector_index_rows_min: 300,
        keep_versions: Duration::ZERO,
        rhythm: Rhythm::default(),
        ..Settings::default()
    }
}

/// Opens a projection that has to be new.
pub(crate) async fn new(folder: &Path) -> Projection {
    let Opened { projection, state } = Projection::open(folder, None, small()).await.unwrap();
    assert!(matches!(state, State::Empty(_)));
    projection
}

/// Opens a projection that has to be as the mark says.
pub(crate) async fn reopen(folder: &Path, mark: &Mark) -> Projection {
    let Opened { projection, state } = Projection::open(folder, Some(mark.clone()), small()).await.unwrap();
    assert!(matches!(state, State::Current), "{state:?}");
    projection
}

/// Does a whole round of tidying, and gives its checkpoint's mark.
pub(crate) async fn tidy(projection: &mut Projection) -> Mark {
    projection.maintain(Work::Compact).await.unwrap();
    while projection.maintain(Work::Index).await.unwrap().more {}
    let mark = projection.checkpoint(Duration::ZERO).await.unwrap();
    projection.maintain(Work::Prune).await.unwrap();
    mark
}

/// Every id of the table with its digest; fails if one id has two rows.
pub(crate) async fn digests(reader: &Reader) -> BTreeMap<String, Digest> {
    let listed: Vec<_> = reader.digests().await.unwrap().try_collect().await.unwrap();
    let digests: BTreeMap<_, _> = listed.iter().cloned().collect();
    assert_eq!(digests.len(), listed.len(), "an id has two rows");
    digests
}

/// What [`digests`] should give for these rows.
pub(crate) fn expected<'a>(rows: impl IntoIterator<Item = &'a Row>) -> BTreeMap<String, Digest> {
    rows.into_iter().map(|row| (row.id.clone(), row.digest())).collect()
}
