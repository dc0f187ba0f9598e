use serde_json::Value;

use super::*;
use crate::cluster::check::latency::Percentiles;

fn report() -> Report {
    let sample = |at_s, operations: [u64; 2], states, bytes| Sample { at_s, operations: operations.map(Some).to_vec(), states, bytes };
    let times = Percentiles::of((1..=50).map(f64::from).collect());
    Report {
        scenario: "small <b>".into(),
        story: "two devices & a cut".into(),
        seed: 7,
        program: "0.1.0".into(),
        devices: vec!["d0".into(), "d1".into()],
        convergence: Convergence { begun_s: 2.0, equal_s: Some(0.5), took_s: Some(0.5), last_missing: None },
        verdicts: vec![Verdict { check: "converged", passed: true, found: "equal".into() }],
        latencies: vec![PhaseLatency { phase: "work".into(), answered: times.clone(), each: times.clone(), everywhere: times }],
        writes: Tally { acknowledged: 50, ..Tally::default() },
        usages: vec![DeviceUsage { name: "d0".into(), usage: Usage { rss_kib: 2048, rss_peak_kib: 4096, cpu_s: 1.0 } }],
        wires: vec![(1, 0, Traffic { forward_bytes: 2048, ..Traffic::default() })],
        phases: vec![],
        moments: vec![Moment { at_s: 1.0, what: "d1 killed".into() }],
        samples: vec![sample(0.0, [3, 3], 1, 0), sample(1.0, [9, 5], 2, 1024), sample(3.0, [12, 12], 1, 4096)],
        operations: 12,
    }
}

#[test]
fn a_report_is_a_page_and_a_file_for_programs() {
    let folder = tempfile::tempdir().unwrap();
    let path = report().save(folder.path()).unwrap();
    let page = std::fs::read_to_string(path).unwrap();
    assert_eq!(page.matches("<svg").count(), 4, "convergence, states, latency, bytes");
    assert!(page.contains("small &lt;b&gt;") && page.contains("two devices &amp; a cut"), "text is never markup");
    assert!(!page.contains("<script") && !page.contains("src="), "nothing is loaded");
    let json: Value = serde_json::from_slice(&std::fs::read(folder.path().join("report.json")).unwrap()).unwrap();
    assert_eq!(json["latencies"][0]["everywhere"]["p50_ms"], 25.0);
    assert_eq!(json["samples"].as_array().unwrap().len(), 3);
}

#[test]
fn what_failed_is_said() {
    let mut report = report();
    assert!(report.passed());
    report.verdicts.push(Verdict { check: "nothing lost", passed: false, found: "d1 does not have aa".into() });
    assert!(!report.passed());
    let mut told = Vec::new();
    report.tell(&mut told).unwrap();
    let told = String::from_utf8(told).unwrap();
    assert!(told.contains("FAIL nothing lost") && told.contains("d1 does not have aa"), "{told}");
    assert!(page::render(&report).unwrap().contains("<span class=\"bad\">failed</span>"));
}

#[test]
fn an_empty_run_can_be_drawn() {
    let report = Report { samples: vec![], latencies: vec![], wires: vec![], moments: vec![], ..report() };
    let page = page::render(&report).unwrap();
    assert_eq!(page.matches("<svg").count(), 3, "no latency was measured");
}

#[test]
fn bytes_of_a_wire_count_at_both_ends() {
    let after = Traffic { forward_bytes: 100, backward_bytes: 20, ..Traffic::default() };
    let traffic = Traffic { forward_bytes: 10, ..Traffic::default() };
    let record = PhaseRecord {
        name: "idle".into(),
        begun_s: 0.0,
        ended_s: 1.0,
        wires: vec![(1, 0), (2, 0)],
        traffic: vec![traffic, Traffic::default()],
        after: vec![after, Traffic::default()],
    };
    assert_eq!(record.bytes_by_device(3), [110, 110, 0]);
}
