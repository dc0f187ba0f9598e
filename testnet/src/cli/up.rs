//! `nodespace-testnet up`: devices to play with, until Ctrl-C.

use std::io::Write;

use anyhow::{Result, bail, ensure};
use nodespace_servers::Signals;
use serde_json::json;

use super::cluster::{ClusterArguments, runtime};
use crate::cluster::Cluster;
use crate::cluster::forming::Plan;

/// More devices than one machine is good for.
const DEVICES_MAX: usize = 64;
/// How long the devices may take to become equal.
const SETTLE_TIME_MAX: std::time::Duration = std::time::Duration::from_secs(120);
/// How often it is looked whether all still run.
const WATCH_EVERY: std::time::Duration = std::time::Duration::from_secs(1);

/// Starts real devices that share a workspace, and says how to talk to each. They run until Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct UpArguments {
    /// How many.
    #[arg(long, default_value_t = 3, value_name = "N")]
    pub devices: usize,
    /// Let them find each other by mDNS as well, on every network of this machine. Otherwise they stay on the loopback and know each
    /// other's addresses.
    #[arg(long)]
    pub mdns: bool,
    /// Let them listen on QUIC alone, and connect over nothing else.
    #[arg(long, conflicts_with = "mdns")]
    pub quic: bool,
    /// Print one JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Which program, and where.
    #[command(flatten)]
    pub cluster: ClusterArguments,
}

/// Runs the devices.
///
/// # Errors
/// When they cannot be started, or one dies.
pub fn run(arguments: &UpArguments, out: &mut dyn Write) -> Result<()> {
    ensure!((1..=DEVICES_MAX).contains(&arguments.devices), "--devices is not between 1 and {DEVICES_MAX}");
    let workplace = arguments.cluster.workplace("up")?;
    let plan = plan(arguments, &workplace.path)?;
    runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        let mut cluster = tokio::select! {
            formed = form(&plan) => formed?,
            () = signals.next() => bail!("interrupted; the devices were ended"),
        };
        if arguments.json {
            print_json(&cluster, &plan, out).await?
        } else {
            print(&cluster, &plan, out).await?
        }
        watch(&mut cluster, &mut signals).await?;
        for number in 0..cluster.devices.len() {
            cluster.stop(number).await?;
        }
        Ok(())
    })
}

/// Forms the cluster, and waits until all are equal.
async fn form(plan: &Plan) -> Result<Cluster> {
    let mut cluster = Cluster::form(plan).await?;
    let all: Vec<usize> = (0..cluster.devices.len()).collect();
    cluster.settle(&all, SETTLE_TIME_MAX).await?;
    Ok(cluster)
}

/// Waits for a signal.
///
/// # Errors
/// When a device dies before.
async fn watch(cluster: &mut Cluster, signals: &mut Signals) -> Result<()> {
    loop {
        tokio::select! {
            () = signals.next() => return Ok(()),
            () = tokio::time::sleep(WATCH_EVERY) => cluster.devices.iter_mut().try_for_each(|device| device.check_alive())?,
        }
    }
}

fn plan(arguments: &UpArguments, folder: &std::path::Path) -> Result<Plan> {
    let mut settings = Plan::direct_settings();
    if arguments.mdns {
        settings.insert("network.mdns".into(), "true".into());
        settings.remove("network.listen");
    }
    if arguments.quic {
        settings.insert("network.listen".into(), "/ip4/127.0.0.1/udp/0/quic-v1".into());
    }
    Ok(Plan {
        folder: folder.to_path_buf(),
        launcher: arguments.cluster.launcher()?,
        names: (0..arguments.devices).map(|number| format!("d{number}")).collect(),
        joined: arguments.devices,
        wires: Vec::new(),
        conditions: crate::cluster::link::Conditions::default(),
        seed: 0,
        settings,
        own_settings: Vec::new(),
        relay: None,
    })
}

async fn print(cluster: &Cluster, plan: &Plan, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "{} devices share a workspace; homes and logs are in {}\n", cluster.devices.len(), plan.folder.display())?;
    for device in &cluster.devices {
        let network = device.network().await?;
        writeln!(out, "{}   process {}   API http://{}   peer {}", device.name, device.pid()?, device.api()?.address(), network.peer_id)?;
        writeln!(out, "     {} --home {} status\n", plan.launcher.program.display(), device.home().display())?;
    }
    writeln!(out, "Each home has its API's token in `api-token` and its address in `api.json`. Ctrl-C stops all of them.")?;
    Ok(out.flush()?)
}

async fn print_json(cluster: &Cluster, plan: &Plan, out: &mut dyn Write) -> Result<()> {
    let mut devices = Vec::new();
    for device in &cluster.devices {
        let network = device.network().await?;
        let connected: Vec<&String> = network.peers.iter().filter(|peer| peer.connected).filter_map(|peer| peer.address.as_ref()).collect();
        devices.push(json!({
            "name": device.name,
            "pid": device.pid()?,
            "home": device.home(),
            "log": device.log(),
            "api": format!("http://{}", device.api()?.address()),
            "peer_id": network.peer_id,
            "listening": network.listening,
            "connected": connected,
        }));
    }
    writeln!(out, "{}", json!({ "program": plan.launcher.program, "devices": devices }))?;
    Ok(out.flush()?)
}
