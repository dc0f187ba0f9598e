//! The program as a user runs it.

use std::path::Path;
use std::process::{Command, Output};

fn nodespace(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nodespace")).args(arguments).output().unwrap()
}

fn corpus() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testnet/corpus").display().to_string()
}

#[test]
fn outline_shows_the_tree_and_counts() {
    let output = nodespace(&["outline", &corpus()]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.lines().any(|line| line.contains("  heading ")), "{text}");
    assert!(text.trim_end().ends_with("in 6 files"), "{text}");
}

#[test]
fn outline_as_json_agrees_with_its_own_counts() {
    let output = nodespace(&["outline", &corpus(), "--json"]);
    assert!(output.status.success());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let files = report["files"].as_array().unwrap();
    let nodes: usize = files.iter().map(|file| file["nodes"].as_array().unwrap().len()).sum();
    assert_eq!(report["node_count"], nodes);
    assert_eq!(files[0]["nodes"][0]["kind"], "document");
    assert!(report["kinds"]["list-item"].as_u64().unwrap() > 0);
}

#[test]
fn exit_codes_tell_failure_from_misuse() {
    let missing = nodespace(&["outline", "no/such/file.md"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("no/such/file.md"));
    let empty = nodespace(&["outline", concat!(env!("CARGO_MANIFEST_DIR"), "/src/model")]);
    assert_eq!(empty.status.code(), Some(1));
    assert!(String::from_utf8(empty.stderr).unwrap().contains("no Markdown files"));
    assert_eq!(nodespace(&["outlin"]).status.code(), Some(2));
}
