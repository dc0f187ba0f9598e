//! The program as a user runs it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use nodespace_protocol::view::Encoding;

use crate::fixture;

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
