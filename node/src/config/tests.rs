use std::collections::BTreeSet;
use std::fs;

use super::*;

/// A home folder with this configuration file.
fn home(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(FILE_NAME), text).unwrap();
    folder
}

fn read(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let home = home(text);
    Loaded::read(home.path(), None, environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
}

fn problems(text: &str, environment: &[(&str, &str)]) -> Vec<(Option<usize>, String)> {
    read(text, environment).unwrap_err().0.into_iter().map(|problem| (problem.line, problem.message)).collect()
}

#[test]
fn the_documented_file_is_the_default_configuration_and_explains_every_key() {
    let loaded = read(DEFAULT_FILE, &[]).unwrap();
    assert_eq!(loaded.config, Config::default());
    let lines: Vec<&str> = DEFAULT_FILE.lines().collect();
    for (key, source) in KEYS.iter().zip(&loaded.sources) {
        let Source::File(line) = source else { panic!("{} is not in docs/config.toml", key.path()) };
        assert!(lines[line - 2].starts_with("# "), "{} has no comment above it", key.path());
        let above = lines[..line - 1].iter().rev().take_while(|line| line.starts_with("# ")).copied().collect::<String>();
        assert!(above.len() > 20, "{} is hardly explained: {above}", key.path());
    }
}

#[test]
fn every_key_can_be_set_by_its_own_variable() {
    let variables: BTreeSet<String> = KEYS.iter().map(Key::variable).collect();
    assert_eq!(variables.len(), KEYS.len());
    for key in KEYS {
        let text = match key.value(&Config::default()) {
            Value::Switch(value) => value.to_string(),
            Value::Number(value) => value.to_string(),
            Value::Text(value) => value,
            Value::List(values) => values.join(","),
        };
        let loaded = read("", &[(&key.variable(), &text)]).unwrap();
        assert_eq!(loaded.config, Config::default(), "{}", key.path());
        assert_eq!(loaded.sources.iter().filter(|source| matches!(source, Source::Environment(_))).count(), 1);
    }
}

#[test]
fn the_environment_overrides_the_file_and_the_file_the_defaults() {
    let loaded = read("[api]\nport = 4000\nallowed_hosts = [\"notes.test\"]\n", &[("NODESPACE_API_PORT", "5000")]).unwrap();
    assert_eq!(loaded.config.api.port, 5000);
    assert_eq!(loaded.config.api.allowed_hosts, ["notes.test"]);
    let source = |path: &str| &loaded.sources[KEYS.iter().position(|key| key.path() == path).unwrap()];
    assert_eq!(source("api.port").to_string(), "NODESPACE_API_PORT");
    assert_eq!(source("api.allowed_hosts").to_string(), "file, line 3");
    assert_eq!(source("log.level").to_string(), "default");
}

#[test]
fn all_mistakes_are_told_at_once_with_their_lines() {
    let text = "[api]\nprot = 1\nport = 70000\n\n[strore]\nop_cache_mib = 1\n\n[log]\nformat = \"xml\"\nlevel = 3\ninterval_ms = 5\n";
    let found = problems(text, &[("NODESPACE_API_PROT", "1"), ("NODESPACE_HOME", "/x"), ("NODESPACE_SEARCH_LIMIT", "many")]);
    let has = |line: Option<usize>, part: &str| {
        assert!(found.iter().any(|(at, message)| *at == line && message.contains(part)), "{line:?} {part}: {found:?}");
    };
    has(Some(2), "did you mean `port`?");
    has(Some(3), "from 0 to 65535");
    has(Some(5), "did you mean `store`?");
    has(Some(9), "`human` and `json`");
    has(Some(10), "takes a text");
    has(Some(11), "belongs to `[projection]`");
    has(None, "NODESPACE_API_PORT");
    has(None, "`many` is not a whole number");
    assert_eq!(found.len(), 8, "{found:?}");
}

#[test]
fn what_is_not_toml_is_told_with_its_line() {
    let found = problems("[api]\nport = = 1\n[log\n", &[]);
    assert_eq!(found.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [Some(2), Some(3)], "{found:?}");
    assert!(matches!(&problems("port = 1\n", &[])[..], [(Some(1), message)] if message.contains("outside of a section")));
}

#[test]
fn an_address_that_others_reach_must_be_meant() {
    assert!(problems("[api]\naddress = \"0.0.0.0\"\n", &[])[0].1.contains("allow_remote"));
    assert!(read("[api]\naddress = \"0.0.0.0\"\nallow_remote = true\n", &[]).is_ok());
    assert!(read("[api]\naddress = \"::1\"\n", &[]).is_ok());
}

#[test]
fn a_file_asked_for_by_name_must_be_there() {
    let home = tempfile::tempdir().unwrap();
    assert!(Loaded::read(home.path(), None, []).unwrap().file.is_none());
    let error = Loaded::read(home.path(), Some(&home.path().join("other.toml")), []).unwrap_err();
    assert!(error.to_string().contains("other.toml: there is no such file"), "{error}");
}

#[test]
fn a_file_that_is_no_text_is_refused() {
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join(FILE_NAME), b"[api]\n# caf\xe9\n").unwrap();
    let error = Loaded::read(home.path(), None, []).unwrap_err();
    assert_eq!(error.0[0].line, Some(2));
    assert!(error.to_string().contains("UTF-8"), "{error}");
}

#[test]
fn addresses_are_checked_where_they_stand() {
    let text = "[network]\nlisten = [\"/ip4/127.0.0.1/tcp/0\", \"0.0.0.0:4100\"]\npeers = [\"/ip4/192.0.2.7/tcp/0\"]\nconnections_max = 0\n\n\
                [relay]\nurls = [\"ftp://relay.example.org\"]\n";
    let found = problems(text, &[]);
    let lines: Vec<_> = found.iter().map(|(line, _)| line.unwrap()).collect();
    assert_eq!(lines, [2, 3, 4, 7], "{found:?}");
    let parts = ["`0.0.0.0:4100` is no multiaddress", "`/ip4/192.0.2.7/tcp/0` cannot be dialled", "out of bounds", "no relay's URL"];
    assert!(found.iter().zip(parts).all(|((_, message), part)| message.contains(part)), "{found:?}");
    let found = problems("[network]\npeers = [\"/ip4/192.0.2.7/udp/4100/quic-v1\"]\n", &[]);
    assert!(found.len() == 1 && found[0].1.contains("does not say who is there"), "{found:?}");
    let good = "[network]\nlisten = []\npeers = [\"/dns4/example.org/tcp/4100\"]\nexplicit_only = true\nmdns = false\n";
    let network = read(good, &[]).unwrap().config.network;
    assert!(network.listen.is_empty() && network.explicit_only && !network.mdns && network.enabled);
}

#[test]
fn a_clock_can_be_set_off_both_ways() {
    for (text, offset) in [("-60000", -60_000), ("86400000", 86_400_000)] {
        assert_eq!(read("", &[("NODESPACE_SYNC_CLOCK_OFFSET_MS", text)]).unwrap().config.sync.clock_offset_ms, offset);
    }
    assert!(problems("[sync]\nclock_offset_ms = 9223372036854775807\n", &[])[0].1.contains("out of bounds"));
}

#[test]
fn variables_of_the_relay_are_not_mistaken_for_the_devices() {
    let loaded = read("", &[("NODESPACE_RELAY_DATABASE", "postgres://"), ("NODESPACE_RELAY_URLS", "https://relay.example.org")]).unwrap();
    assert_eq!(loaded.config.relay.urls, ["https://relay.example.org"]);
}
