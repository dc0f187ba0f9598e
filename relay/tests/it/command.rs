//! The program as a user runs it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

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
struct Setting {
    database: String,
    data: tempfile::TempDir,
}

impl Setting {
    async fn new() -> Self {
        Self { database: Shared::get().database().await, data: tempfile::tempdir().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nodespace-relay"));
        command.args(arguments).env("NODESPACE_RELAY_DATABASE_URL", &self.database).env("NODESPACE_RELAY_SERVER_DATA", self.data.path());
        command.env("NODESPACE_RELAY_REDIS_URL", Shared::get().redis()).env("NODESPACE_RELAY_SERVER_ADDRESS", "127.0.0.1:0");
        command
    }

    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.command(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_and_migrate_say_what_is_there() {
    let setting = Setting::new().await;
    let (code, text) = setting.run(&["check"]);
    assert_eq!(code, Some(0), "{text}");
    for expected in ["key      relay ", "database 1 migrations applied", "storage  folder ", "redis    answers", "tls      none"] {
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(setting.run(&["migrate", "--check"]), (Some(0), String::new()));
    assert_eq!(setting.run(&["migrate"]), (Some(0), "1 applied before, 0 applied now\n".into()));
    // A database without tables.
    let name = setting.database.split('?').next().unwrap().rsplit('/').next().unwrap().to_owned();
    let empty = Setting { database: setting.database.replace(&name, &format!("{name}_empty")), data: tempfile::tempdir().unwrap() };
    servers::create_database(&setting.database, &format!("{name}_empty")).await;
    let (code, text) = empty.run(&["check"]);
    assert!(code == Some(1) && text.contains("run `nodespace-relay migrate`"), "{text}");
    assert_eq!(empty.run(&["migrate", "--check"]), (Some(1), "missing  0001\n".into()));
    let (code, text) = empty.run(&["serve"]);
    assert!(code == Some(2) && text.contains("nodespace-relay migrate"), "{text}");
    assert_eq!(empty.run(&["migrate"]).0, Some(0));
    assert_eq!(empty.run(&["check"]).0, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serve_prints_the_url_and_ends_in_order() {
    let setting = Setting::new().await;
    let mut relay = setting.command(&["serve"]).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(relay.stdout.take().unwrap()));
    let url = lines.next().unwrap().unwrap().strip_prefix("relay    ").unwrap().to_owned();
    let id = lines.next().unwrap().unwrap().strip_prefix("id       ").unwrap().to_owned();
    let answer = crate::world::http().get(format!("{url}/v1/relay")).send().await.unwrap();
    let answer = crate::world::Answer::of(answer).await.json();
    assert_eq!(answer["relay_id"], id);
    assert_eq!(setting.run(&["admin", "id"]), (Some(0), format!("{id}\n")));
    assert!(Command::new("kill").arg("-TERM").arg(relay.id().to_string()).status().unwrap().success());
    assert_eq!(relay.wait().unwrap().code(), Some(0));
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
    // Another key is another relay.
    let other = Setting { database: setting.database.clone(), data: tempfile::tempdir().unwrap() };
    let (code, text) = other.run(&["admin", "workspaces"]);
    assert!(code == Some(2) && text.contains("belongs to relay"), "{text}");
}

#[test]
fn misspelt_settings_are_refused() {
    let path = file("misspelt.toml", b"[server]\nadress = \"127.0.0.1:0\"\n");
    let output = relay(&["--config", &path, "check"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("adress"));
}
