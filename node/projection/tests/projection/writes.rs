//! What is written is what is read, whatever the order, and once only.
//!
//! 1. A row comes back as it was written, vectors included.
//! 2. The last change of an id counts, within a batch and across batches; no id ever has two rows.
//! 3. Vectors are kept, replaced and taken away as a row says.
//! 4. What was checkpointed is there after a restart; what came later is dropped, and may be written again.
//! 5. Readers see each commit, and go on through tidying.
//! 6. What cannot be stored is refused before anything is written.

use std::{collections::BTreeMap, time::Duration};

use nodespace_projection::{Change, Deleted, Embedding, Embeddings, Filter, OpenError, Projection, Row, RowError, State, Work, WriteError};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use serde_json::json;

use crate::support::*;

const NOW: Duration = Duration::ZERO;

#[tokio::test(flavor = "multi_thread")]
async fn a_row_comes_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut projection = new(folder.path()).await;
    let odd = Row {
        node_type: "'; DROP TABLE nodes; --".into(),
        content: "quotes ' \" ` backslash \\ nul \0 emoji 🦀 数据 \u{202e}".into(),
        metadata: json!({"ключ": {"deep": [1, 2.5, null, true, "x'y"]}, "": ""}),
        parent_id: Some("par'ent\\".into()),
        before_sibling_id: Some("\0".into()),
        depth: None,
        created_at: -1,
        modified_at: i64::MAX / 2,
        mentions: vec!["a'".into(), "ü".into()],
        deleted: true,
        embeddings: vectors(vector(1)),
        ..row("it's \"odd\" \\ \0 id 🦀", "")
    };
    let rows = [odd, full_row(7), row("2025-08-30", "a date")];
    projection.apply(upserts(rows.clone()), 3, NOW).await.unwrap();
    let ids: Vec<_> = rows.iter().map(|row| row.id.as_str()).collect();
    let mut expected = rows.to_vec();
    expected[2].embeddings = Embeddings::Replace(Vec::new());
    assert_eq!(projection.reader().get(&ids).await.unwrap(), expected);
    assert_eq!(projection.reader().get(&["it", "' OR 1=1 --", ""]).await.unwrap(), []);
    assert_eq!(projection.position(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_change_of_an_id_counts() {
    let seed = 0x5eed;
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let folder = tempfile::tempdir().unwrap();
    let mut projection = new(folder.path()).await;
    let mut model: BTreeMap<String, Row> = BTreeMap::new();
    for round in 0..12u64 {
        let mut changes = Vec::new();
        for _ in 0..random.next_u32() % 120 {
            let number = u64::from(random.next_u32() % 80);
            if random.next_u32().is_multiple_of(4) {
                model.remove(&id(number));
                changes.push(Change::Remove(id(number)));
            } else {
                let row = Row { content: format!("round {round} {}", random.next_u32()), ..full_row(number) };
                model.insert(row.id.clone(), row.clone());
                changes.push(upsert(row));
            }
        }
        projection.apply(changes, round, NOW).await.unwrap();
        if round.is_multiple_of(5) {
            tidy(&mut projection).await;
        }
        assert_eq!(digests(&projection.reader()).await, expected(model.values()), "round {round}, seed {seed:#x}");
    }
    assert_eq!(projection.reader().count(&Filter { deleted: Deleted::Include, ..Filter::default() }).await.unwrap(), model.len() as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn vectors_are_kept_replaced_and_taken_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut projection = new(folder.path()).await;
    let other = Embedding { model: "other".into(), vector: vec![1.0, 2.0, 3.0] };
    let stored = |row: &Row| match &row.embeddings {
        Embeddings::Replace(embeddings) => embeddings.clone(),
        Embeddings::Keep => Vec::new(),
    };
    projection.apply(upserts([full_row(1)]), 1, NOW).await.unwrap();
    let first = Embedding { model: MODEL.into(), vector: vector(1) };

    let kept = Row { content: "new text".into(), embeddings: Embeddings::Keep, ..full_row(1) };
    projection.apply(upserts([kept, row("without", "")]), 2, NOW).await.unwrap();
    let rows = projection.reader().get(&[&id(1), "without"]).await.unwrap();
    assert_eq!((rows[0].content.as_str(), stored(&rows[0])), ("new text", vec![first.clone()]));
    assert_eq!(stored(&rows[1]), []);

    let both = Row { embeddings: Embeddings::Replace(vec![other.clone(), first.clone()]), ..full_row(1) };
    projection.apply(upserts([both]), 3, NOW).await.unwrap();
    assert_eq!(stored(&projection.reader().get(&[&id(1)]).await.unwrap()[0]), [first, other.clone()]);
    let columns: Vec<_> = projection.reader().models().into_iter().map(|model| (model.name, model.column, model.dimension)).collect();
    assert_eq!(columns, [(MODEL.into(), "embedding".into(), DIMENSION), ("other".into(), "embedding_other".into(), 3)]);

    let zeros = Embedding { model: MODEL.into(), vector: vec![0.0; DIMENSION] };
    let without_first = Row { embeddings: Embeddings::Replace(vec![zeros, other.clone()]), ..full_row(1) };
    projection.apply(upserts([without_first]), 4, NOW).await.unwrap();
    assert_eq!(stored(&projection.reader().get(&[&id(1)]).await.unwrap()[0]), [other]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_table_is_as_at_its_last_mark() {
    let folder = tempfile::tempdir().unwrap();
    let mut projection = new(folder.path()).await;
    projection.apply(upserts((0..100).map(full_row)), 100, NOW).await.unwrap();
    let mark = projection.checkpoint(NOW).await.unwrap();
    assert_eq!((mark.position, mark.rows), (100, 100));
    let later = || upserts((50..150).map(|number| Row { content: "later".into(), ..full_row(number) }));
    projection.apply(later(), 200, NOW).await.unwrap();
    let after = digests(&projection.reader()).await;
    drop(projection);

    let mut projection = reopen(folder.path(), &mark).await;
    assert_eq!(projection.position(), 100);
    assert_eq!(digests(&projection.reader()).await, expected(&(0..100).map(full_row).collect::<Vec<_>>()));
    projection.verification().unwrap().run().await.unwrap();
    projection.apply(later(), 200, NOW).await.unwrap();
    assert_eq!(digests(&projection.reader()).await, after);

    // The mark before the last still opens, as when a device stops between a checkpoint and the storing of its mark.
    let second = tidy(&mut projection).await;
    assert_ne!(mark, second);
    drop(projection);
    drop(reopen(folder.path(), &mark).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_mark_costs_nothing_when_nothing_changed() {
    let folder = tempfile::tempdir().unwrap();
    let mut projection = new(folder.path()).await;
    projection.apply(upserts([full_row(1)]), 1, NOW).await.unwrap();
    let first = projection.checkpoint(NOW).await.unwrap();
    projection.apply(Vec::new(), 9, NOW).await.unwrap();
    let second = projection.checkpoint(NOW).await.unwrap();
    assert_eq!((second.version, second.inventory, second.position), (first.version, first.inventory, 9));
    drop(projection);
    assert_eq!(reopen(folder.path(), &second).await.position(), 9);
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_go_on_through_tidying() {
    let folder = tempfile::tempdir().unwrap();
    let mut projection = new(folder.path()).await;
    let reader = projection.reader();
    for batch in 0..10 {
        projection.apply(upserts((batch * 40..batch * 40 + 40).map(full_row)), batch, NOW).await.unwrap();
        assert_eq!(reader.count(&Filter::default()).await.unwrap(), batch * 40 + 40);
    }
    let stream = reader.digests().await.unwrap();
    let maintained = projection.maintain(Work::Compact).await.unwrap();
    assert!(maintained.files_removed >= 10, "{maintained:?}");
    let mut made = 0;
    loop {
        let maintained = projection.maintain(Work::Index).await.unwrap();
        made += maintained.indexes_made;
        if !maintained.more {
            break;
        }
    }
    assert_eq!(made, 6, "id, parent, modified, type, terms and vectors");
    projection.checkpoint(NOW).await.unwrap();
    // The first mark lets go of everything before its version.
    let pruned = projection.maintain(Work::Prune).await.unwrap();
    assert!(pruned.versions_pruned > 10, "{pruned:?}");
    let seen = futures::TryStreamExt::try_fold(stream, 0, |seen, _| async move { Ok(seen + 1) }).await;
    assert!(seen.is_err() || seen.is_ok_and(|seen| seen == 400), "a stream over a pruned version ends in an error or gives everything");
    assert_eq!(digests(&reader).await.len(), 400);
    assert_eq!(projection.maintain(Work::Index).await.unwrap().indexes_made, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_leaves_nothing_of_the_table_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut projection = new(folder.path()).await;
    projection.apply(upserts((0..60).map(full_row)), 60, NOW).await.unwrap();
    tidy(&mut projection).await;
    let rows: Vec<_> = (30..90).map(|number| Row { content: "rebuilt".into(), ..full_row(number) }).collect();
    let applied = projection.rebuild(rows.clone(), 7, NOW).await.unwrap();
    assert_eq!((applied.appended, applied.merged, projection.position()), (60, 0, 7));
    assert_eq!(digests(&projection.reader()).await, expected(&rows));
    let mark = tidy(&mut projection).await;
    drop(projection);
    let projection = reopen(folder.path(), &mark).await;
    assert_eq!(digests(&projection.reader()).await, expected(&rows));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut projection = new(folder.path()).await;
    projection.apply(upserts([full_row(0)]), 1, NOW).await.unwrap();
    let mut nested = json!(1);
    for _ in 0..100 {
        nested = json!([nested]);
    }
    let not_a_number = vectors([vec![f32::NAN], vec![1.0; DIMENSION - 1]].concat());
    type IsExpected = fn(&RowError) -> bool;
    let wrong: Vec<(Row, IsExpected)> = vec![
        (row("", ""), |error| matches!(error, RowError::NoId)),
        (row(&"x".repeat(2_000), ""), |error| matches!(error, RowError::NameTooLong { field: "id", .. })),
        (Row { metadata: nested, ..row("a", "") }, |error| matches!(error, RowError::MetadataTooDeep { .. })),
        (Row { embeddings: not_a_number, ..row("a", "") }, |error| matches!(error, RowError::NotFinite { index: 0, .. })),
        (Row { embeddings: vectors(vec![1.0; 3]), ..row("a", "") }, |error| matches!(error, RowError::WrongDimension { found: 3, .. })),
    ];
    for (row, is_expected) in wrong {
        let refused = projection.apply(upserts([full_row(1), row]), 2, NOW).await;
        assert!(matches!(&refused, Err(WriteError::Row(error)) if is_expected(error)), "{refused:?}");
    }
    assert_eq!(digests(&projection.reader()).await, expected(&[full_row(0)]));
    assert_eq!(projection.position(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_folder_may_have_any_name() {
    let parent = tempfile::tempdir().unwrap();
    for name in ["with space", "100%25", "a#b?c=d", "'quoted'", "Ünï 数据", "colon:dot..", "s3:", "trailing "] {
        let folder = parent.path().join(name).join("lancedb");
        let mut projection = new(&folder).await;
        projection.apply(upserts([full_row(1)]), 1, NOW).await.unwrap();
        let mark = projection.checkpoint(NOW).await.unwrap();
        drop(projection);
        let projection = reopen(&folder, &mark).await;
        assert_eq!(projection.reader().get(&[&id(1)]).await.unwrap(), [full_row(1)], "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_one_writer() {
    let folder = tempfile::tempdir().unwrap();
    let projection = new(folder.path()).await;
    let second = Projection::open(folder.path(), None, small()).await;
    assert!(matches!(second, Err(OpenError::Locked { .. })), "{second:?}");
    drop(projection);
    assert!(matches!(Projection::open(folder.path(), None, small()).await.unwrap().state, State::Empty(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_due_by_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut projection = new(folder.path()).await;
    assert_eq!(projection.due(Duration::from_secs(1_000)), None);
    for number in 0..8 {
        projection.apply(upserts([full_row(number)]), number, Duration::from_secs(number)).await.unwrap();
    }
    let now = projection.next_due().unwrap();
    assert_eq!(now, Duration::from_secs(10));
    let mut done = Vec::new();
    while let Some(work) = projection.due(now) {
        done.push(work);
        match work {
            Work::Checkpoint => assert_eq!(projection.checkpoint(now).await.unwrap().position, 7),
            work => assert!(!projection.maintain(work).await.unwrap().more),
        }
    }
    assert_eq!(done, [Work::Compact, Work::Index, Work::Checkpoint, Work::Prune]);
    assert_eq!(projection.next_due(), None);
}
