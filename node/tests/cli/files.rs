//! Import, export, backup, restore, doctor and rebuild from the command line.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Home, corpus};

#[test]
fn an_import_is_idempotent_and_comes_out_again() {
    let home = Home::new();
    let report = home.run(&["--json", "import", &corpus()]).json();
    assert_eq!((&report["documents"], &report["failed"]), (&json!(6), &json!(0)), "{report}");
    assert!(report["created"].as_u64().unwrap() > 50, "{report}");
    let again = home.run(&["--json", "import", &corpus()]).json();
    assert_eq!((&again["operations"], &again["created"]), (&json!(0), &json!(0)), "{again}");
    let text = home.run(&["import", &corpus()]).done();
    assert!(text.lines().any(|line| line.starts_with("operations written") && line.ends_with(" 0")), "{text}");

    let out = home.beside("out");
    let report = home.run(&["--json", "export", out.to_str().unwrap()]).json();
    assert_eq!(report["files"], 6);
    let files = |folder: &Path| -> BTreeMap<String, usize> {
        nodespace_node::import::markdown_files(folder)
            .unwrap()
            .into_iter()
            .map(|path| {
                (path.file_name().unwrap().to_str().unwrap().to_owned(), nodespace_node::import::import_file(&path).unwrap().nodes.len())
            })
            .collect()
    };
    assert_eq!(files(&out), files(Path::new(&corpus())));
    home.run(&["export", out.to_str().unwrap()]).fails(4, "--overwrite");
    home.run(&["export", "--overwrite", out.to_str().unwrap()]).done();
}

#[test]
fn json_lines_hold_every_node() {
    let home = Home::new();
    home.run(&["import", &corpus()]).done();
    let lines = home.run(&["export", "--format", "jsonl", "-"]).done();
    let nodes: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let total = home.run(&["--json", "node", "list", "--limit", "1"]).json()["total"].as_u64().unwrap();
    assert_eq!(nodes.len() as u64, total);
    let path = home.beside("all.jsonl");
    home.run(&["export", "--format", "jsonl", path.to_str().unwrap()]).done();
    assert_eq!(fs::read_to_string(&path).unwrap(), lines);
    home.run(&["export", "--format", "jsonl", path.to_str().unwrap()]).fails(4, "--overwrite");
    let root = nodes.iter().find(|node| node["type"] == "document").unwrap()["id"].as_str().unwrap();
    let part = home.run(&["export", "--format", "jsonl", "--root", root, "-"]).done();
    assert!(part.lines().count() < nodes.len());
    home.run(&["export", "--deleted", "x"]).fails(2, "jsonl");
}

#[test]
fn a_backup_makes_another_home() {
    let home = Home::new();
    home.run(&["import", &corpus()]).done();
    let archive = home.beside("backup");
    home.run(&["backup", archive.to_str().unwrap()]).done();
    home.run(&["backup", archive.to_str().unwrap()]).fails(4, "");
    let other = Home::empty();
    other.run(&["restore", archive.to_str().unwrap()]).done();
    let digest = |home: &Home| home.run(&["--json", "status"]).json()["state_digest"].clone();
    assert_eq!(digest(&other), digest(&home));
    let identity = |home: &Home| home.run(&["--json", "status"]).json()["device"].clone();
    assert_ne!(identity(&other), identity(&home), "the keys came along");
    home.run(&["restore", archive.to_str().unwrap()]).fails(4, "");
}

#[test]
fn a_damaged_backup_leaves_nothing_behind() {
    let home = Home::new();
    home.create(&["kept"]);
    let archive = home.beside("backup");
    home.run(&["backup", archive.to_str().unwrap()]).done();
    let mut bytes = fs::read(&archive).unwrap();
    bytes.truncate(bytes.len() / 2);
    fs::write(&archive, bytes).unwrap();
    let other = Home::empty();
    let ran = other.run(&["restore", archive.to_str().unwrap()]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(!other.path().exists() || fs::read_dir(other.path()).unwrap().next().is_none());
}

#[test]
fn the_doctor_finds_a_healthy_store_healthy_and_the_table_can_be_made_anew() {
    let home = Home::new();
    home.run(&["import", &corpus()]).done();
    home.run(&["doctor"]).done();
    home.run(&["rebuild"]).done();
    let found = home.run(&["--json", "search", "the"]).json();
    assert!(!found["hits"].as_array().unwrap().is_empty());
    home.run(&["doctor"]).done();
}
