//! Conflicts as people see them. One device alone has none, so a stand-in for the daemon answers with what the API would.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::mpsc::{Receiver, Sender, channel};

use serde_json::{Value, json};

use crate::harness::Home;

const CONFLICT: &str = "c0ffee11c0ffee11c0ffee11c0ffee11";
const NODE: &str = "2025-08-30";

fn summary() -> Value {
    json!({
        "id": CONFLICT, "node_id": NODE, "kind": "ConcurrentEdit", "field": "content", "status": "open",
        "participants": ["aa".repeat(32), "bb".repeat(32)], "live": true,
    })
}

fn detail() -> Value {
    let side = |op: &str, text: &str, device: &str| {
        json!({
            "operation_id": "0190f0aa-0000-7000-8000-000000000001", "checksum": op.repeat(32), "user_id": "ada", "device_id": device,
            "timestamp": "2025-08-30T12:00:00Z", "value": text,
        })
    };
    let mut detail = summary();
    detail["context"] = json!({
        "sides": [side("aa", "same line\nthe red fox", "laptop"), side("bb", "same line\nthe brown fox", "phone")],
        "ancestor": "same line\nthe fox", "provisional": "same line\nthe brown fox",
    });
    detail
}

fn node() -> Value {
    json!({
        "id": NODE, "type": "text", "content": "chosen", "parent_id": null, "root_id": NODE, "before_sibling_id": null,
        "created_at": "2025-08-30T12:00:00Z", "modified_at": "2025-08-30T12:00:00Z", "mentions": [], "metadata": {}, "deleted": false,
        "version": 9, "heads": [], "stale_embeddings": [], "open_conflicts": 0,
    })
}

fn answer(line: &str) -> Value {
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap(), words.next().unwrap());
    let one = format!("/v1/conflicts/{NODE}/{CONFLICT}");
    match (method, path.split('?').next().unwrap()) {
        ("GET", "/health") => json!({ "status": "ok" }),
        ("GET", "/v1/conflicts") => json!({ "conflicts": [summary()], "open": 1 }),
        ("GET", path) if path == one => detail(),
        ("POST", path) if path == format!("{one}/resolve") => json!({ "node": node(), "op": "cc".repeat(32), "cursor": "7" }),
        _ => panic!("unexpected {line}"),
    }
}

/// Answers one request, and tells what was asked.
fn serve(stream: TcpStream, asked: &Sender<(String, Value)>) {
    let mut reader = BufReader::new(stream);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).unwrap();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let text = answer(first.trim_end()).to_string();
    asked.send((first, serde_json::from_slice(&body).unwrap_or_default())).ok();
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
    reader.get_mut().write_all(format!("{head}{text}").as_bytes()).unwrap();
}

/// A home whose daemon is a thread of this test.
fn stand_in() -> (Home, Receiver<(String, Value)>) {
    let home = Home::empty();
    fs::create_dir(home.path()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    fs::write(home.path().join("api.json"), json!({ "address": address, "pid": std::process::id() }).to_string()).unwrap();
    let mut token = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(home.path().join("api-token")).unwrap();
    writeln!(token, "{}", "ab".repeat(32)).unwrap();
    let (asked, questions) = channel();
    std::thread::spawn(move || listener.incoming().for_each(|stream| serve(stream.unwrap(), &asked)));
    (home, questions)
}

#[test]
fn conflicts_are_listed() {
    let (home, _questions) = stand_in();
    let text = home.run(&["conflicts", "list"]).done();
    let expected = format!(
        "conflict                          node        what            field    status\n{CONFLICT}  {NODE}  ConcurrentEdit  content  open\n1 open in all\n"
    );
    assert_eq!(text, expected);
    assert_eq!(home.run(&["--json", "conflicts", "list"]).json(), json!({ "conflicts": [summary()], "open": 1 }));
}

#[test]
fn a_conflict_is_shown_side_by_side() {
    let (home, _questions) = stand_in();
    let text = home.run(&["conflicts", "show", "c0ff"]).done();
    for line in ["status    open; the sides still stand side by side", "before the sides parted", "the fox", "what holds meanwhile"] {
        assert!(text.lines().any(|found| found == line), "`{line}` is missing:\n{text}");
    }
    let row = |part: &str| text.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part} is missing:\n{text}")).to_owned();
    assert!(row("[red]").contains(" | the [brown] fox"), "{text}");
    assert_eq!(row("same line").matches("same line").count(), 2, "{text}");
    assert!(row("laptop").contains("aaaaaaaaaaaa") && row("phone").contains("bbbbbbbbbbbb"), "{text}");
    home.run(&["conflicts", "show", "dead"]).fails(3, "dead");
}

#[test]
fn a_choice_is_sent_as_it_was_made() {
    let (home, questions) = stand_in();
    let chosen = |arguments: &[&str]| {
        let text = home.run(&[&["conflicts", "resolve", "c0ff"], arguments].concat()).done();
        assert_eq!(text, format!("resolved, changed {NODE}, version 9\n"));
        questions.try_iter().find(|(line, _)| line.starts_with("POST")).unwrap().1
    };
    assert_eq!(chosen(&["--keep", "aaaa"]), json!({ "choice": { "keep": "aaaa" } }));
    assert_eq!(chosen(&["--text", "-- both"]), json!({ "choice": { "text": "-- both" } }));
    assert_eq!(chosen(&["--value", "{\"a\":1}"]), json!({ "choice": { "value": { "a": 1 } } }));
    assert_eq!(chosen(&["--value", "null"]), json!({ "choice": { "value": null } }));
    assert_eq!(chosen(&["--dismiss"]), json!({ "choice": "dismiss" }));
}
