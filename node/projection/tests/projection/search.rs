//! Searches, each asked of the same nodes before and after there are indexes, and with rows outside them.
//!
//! 1. Text finds words in any case, with and without accents, in languages written without spaces.
//! 2. Vectors find the nearest first, and leave out nodes without one.
//! 3. Both together put first what both find.
//! 4. Filters narrow every kind of search; their values mean nothing but themselves.
//! 5. Bad queries get errors that say what is wrong.

use std::time::Duration;

use nodespace_projection::{Deleted, Embeddings, Filter, Hit, Parent, Projection, Query, QueryVector, Reader, Row, SearchError, TimeRange};
use serde_json::json;

use crate::support::*;

const NOW: Duration = Duration::ZERO;

fn text(words: &str) -> Query {
    Query { text: Some(words.into()), limit: 10, ..Query::default() }
}

fn near(vector: Vec<f32>) -> Query {
    Query { vector: Some(QueryVector { model: MODEL.into(), vector }), limit: 10, ..Query::default() }
}

fn ids(hits: &[Hit]) -> Vec<&str> {
    hits.iter().map(|hit| hit.id.as_str()).collect()
}

async fn found(reader: &Reader, query: &Query) -> Vec<String> {
    let hits = reader.search(query).await.unwrap_or_else(|error| panic!("{query:?}: {error:?}"));
    ids(&hits).into_iter().map(str::to_owned).collect()
}

async fn found_with(reader: &Reader, filter: Filter) -> Vec<String> {
    let mut found = found(reader, &Query { filter, limit: 1_000, ..Query::default() }).await;
    found.sort();
    found
}

/// A table of some languages.
async fn babel(projection: &mut Projection) {
    let rows = [
        row("de", "Der Fährmann sagte: Straße frei, Übermut tut selten gut."),
        row("fr", "Le café était fermé à l'aube"),
        row("ru", "Съешь ещё этих мягких французских булок"),
        row("zh", "我们在数据库中存储笔记"),
        row("ja", "全文検索エンジンを作る"),
        row("code", "call snake_case_name(x) or kebab-case"),
        row("be", "to be or not to be"),
        row("empty", ""),
    ];
    projection.apply(upserts(rows), 1, NOW).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn text_finds_words_of_many_languages() {
    let folder = tempfile::tempdir().unwrap();
    let mut projection = new(folder.path()).await;
    babel(&mut projection).await;
    for indexed in [false, true] {
        if indexed {
            tidy(&mut projection).await;
        }
        let reader = projection.reader();
        let cases = [
            ("fährmann", "de"),
            ("FAHRMANN", "de"),
            ("ubermut", "de"),
            ("CAFE", "fr"),
            ("café", "fr"),
            ("aube", "fr"),
            ("БУЛОК", "ru"),
            ("数据库", "zh"),
            ("笔记", "zh"),
            ("検索", "ja"),
            ("snake", "code"),
            ("kebab", "code"),
            ("not to be", "be"),
            ("to", "be"),
        ];
        for (words, id) in cases {
            assert_eq!(found(&reader, &text(words)).await.first().map(String::as_str), Some(id), "{words}, indexed: {indexed}");
        }
        for words in ["nowhere", "caf", "''", "\"", "\\", "!!!", "🦀", "\0"] {
            assert_eq!(found(&reader, &text(words)).await, Vec::<String>::new(), "{words:?}, indexed: {indexed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_outside_the_indexes_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut projection = new(folder.path()).await;
    projection.apply(upserts((0..400).map(full_row)), 1, NOW).await.unwrap();
    tidy(&mut projection).await;
    projection.apply(upserts((400..420).map(full_row)), 2, NOW).await.unwrap();
    let changed = Row { content: "moved elsewhere zanzibar".into(), embeddings: vectors(vector(9_999)), ..full_row(5) };
    projection.apply(upserts([changed]), 3, NOW).await.unwrap();
    let reader = projection.reader();
    for number in [0, 17, 399, 400, 419] {
        assert_eq!(found(&reader, &text(&format!("unique{number}"))).await, [id(number)]);
        let hits = reader.search(&near(vector(number))).await.unwrap();
        assert_eq!((hits[0].id.as_str(), hits.len()), (id(number).as_str(), 10));
        assert!(hits[0].vector_distance.unwrap().abs() < 1e-3 && (hits[0].score - 1.0).abs() < 1e-3, "{:?}", hits[0]);
        assert!(hits.is_sorted_by(|a, b| a.vector_distance <= b.vector_distance));
    }
    assert_eq!(found(&reader, &text("zanzibar")).await, [id(5)]);
    assert_eq!(found(&reader, &text("unique5")).await, Vec::<String>::new());
    assert_eq!(found(&reader, &near(vector(9_999))).await[0], id(5));
    let of_old = reader.search(&near(vector(5))).await.unwrap();
    assert!(of_old[0].vector_distance.unwrap() > 1e-3, "an old vector is still found: {:?}", of_old[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_without_a_vector_are_near_to_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut projection = new(folder.path()).await;
    let zeros = Row { embeddings: vectors(vec![0.0; DIMENSION]), ..row("zeros", "") };
    projection.apply(upserts([full_row(1), row("none", ""), zeros, Row { deleted: true, ..full_row(2) }]), 1, NOW).await.unwrap();
    let hits = projection.reader().search(&near(vector(2))).await.unwrap();
    assert_eq!(ids(&hits), [id(1)]);
    assert!(hits[0].score.is_finite());
}

#[tokio::test(flavor = "multi_thread")]
async fn both_kinds_together_put_first_what_both_find() {
    let folder = tempfile::tempdir().unwrap();
    let mut projection = new(folder.path()).await;
    projection.apply(upserts((0..100).map(full_row)), 1, NOW).await.unwrap();
    for _ in 0..2 {
        let query = Query { text: Some("unique42 unique7".into()), ..near(vector(42)) };
        let hits = projection.reader().search(&query).await.unwrap();
        assert_eq!((hits[0].id.as_str(), hits.len()), (id(42).as_str(), 10));
        assert!(hits[0].text_score.is_some() && hits[0].vector_distance.is_some());
        assert!(hits.is_sorted_by(|a, b| a.score >= b.score));
        assert!(ids(&hits).contains(&id(7).as_str()));
        tidy(&mut projection).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_narrow_every_search() {
    let folder = tempfile::tempdir().unwrap();
    let mut projection = new(folder.path()).await;
    projection.apply(upserts((0..120).map(full_row)), 1, NOW).await.unwrap();
    projection.apply(upserts([Row { deleted: true, ..full_row(120) }]), 2, NOW).await.unwrap();
    for indexed in [false, true] {
        if indexed {
            tidy(&mut projection).await;
        }
        let reader = projection.reader();
        let numbers = |passes: fn(&u64) -> bool| (0..120).filter(passes).map(id).collect::<Vec<_>>();
        let filter = Filter::default;
        let time = |number: u64| Some(1_700_000_000_000_000 + number as i64 * 1_000_000);
        let cases: Vec<(Filter, Vec<String>)> = vec![
            (filter(), numbers(|_| true)),
            (Filter { types: vec!["task".into()], ..filter() }, numbers(|number| number % 3 == 0)),
            (Filter { types: vec!["task".into(), "text".into()], ..filter() }, numbers(|_| true)),
            (Filter { metadata: vec![("status".into(), json!("open"))], ..filter() }, numbers(|number| number % 2 == 0)),
            (Filter { metadata: vec![("number".into(), json!(17.0))], ..filter() }, vec![id(17)]),
            (Filter { metadata: vec![("number".into(), json!("17"))], ..filter() }, vec![]),
            (Filter { metadata: vec![("tags".into(), json!("apple")), ("status".into(), json!("done"))], ..filter() }, vec![]),
            (
                Filter { metadata: vec![("tags".into(), json!("river")), ("tags".into(), json!("all"))], ..filter() },
                numbers(|number| number % 8 == 1),
            ),
            (Filter { parent: Some(Parent::Is(id(3))), ..filter() }, (30..40).map(id).collect()),
            (Filter { parent: Some(Parent::None), ..filter() }, vec![id(0)]),
            (Filter { root_id: Some(id(0)), ..filter() }, numbers(|_| true)),
            (Filter { root_id: Some(id(1)), ..filter() }, vec![]),
            (Filter { modified: TimeRange { from: time(10), until: time(12) }, ..filter() }, vec![id(10), id(11)]),
            (Filter { modified: TimeRange { from: time(119), until: None }, ..filter() }, vec![id(119)]),
            (Filter { created: TimeRange { from: None, until: time(0) }, ..filter() }, vec![]),
            (Filter { created: TimeRange { from: Some(i64::MIN), until: Some(i64::MAX) }, ..filter() }, numbers(|_| true)),
            (Filter { deleted: Deleted::Only, ..filter() }, vec![id(120)]),
        ];
        for (filter, expected) in cases {
            assert_eq!(found_with(&reader, filter.clone()).await, expected, "{filter:?}, indexed: {indexed}");
            assert_eq!(reader.count(&filter).await.unwrap(), expected.len() as u64, "{filter:?}");
            let by_text = Query { filter: filter.clone(), limit: 1_000, ..text("node") };
            let by_vector = Query { filter: filter.clone(), limit: 1_000, ..near(vector(3)) };
            for query in [by_text, by_vector] {
                let mut found = found(&reader, &query).await;
                found.sort();
                assert_eq!(found, expected, "{query:?}, indexed: {indexed}");
            }
        }
        assert_eq!(reader.children(Parent::Is(id(3))).await.unwrap().len(), 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_values_of_filters_mean_only_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let mut projection = new(folder.path()).await;
    let nasty = [
        "'; DROP TABLE nodes; --",
        "' OR '1'='1",
        "\\",
        "\\'",
        "''",
        "\"",
        "`",
        "%",
        "_",
        "a\0b",
        "🦀 ü 数据",
        "\n--\n",
        "]",
        "$1",
        "{}",
        "é",
    ];
    let rows = nasty.iter().map(|text| Row {
        node_type: (*text).into(),
        metadata: json!({ *text: *text }),
        parent_id: Some((*text).into()),
        ..row(&format!("id {text}"), text)
    });
    projection.apply(upserts(rows), 1, NOW).await.unwrap();
    for indexed in [false, true] {
        if indexed {
            projection.apply(upserts((0..60).map(full_row)), 2, NOW).await.unwrap();
            tidy(&mut projection).await;
        }
        let reader = projection.reader();
        for value in nasty {
            let only = vec![format!("id {value}")];
            let filters = [
                Filter { types: vec![value.into()], ..Filter::default() },
                Filter { metadata: vec![(value.into(), json!(value))], ..Filter::default() },
                Filter { parent: Some(Parent::Is(value.into())), ..Filter::default() },
            ];
            for filter in filters {
                assert_eq!(found_with(&reader, filter.clone()).await, only, "{filter:?}, indexed: {indexed}");
            }
            assert_eq!(reader.get(&[&only[0]]).await.unwrap().len(), 1, "{value:?}");
            reader.search(&text(value)).await.unwrap();
        }
    }
    let removals = nasty.iter().map(|text| nodespace_projection::Change::Remove(format!("id {text}"))).collect();
    assert_eq!(projection.apply(removals, 3, NOW).await.unwrap().removed, nasty.len() as u64);
    assert_eq!(digests(&projection.reader()).await.len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_come_in_pages_and_with_a_snippet() {
    let folder = tempfile::tempdir().unwrap();
    let mut projection = new(folder.path()).await;
    projection.apply(upserts((0..100).map(full_row)), 1, NOW).await.unwrap();
    let reader = projection.reader();
    let hybrid = Query { text: Some("node unique3".into()), ..near(vector(3)) };
    for query in [text("node unique3"), near(vector(3)), hybrid, Query { limit: 10, ..Query::default() }] {
        let all = found(&reader, &Query { limit: 30, ..query.clone() }).await;
        let mut pages = Vec::new();
        for offset in [0, 10, 20] {
            pages.extend(found(&reader, &Query { offset, ..query.clone() }).await);
        }
        assert_eq!(pages, all, "{query:?}");
    }
    let latest = reader.search(&Query { limit: 2, ..Query::default() }).await.unwrap();
    assert_eq!(ids(&latest), [id(99), id(98)]);
    assert!(latest[0].snippet.starts_with("node 99"));
    assert!(reader.search(&Query { limit: 0, ..text("node") }).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_queries_say_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let mut projection = new(folder.path()).await;
    let unknown = projection.reader().search(&near(vector(1))).await;
    assert!(matches!(&unknown, Err(SearchError::UnknownModel { known, .. }) if known.is_empty()), "{unknown:?}");
    projection.apply(upserts([full_row(1), Row { embeddings: Embeddings::Keep, ..full_row(2) }]), 1, NOW).await.unwrap();
    let reader = projection.reader();
    let with_nan = {
        let mut vector = vector(1);
        vector[3] = f32::NAN;
        vector
    };
    type IsExpected = fn(&SearchError) -> bool;
    let cases: Vec<(Query, IsExpected)> = vec![
        (near(vec![1.0; 3]), |error| matches!(error, SearchError::WrongDimension { expected: DIMENSION, found: 3, .. })),
        (near(with_nan), |error| matches!(error, SearchError::NotFinite { index: 3 })),
        (near(vec![0.0; DIMENSION]), |error| matches!(error, SearchError::ZeroVector)),
        (Query { limit: 10_001, ..text("x") }, |error| matches!(error, SearchError::TooManyHits { .. })),
        (Query { limit: usize::MAX, offset: usize::MAX, ..text("x") }, |error| matches!(error, SearchError::TooManyHits { .. })),
        (text(&"x".repeat(20_000)), |error| matches!(error, SearchError::TextTooLong { .. })),
    ];
    for (query, is_expected) in cases {
        let refused = reader.search(&query).await;
        assert!(matches!(&refused, Err(error) if is_expected(error)), "{refused:?}");
    }
}
