//! `nodespace config`.

use std::fs;

use crate::harness::Home;

#[test]
fn every_mistake_is_listed_with_its_line() {
    let home = Home::empty();
    fs::create_dir(home.path()).unwrap();
    fs::write(home.path().join("config.toml"), "[api]\nprot = 1\n[log]\nlevel = \"loud\"\n").unwrap();
    let ran = home.run(&["config", "check"]);
    assert_eq!(ran.code, 2);
    let lines: Vec<&str> = ran.out.lines().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].contains("config.toml:2:") && lines[0].contains("`port`"), "{lines:?}");
    assert!(lines[1].contains("config.toml:4:") && lines[1].contains("loud"), "{lines:?}");
    let ran = home.run(&["config", "check", "--json"]);
    assert_eq!(ran.code, 2);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["problems"][0]["line"], 2);
    home.run(&["status"]).fails(2, "did you mean `port`?");
}

#[test]
fn what_is_in_force_is_shown_with_where_it_comes_from() {
    let home = Home::empty();
    fs::create_dir(home.path()).unwrap();
    fs::write(home.path().join("config.toml"), "[api]\nport = 4100\n").unwrap();
    let mut command = home.command(&["config", "show", "--json"]);
    let settings = crate::harness::finish(command.env("NODESPACE_SEARCH_LIMIT", "7"), None).json();
    let setting = |key: &str| settings.as_array().unwrap().iter().find(|setting| setting["key"] == key).unwrap().clone();
    assert_eq!((&setting("api.port")["value"], &setting("api.port")["source"]), (&4100.into(), &"file, line 2".into()));
    assert_eq!((&setting("search.limit")["value"], &setting("search.limit")["source"]), (&7.into(), &"NODESPACE_SEARCH_LIMIT".into()));
    assert_eq!(setting("log.level")["source"], "default");
    let text = home.run(&["config", "show"]).done();
    assert!(text.lines().any(|line| line.starts_with("api.port") && line.contains("4100") && line.ends_with("file, line 2")), "{text}");
}

#[test]
fn the_printed_default_is_a_configuration() {
    let home = Home::empty();
    fs::create_dir(home.path()).unwrap();
    let text = home.run(&["config", "default"]).done();
    fs::write(home.path().join("config.toml"), text).unwrap();
    assert!(home.run(&["config", "check"]).done().contains("is right"));
}
