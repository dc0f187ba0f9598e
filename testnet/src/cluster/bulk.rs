//! The figure for bulk: a new device takes a large workspace from one peer, over TCP on the loopback, verified, merged and durable; once
//! undisturbed, once with the connection cut again and again.

mod fill;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use tokio::time::Instant;

use super::Cluster;
use super::device::Launcher;
use super::forming::Plan;
use super::link::{Conditions, Traffic};
use super::usage::Usage;

/// How long a join may take before it counts as stuck.
const JOIN_TIME_MAX: Duration = Duration::from_secs(1800);
/// How long the LanceDB tables may take to catch up.
const PROJECTION_TIME_MAX: Duration = Duration::from_secs(3600);
/// How often the newcomer is asked how far it is.
const POLL: Duration = Duration::from_millis(100);
/// What a cut may cost: a cut run may send so much more than an undisturbed one, in all.
const REPEATED_SHARE_MAX: f64 = 0.25;

/// How much.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Volume {
    /// Operations in all.
    pub ops: u64,
    /// Nodes.
    pub nodes: u64,
    /// How often the connection is cut in the second run.
    pub cuts: u64,
}

/// What one run took.
#[derive(Clone, Debug, Serialize)]
pub struct Arrival {
    /// How often the connection was cut.
    pub cuts: u64,
    /// Operations that arrived.
    pub ops: u64,
    /// Until the newcomer held all, durable, and both confirmed that they are equal.
    pub seconds: f64,
    /// Operations a second.
    pub ops_per_s: f64,
    /// What passed the wire.
    pub traffic: Traffic,
    /// The one who gave: the most memory while it gave, in MiB.
    pub giver_mib: f64,
    /// The newcomer: the most memory while it took, in MiB.
    pub taker_mib: f64,
    /// Processor seconds of the one who gave.
    pub giver_cpu_s: f64,
    /// Processor seconds of the newcomer.
    pub taker_cpu_s: f64,
    /// After that, until its LanceDB table had caught up.
    pub projection_s: f64,
    /// The most memory of the newcomer up to then, in MiB.
    pub taker_projected_mib: f64,
}

/// What both runs took.
#[derive(Clone, Debug, Serialize)]
pub struct BulkReport {
    /// How much it was.
    pub volume: Volume,
    /// Undisturbed, then cut.
    pub arrivals: Vec<Arrival>,
}

/// Measures.
///
/// # Errors
/// When a device fails, a newcomer does not end up with everything, or starts over after a cut.
pub async fn measure(launcher: Launcher, folder: &Path, volume: Volume, out: &mut (dyn Write + Send)) -> Result<BulkReport> {
    let plan = Plan {
        folder: folder.to_path_buf(),
        launcher,
        names: ["giver", "first", "second"].map(str::to_owned).into(),
        joined: 1,
        wires: Plan::star(3),
        conditions: Conditions::default(),
        seed: 1,
        settings: Plan::wired_settings(),
        own_settings: Vec::new(),
        relay: None,
    };
    let mut cluster = Cluster::start_all(&plan).await?;
    cluster.stop(2).await?;
    let started = Instant::now();
    fill::fill(&cluster.devices[0].api()?, volume, out).await?;
    writeln!(out, "written in {:.0} s; waiting for the giver's LanceDB table", started.elapsed().as_secs_f64())?;
    projected(&cluster, 0).await?;
    // So that it begins as a device that has been running, with its caches and nothing else.
    cluster.stop(0).await?;
    cluster.start(0).await?;
    let mut arrivals = Vec::new();
    for (taker, cuts) in [(1, 0), (2, volume.cuts)] {
        if taker == 2 {
            cluster.stop(1).await?;
            cluster.start(2).await?;
        }
        let arrival = arrive(&mut cluster, taker, cuts).await.with_context(|| format!("the run with {cuts} cuts"))?;
        tell(&arrival, out)?;
        arrivals.push(arrival);
    }
    ensure_resumed(&arrivals)?;
    Ok(BulkReport { volume, arrivals })
}

/// A newcomer joins and takes everything.
async fn arrive(cluster: &mut Cluster, taker: usize, cuts: u64) -> Result<Arrival> {
    let total = cluster.status(0).await?.store.ops;
    let ticket = cluster.invite(0, "editor", 3600, 1).await?.ticket;
    let text = cluster.over_wires(taker, &ticket)?;
    let pids = [cluster.devices[0].pid()?, cluster.devices[taker].pid()?];
    pids.iter().try_for_each(|pid| Usage::forget_peak(*pid))?;
    let before = [cluster.devices[0].usage()?, cluster.devices[taker].usage()?];
    let wire = cluster.wires.iter().position(|wire| wire.dialler == taker).context("the newcomer has a wire")?;
    let traffic_before = cluster.wires[wire].link.traffic();
    let started = Instant::now();
    let joining = {
        let api = cluster.devices[taker].api()?;
        let body = serde_json::json!({ "ticket": text });
        tokio::spawn(async move { api.task::<serde_json::Value>("/v1/join", &body, JOIN_TIME_MAX).await })
    };
    let done_cuts = watch_arrival(cluster, (taker, wire), (total, cuts), started).await?;
    let seconds = started.elapsed().as_secs_f64();
    ensure!(done_cuts == cuts, "only {done_cuts} of {cuts} cuts were made: the volume is too small");
    // Cut off, the request may have failed while the join itself went on; what counts is what arrived.
    joining.abort();
    let after = [cluster.devices[0].usage()?, cluster.devices[taker].usage()?];
    let ops = cluster.status(taker).await?.store.ops;
    let traffic = difference(cluster.wires[wire].link.traffic(), traffic_before);
    projected(cluster, taker).await?;
    let mib = |kib: u64| kib as f64 / 1024.0;
    Ok(Arrival {
        cuts,
        ops,
        seconds,
        ops_per_s: ops as f64 / seconds,
        traffic,
        giver_mib: mib(after[0].rss_peak_kib),
        taker_mib: mib(after[1].rss_peak_kib),
        giver_cpu_s: after[0].cpu_s - before[0].cpu_s,
        taker_cpu_s: after[1].cpu_s - before[1].cpu_s,
        projection_s: started.elapsed().as_secs_f64() - seconds,
        taker_projected_mib: mib(cluster.devices[taker].usage()?.rss_peak_kib),
    })
}

/// Waits until the newcomer holds all and both are equal, cutting the connection at even shares. Answers how many cuts were made.
async fn watch_arrival(cluster: &mut Cluster, (taker, wire): (usize, usize), (total, cuts): (u64, u64), started: Instant) -> Result<u64> {
    let mut done = 0;
    loop {
        ensure!(started.elapsed() < JOIN_TIME_MAX, "not done within {JOIN_TIME_MAX:?}");
        cluster.devices[0].check_alive()?;
        cluster.devices[taker].check_alive()?;
        // Before the workspace is known there is nothing to ask about.
        let held = cluster.status(taker).await.map_or(0, |status| status.store.ops);
        if done < cuts && held > total * (done + 1) / (cuts + 1) {
            cluster.wires[wire].link.reset();
            done += 1;
        }
        if held >= total && cluster.unsettled(&[0, taker]).await?.is_none() {
            return Ok(done);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until a device's LanceDB table has caught up.
async fn projected(cluster: &Cluster, number: usize) -> Result<()> {
    let started = Instant::now();
    loop {
        let projection = cluster.status(number).await?.projection;
        if projection.state == "current" && projection.behind == 0 {
            return Ok(());
        }
        ensure!(started.elapsed() < PROJECTION_TIME_MAX, "the LanceDB table did not catch up: {projection:?}");
        tokio::time::sleep(POLL).await;
    }
}

const fn difference(after: Traffic, before: Traffic) -> Traffic {
    Traffic {
        forward_bytes: after.forward_bytes - before.forward_bytes,
        backward_bytes: after.backward_bytes - before.backward_bytes,
        connections: after.connections - before.connections,
        refused: after.refused - before.refused,
        resets: after.resets - before.resets,
        swallowed_bytes: after.swallowed_bytes - before.swallowed_bytes,
    }
}

fn ensure_resumed(arrivals: &[Arrival]) -> Result<()> {
    let [whole, cut] = arrivals else { return Ok(()) };
    let repeated = cut.traffic.bytes() as f64 / whole.traffic.bytes() as f64 - 1.0;
    ensure!(
        repeated <= REPEATED_SHARE_MAX,
        "with {} cuts {:.0} % more passed the wire than without: the newcomer starts over",
        cut.cuts,
        repeated * 100.0
    );
    Ok(())
}

fn tell(arrival: &Arrival, out: &mut dyn Write) -> Result<()> {
    let Arrival { cuts, ops, seconds, ops_per_s, traffic, .. } = arrival;
    let bytes = traffic.bytes();
    writeln!(
        out,
        "\n{cuts} cuts: {ops} operations in {seconds:.1} s, {ops_per_s:.0} a second; {:.1} MiB over the wire, {:.1} bytes an operation",
        bytes as f64 / 1_048_576.0,
        bytes as f64 / *ops as f64
    )?;
    writeln!(
        out,
        "   giver: {:.0} MiB at most, {:.1} s of processor; newcomer: {:.0} MiB at most, {:.1} s of processor",
        arrival.giver_mib, arrival.giver_cpu_s, arrival.taker_mib, arrival.taker_cpu_s
    )?;
    writeln!(
        out,
        "   its LanceDB table had caught up {:.1} s later, with {:.0} MiB at most",
        arrival.projection_s, arrival.taker_projected_mib
    )?;
    Ok(())
}
