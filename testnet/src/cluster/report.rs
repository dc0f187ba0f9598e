//! What a run was and what came of it: as JSON, as a page with plots, and in a few lines for a terminal.

mod page;
mod plot;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::check::Verdict;
use super::check::latency::PhaseLatency;
use super::link::Traffic;
use super::run::sampler::Sample;
use super::usage::Usage;

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Moment {
    /// Seconds since the scenario began.
    pub at_s: f64,
    /// What.
    pub what: String,
}

/// A phase as it was.
#[derive(Clone, Debug, Serialize)]
pub struct PhaseRecord {
    /// Its name.
    pub name: String,
    /// When it began, in seconds since the scenario began.
    pub begun_s: f64,
    /// When it ended.
    pub ended_s: f64,
    /// The wires: who dials, who answers.
    pub wires: Vec<(usize, usize)>,
    /// By wire: what had passed when it began.
    pub traffic: Vec<Traffic>,
    /// By wire: what had passed when it ended.
    pub after: Vec<Traffic>,
}

impl PhaseRecord {
    /// Bytes that each device sent and received in this phase.
    pub fn bytes_by_device(&self, devices: usize) -> Vec<u64> {
        let mut bytes = vec![0; devices];
        for ((dialler, answerer), (before, after)) in self.wires.iter().zip(self.traffic.iter().zip(&self.after)) {
            let passed = after.bytes() - before.bytes();
            bytes[*dialler] += passed;
            bytes[*answerer] += passed;
        }
        bytes
    }
}

/// How the quiet ended.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Convergence {
    /// When it began, in seconds since the scenario began.
    pub begun_s: f64,
    /// How long it took until all were equal, whatever they said; nothing when they never were.
    pub equal_s: Option<f64>,
    /// How long it took until all were equal and said so; nothing when they did not.
    pub took_s: Option<f64>,
    /// What was still missing the last time that something was.
    pub last_missing: Option<String>,
}

/// Writes in numbers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Tally {
    /// Answered with success.
    pub acknowledged: u64,
    /// The same by kind.
    pub by_kind: BTreeMap<String, u64>,
    /// Refused, by code.
    pub refused: BTreeMap<String, u64>,
    /// Without an answer.
    pub unknown: u64,
}

/// What a device used.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceUsage {
    /// Which.
    pub name: String,
    /// What.
    pub usage: Usage,
}

/// All of it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The scenario.
    pub scenario: String,
    /// What it shows.
    pub story: String,
    /// What everything was drawn from.
    pub seed: u64,
    /// The device program's version.
    pub program: String,
    /// The devices.
    pub devices: Vec<String>,
    /// How the quiet ended.
    pub convergence: Convergence,
    /// What was judged.
    pub verdicts: Vec<Verdict>,
    /// How fast writes were seen.
    pub latencies: Vec<PhaseLatency>,
    /// How much was written.
    pub writes: Tally,
    /// What the devices used.
    pub usages: Vec<DeviceUsage>,
    /// What passed the wires: who dials, who answers, how much.
    pub wires: Vec<(usize, usize, Traffic)>,
    /// The phases.
    pub phases: Vec<PhaseRecord>,
    /// What happened.
    pub moments: Vec<Moment>,
    /// What was seen twice a second.
    pub samples: Vec<Sample>,
    /// Operations in the end.
    pub operations: usize,
}

impl Report {
    /// Whether every check passed.
    pub fn passed(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.passed)
    }

    /// Writes `report.json` and `report.html` into a folder. Answers where the page is.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<PathBuf> {
        let writing = |path: &Path| format!("cannot write {}", path.display());
        std::fs::create_dir_all(folder).with_context(|| writing(folder))?;
        let (json, page) = (folder.join("report.json"), folder.join("report.html"));
        std::fs::write(&json, serde_json::to_vec_pretty(self)?).with_context(|| writing(&json))?;
        std::fs::write(&page, page::render(self)?).with_context(|| writing(&page))?;
        Ok(page)
    }

    /// Tells it in a few lines.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn tell(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "\n{} (seed {}): {} devices, {} operations, {} writes acknowledged, {} refused, {} without an answer",
            self.scenario,
            self.seed,
            self.devices.len(),
            self.operations,
            self.writes.acknowledged,
            self.writes.refused.values().sum::<u64>(),
            self.writes.unknown
        )?;
        for verdict in &self.verdicts {
            writeln!(out, "  {} {:<22} {}", if verdict.passed { "ok  " } else { "FAIL" }, verdict.check, verdict.found)?;
        }
        for latency in self.latencies.iter().filter(|latency| latency.everywhere.count > 0) {
            let (each, all) = (&latency.each, &latency.everywhere);
            writeln!(
                out,
                "       {:<22} seen by another: p50 {:.1} ms, p99 {:.1} ms; by all: p50 {:.1} ms, p99 {:.1} ms ({} writes)",
                latency.phase, each.p50_ms, each.p99_ms, all.p50_ms, all.p99_ms, all.count
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
