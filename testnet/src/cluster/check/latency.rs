//! How long it took until others saw a write: from sending the request at its author to the change in the other device's stream. That
//! includes HTTP, signing and syncing to disk at both ends, and the wire.

use serde::Serialize;

use super::Case;

/// Times of many writes.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// How many.
    pub count: usize,
    /// Half of them took at most so long, in milliseconds.
    pub p50_ms: f64,
    /// Of ten, nine.
    pub p90_ms: f64,
    /// Of a hundred, ninety-nine.
    pub p99_ms: f64,
    /// All.
    pub max_ms: f64,
    /// The times at every half percent, for the plot.
    pub curve_ms: Vec<f64>,
}

/// The times of a phase.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseLatency {
    /// Which.
    pub phase: String,
    /// Until the author's device answered: the write is durable there.
    pub answered: Percentiles,
    /// Until each other device showed it, each counted.
    pub each: Percentiles,
    /// Until the last other device showed it.
    pub everywhere: Percentiles,
}

impl Percentiles {
    /// Of times in milliseconds, in any order.
    pub fn of(mut times: Vec<f64>) -> Self {
        times.sort_by(f64::total_cmp);
        let at = |share: f64| -> f64 {
            // The nearest rank: the least time that at least this share does not exceed.
            let rank = (share * times.len() as f64).ceil() as usize;
            times.get(rank.max(1) - 1).copied().unwrap_or_default()
        };
        let curve_ms = if times.is_empty() { Vec::new() } else { (0..=200).map(|half| at(f64::from(half) / 200.0)).collect() };
        Self { count: times.len(), p50_ms: at(0.5), p90_ms: at(0.9), p99_ms: at(0.99), max_ms: at(1.0), curve_ms }
    }
}

/// The times of all phases in which anybody wrote.
pub fn all(case: &Case<'_>) -> Vec<PhaseLatency> {
    let phases = case.scenario.phase.iter().enumerate();
    phases.map(|(number, phase)| of_phase(case, number, &phase.name)).filter(|latency| latency.answered.count > 0).collect()
}

fn of_phase(case: &Case<'_>, number: usize, name: &str) -> PhaseLatency {
    let (mut answered, mut each, mut everywhere) = (Vec::new(), Vec::new(), Vec::new());
    for (write, seen) in case.writes.kept.iter().zip(&case.writes.seen).filter(|(write, _)| write.phase == number) {
        let since = |time: std::time::Duration| time.saturating_sub(write.sent).as_secs_f64() * 1e3;
        answered.push(since(write.answered));
        // Who joined later could not see it sooner.
        let was_there = |number: usize| case.writes.joined[number].is_none_or(|joined| joined <= write.sent);
        let others = case.evidence.devices.iter().filter(|device| device.number != write.device && was_there(device.number));
        let times: Vec<Option<f64>> = others.map(|device| seen[device.number].map(since)).collect();
        each.extend(times.iter().flatten());
        // A write that somebody's stream did not show counts as lost elsewhere; it has no time.
        if let Some(all) = times.into_iter().collect::<Option<Vec<f64>>>().filter(|all| !all.is_empty()) {
            everywhere.push(all.into_iter().fold(0.0, f64::max));
        }
    }
    PhaseLatency {
        phase: name.to_owned(),
        answered: Percentiles::of(answered),
        each: Percentiles::of(each),
        everywhere: Percentiles::of(everywhere),
    }
}
