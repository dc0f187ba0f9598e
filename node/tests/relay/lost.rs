//! A relay that lost what it had: all of a workspace, or attachments.

use std::path::Path;

use crate::liar::{Liar, Twist};
use crate::stage::{Home, Relay};

#[test]
fn a_relay_that_lost_the_workspace_gets_it_back_from_whoever_comes_first() {
    let Some(relay) = Relay::start() else { return };
    let (founder, joiner, late) = (Home::new(), Home::new(), Home::new());
    founder.run(&["init", "--name", "Notes"]);
    founder.run(&["node", "create", "--id", "first", "by the founder"]);
    founder.run(&["relay", "add", &relay.url]);
    let ticket = founder.invite();
    founder.sync();
    joiner.run(&["join", &ticket]);
    joiner.sync();
    founder.sync();

    relay.lose_everything();
    let check = joiner.json(&["relay", "check"]);
    let findings = check["checks"][0]["findings"].to_string();
    assert!(findings.contains("the next sync brings it again"), "{check}");
    // The one who comes first did not found the workspace, and has something new besides.
    joiner.run(&["node", "create", "--id", "reply", "after the loss"]);
    joiner.sync();
    founder.sync();
    assert_eq!(founder.text("reply"), "after the loss");
    for home in [&founder, &joiner] {
        let check = home.json(&["relay", "check"]);
        assert_eq!(check["checks"][0]["usable"], true, "nobody takes it for a liar: {check}");
        assert_eq!(home.json(&["relay", "status"])["relays"][0]["missing_there_max"], 0);
    }

    // It has everything: somebody new needs nobody else.
    let ticket = founder.invite();
    founder.sync();
    late.run(&["join", &ticket]);
    assert_eq!((late.text("first"), late.text("reply")), ("by the founder".into(), "after the loss".into()));
}

/// Files below a folder.
fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

#[test]
fn attachments_that_the_relay_could_not_store_are_brought_by_the_next_sync() {
    let Some(relay) = Relay::start() else { return };
    let home = Home::new();
    home.run(&["init", "--name", "Notes"]);
    home.run(&["relay", "add", &relay.url]);
    home.run(&["node", "create", "--id", "a", "with an embedding"]);
    let vector = home.file("vector", "[0.5, -1, 0.25]");
    home.run(&["embed", "a", "--model", "m", "--vector-file", &vector]);
    // A file where the folder belongs: nothing can be written below it.
    std::fs::write(relay.attachments(), "in the way").unwrap();
    home.sync();
    std::fs::remove_file(relay.attachments()).unwrap();
    home.sync();
    assert_eq!(files(&relay.attachments()), 1, "the attachment is there");
}

#[test]
fn an_embedding_that_the_relay_had_not_got_when_its_operation_was_pulled_comes_later() {
    let Some(relay) = Relay::start() else { return };
    let (author, reader) = (Home::new(), Home::new());
    author.run(&["init", "--name", "Notes"]);
    author.run(&["relay", "add", &relay.url]);
    let ticket = author.invite();
    author.sync();
    reader.run(&["join", &ticket]);
    reader.sync();
    author.sync();
    // A file where the folder belongs: nothing can be written below it.
    std::fs::write(relay.attachments(), "in the way").unwrap();
    author.run(&["node", "create", "--id", "a", "with an embedding"]);
    let vector = author.file("vector", "[0.5, -1, 0.25]");
    author.run(&["embed", "a", "--model", "m", "--vector-file", &vector]);
    author.sync();
    reader.sync();
    assert_eq!(reader.text("a"), "with an embedding", "operations do not wait for attachments");
    let near = ["--json", "search", "--near", "a", "--model", "m"];
    let (code, out, err) = reader.ran_with_table(&near);
    assert_ne!(code, Some(0), "{out}");
    assert!(format!("{out}{err}").contains("no embedding"), "{out}{err}");

    std::fs::remove_file(relay.attachments()).unwrap();
    author.sync();
    assert_eq!(files(&relay.attachments()), 1, "the author has brought it");
    // Nothing else is new: the operation itself came long ago.
    reader.sync();
    // The row is written again behind the search that opens the table: the next one shows it at the latest.
    let found = (0..5).map(|_| reader.ran_with_table(&near)).find(|(code, out, _)| *code == Some(0) && out.contains("\"a\""));
    assert!(found.is_some(), "the reader never finds it: {:?}", reader.ran_with_table(&near));
}

/// More than any answer may be, where attachments are asked for.
fn flood(request: &str, answer: Vec<u8>) -> Vec<u8> {
    if request.contains("/attachments/fetch") { vec![0; 9 << 20] } else { answer }
}

/// What is no answer, where attachments are asked for.
fn garble(request: &str, answer: Vec<u8>) -> Vec<u8> {
    if request.contains("/attachments/fetch") { b"<html>".to_vec() } else { answer }
}

#[test]
fn answers_about_attachments_that_are_of_no_use_keep_nothing_else_from_coming() {
    let Some(relay) = Relay::start() else { return };
    let liar = Liar::before(&relay);
    let (author, reader) = (Home::new(), Home::new());
    author.run(&["init", "--name", "Notes"]);
    author.run(&["relay", "add", &liar.url]);
    let ticket = author.invite();
    author.sync();
    reader.run(&["join", &ticket]);
    reader.sync();
    let vector = author.file("vector", "[0.5, -1, 0.25]");
    let twists: [(&str, Twist); 2] = [("flooded", flood), ("garbled", garble)];
    for (id, twist) in twists {
        author.run(&["node", "create", "--id", id, "with an embedding"]);
        author.run(&["embed", id, "--model", "m", "--vector-file", &vector]);
        author.sync();
        liar.twist(Some(twist));
        reader.sync();
        liar.twist(None);
        assert_eq!(reader.text(id), "with an embedding", "operations do not wait for attachments");
    }
    // What was given up is asked for like everything that is lacking.
    reader.sync();
    for (id, _) in twists {
        let near = ["--json", "search", "--near", id, "--model", "m"];
        // The row is written again behind the search that opens the table: the next one shows it at the latest.
        let found = (0..5).map(|_| reader.ran_with_table(&near)).any(|(code, out, _)| code == Some(0) && out.contains(id));
        assert!(found, "the reader never finds {id}: {:?}", reader.ran_with_table(&near));
    }
}
