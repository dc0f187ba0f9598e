//! The daemon, and commands that talk to it.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::Home;

#[test]
fn commands_talk_to_the_daemon_and_say_the_same_without_it() {
    let home = Home::new();
    let daemon = home.daemon();
    let id = home.create(&["written through the daemon"]);
    let status = home.run(&["status"]).done();
    assert!(status.contains(&format!("runs as process {}", daemon.pid())), "{status}");
    let (with_node, with_tree) = (home.run(&["--json", "node", "get", &id]).done(), home.run(&["--json", "node", "tree"]).done());
    let log = daemon.stop();
    assert!(log.contains("ready") && log.contains("stopped"), "{log}");
    assert!(!log.contains("written through"), "the log tells what a note says: {log}");
    assert!(!home.path().join("api.json").exists());
    assert_eq!(home.run(&["--json", "node", "get", &id]).done(), with_node);
    assert_eq!(home.run(&["--json", "node", "tree"]).done(), with_tree);
    assert!(home.run(&["status"]).done().contains("does not run"));
}

#[test]
fn there_is_one_daemon_at_a_time() {
    let home = Home::new();
    let daemon = home.daemon();
    let err = home.run(&["run"]).fails(7, "a daemon runs already");
    assert!(err.contains(&daemon.pid().to_string()), "{err}");
    daemon.stop();
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_the_next_command_needs_no_help() {
    let home = Home::new();
    let daemon = home.daemon();
    let id = home.create(&["acknowledged"]);
    daemon.kill();
    // The killed daemon left its address behind.
    assert!(home.path().join("api.json").exists());
    assert_eq!(home.get(&id)["content"], "acknowledged");
    let again = home.daemon();
    assert_eq!(home.get(&id)["content"], "acknowledged");
    again.stop();
}

#[test]
fn changes_are_followed_as_they_happen() {
    let home = Home::new();
    let daemon = home.daemon();
    let before = home.create(&["before"]);
    let cursor = home.run(&["--json", "changes"]).json()["cursor"].as_str().unwrap().to_owned();
    let mut follower = home
        .command(&["--json", "changes", "--follow", "--cursor", &cursor])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let id = home.create(&["after"]);
    home.run(&["node", "delete", &before]).done();
    let (first, second) = (next(), next());
    assert_eq!((&first["kind"], &first["node_id"]), (&json!("create"), &json!(id)));
    assert_eq!((&second["kind"], &second["node_id"]), (&json!("delete"), &json!(before)));
    daemon.stop();
    let ended = follower.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(7), "{ended:?}");
    let err = String::from_utf8(ended.stderr).unwrap();
    assert!(err.contains(second["cursor"].as_str().unwrap()), "{err}");
}

#[test]
fn the_log_can_be_json_in_a_file() {
    let home = Home::new();
    std::fs::write(home.path().join("config.toml"), "[log]\nformat = \"json\"\nfile = \"device.log\"\n").unwrap();
    home.daemon().stop();
    let log = std::fs::read_to_string(home.path().join("device.log")).unwrap();
    assert!(log.lines().count() >= 2, "{log}");
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
    }
}
