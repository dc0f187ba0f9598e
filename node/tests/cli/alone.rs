//! Commands without a daemon: each opens the store itself.

use std::fs;

use serde_json::json;

use crate::harness::{Home, finish};

#[test]
fn a_node_lives_its_life() {
    let home = Home::new();
    let date = home.create(&["--id", "2025-08-30", "--type", "date", "Saturday"]);
    assert_eq!(date, "2025-08-30");
    let first =
        home.create(&["first", "--parent", "2025-08-30", "--set", "done=false", "--set", "task/due=tomorrow", "--mention", "2025-08-30"]);
    let second = home.create(&["second", "--parent", "2025-08-30", "--first"]);
    let node = home.get(&first);
    assert_eq!(node["metadata"], json!({ "done": false, "task": { "due": "tomorrow" } }));
    assert_eq!((&node["parent_id"], &node["before_sibling_id"]), (&json!(date), &json!(second)));

    let before = node["version"].clone();
    home.run(&["node", "edit", &first, "--content", "first, changed", "--set", "done=true", "--unset", "task"]).done();
    let node = home.get(&first);
    assert_eq!((&node["content"], &node["metadata"]), (&json!("first, changed"), &json!({ "done": true })));
    let stale = home.run(&["node", "edit", &first, "--content", "x", "--expected-version", &before.to_string()]);
    stale.fails(4, "version");
    let heads = node["heads"][0].as_str().unwrap();
    home.run(&["node", "edit", &first, "--set", "read=true", "--expected-heads", heads]).done();
    home.run(&["node", "edit", &first, "--content", "x", "--expected-heads", heads]).fails(4, "heads");
    assert_eq!(home.get(&first)["content"], "first, changed");

    home.run(&["node", "move", &first, "--top"]).done();
    assert_eq!(home.get(&first)["parent_id"], json!(null));
    home.run(&["node", "move", &first, "--after", &second]).done();
    assert_eq!((&home.get(&first)["parent_id"], &home.get(&first)["before_sibling_id"]), (&json!(date), &json!(second)));

    home.run(&["node", "delete", &first]).done();
    assert_eq!(home.get(&first)["deleted"], true);
    home.run(&["node", "restore", &first]).done();
    assert_eq!(home.get(&first)["deleted"], false);

    let history = home.run(&["--json", "node", "history", &first]).json();
    let kinds: Vec<&str> = history["steps"].as_array().unwrap().iter().map(|step| step["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds[0], "create", "{kinds:?}");
    assert!(["update", "metadata", "move", "delete"].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
    let op = history["steps"][0]["op"].as_str().unwrap();
    let then = home.run(&["--json", "node", "show-at", &first, "--op", op]).json();
    assert_eq!(then["content"], "first");
    let text = home.run(&["node", "history", &first]).done();
    assert_eq!(text.lines().count(), kinds.len() + 1, "{text}");
}

#[test]
fn text_is_for_people() {
    let home = Home::new();
    let parent = home.create(&["a note", "--type", "heading"]);
    let child = home.create(&["below it\nand more", "--parent", &parent]);
    let get = home.run(&["node", "get", &child]).done();
    assert!(get.lines().any(|line| line.starts_with("parent") && line.ends_with(&parent)), "{get}");
    assert!(get.ends_with("\nbelow it\nand more\n"), "{get}");
    assert_eq!(home.run(&["node", "get", &child, "--content"]).done(), "below it\nand more\n");
    let tree = home.run(&["node", "tree"]).done();
    assert_eq!(tree, format!("▸ a note [heading]  {parent}\n  • below it…  {child}\n"));
    let list = home.run(&["node", "list", "--children-of", "top"]).done();
    assert_eq!(list.lines().count(), 2, "{list}");
    assert!(list.lines().nth(1).unwrap().starts_with(&parent), "{list}");
    // Nobody looks at a pipe, so there are no colours and no shortened ids.
    assert!(!format!("{get}{tree}{list}").contains('\x1b'));
    let status = home.run(&["status"]).done();
    assert!(status.lines().any(|line| line.starts_with("nodes") && line.ends_with(" 2")), "{status}");
    assert!(status.contains("does not run"), "{status}");
}

#[test]
fn the_beginning_of_an_id_is_enough() {
    let home = Home::new();
    let id = home.create(&["one"]);
    assert_eq!(home.get(&id[..8])["id"], id);
    home.run(&["node", "create", "--id", "plan-one", "x"]).done();
    home.run(&["node", "create", "--id", "plan-two", "x"]).done();
    assert_eq!(home.get("plan-o")["id"], "plan-one");
    let err = home.run(&["node", "get", "plan-"]).fails(2, "several");
    assert!(err.contains("plan-one") && err.contains("plan-two"), "{err}");
    home.run(&["node", "get", "plan-x"]).fails(3, "plan-x");
}

#[test]
fn pages_go_on_where_the_last_ended() {
    let home = Home::new();
    let items: Vec<_> = (0..25).map(|index| json!({ "do": "create", "id": format!("n{index:02}"), "content": "x" })).collect();
    let lines: String = items.iter().map(|item| format!("{item}\n")).collect();
    assert_eq!(home.run_with(&["batch", "-"], lines.as_bytes()).done(), "25 done, 0 failed\n");
    let text = home.run(&["node", "list", "--limit", "10"]).done();
    assert!(text.ends_with("10 of 25 shown; go on with --after n09, or show --all\n"), "{text}");
    let page = home.run(&["--json", "node", "list", "--limit", "10", "--after", "n09"]).json();
    assert_eq!((&page["nodes"][0]["id"], &page["next"]), (&json!("n10"), &json!("n19")));
    assert_eq!(home.run(&["node", "list", "--all"]).done().lines().count(), 26);
    assert_eq!(home.run(&["node", "tree", "--all"]).done().lines().count(), 25);
    assert!(home.run(&["node", "tree", "--limit", "3"]).done().contains("3 shown; go on with --after"));
}

#[test]
fn a_batch_tells_which_items_failed() {
    let home = Home::new();
    let items = json!({ "items": [
        { "do": "create", "id": "a", "content": "one" },
        { "do": "update", "id": "nowhere", "content": "two" },
        { "do": "create", "id": "b", "parent_id": "a" },
    ] });
    let path = home.beside("batch.json");
    fs::write(&path, items.to_string()).unwrap();
    let ran = home.run(&["batch", path.to_str().unwrap()]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.starts_with("item 2: ") && ran.out.ends_with("2 done, 1 failed\n"), "{}", ran.out);
    assert_eq!(home.get("b")["parent_id"], "a");
    let again = home.run_with(&["--json", "batch", "-"], items["items"].to_string().as_bytes());
    let reply: serde_json::Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!(reply["failed"], 3, "{reply}");
}

#[test]
fn an_editor_is_only_asked_for_where_somebody_can_type() {
    let home = Home::new();
    let id = home.create(&["text"]);
    home.run(&["node", "edit", &id]).fails(2, "--content");
}

#[test]
fn words_are_found() {
    let home = Home::new();
    let id = home.create(&["the quick brown fox", "--type", "task", "--set", "done=true"]);
    home.create(&["a slow snail", "--type", "task"]);
    let hits = |arguments: &[&str]| {
        let reply = home.run(&[&["--json", "search"], arguments].concat()).json();
        reply["hits"].as_array().unwrap().iter().map(|hit| hit["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(hits(&["fox"]), [id.as_str()]);
    assert_eq!(hits(&["fox", "--type", "task", "--meta", "done=true"]), [id.as_str()]);
    assert!(hits(&["fox", "--type", "date"]).is_empty());
    assert!(hits(&["fox", "--until", "2001-01-01T00:00:00Z"]).is_empty());
    assert_eq!(home.run(&["search", "unheard"]).done(), "nothing found\n");
    let text = home.run(&["search", "snail"]).done();
    assert!(text.lines().nth(1).unwrap().ends_with("a slow snail"), "{text}");
    home.run(&["search"]).fails(2, "nothing to search for");
}

#[test]
fn vectors_are_found_by_their_direction() {
    let home = Home::new();
    let vector = |name: &str, text: &str| {
        let path = home.beside(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (east, north) = (home.create(&["east"]), home.create(&["north"]));
    home.run(&["embed", &east, "--model", "m", "--vector-file", &vector("east", "[1, 0, 0]")]).done();
    home.run(&["embed", &north, "--model", "m", "--vector-file", &vector("north", "0 1 0")]).done();
    let found = home.run(&["--json", "search", "--vector-file", &vector("query", "0.9 0.1 0")]).json();
    assert_eq!(found["hits"][0]["id"], json!(east), "{found}");
    let found = home.run(&["--json", "search", "--near", &north, "--model", "m"]).json();
    assert!(found["hits"].as_array().unwrap().iter().any(|hit| hit["id"] == json!(north) || hit["id"] == json!(east)), "{found}");
}

#[test]
fn changes_are_listed_from_the_start_or_a_cursor() {
    let home = Home::new();
    let id = home.create(&["one"]);
    let page = home.run(&["--json", "changes"]).json();
    let created = page["changes"].as_array().unwrap().iter().find(|change| change["node_id"] == json!(id)).unwrap().clone();
    assert_eq!((&created["kind"], &created["origin"]["local"]), (&json!("create"), &json!(true)));
    let cursor = page["cursor"].as_str().unwrap();
    home.run(&["node", "edit", &id, "--content", "two"]).done();
    let page = home.run(&["--json", "changes", "--cursor", cursor]).json();
    assert_eq!(page["changes"].as_array().unwrap().len(), 1, "{page}");
    assert!(home.run(&["changes"]).done().contains("go on with --cursor "));
    home.run(&["changes", "--follow"]).fails(7, "nodespace run");
    home.run(&["status", "--watch"]).fails(7, "nodespace run");
}

#[test]
fn a_home_is_made_once() {
    let home = Home::new();
    let before = home.run(&["--json", "status"]).json();
    home.run(&["init"]).fails(4, "already");
    assert_eq!(home.run(&["--json", "status"]).json()["workspace"], before["workspace"]);
}

#[test]
fn what_nobody_reads_is_no_failure() {
    let home = Home::new();
    home.create(&[&"x".repeat(100_000)]);
    let id = home.run(&["--json", "node", "list"]).json()["nodes"][0]["id"].as_str().unwrap().to_owned();
    let script = format!("\"$0\" --home \"$1\" node get {id} --content | head -c 1; echo ${{PIPESTATUS[0]}}");
    let mut command = std::process::Command::new("bash");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_nodespace")]).arg(home.path());
    assert_eq!(finish(&mut command, None).done(), "x0\n");
}
