//! A damaged table is noticed when it is opened, and made anew from the caller's rows with the same answers.
//!
//! 1. Any file of the marked version gone, cut, zeroed or changed in one byte is a doubt.
//! 2. What is not part of the marked version may be in any state.
//! 3. A mark that does not fit the folder is a doubt.
//! 4. After a rebuild searches answer as before the damage.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use nodespace_projection::{Doubt, Filter, Mark, Opened, Projection, Query, QueryVector, Row, Settings, State};

use crate::support::*;

const NOW: Duration = Duration::ZERO;
const ROWS: u64 = 350;

fn all_rows() -> Vec<Row> {
    (0..ROWS).map(full_row).collect()
}

/// A table with every kind of file, and its last mark.
async fn filled(folder: &Path) -> Mark {
    let mut projection = new(folder).await;
    projection.apply(upserts(all_rows()), 1, NOW).await.unwrap();
    tidy(&mut projection).await;
    // A file of deletions, and rows outside the indexes.
    projection.apply(upserts((0..20).map(full_row)), 2, NOW).await.unwrap();
    projection.checkpoint(NOW).await.unwrap()
}

/// A copy of a folder, for one more way to damage it.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for path in files(from) {
        let target = to.path().join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(path, target).unwrap();
    }
    to
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files.sort();
    files
}

/// The files whose path has `part` in it.
fn files_with(folder: &Path, part: &str) -> Vec<PathBuf> {
    files(folder).into_iter().filter(|path| path.strip_prefix(folder).unwrap().to_string_lossy().contains(part)).collect()
}

/// The files that the version of the mark consists of.
fn marked_files(folder: &Path, mark: &Mark) -> Vec<PathBuf> {
    let hash: String = mark.inventory[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let list = fs::read(folder.join(format!("checkpoint-{hash}.json"))).unwrap();
    let list: serde_json::Value = serde_json::from_slice(&list).unwrap();
    list["files"].as_object().unwrap().keys().map(|path| folder.join("nodes.lance").join(path)).collect()
}

/// What some searches find.
async fn answers(projection: &Projection) -> Vec<Vec<String>> {
    let vector = QueryVector { model: MODEL.into(), vector: vector(33) };
    let queries = [
        Query { text: Some("unique12 unique340".into()), ..Query::default() },
        Query { text: Some("apple".into()), ..Query::default() },
        Query { vector: Some(vector.clone()), limit: 3, ..Query::default() },
        Query { text: Some("lantern".into()), vector: Some(vector), ..Query::default() },
    ];
    let mut answers = Vec::new();
    for query in queries {
        let query = Query { limit: query.limit.max(ROWS as usize), ..query };
        let mut ids: Vec<_> = projection.reader().search(&query).await.unwrap().into_iter().map(|hit| hit.id).collect();
        ids.sort();
        answers.push(ids);
    }
    answers
}

/// Opens a damaged folder, which has to be noticed, and rebuilds it.
async fn rebuilt(folder: &Path, mark: &Mark, what: &str) -> (Projection, Doubt) {
    let Opened { mut projection, state } = Projection::open(folder, Some(mark.clone()), small()).await.unwrap();
    let State::Empty(doubt) = state else { panic!("not noticed: {what}") };
    assert_eq!((projection.position(), projection.reader().count(&Filter::default()).await.unwrap()), (0, 0), "{what}");
    projection.rebuild(all_rows(), mark.position, NOW).await.unwrap();
    tidy(&mut projection).await;
    (projection, doubt)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_damage_is_noticed_and_healed() {
    let whole = tempfile::tempdir().unwrap();
    let mark = filled(whole.path()).await;
    let before = answers(&reopen(whole.path(), &mark).await).await;
    let kinds = ["_versions/", "data/", "_deletions/", "_indices/"];
    type Harm = (&'static str, fn(&Path));
    let harms: [Harm; 4] = [
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("cut", |path| fs::File::options().write(true).open(path).unwrap().set_len(fs::metadata(path).unwrap().len() / 2).unwrap()),
        ("zeroed", |path| fs::write(path, vec![0; fs::metadata(path).unwrap().len() as usize]).unwrap()),
        ("changed in one bit", |path| {
            let mut bytes = fs::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            fs::write(path, bytes).unwrap();
        }),
    ];
    for kind in kinds {
        for (harm, damage) in harms {
            let folder = copy(whole.path());
            let of_kind: Vec<_> =
                marked_files(folder.path(), &mark).into_iter().filter(|path| path.to_string_lossy().contains(kind)).collect();
            let victim = of_kind.last().unwrap_or_else(|| panic!("no file of {kind}"));
            damage(victim);
            let what = format!("{} {harm}", victim.display());
            let Opened { state, .. } = Projection::open(folder.path(), Some(mark.clone()), small()).await.unwrap();
            assert!(matches!(state, State::Empty(Doubt::Damage(_))), "{what}: {state:?}");
        }
    }
    let folder = copy(whole.path());
    let data = marked_files(folder.path(), &mark).into_iter().find(|path| path.to_string_lossy().contains("data/")).unwrap();
    fs::write(data, b"").unwrap();
    let (projection, _) = rebuilt(folder.path(), &mark, "an empty data file").await;
    assert_eq!(answers(&projection).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_gone_is_made_again() {
    let whole = tempfile::tempdir().unwrap();
    let mark = filled(whole.path()).await;
    let before = answers(&reopen(whole.path(), &mark).await).await;
    for gone in ["", "nodes.lance", "nodes.lance/_versions", "nodes.lance/data"] {
        let folder = copy(whole.path());
        fs::remove_dir_all(folder.path().join(gone)).unwrap();
        let (projection, _) = rebuilt(folder.path(), &mark, gone).await;
        assert_eq!(answers(&projection).await, before, "without {gone:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_manifest_empty_or_garbage_costs_only_what_came_after_the_mark() {
    let whole = tempfile::tempdir().unwrap();
    let mark = filled(whole.path()).await;
    let mut projection = reopen(whole.path(), &mark).await;
    projection.apply(upserts((0..30).map(|number| row(&id(number), "after the mark"))), 3, NOW).await.unwrap();
    drop(projection);
    for bytes in [&b""[..], &[0; 4096], b"garbage"] {
        let folder = copy(whole.path());
        // LanceDB counts its manifests down: the first is the newest.
        let newest = &files_with(folder.path(), "_versions/1844")[0];
        fs::write(newest, bytes).unwrap();
        let projection = reopen(folder.path(), &mark).await;
        assert_eq!((projection.position(), digests(&projection.reader()).await), (2, expected(&all_rows())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_part_of_the_version_may_be_anything() {
    let folder = tempfile::tempdir().unwrap();
    let mark = filled(folder.path()).await;
    let marked = marked_files(folder.path(), &mark);
    for path in files_with(folder.path(), "nodes.lance") {
        if !marked.contains(&path) {
            fs::write(path, b"garbage").unwrap();
        }
    }
    fs::write(folder.path().join("models.json"), b"garbage").unwrap();
    fs::write(folder.path().join("notes of someone else.txt"), b"precious").unwrap();
    fs::write(folder.path().join("nodes.lance/_versions/latest_version_hint.json"), b"{\"version\":999}").unwrap();
    let mut projection = reopen(folder.path(), &mark).await;
    assert_eq!(digests(&projection.reader()).await, expected(&all_rows()));
    projection.apply(upserts([row("new", "")]), 3, NOW).await.unwrap();
    tidy(&mut projection).await;
    let models: serde_json::Value = serde_json::from_slice(&fs::read(folder.path().join("models.json")).unwrap()).unwrap();
    assert_eq!(models, serde_json::json!([{"name": MODEL, "column": "embedding", "dimension": DIMENSION}]));
    drop(projection);
    assert!(matches!(Projection::open(folder.path(), None, small()).await.unwrap().state, State::Empty(Doubt::NoMark)));
    assert_eq!(fs::read(folder.path().join("notes of someone else.txt")).unwrap(), b"precious");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mark_that_does_not_fit_is_a_doubt() {
    let whole = tempfile::tempdir().unwrap();
    let mark = filled(whole.path()).await;
    type Fits = fn(&Doubt) -> bool;
    let cases: [(Mark, Fits); 4] = [
        (Mark { schema: 99, ..mark.clone() }, |doubt| matches!(doubt, Doubt::Schema { found: 99 })),
        (Mark { inventory: [7; 32], ..mark.clone() }, |doubt| matches!(doubt, Doubt::Inventory { .. })),
        (Mark { version: 1, ..mark.clone() }, |doubt| matches!(doubt, Doubt::Inventory { .. })),
        (Mark { rows: 7, ..mark.clone() }, |doubt| matches!(doubt, Doubt::Rows { rows: ROWS, expected: 7, .. })),
    ];
    for (wrong, fits) in cases {
        let folder = copy(whole.path());
        let Opened { state, .. } = Projection::open(folder.path(), Some(wrong), small()).await.unwrap();
        assert!(matches!(&state, State::Empty(doubt) if fits(doubt)), "{state:?}");
    }
    let folder = copy(whole.path());
    for list in files_with(folder.path(), "checkpoint-") {
        fs::write(list, b"{}").unwrap();
    }
    let Opened { state, .. } = Projection::open(folder.path(), Some(mark), small()).await.unwrap();
    assert!(matches!(state, State::Empty(Doubt::Inventory { .. })), "{state:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_table_is_verified_after_it_was_opened() {
    let folder = tempfile::tempdir().unwrap();
    let mark = filled(folder.path()).await;
    let settings = Settings { verify_at_open_bytes: 0, ..small() };
    let open = async || Projection::open(folder.path(), Some(mark.clone()), settings.clone()).await.unwrap();
    let Opened { projection, state } = open().await;
    assert!(matches!(state, State::Current), "{state:?}");
    let verification = projection.verification().unwrap();
    assert!(verification.bytes() > 10_000);
    verification.run().await.unwrap();
    drop(projection);

    let victim = marked_files(folder.path(), &mark).into_iter().rfind(|path| path.to_string_lossy().contains("_indices/")).unwrap();
    let length = fs::metadata(&victim).unwrap().len() as usize;
    fs::write(&victim, vec![0; length]).unwrap();
    let Opened { projection, state } = open().await;
    assert!(matches!(state, State::Current), "only the size was checked: {state:?}");
    let doubt = projection.verification().unwrap().run().await;
    assert!(matches!(doubt, Err(Doubt::Damage(_))), "{doubt:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_failed_is_made_again_without_doubling_anything() {
    let folder = tempfile::tempdir().unwrap();
    let mut projection = new(folder.path()).await;
    projection.apply(upserts((0..50).map(full_row)), 1, NOW).await.unwrap();
    let mixed = || upserts((25..80).map(|number| Row { content: "again".into(), ..full_row(number) }));
    // Where the data belongs is a file: as good as a full disk for a test that may run as root.
    let (data, aside) = (folder.path().join("nodes.lance/data"), folder.path().join("aside"));
    fs::rename(&data, &aside).unwrap();
    fs::write(&data, b"").unwrap();
    let failed = projection.apply(mixed(), 2, NOW).await;
    assert!(matches!(failed, Err(nodespace_projection::WriteError::Table(_))), "{failed:?}");
    assert_eq!(projection.position(), 1);
    fs::remove_file(&data).unwrap();
    fs::rename(&aside, &data).unwrap();
    let applied = projection.apply(mixed(), 2, NOW).await.unwrap();
    assert_eq!((applied.appended, applied.merged, projection.position()), (30, 25, 2));
    let rows = (0..25).map(full_row).chain((25..80).map(|number| Row { content: "again".into(), ..full_row(number) }));
    assert_eq!(digests(&projection.reader()).await, expected(&rows.collect::<Vec<_>>()));
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn the_folder_is_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path().join("deep").join("lancedb");
    drop(new(&folder).await);
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
    let file = parent.path().join("file");
    fs::write(&file, b"").unwrap();
    let error = Projection::open(&file, None, small()).await.unwrap_err();
    assert!(error.to_string().contains("cannot be used"), "{error}");
}
