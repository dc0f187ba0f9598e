//! What the doctor finds, part by part, and that it finds nothing where nothing is wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::ids::NodeId;
use nodespace_protocol::op::Op;
use nodespace_protocol::replica::{Audit, AuditStep, Doubt};
use nodespace_protocol::store::{Record, Store as _};

use super::{FINDINGS_OF_AREA_MAX, Findings, finding, journal, permissions, standing, state};
use crate::backup::source;
use crate::import::tests::Device;
use crate::model::{DoctorReport, Severity};

const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);

fn device() -> Device {
    let mut device = Device::new();
    device.import(&[("a.md", "# One\n\ntext\n\n- item\n")]);
    device.edit("text", "other text");
    device.delete("item");
    device
}

fn records(device: &Device) -> Vec<Record> {
    let store = device.replica.store();
    source::page(store, 0, store.record_count(), usize::MAX).unwrap()
}

#[test]
fn a_sound_store_has_no_findings() {
    let mut device = device();
    assert_eq!(journal::check(&records(&device), &device.replica.workspace()), []);
    let mut audit = Audit::begin(&mut device.replica);
    while audit.step(&device.replica, 3).unwrap() != AuditStep::Done {}
    assert_eq!(audit.conclude(), []);
    assert_eq!(standing::check(&device.replica, NOW), []);
}

#[test]
fn what_is_in_doubt_is_named_and_it_is_said_what_to_do() {
    let plan = || NodeId::parse("plan").unwrap();
    for (doubt, expected) in [
        (Doubt::Node(plan()), "node `plan` is not"),
        (Doubt::NodeDigest(plan()), "digest kept of node `plan`"),
        (Doubt::Order(Some(plan())), "order below node `plan`"),
        (Doubt::Order(None), "order at the top level"),
        (Doubt::OrderDigest(Some(plan())), "digest kept of the order below node `plan`"),
        (Doubt::StateSum, "the state sum"),
    ] {
        let found = state::finding_of(&doubt);
        assert_eq!((found.severity, found.area.as_str(), found.repaired), (Severity::Error, state::AREA, false));
        assert!(found.message.contains(expected) && found.advice.contains("nodespace doctor --repair"), "{found:?}");
    }
}

#[test]
fn an_operation_that_is_not_what_was_hashed_is_named() {
    let device = device();
    let workspace = device.replica.workspace();
    for (change, expected) in [
        ((|op: &mut Op| op.payload = Arc::from(&b"other"[..])) as fn(&mut Op), "payload"),
        (|op: &mut Op| op.header.version += 1, "header"),
        (|op: &mut Op| op.hash.0[0] ^= 1, "header"),
    ] {
        let mut records = records(&device);
        let Record::Op(op) = &records[3] else { panic!("an operation was expected") };
        let mut altered = op.as_ref().clone();
        change(&mut altered);
        let short = altered.hash.short();
        records[3] = Record::Op(Arc::new(altered));
        let found = journal::check(&records, &workspace);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].severity == Severity::Error && found[0].message.contains(expected) && found[0].message.contains(&short),
            "{found:?}"
        );
    }
}

#[test]
fn a_clock_that_cannot_be_right_is_told() {
    let found = standing::check(&device().replica, Timestamp::from_ms(5_000));
    assert_eq!(found.iter().map(|finding| finding.area.as_str()).collect::<Vec<_>>(), ["clock"]);
}

#[test]
fn what_others_can_read_is_found_and_closed() {
    let folder = tempfile::tempdir().unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let set = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    set(folder.path(), 0o700);
    for name in ["identity", "workspaces", "lancedb"] {
        fs::create_dir(folder.path().join(name)).unwrap();
        set(&folder.path().join(name), 0o700);
    }
    let (key, journal, table) =
        (folder.path().join("identity/device.key"), folder.path().join("workspaces/j"), folder.path().join("lancedb/t"));
    for (path, mode) in [(&key, 0o640), (&journal, 0o644), (&table, 0o644)] {
        fs::write(path, "x").unwrap();
        set(path, mode);
    }
    let mut found = permissions::check(folder.path(), "lancedb", false);
    found.sort_by_key(|finding| finding.severity);
    assert_eq!(found.iter().map(|finding| finding.severity).collect::<Vec<_>>(), [Severity::Warning, Severity::Error]);
    assert!(found[1].message.contains("device.key") && found[1].message.contains("640"), "{found:?}");
    assert_eq!(mode(&key), 0o640);
    assert!(permissions::check(folder.path(), "lancedb", true).iter().all(|finding| finding.repaired));
    assert_eq!((mode(&key), mode(&journal), mode(&table)), (0o600, 0o600, 0o644));
    assert_eq!(permissions::check(folder.path(), "lancedb", false), []);
}

#[test]
fn a_report_is_healthy_when_all_that_was_wrong_is_repaired() {
    let mut findings = Findings::default();
    assert!(Findings::default().into_report(DoctorReport::default()).healthy);
    findings.push(finding(Severity::Note, "clock", "by the way", ""));
    for number in 0..FINDINGS_OF_AREA_MAX + 5 {
        findings.push(finding(Severity::Error, "projection", format!("row {number}"), "rebuild"));
    }
    assert!(findings.has("projection") && !findings.has("clock"));
    findings.repaired("projection");
    assert!(!findings.has("projection"));
    findings.push(finding(Severity::Warning, "vectors", "one", ""));
    let report = findings.into_report(DoctorReport::default());
    assert!(!report.healthy);
    assert_eq!(report.findings.len(), FINDINGS_OF_AREA_MAX + 3);
    let left_out = report.findings.iter().find(|finding| finding.message.contains("more like these")).unwrap();
    assert!(left_out.message.starts_with("5 ") && left_out.repaired);
    assert_eq!(report.findings[0].severity, Severity::Error);
}
