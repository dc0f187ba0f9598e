//! The LanceDB folder, damaged: found at the next start, made anew, the same answers.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::daemon::{Daemon, nodespace_json};

/// A home with some notes that can be told apart, projected and stopped.
fn home_with_notes(folder: &Path) -> PathBuf {
    let home = folder.join("home");
    nodespace_json(&home, &["init", "--name", "Healed"]);
    let daemon = Daemon::start(&home);
    let colours = ["crimson", "ochre", "teal", "indigo"];
    let items: Vec<Value> = (0..200)
        .map(|at| json!({ "do": "create", "id": format!("note-{at}"), "content": format!("a {} thing, number {at}", colours[at % 4]) }))
        .collect();
    let done = daemon.expect("POST", "/v1/batch", Some(&json!({ "items": items })));
    assert_eq!(done["failed"], 0, "{done}");
    let vectors: Vec<Value> = (0..200)
        .map(|at: u32| json!({ "do": "embed", "id": format!("note-{at}"), "model": "test", "vector": [(at as f32).cos(), (at as f32).sin(), 0.5] }))
        .collect();
    let done = daemon.expect("POST", "/v1/batch", Some(&json!({ "items": vectors })));
    assert_eq!(done["failed"], 0, "{done}");
    answers(&daemon);
    daemon.stop();
    home
}

/// What is asked before and after.
fn answers(daemon: &Daemon) -> Vec<Value> {
    let search = |request: Value| {
        let hits = daemon.expect("POST", "/v1/search", Some(&request))["hits"].clone();
        let mut ids: Vec<String> = hits.as_array().expect("hits").iter().map(|hit| hit["id"].as_str().expect("an id").to_owned()).collect();
        // Hits of equal rank have no order.
        ids.sort_unstable();
        json!(ids)
    };
    vec![
        search(json!({ "text": "teal", "limit": 100 })),
        search(json!({ "text": "\"number 17\" thing", "limit": 200 })),
        search(json!({ "vector": [1.0, 0.0, 0.5], "model": "test", "limit": 5 })),
        search(json!({ "text": "ochre", "near": "note-1", "limit": 20 })),
    ]
}

fn lance_files(home: &Path, part: &str, extension: &str) -> Vec<PathBuf> {
    let mut open = vec![home.join("workspaces")];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).expect("a folder that can be listed").flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|found| found == extension) && path.to_string_lossy().contains(part) {
                found.push(path);
            }
        }
    }
    found.sort_unstable();
    assert!(!found.is_empty(), "there are {extension} files in {part}");
    found
}

fn heals_after(damage: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = home_with_notes(folder.path());
    let daemon = Daemon::start(&home);
    let before = answers(&daemon);
    daemon.stop();
    damage(&home);
    let daemon = Daemon::start(&home);
    assert_eq!(answers(&daemon), before, "the same answers");
    let status = daemon.expect("GET", "/v1/status", None);
    assert_eq!(status["projection"]["rows"], 200, "{status}");
    daemon.stop();
}

#[test]
fn heavy_a_deleted_table_comes_back() {
    heals_after(|home| {
        let data = lance_files(home, "lancedb", "lance");
        let lancedb = data[0].ancestors().find(|path| path.ends_with("lancedb")).expect("the table is below a folder of that name");
        fs::remove_dir_all(lancedb).expect("it can be removed");
    });
}

#[test]
fn heavy_a_truncated_manifest_is_found() {
    heals_after(|home| {
        let newest = lance_files(home, "_versions", "manifest")
            .into_iter()
            .max_by_key(|path| fs::metadata(path).and_then(|data| data.modified()).ok());
        fs::write(newest.expect("there is a manifest"), b"").expect("it can be truncated");
    });
}

#[test]
fn heavy_a_zeroed_data_file_is_found() {
    heals_after(|home| {
        for file in lance_files(home, "data", "lance") {
            let length = fs::metadata(&file).expect("it is there").len() as usize;
            fs::write(&file, vec![0; length]).expect("it can be overwritten");
        }
    });
}
