//! Every check notices what it is there for: a good case is spoilt in one way after another.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::latency::Percentiles;
use super::*;
use crate::cluster::api::answer::RelayAlarm;
use crate::cluster::ledger::Acknowledged;
use crate::cluster::link::Traffic;
use crate::cluster::run::evidence::{DeviceEvidence, Exported};
use crate::cluster::workload::Work;

const SCENARIO: &str = r#"
name = "case"
story = "three devices"
devices = 3
relay = {}
[[phase]]
name = "work"
for_s = 2
[expect]
equal_before_quiet = true
lies_min = 2
conflicts_min = 1
refusals_min = 1
idle_bytes_per_s = 1000
latency = [{ phase = "work", p50_ms = 20, p99_ms = 100 }]
"#;

/// What a case consists of.
struct Parts {
    scenario: Scenario,
    evidence: Evidence,
    writes: JudgedWrites,
    convergence: Convergence,
    phases: Vec<PhaseRecord>,
    surprises: Vec<String>,
    before_quiet: Vec<String>,
    epochs: Vec<u64>,
    lies: u64,
}

fn device(number: usize) -> DeviceEvidence {
    let line = r#"{"id":"n","content":"a w0x0x1 b"}"#;
    let status = json!({
        "program": "0", "workspace": "w", "device": "d", "state_digest": "digest", "cursor": "c", "open_conflicts": 0,
        "store": { "ops": 2, "waiting": 0, "held": 0, "nodes": 1 },
        "projection": { "rows": 1, "behind": 0, "state": "current" },
    });
    let conflict = json!({ "id": "c", "node_id": "n", "kind": "ConcurrentEdit", "field": "content", "status": "open", "participants": [] });
    let doctor = json!({ "healthy": true, "operations": 2, "nodes": 1, "rows": 1, "findings": [] });
    let relay = json!({ "url": "http://127.0.0.1:1", "epoch": 7, "version": 2, "missing_there_max": 0, "alarm": null });
    let sync = json!({ "summary": { "state": "synced", "confirmed": 2, "known": 2 }, "targets": [], "help_wanted": [] });
    DeviceEvidence {
        number,
        name: format!("d{number}"),
        ops: ["aa".to_owned(), "bb".to_owned()].into(),
        export: vec![line.to_owned()],
        nodes: BTreeMap::from([("n".to_owned(), Exported { content: "a w0x0x1 b".into(), line: line.into() })]),
        conflicts: vec![serde_json::from_value(conflict).unwrap()],
        status: serde_json::from_value(status).unwrap(),
        sync: serde_json::from_value(sync).unwrap(),
        relays: vec![serde_json::from_value(relay).unwrap()],
        doctor: serde_json::from_value(doctor).unwrap(),
        refused: BTreeMap::from([("not_a_member".to_owned(), 1)]),
    }
}

fn write(op: &str) -> Acknowledged {
    Acknowledged {
        op: op.into(),
        device: 0,
        phase: 0,
        work: Work::Edit,
        node: "n".into(),
        word: Some("w0x0x1".into()),
        sent: Duration::from_millis(1000),
        answered: Duration::from_millis(1002),
    }
}

fn good() -> Parts {
    let seen = [1001, 1010, 1012].map(|ms| Some(Duration::from_millis(ms)));
    let traffic = Traffic { forward_bytes: 500, ..Traffic::default() };
    let wires = vec![(1, 0)];
    Parts {
        scenario: Scenario::parse(SCENARIO).unwrap(),
        evidence: Evidence { program: "0".into(), devices: (0..3).map(device).collect() },
        writes: JudgedWrites { kept: vec![write("aa")], void: vec![], seen: vec![seen.to_vec()], joined: vec![None; 3] },
        convergence: Convergence { begun_s: 2.0, equal_s: Some(0.9), took_s: Some(1.0), last_missing: None },
        phases: vec![PhaseRecord {
            name: "work".into(),
            begun_s: 0.0,
            ended_s: 2.0,
            wires,
            traffic: vec![Traffic::default()],
            after: vec![traffic],
        }],
        surprises: vec![],
        before_quiet: vec![],
        epochs: vec![6],
        lies: 2,
    }
}

/// The checks that a case fails.
fn failed(parts: &Parts) -> Vec<&'static str> {
    let Parts { scenario, evidence, writes, convergence, phases, surprises, before_quiet, epochs, lies } = parts;
    let writes = writes.clone();
    let case = Case { scenario, evidence, writes, convergence, phases, surprises, before_quiet, epochs, lies: *lies };
    all(&case).into_iter().filter(|verdict| !verdict.passed).map(|verdict| verdict.check).collect()
}

#[test]
fn a_good_case_passes() {
    assert_eq!(failed(&good()), [""; 0]);
}

#[test]
fn each_check_notices_what_it_is_there_for() {
    type Spoil = fn(&mut Parts);
    let cases: [(&str, Spoil); 23] = [
        ("converged", |parts| parts.convergence.took_s = Some(11.0)),
        ("converged", |parts| parts.convergence.took_s = None),
        ("nothing lost", |parts| parts.writes.kept.push(Acknowledged { word: None, ..write("cc") })),
        ("every word kept", |parts| parts.evidence.devices[1].nodes.get_mut("n").unwrap().content = "a w0x0x11 b".into()),
        ("every word kept", |parts| parts.evidence.devices[2].nodes.clear()),
        ("equal states", |parts| parts.evidence.devices[2].status.state_digest = "other".into()),
        ("equal exports", |parts| parts.evidence.devices[1].export[0].push(' ')),
        ("equal exports", |parts| parts.evidence.devices[1].export.push("{}".into())),
        ("equal conflicts", |parts| parts.evidence.devices[1].conflicts[0].status = "resolved".into()),
        ("LanceDB equals the log", |parts| parts.evidence.devices[1].doctor.healthy = false),
        ("LanceDB equals the log", |parts| parts.evidence.devices[1].status.projection.rows = 2),
        ("nobody stuck", |parts| parts.evidence.devices[1].sync.summary.state = "behind".into()),
        ("nobody stuck", |parts| parts.evidence.devices[1].status.store.held = 1),
        ("removed is removed", |parts| parts.writes.void.push(write("bb"))),
        ("relay holds all", |parts| parts.evidence.devices[1].relays.clear()),
        ("relay holds all", |parts| parts.evidence.devices[1].relays[0].version = 1),
        ("relay holds all", |parts| parts.evidence.devices[1].relays[0].missing_there_max = 1),
        ("relay holds all", |parts| parts.evidence.devices[1].relays[0].alarm = Some(RelayAlarm { message: "forked".into() })),
        ("restore noticed", |parts| parts.epochs.push(7)),
        ("equal before quiet", |parts| parts.before_quiet.push("d1 differs".into())),
        ("lied to", |parts| parts.lies = 1),
        ("as told", |parts| parts.surprises.push("d3 joined".into())),
        ("fast", |parts| parts.writes.seen[0][2] = Some(Duration::from_millis(1021))),
    ];
    for (check, spoil) in cases {
        let mut parts = good();
        spoil(&mut parts);
        assert_eq!(failed(&parts), [check]);
    }
}

#[test]
fn more_than_one_check_may_notice() {
    let mut parts = good();
    parts.evidence.devices[1].ops.remove("aa");
    assert_eq!(failed(&parts), ["nothing lost", "equal operations"]);
    let mut parts = good();
    parts.evidence.devices.iter_mut().for_each(|device| device.refused.clear());
    parts.phases[0].after[0].forward_bytes = 3000;
    assert_eq!(failed(&parts), ["refused with a reason", "idle"]);
    let mut parts = good();
    parts.evidence.devices.iter_mut().for_each(|device| device.conflicts.clear());
    assert_eq!(failed(&parts), ["conflicts found"]);
    let mut parts = good();
    parts.evidence.devices.clear();
    assert!(failed(&parts).contains(&"equal operations"), "nobody left to ask is no success");
}

#[test]
fn who_joined_later_is_not_slow() {
    let mut parts = good();
    parts.writes.seen[0][2] = Some(Duration::from_millis(9000));
    assert_eq!(failed(&parts), ["fast"]);
    parts.writes.joined[2] = Some(Duration::from_millis(8000));
    assert_eq!(failed(&parts), [""; 0]);
}

#[test]
fn percentiles_are_nearest_ranks() {
    let times = Percentiles::of((1..=100).rev().map(f64::from).collect());
    assert_eq!((times.count, times.p50_ms, times.p90_ms, times.p99_ms, times.max_ms), (100, 50.0, 90.0, 99.0, 100.0));
    assert_eq!(Percentiles::of(vec![]).count, 0);
    assert_eq!(Percentiles::of(vec![7.0]).p99_ms, 7.0);
}
