//! A relay that lost what it had: all of a workspace, or attachments.

use std::path::Path;

use crate::stage::{Home, Relay};

/// The text of a node as a device holds it.
fn text(home: &Home, id: &str) -> String {
    home.json(&["node", "get", id])["content"].as_str().unwrap().to_owned()
}

/// Syncs with the relay, until both hold the same.
#[track_caller]
fn sync(home: &Home) {
    let status = home.json(&["sync", "now"]);
    assert_eq!(status["summary"]["state"], "synced", "{status}");
}

fn invite(home: &Home) -> String {
    home.json(&["invite"])["ticket"].as_str().unwrap().to_owned()
}

#[test]
fn a_relay_that_lost_the_workspace_gets_it_back_from_whoever_comes_first() {
    let Some(relay) = Relay::start() else { return };
    let (founder, joiner, late) = (Home::new(), Home::new(), Home::new());
    founder.run(&["init", "--name", "Notes"]);
    founder.run(&["node", "create", "--id", "first", "by the founder"]);
    founder.run(&["relay", "add", &relay.url]);
    let ticket = invite(&founder);
    sync(&founder);
    joiner.run(&["join", &ticket]);
    sync(&joiner);
    sync(&founder);

    relay.lose_everything();
    let check = joiner.json(&["relay", "check"]);
    let findings = check["checks"][0]["findings"].to_string();
    assert!(findings.contains("the next sync brings it again"), "{check}");
    // The one who comes first did not found the workspace, and has something new besides.
    joiner.run(&["node", "create", "--id", "reply", "after the loss"]);
    sync(&joiner);
    sync(&founder);
    assert_eq!(text(&founder, "reply"), "after the loss");
    for home in [&founder, &joiner] {
        let check = home.json(&["relay", "check"]);
        assert_eq!(check["checks"][0]["usable"], true, "nobody takes it for a liar: {check}");
        assert_eq!(home.json(&["relay", "status"])["relays"][0]["missing_there_max"], 0);
    }

    // It has everything: somebody new needs nobody else.
    let ticket = invite(&founder);
    sync(&founder);
    late.run(&["join", &ticket]);
    assert_eq!((text(&late, "first"), text(&late, "reply")), ("by the founder".into(), "after the loss".into()));
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
    sync(&home);
    std::fs::remove_file(relay.attachments()).unwrap();
    sync(&home);
    assert_eq!(files(&relay.attachments()), 1, "the attachment is there");
}

#[test]
fn an_embedding_that_the_relay_had_not_got_when_its_operation_was_pulled_comes_later() {
    let Some(relay) = Relay::start() else { return };
    let (author, reader) = (Home::new(), Home::new());
    author.run(&["init", "--name", "Notes"]);
    author.run(&["relay", "add", &relay.url]);
    let ticket = invite(&author);
    sync(&author);
    reader.run(&["join", &ticket]);
    sync(&reader);
    sync(&author);
    // A file where the folder belongs: nothing can be written below it.
    std::fs::write(relay.attachments(), "in the way").unwrap();
    author.run(&["node", "create", "--id", "a", "with an embedding"]);
    let vector = author.file("vector", "[0.5, -1, 0.25]");
    author.run(&["embed", "a", "--model", "m", "--vector-file", &vector]);
    sync(&author);
    sync(&reader);
    assert_eq!(text(&reader, "a"), "with an embedding", "operations do not wait for attachments");
    let near = ["--json", "search", "--near", "a", "--model", "m"];
    let (code, out, err) = reader.ran_with_table(&near);
    assert_ne!(code, Some(0), "{out}");
    assert!(format!("{out}{err}").contains("no embedding"), "{out}{err}");

    std::fs::remove_file(relay.attachments()).unwrap();
    sync(&author);
    assert_eq!(files(&relay.attachments()), 1, "the author has brought it");
    // Nothing else is new: the operation itself came long ago.
    sync(&reader);
    // The row is written again behind the search that opens the table: the next one shows it at the latest.
    let found = (0..5).map(|_| reader.ran_with_table(&near)).find(|(code, out, _)| *code == Some(0) && out.contains("\"a\""));
    assert!(found.is_some(), "the reader never finds it: {:?}", reader.ran_with_table(&near));
}
