//! A device whose store has lost its end, while what it remembers of the relay is from after that.

use std::path::Path;

use serde_json::Value;

use crate::stage::{Home, Relay};

/// Copies a folder, with what may be done with it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, to) = {
            let entry = entry.unwrap();
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
}

#[test]
fn what_a_device_has_lost_comes_back_from_the_relay_and_is_no_lie_of_it() {
    let Some(relay) = Relay::start() else { return };
    let (whole, cut) = (Home::new(), Home::new());
    whole.run(&["init", "--name", "Notes"]);
    whole.run(&["node", "create", "--id", "first", "before"]);
    whole.run(&["relay", "add", &relay.url]);
    whole.sync();
    copy(&whole.path(), &cut.path());
    whole.run(&["node", "create", "--id", "lost", "acknowledged, and then cut off"]);
    whole.sync();
    // Everything is as it was, but what is remembered of the relay: that is kept in a file of its own.
    for workspace in std::fs::read_dir(whole.path().join("workspaces")).unwrap() {
        let name = workspace.unwrap().file_name();
        let of = |home: &Home| home.path().join("workspaces").join(&name).join("local.redb");
        std::fs::copy(of(&whole), of(&cut)).unwrap();
    }
    assert_ne!(cut.ran(&["node", "get", "lost"]).0, Some(0));
    cut.sync();
    assert_eq!(cut.text("lost"), "acknowledged, and then cut off");
    assert_eq!(cut.json(&["relay", "status"])["relays"][0]["alarm"], Value::Null);
}
