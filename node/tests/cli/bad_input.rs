//! Whatever is wrong with what comes in: an error that says what to do, and nothing is lost.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::harness::{Home, Ran};

/// A home with one node that must still be there at the end.
fn home() -> (Home, String) {
    let home = Home::new();
    let id = home.create(&["kept"]);
    (home, id)
}

#[track_caller]
fn kept(home: &Home, id: &str) {
    assert_eq!(home.get(id)["content"], "kept");
}

fn write(home: &Home, name: &str, bytes: &[u8]) -> String {
    let path = home.beside(name);
    fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

#[test]
fn ids_and_places_that_are_not_there() {
    let (home, id) = home();
    home.run(&["node", "get", "nowhere"]).fails(3, "nowhere");
    home.run(&["node", "edit", "nowhere", "--content", "x"]).fails(3, "nowhere");
    home.run(&["node", "create", "x", "--after", "nowhere"]).fails(3, "nowhere");
    home.run(&["node", "create", "x", "--id", &id]).fails(4, "");
    home.run(&["node", "get", "a\nb"]).fails(2, "control");
    home.run(&["node", "get", &"x".repeat(200)]).fails(2, "128");
    home.run(&["--workspace", "abc", "node", "get", &id]).fails(2, "hex");
    home.run(&["--workspace", &"0".repeat(64), "node", "get", &id]).fails(3, "workspace");
    home.run(&["conflicts", "show", "abcd"]).fails(3, "abcd");
    home.run(&["changes", "--cursor", "soon"]).fails(2, "");
    home.run(&["search", "x", "--since", "yesterday"]).fails(2, "yesterday");
    home.run(&["node", "list", "--limit", "1000000"]).fails(2, "limit");
    kept(&home, &id);
}

#[test]
fn a_move_below_itself() {
    let (home, id) = home();
    let child = home.create(&["child", "--parent", &id]);
    home.run(&["node", "move", &id, "--parent", &child]).fails(4, "");
    home.run(&["node", "move", &id, "--parent", &id]).fails(4, "");
    assert_eq!(home.get(&child)["parent_id"], json!(id));
    kept(&home, &id);
}

#[test]
fn a_text_of_ten_megabytes() {
    let (home, id) = home();
    let text = "0123456789abcde\n".repeat(10 * 65_536);
    let ran = home.run_with(&["--json", "node", "create", "--id", "large", "-"], text.as_bytes());
    // Either it is taken whole or it is refused with the bound; never cut.
    match ran.code {
        0 => assert_eq!(home.get("large")["content"].as_str().unwrap().len(), text.len()),
        _ => drop(ran.fails(2, "bytes")),
    }
    kept(&home, &id);
}

#[test]
fn bytes_that_are_no_text() {
    let (home, id) = home();
    let file = write(&home, "latin.md", b"caf\xe9");
    home.run(&["node", "edit", &id, "--file", &file]).fails(2, "byte 3");
    home.run_with(&["node", "create", "-"], b"\xff\xfe").fails(2, "standard input");
    let folder = home.beside("notes");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("bad.md"), b"\xff").unwrap();
    fs::write(folder.join("good.md"), "good").unwrap();
    let ran = home.run(&["--json", "import", folder.to_str().unwrap()]);
    assert_eq!(ran.code, 1, "{ran:?}");
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&report["documents"], &report["failed"]), (&json!(1), &json!(1)), "{report}");
    kept(&home, &id);
}

#[test]
fn vectors_that_do_not_fit() {
    let (home, id) = home();
    let embed = |vector: &str| {
        let file = write(&home, "vector", vector.as_bytes());
        home.run(&["embed", &id, "--model", "m", "--vector-file", &file])
    };
    embed("[1, 2, 3]").done();
    embed("[1, NaN, 3]").fails(2, "finite");
    embed("[1, 2]").fails(2, "3");
    embed("one two").fails(2, "no number");
    embed("").fails(2, "no numbers");
    kept(&home, &id);
}

#[test]
fn json_that_nests_too_deep_or_is_none() {
    let (home, id) = home();
    let deep = format!("{{\"do\":\"create\",\"metadata\":{}1{}}}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
    home.run_with(&["batch", "-"], deep.as_bytes()).fails(2, "JSON");
    home.run_with(&["batch", "-"], b"{\"do\":\"create\"").fails(2, "JSON");
    home.run_with(&["batch", "-"], b"[{\"do\":\"create\",\"parent\":\"x\"}]").fails(2, "parent");
    home.run(&["node", "edit", &id, "--metadata", &"[".repeat(10_000)]).fails(2, "JSON");
    kept(&home, &id);
}

#[test]
fn a_token_that_others_can_read() {
    let (home, id) = home();
    let daemon = home.daemon();
    let token = home.path().join("api-token");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    home.run(&["node", "get", &id]).fails(5, "chmod 600");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    kept(&home, &id);
    daemon.stop();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o644)).unwrap();
    home.run(&["run"]).fails(5, "chmod 600");
}

/// A store from a newer program: this one must neither guess nor write.
#[test]
fn a_store_from_the_future() {
    let (home, id) = home();
    let format = home.path().join("format");
    let text = fs::read_to_string(&format).unwrap();
    let newer: String = text.chars().map(|character| if character.is_ascii_digit() { '9' } else { character }).collect();
    fs::write(&format, newer).unwrap();
    home.run(&["node", "get", &id]).fails(6, "newer");
    home.run(&["run"]).fails(6, "newer");
    fs::write(&format, text).unwrap();
    kept(&home, &id);
}

/// A folder nobody may write to. Whoever runs the tests as root may write everywhere, and then there is nothing to see.
#[test]
fn a_read_only_folder() {
    let (home, id) = home();
    let probe = home.beside("probe");
    fs::create_dir(&probe).unwrap();
    fs::set_permissions(&probe, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(probe.join("x"), "x").is_ok() {
        return;
    }
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o500)).unwrap();
    let ran = home.run(&["node", "create", "x"]);
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
    refused(&ran);
    kept(&home, &id);
}

#[track_caller]
fn refused(ran: &Ran) {
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(ran.err.contains("home"), "{ran:?}");
}
