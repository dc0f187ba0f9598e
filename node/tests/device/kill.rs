//! Killed at any moment, again and again: nothing that was acknowledged is lost, and the table heals by itself.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;

use super::daemon::{Daemon, nodespace_json};
use super::dice::Dice;

/// Kills of a run of all tests; `NODESPACE_KILLS` asks for more.
const KILLS_DEFAULT: u64 = 12;

/// Writers at a time.
const WRITERS: u64 = 4;

/// What the daemon has told us of one node.
#[derive(Clone, Debug, Default)]
struct Known {
    /// The content that was acknowledged; nothing while not even the creation was.
    acknowledged: Option<String>,
    /// The content of a write that was sent and not answered: it may have been done.
    unanswered: Option<String>,
    /// Nothing was written since it was last found as it has to be.
    found: bool,
}

type Notes = Mutex<BTreeMap<String, Known>>;

#[test]
fn heavy_nothing_acknowledged_is_lost() {
    let kills = std::env::var("NODESPACE_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS_DEFAULT);
    let seed = Dice::seed();
    writeln!(std::io::stderr(), "seed {seed}; repeat with NODESPACE_SEED={seed}").expect("standard error is open");
    let mut dice = Dice::new(seed);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let home = folder.path().join("home");
    nodespace_json(&home, &["init", "--name", "Killed"]);
    let notes = Notes::default();
    for round in 0..kills {
        let daemon = Daemon::start(&home);
        check(&daemon, &notes, round, false);
        write_until_killed(daemon, &notes, &mut dice, round);
    }
    let daemon = Daemon::start(&home);
    check(&daemon, &notes, kills, true);
    let found = daemon.expect("POST", "/v1/tasks/doctor", Some(&json!({})));
    let problems = found.pointer("/result/findings").cloned().unwrap_or_default();
    assert_eq!(problems, json!([]), "after {kills} kills, seed {seed}: {found}");
    daemon.stop();
}

/// Writers write and an import runs until the plug is pulled.
fn write_until_killed(daemon: Daemon, notes: &Notes, dice: &mut Dice, round: u64) {
    let delay = Duration::from_millis(dice.below(400));
    let seeds: Vec<u64> = (0..WRITERS).map(|_| dice.next()).collect();
    std::thread::scope(|scope| {
        for (writer, seed) in (0..).zip(seeds) {
            let (address, token) = (daemon.address.clone(), daemon.token.clone());
            scope.spawn(move || write(&address, &token, notes, Dice::new(seed), &format!("{round}-{writer}")));
        }
        let (address, token) = (daemon.address.clone(), daemon.token.clone());
        scope.spawn(move || {
            let markdown: String = (0..400).map(|line| format!("- item {line} of import {round}\n")).collect();
            let body = json!({ "documents": [{ "path": format!("import-{round}.md"), "markdown": markdown }] });
            // It ends with the daemon, sooner or later.
            super::http::request(&address, &token, "POST", "/v1/import", Some(&body)).ok();
        });
        std::thread::sleep(delay);
        daemon.kill();
    });
}

/// Creates and edits nodes of its own, and of rounds before, until nobody answers.
fn write(address: &str, token: &str, notes: &Notes, mut dice: Dice, name: &str) {
    let lock = || notes.lock().expect("no writer panics with the lock");
    for count in 0_u64.. {
        // A node of which an earlier write is unanswered is left alone: its content is known to be one of two.
        let old: Option<String> = {
            let notes = lock();
            let own = notes.iter().filter(|(id, known)| id.starts_with(name) && known.unanswered.is_none());
            let own: Vec<&String> = own.map(|(id, _)| id).collect();
            (!own.is_empty() && dice.below(3) > 0).then(|| own[dice.below(own.len() as u64) as usize].clone())
        };
        let content = format!("{name} wrote {count}: {}", dice.next());
        let (method, path, id, body) = match old {
            Some(id) => ("PATCH", format!("/v1/nodes/{id}"), id, json!({ "content": content })),
            None => {
                let id = format!("{name}-{count}");
                ("POST", "/v1/nodes".to_owned(), id.clone(), json!({ "id": id, "content": content }))
            }
        };
        {
            let mut notes = lock();
            let known = notes.entry(id.clone()).or_default();
            (known.unanswered, known.found) = (Some(content.clone()), false);
        }
        match super::http::request(address, token, method, &path, Some(&body)) {
            Ok(answer) if answer.status < 300 => {
                lock().insert(id, Known { acknowledged: Some(content), ..Known::default() });
            }
            Ok(answer) if answer.status == 503 => return,
            Ok(answer) => panic!("{method} {path}: {} {}", answer.status, answer.body),
            Err(_) => return,
        }
    }
}

/// Everything acknowledged is there; what was not answered is there or is not, whole. Looks at what was written since the last time, and
/// at everything when `all` is asked for.
fn check(daemon: &Daemon, notes: &Notes, round: u64, all: bool) {
    let mut notes = notes.lock().expect("no writer panics with the lock");
    for (id, known) in notes.iter_mut().filter(|(_, known)| all || !known.found) {
        let answer = daemon.request("GET", &format!("/v1/nodes/{id}"), None).expect("the daemon answers");
        let found = (answer.status == 200).then(|| answer.body["content"].as_str().unwrap_or_default().to_owned());
        let possible = [known.acknowledged.clone(), known.unanswered.clone()];
        assert!(
            possible.contains(&found) && (found.is_some() || known.acknowledged.is_none()),
            "before round {round}, node {id} has {found:?}; acknowledged: {:?}, unanswered: {:?}",
            known.acknowledged,
            known.unanswered
        );
        *known = Known { acknowledged: found, unanswered: None, found: true };
    }
    notes.retain(|_, known| known.acknowledged.is_some());
}
