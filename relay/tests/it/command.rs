//! The program as a user runs it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use nodespace_protocol::view::Encoding;

use crate::fixture;
use crate::servers::{self, Shared};
use crate::world::{TestRelay, two_members};

fn relay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_nodespace-relay")).args(arguments).output().unwrap()
}

fn file(name: &str, bytes: &[u8]) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

#[test]
fn a_sound_packet_is_accepted_and_described() {
    let path = file("sound.packet", &fixture::packet(20).to_bytes(Encoding::Json).unwrap());
    let output = relay(&["check-packet", &path]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for expected in ["form        json, compression zstd", "operations  41, 41 with a view", "      20 Create", "accepted"] {
        assert!(text.contains(expected), "{text}");
    }
    let output = relay(&["check-packet", &path, "--json", "--sender-only"]);
    assert_eq!(output.status.code(), Some(0));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["refusal"], &report["contents"]["operations"]["Update"]), (&serde_json::Value::Null, &20.into()));
}

#[test]
fn standard_input_and_stated_forms_are_read() {
    let mut packet = fixture::packet(1);
    packet.operations[0].version += 1;
    let arguments = ["check-packet", "-", "--json", "--encoding", "cbor", "--compression", "none"];
    let mut child =
        Command::new(env!("CARGO_BIN_EXE_nodespace-relay")).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&packet.to_bytes(Encoding::Cbor).unwrap()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["refusal"]["code"], "lying_view");
}

#[test]
fn exit_codes_tell_refusal_from_misuse() {
    let garbage = relay(&["check-packet", &file("garbage.packet", b"garbage")]);
    assert_eq!(garbage.status.code(), Some(1));
    assert!(String::from_utf8(garbage.stdout).unwrap().contains("refused     unknown_encoding"));
    let missing = relay(&["check-packet", "no/such/file"]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8(missing.stderr).unwrap().contains("no/such/file"));
    assert_eq!(relay(&["check-paket"]).status.code(), Some(2));
}

/// The program with a database of its own and a data folder.
pub(crate) struct Setting {
    pub(crate) database: String,
    pub(crate) data: tempfile::TempDir,
}

impl Setting {
    pub(crate) async fn new() -> Self {
        Self { database: Shared::get().database().await, data: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nodespace-relay"));
        command.args(arguments).env("NODESPACE_RELAY_DATABASE_URL", &self.database).env("NODESPACE_RELAY_SERVER_DATA", self.data.path());
        command.env("NODESPACE_RELAY_REDIS_URL", Shared::get().redis()).env("NODESPACE_RELAY_SERVER_ADDRESS", "127.0.0.1:0");
        command
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        self.run_with(arguments, &[])
    }

    /// With some variables set, too.
    fn run_with(&self, arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
        let output = self.command(arguments).envs(variables.iter().copied()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    /// The database's name.
    fn database_name(&self) -> &str {
        self.database.split('?').next().unwrap().rsplit('/').next().unwrap()
    }

    /// A check, once Redis answers it in time: it waits no longer than a relay does, which is short on a busy machine.
    async fn check(&self) -> (Option<i32>, String) {
        crate::world::eventually("Redis answers a check", async || {
            let (code, text) = self.run(&["check"]);
            (!text.contains("redis    WRONG: it does not answer")).then_some((code, text))
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_and_migrate_say_what_is_there() {
    let setting = Setting::new().await;
    let (code, text) = setting.check().await;
    assert_eq!(code, Some(0), "{text}");
    for expected in [
        "key      none yet in ",
        "database 1 migrations applied; PostgreSQL ",
        "; nobody's yet\n",
        "storage  folder ",
        ", can be written and read\n",
        "redis    answers",
        "circuit  none",
        "tls      none",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(std::fs::read_dir(setting.data.path().join("attachments")).unwrap().count(), 0, "what was written is removed");
    assert!(!setting.data.path().join("relay.key").exists(), "who only looks makes no key");
    assert_eq!(setting.run(&["migrate", "--check"]), (Some(0), String::new()));
    assert_eq!(setting.run(&["migrate"]), (Some(0), "1 applied before, 0 applied now\n".into()));
    // A database without tables.
    let name = setting.database_name().to_owned();
    let empty = Setting { database: setting.database.replace(&name, &format!("{name}_empty")), data: tempfile::tempdir().unwrap() };
    servers::create_database(&setting.database, &format!("{name}_empty")).await;
    let (code, text) = empty.check().await;
    assert!(code == Some(1) && text.contains("run `nodespace-relay migrate`"), "{text}");
    assert_eq!(empty.run(&["migrate", "--check"]), (Some(1), "missing  0001\n".into()));
    let (code, text) = empty.run(&["serve"]);
    assert!(code == Some(2) && text.contains("nodespace-relay migrate"), "{text}");
    assert_eq!(empty.run(&["migrate"]).0, Some(0));
    assert_eq!(empty.check().await.0, Some(0));
}

/// A data folder that was misspelt is shown, and does not become one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_makes_no_data_folder() {
    let setting = Setting::new().await;
    let misspelt = setting.data.path().join("misspelt");
    let (_, text) = setting.run_with(&["check"], &[("NODESPACE_RELAY_SERVER_DATA", misspelt.to_str().unwrap())]);
    let (key, storage) = (format!("key      none yet in {}", misspelt.display()), format!("storage  folder {}", misspelt.display()));
    assert!(text.lines().any(|line| line.starts_with(&key)), "{text}");
    assert!(text.lines().any(|line| line.starts_with(&storage) && line.contains("none yet")), "{text}");
    assert!(!misspelt.exists());
}

/// The URL of a bucket that takes everything, and gives back something else.
async fn forgetful_bucket() -> String {
    let answer = || async { ([(axum::http::header::ETAG, "\"1\"")], "something else") };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await });
    url
}

/// A part that is wrong is named, and with it the reason.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_finds_what_would_be_found_too_late() {
    let setting = Setting::new().await;
    let wrong = |variables: &[(&str, &str)], expected: &[&str]| {
        let (code, text) = setting.run_with(&["check"], variables);
        assert_eq!(code, Some(1), "{text}");
        let line = text.lines().find(|line| line.contains("WRONG") && expected.iter().all(|expected| line.contains(expected)));
        assert!(line.is_some(), "{expected:?}: {text}");
    };
    // Storage that answers and does not take what is written: nobody makes a file there, whoever runs this.
    wrong(&[("NODESPACE_RELAY_STORAGE_FOLDER", "/sys")], &["storage  "]);
    let url = forgetful_bucket().await;
    let bucket = [
        ("NODESPACE_RELAY_STORAGE_BUCKET", "bucket"),
        ("NODESPACE_RELAY_STORAGE_ENDPOINT", url.as_str()),
        ("NODESPACE_RELAY_STORAGE_ALLOW_HTTP", "true"),
        ("NODESPACE_RELAY_STORAGE_ACCESS_KEY_ID", "relay"),
        ("NODESPACE_RELAY_STORAGE_SECRET_ACCESS_KEY", "secret"),
    ];
    wrong(&bucket, &["storage  ", "other bytes"]);
    wrong(&[("NODESPACE_RELAY_CIRCUIT_LISTEN", "[\"/ip4/0.0.0.0/udp/8471\"]")], &["circuit  ", "quic-v1"]);
    // Another relay's database.
    drop(Served::start(&mut setting.command(&["serve"])));
    let stranger = tempfile::tempdir().unwrap();
    wrong(&[("NODESPACE_RELAY_SERVER_DATA", stranger.path().to_str().unwrap())], &["database ", "belongs to relay"]);
    // A server that answers before anything is on disk: a relay on it would acknowledge what a crash takes back.
    let name = setting.database_name();
    servers::run_sql(&setting.database, format!("ALTER DATABASE {name} SET synchronous_commit = off")).await;
    wrong(&[], &["database ", "synchronous_commit = off"]);
    let (code, text) = setting.run(&["serve"]);
    assert!(code == Some(2) && text.contains("synchronous_commit = off"), "{text}");
}

/// During an update instances of the version before are started again on a database that the new version has migrated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_program_starts_on_a_newer_database() {
    let setting = Setting::new().await;
    let newer =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, 'newer', true, '', 0)";
    servers::run_sql(&setting.database, newer.to_owned()).await;
    let migrated = "unknown  9999 (of a newer program)\n2 applied before, 0 applied now\n";
    assert_eq!(setting.run(&["migrate"]), (Some(0), migrated.into()));
    assert!(setting.run(&["check"]).1.contains("2 migrations applied; it was migrated by a newer program too"));
    assert_eq!(Served::start(&mut setting.command(&["serve", "--migrate"])).stop(), Some(0));
}

/// A table that cannot be read is not one that has nothing in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_that_cannot_be_read_are_not_missing() {
    let setting = Setting::new().await;
    servers::run_sql(&setting.database, "ALTER TABLE _sqlx_migrations RENAME COLUMN checksum TO sum".to_owned()).await;
    for arguments in [["migrate", "--check"].as_slice(), &["serve"]] {
        let (code, text) = setting.run(arguments);
        assert!(code == Some(2) && text.contains("checksum") && !text.contains("missing"), "{text}");
    }
}

/// The program while it serves.
pub(crate) struct Served {
    child: Child,
    pub(crate) url: String,
    pub(crate) id: String,
}

impl Served {
    /// Starts it and waits until it says where.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = |what: &str| lines.next().unwrap().unwrap().strip_prefix(what).unwrap().trim().to_owned();
        let (url, id) = (said("relay "), said("id "));
        Self { child, url, id }
    }

    /// Asks it to end; its exit code.
    pub(crate) fn stop(mut self) -> Option<i32> {
        assert!(Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_prints_the_url_and_ends_in_order() {
    let setting = Setting::new().await;
    let relay = Served::start(setting.command(&["serve"]).stderr(Stdio::null()));
    let answer = crate::world::http().get(format!("{}/v1/relay", relay.url)).send().await.unwrap();
    let answer = crate::world::Answer::of(answer).await.json();
    assert_eq!(answer["relay_id"], relay.id);
    assert_eq!(setting.run(&["admin", "id"]), (Some(0), format!("{}\n", relay.id)));
    assert_eq!(relay.stop(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_lists_deletes_and_begins_epochs() {
    let relay = TestRelay::start().await;
    let (mut founder, _) = two_members(&relay).await;
    let setting = Setting { database: relay.config.database.url.reveal().to_owned(), data: tempfile::tempdir().unwrap() };
    std::fs::copy(relay.config.server.data.join("relay.key"), setting.data.path().join("relay.key")).unwrap();
    let (code, text) = setting.run(&["admin", "workspaces", "--json"]);
    assert_eq!(code, Some(0), "{text}");
    let listed: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&listed[0]["id"], &listed[0]["version"], &listed[0]["users"]),
        (&founder.workspace.to_string().into(), &3.into(), &2.into())
    );
    let before = relay.app.parts().database.epoch().current();
    let (code, text) = setting.run(&["admin", "new-epoch"]);
    assert!(code == Some(0) && text.starts_with("epoch "), "{text}");
    crate::world::eventually("the running relay takes the epoch over", async || {
        (relay.app.parts().database.epoch().current() > before).then_some(())
    })
    .await;
    let before = relay.app.parts().database.epoch().current();
    let id = founder.workspace.to_string();
    let (code, text) = setting.run(&["admin", "delete", &id]);
    assert!(code == Some(2) && text.contains("--yes"), "{text}");
    assert_eq!(setting.run(&["admin", "delete", &id, "--yes"]).0, Some(0));
    assert_eq!(setting.run(&["admin", "delete", &id, "--yes"]).0, Some(1));
    assert_eq!(relay.rows().await, [0; 7]);
    assert_eq!(relay.get(&format!("/v1/workspaces/{id}"), Some(&founder.token)).await.refusal(), (404, "unknown_workspace".into()));
    // Who brings it again meets another epoch at once: the log that was signed before is not this one.
    founder.forget_acknowledged();
    founder.login(&relay).await;
    assert!(founder.sync(&relay).await.epoch > before);
    assert_eq!(setting.run(&["admin", "delete", &id, "--yes"]).0, Some(0));
    // Without the key nobody looks after the relay, and no other one is made: a folder that was misspelt is named.
    let other = Setting { database: setting.database.clone(), data: tempfile::tempdir().unwrap() };
    for arguments in [["admin", "workspaces"], ["admin", "id"], ["admin", "new-epoch"]] {
        let (code, text) = other.run(&arguments);
        assert!(code == Some(2) && text.contains(other.data.path().to_str().unwrap()) && text.contains("server.data"), "{text}");
    }
    assert_eq!(std::fs::read_dir(other.data.path()).unwrap().count(), 0);
    // Another key is another relay.
    nodespace_relay::key::RelayKey::load_or_create(&other.data.path().join("relay.key")).unwrap();
    let (code, text) = other.run(&["admin", "workspaces"]);
    assert!(code == Some(2) && text.contains("belongs to relay"), "{text}");
}

/// A deletion of much takes longer than the service gives a statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_may_take_long() {
    let relay = TestRelay::start().await;
    let (founder, _) = two_members(&relay).await;
    let setting = Setting { database: relay.config.database.url.reveal().to_owned(), data: tempfile::tempdir().unwrap() };
    std::fs::copy(relay.config.server.data.join("relay.key"), setting.data.path().join("relay.key")).unwrap();
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(3); RETURN NULL; END'; \
                CREATE TRIGGER slow BEFORE DELETE ON operations FOR EACH STATEMENT EXECUTE FUNCTION slow()";
    servers::run_sql(&setting.database, slow.to_owned()).await;
    let id = founder.workspace.to_string();
    let (code, text) = setting.run_with(&["admin", "delete", &id, "--yes"], &[("NODESPACE_RELAY_DATABASE_STATEMENT_SECONDS", "2")]);
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(relay.rows().await, [0; 7]);
}

#[test]
fn misspelt_settings_are_refused() {
    let path = file("misspelt.toml", b"[server]\nadress = \"127.0.0.1:0\"\n");
    let output = relay(&["--config", &path, "check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("adress"));
}
