//! Two devices behind routers of their own, and in the open nobody but a relay: they join and sync by way of it, learn of its libp2p
//! circuit relay, and reach each other through that. They try to get past both routers to a direct connection (DCUtR), and have the relayed
//! one meanwhile. For a while a third one is in the open with the relay, and is told that it can be reached from outside (AutoNAT); the two
//! are told that they cannot. Then the relay's HTTP is cut off, and what is written still arrives.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hyper::Method;
use nodespace_servers::{Place, Postgres};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::nat::behind_router;
use super::{Finding, Lab, nft, travels, unwired};
use crate::cluster::api::answer::Joined;
use crate::cluster::device::{Device, Launcher};
use crate::cluster::forming::JOIN_TIME_MAX;
use crate::cluster::relay::{Instance, settings};
use crate::cluster::{Cluster, POLL, program};

/// How long devices may take to become equal by the relay.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(90);
/// How long they may take to meet: both ask for a place at the relay and tell the directory, and a refused one is asked for again.
const MEET_TIME_MAX: Duration = Duration::from_secs(120);
/// How long they may take to become directly connected, or to give that up: three attempts, of which each waits ten seconds for an answer.
const PUNCH_TIME_MAX: Duration = Duration::from_secs(60);
/// What devices count of that, by result.
const PUNCHES: &str = "nodespace_net_hole_punches_total";
/// How long it may take until a new member knows whether it can be reached: the relay looks up once a minute who is a member.
const REACHED_TIME_MAX: Duration = Duration::from_secs(120);
/// The network in the open.
const OPEN: &str = "10.89.0";
/// The relay's address in it.
const RELAY: &str = "10.89.0.1";
/// Its port for HTTP, and that of the circuit relay.
const HTTP_PORT: u16 = 8470;
const CIRCUIT_PORT: u16 = 8471;

pub(super) async fn run(launcher: &Launcher, folder: &Path) -> Result<Vec<Finding>> {
    let relay_program = match program::find_relay(&launcher.program) {
        Ok(found) => found,
        Err(why) => return Ok(vec![Finding::skipped("two behind routers meet by a relay", why.to_string())]),
    };
    let mut lab = Lab::new(2);
    let open = lab.switch("open")?;
    let space = lab.space("relay")?;
    lab.plug(&space, &open, &format!("{RELAY}/24"))?;
    let postgres = Postgres::create(&Place::temporary()?.with_logs(folder)).await?;
    let mut relay = relay(&space, relay_program, folder, &postgres);
    relay.start().await.context("the relay does not start")?;
    let mut devices = Vec::new();
    for (number, name) in ["home", "office"].into_iter().enumerate() {
        devices.push(behind_router(&mut lab, (number, name), (&open, OPEN), (folder, launcher)).await?);
    }
    let (mut street, street_space) = lab.device("street", folder, launcher).await?;
    lab.plug(&street_space, &open, &format!("{OPEN}.30/24"))?;
    let mut cluster = unwired(devices);
    for device in &mut cluster.devices {
        device.start().await?;
    }
    let mut findings = vec![Finding::of("two behind routers join and sync by a relay", join(&mut cluster).await)];
    findings.push(Finding::of("they meet through its circuit relay", meet(&cluster).await));
    findings.push(Finding::of("a direct connection is tried, none is lost", punch(&cluster).await));
    street.start().await?;
    findings.push(Finding::of("each learns whether it is reached", reached(&street, &cluster).await));
    street.stop().await?;
    // From here on the relay carries nothing but circuits.
    nft(&space, &format!("table inet gone {{ chain in {{ type filter hook input priority 0; tcp dport {HTTP_PORT} drop; }} }}"))?;
    findings.push(Finding::of("without the relay's HTTP a change reaches the other", travels(&cluster, 0, &[1], "by-circuit").await));
    findings.push(Finding::of("and one comes back", travels(&cluster, 1, &[0], "by-circuit-too").await));
    relay.check_alive()?;
    Ok(findings)
}

/// A relay in a namespace, with the circuit relay on.
fn relay(space: &str, program: PathBuf, folder: &Path, postgres: &Postgres) -> Instance {
    let circuit = format!("[\"/ip4/{RELAY}/tcp/{CIRCUIT_PORT}\"]");
    let mut settings = settings(folder, postgres);
    settings.insert("server.address".into(), format!("{RELAY}:{HTTP_PORT}"));
    settings.insert("circuit.listen".into(), circuit.clone());
    settings.insert("circuit.external".into(), circuit);
    let prefix: Vec<OsString> = ["ip", "netns", "exec", space].map(Into::into).into();
    Instance::new("relay", &folder.join("relay.log"), Launcher { program, prefix }, settings)
}

/// The second joins by a ticket of the first that names the relay: the other addresses in it lead nowhere.
async fn join(cluster: &mut Cluster) -> Result<String> {
    let url = format!("http://{RELAY}:{HTTP_PORT}");
    let _: Value = cluster.devices[0].api()?.post("/v1/relays", &json!({ "url": url })).await?;
    let ticket = cluster.invite(0, "editor", 600, 1).await?.ticket;
    let started = Instant::now();
    // A relay that has not heard of the invite turns the newcomer away.
    while !cluster.sync(0).await?.is_synced_with(1) {
        ensure!(started.elapsed() < SETTLE_TIME_MAX, "the first device is not synced with the relay after {SETTLE_TIME_MAX:?}");
        tokio::time::sleep(POLL).await;
    }
    cluster.join(1, &ticket).await?;
    let took = cluster.settle(&[0, 1], SETTLE_TIME_MAX).await?;
    Ok(format!("equal {:.2} s after the join", took.as_secs_f64()))
}

/// How the two are connected with each other.
#[derive(Clone, Copy, Debug, Default)]
struct Ways {
    /// Ends of a direct connection.
    direct: usize,
    /// Ends of one through the circuit relay.
    relayed: usize,
}

impl Ways {
    async fn of(cluster: &Cluster) -> Result<Self> {
        let keys = [cluster.status(1).await?.device, cluster.status(0).await?.device];
        let mut ways = Self::default();
        for (device, other) in cluster.devices.iter().zip(&keys) {
            // The relay is connected too, and is not the other device.
            for peer in device.network().await?.peers.iter().filter(|peer| peer.connected && peer.device.as_ref() == Some(other)) {
                let ends = if peer.relayed { &mut ways.relayed } else { &mut ways.direct };
                *ends += 1;
            }
        }
        Ok(ways)
    }

    const fn all(self) -> usize {
        self.direct + self.relayed
    }
}

/// Waits until each has a connection to the other.
async fn meet(cluster: &Cluster) -> Result<String> {
    let started = Instant::now();
    loop {
        let ways = Ways::of(cluster).await?;
        if ways.all() >= cluster.devices.len() {
            // The routers let nobody in: one that is direct has been relayed before.
            let already = if ways.relayed == 0 { ", and directly already" } else { "" };
            return Ok(format!("after {:.1} s{already}", started.elapsed().as_secs_f64()));
        }
        ensure!(started.elapsed() < MEET_TIME_MAX, "only {} of 2 connections after {MEET_TIME_MAX:?}", ways.all());
        tokio::time::sleep(POLL).await;
    }
}

/// Waits until both are directly connected, or the time is over. Whether they get there hangs on the kernel's routers, which keep a port
/// where they can, and on the moment at which each side's first packet leaves: so it is told, and not demanded. That it is tried is
/// demanded, and that a connection stands whatever comes of it.
async fn punch(cluster: &Cluster) -> Result<String> {
    let started = Instant::now();
    let (mut ways, mut tried) = (Ways::of(cluster).await?, attempts(cluster).await?);
    // A connection stands a moment before the attempt that made it is counted.
    while (ways.direct < cluster.devices.len() || tried == 0) && started.elapsed() < PUNCH_TIME_MAX {
        tokio::time::sleep(POLL).await;
        (ways, tried) = (Ways::of(cluster).await?, attempts(cluster).await?);
    }
    ensure!(tried > 0, "nobody has tried within {PUNCH_TIME_MAX:?}; {ways:?}");
    ensure!(ways.all() >= cluster.devices.len(), "{tried} attempts, and then no connection any more: {ways:?}");
    let seconds = started.elapsed().as_secs_f64();
    Ok(match (ways.direct, ways.relayed) {
        (_, 0) => format!("direct after {seconds:.1} s; attempts that ended: {tried}"),
        (0, _) => format!("relayed still after {seconds:.1} s; these routers were not got past, attempts that ended: {tried}"),
        _ => format!("direct as one end sees it, relayed as the other does, after {seconds:.1} s; attempts that ended: {tried}"),
    })
}

/// One in the open joins, and the relay tells it that it can be reached from outside; the two behind routers that they cannot.
async fn reached(street: &Device, cluster: &Cluster) -> Result<String> {
    let ticket = cluster.invite(0, "editor", 600, 1).await?.ticket;
    let invited = Instant::now();
    // With the other device and with the relay, which has heard of the invite then.
    while !cluster.sync(0).await?.is_synced_with(cluster.devices.len()) {
        ensure!(invited.elapsed() < SETTLE_TIME_MAX, "the first device is not synced with both others after {SETTLE_TIME_MAX:?}");
        tokio::time::sleep(POLL).await;
    }
    let _: Joined = street.api()?.task("/v1/join", &json!({ "ticket": ticket }), JOIN_TIME_MAX).await?;
    let joined = Instant::now();
    says(street, "public", joined).await?;
    let took = joined.elapsed().as_secs_f64();
    for device in &cluster.devices {
        says(device, "private", joined).await?;
    }
    Ok(format!("the one in the open {took:.1} s after it joined, both behind routers after {:.1} s", joined.elapsed().as_secs_f64()))
}

/// Waits until a device says so of whether it can be reached.
async fn says(device: &Device, expected: &str, joined: Instant) -> Result<()> {
    loop {
        let nat = device.network().await?.nat;
        if nat == expected {
            return Ok(());
        }
        let elapsed = joined.elapsed();
        ensure!(elapsed < REACHED_TIME_MAX, "{} says `{nat}`, not `{expected}`, {elapsed:.0?} after the last one joined", device.name);
        tokio::time::sleep(POLL).await;
    }
}

/// Attempts at a direct connection that both have counted.
async fn attempts(cluster: &Cluster) -> Result<u64> {
    let mut count = 0;
    for device in &cluster.devices {
        count += punches(device).await?;
    }
    Ok(count)
}

/// Attempts at a direct connection that a device has counted, whatever came of them.
async fn punches(device: &Device) -> Result<u64> {
    let mut lines = device.api()?.lines(Method::GET, "/metrics", None::<&Value>).await?;
    let mut count = 0;
    while let Some(line) = lines.next().await? {
        let line = String::from_utf8_lossy(&line);
        if let Some((series, number)) = line.rsplit_once(' ')
            && series.starts_with(PUNCHES)
        {
            count += number.parse::<u64>().with_context(|| format!("the metric `{line}` is no count"))?;
        }
    }
    Ok(count)
}
