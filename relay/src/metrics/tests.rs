//! The dashboard shows what there is, all of it, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Metrics, Observed, OpenedFrom};

const DASHBOARD: &str = include_str!("../../../deploy/grafana-relay.json");

/// Metrics that all have counted something: families without are not exported.
fn busy() -> Metrics {
    let metrics = Metrics::new();
    metrics.request("sync", 200, Duration::from_millis(3));
    metrics.refused("rate");
    metrics.packet(1);
    metrics.answer(1, 1, 1);
    metrics.turn(1, 1, Duration::from_millis(3));
    metrics.turn_failed();
    metrics.opened(OpenedFrom::Log, Duration::from_millis(3));
    metrics.log_read(1);
    metrics.checkpoint("kept");
    metrics.login("accepted");
    metrics.attachments("up", 1, 1);
    metrics.circuit("reserved");
    metrics
}

#[test]
fn the_dashboard_shows_every_metric_and_no_other() {
    let text = busy().text(Observed::default());
    let described: Vec<(&str, &str)> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let exported: BTreeSet<&str> = described.iter().map(|(name, _)| *name).collect();
    assert!(exported.len() >= 24, "families are not exported: {exported:?}");
    let is_part = |character: char| character.is_ascii_alphanumeric() || character == '_';
    let words = DASHBOARD.split(|character: char| !is_part(character)).filter(|word| word.starts_with("nodespace_relay_"));
    let shown: BTreeSet<&str> = words
        .map(|word| {
            let sample = ["_total", "_bucket", "_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix)).unwrap_or(word);
            described.iter().map(|(name, _)| *name).find(|name| [sample, word].contains(name)).unwrap_or(word)
        })
        .collect();
    assert_eq!(shown, exported, "left: deploy/grafana-relay.json, right: what is exported");
}
