//! Devices in network namespaces: networks of their own, with switches, routers, address translation and lost packets, made of what the
//! kernel has.
//!
//! Each device lives in a namespace. It has a wire into the experiment, and a second one to the testnet, over which its API is asked and
//! nothing else: the management wires are point to point, nothing is forwarded between them, and no device has a route to another's, so
//! they can neither carry sync nor discovery.
//!
//! The relay's servers need no namespace: they are reached by sockets in the file system, which all namespaces share.
//!
//! This takes root and the tools `ip` and `nft`. Delay takes `tc` and a kernel with netem; without, the experiments lose packets by nftables
//! and say that nothing was delayed. Everything that was made is removed at the end of each experiment.

mod circuit;
mod lan;
mod nat;

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use super::Cluster;
use super::device::{Beginning, Device, Launcher, Settings};

/// The network of the management wires: 10.213.N.0/30 for the N-th device.
const MANAGEMENT: [u8; 2] = [10, 213];

/// Why there are no namespaces to be had.
#[derive(Debug, thiserror::Error)]
#[error("no network namespaces: {0}")]
pub struct Unavailable(String);

/// What an experiment found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at.
    pub what: &'static str,
    /// Whether it is as it must be; nothing when it could not be looked at here.
    pub holds: Option<bool>,
    /// What was seen.
    pub seen: String,
}

impl Finding {
    fn holds(what: &'static str, seen: impl Into<String>) -> Self {
        Self { what, holds: Some(true), seen: seen.into() }
    }

    fn fails(what: &'static str, seen: impl Into<String>) -> Self {
        Self { what, holds: Some(false), seen: seen.into() }
    }

    fn skipped(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, holds: None, seen: why.into() }
    }

    /// What became of something that had to succeed.
    fn of(what: &'static str, outcome: Result<String>) -> Self {
        match outcome {
            Ok(seen) => Self::holds(what, seen),
            Err(error) => Self::fails(what, format!("{error:#}")),
        }
    }
}

/// Runs all experiments.
///
/// # Errors
/// [`Unavailable`] when there are no namespaces to be had; anything else when an experiment cannot be set up.
pub async fn experiments(launcher: &Launcher, folder: &Path, out: &mut (dyn Write + Send)) -> Result<Vec<Finding>> {
    available()?;
    let mut findings = Vec::new();
    for (name, text) in [
        ("lan", "three devices on one switch, with 3 % of the packets lost"),
        ("nat", "devices behind routers that translate addresses"),
        ("circuit", "two devices behind routers, and nobody in the open but a relay"),
    ] {
        writeln!(out, "{name}: {text}")?;
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder)?;
        let found = match name {
            "lan" => lan::run(launcher, &folder).await,
            "nat" => nat::run(launcher, &folder).await,
            _ => circuit::run(launcher, &folder).await,
        };
        for finding in found.with_context(|| format!("the experiment {name}"))? {
            let word = finding.holds.map_or("skip", |holds| if holds { "ok  " } else { "FAIL" });
            writeln!(out, "  {word} {:<44} {}", finding.what, finding.seen)?;
            findings.push(finding);
        }
    }
    Ok(findings)
}

/// Whether namespaces can be made here.
fn available() -> Result<(), Unavailable> {
    if !rustix::process::geteuid().is_root() {
        return Err(Unavailable("this takes root; try again with sudo".into()));
    }
    for tool in ["ip", "nft"] {
        if command(tool, &["-V"]).is_err() && command(tool, &["--version"]).is_err() {
            return Err(Unavailable(format!("there is no `{tool}`; on Debian: apt-get install iproute2 nftables")));
        }
    }
    let name = format!("nst{}-try", std::process::id());
    match command("ip", &["netns", "add", &name]) {
        Ok(_) => command("ip", &["netns", "del", &name]).map(drop).map_err(|error| Unavailable(error.to_string())),
        Err(error) => Err(Unavailable(error.to_string())),
    }
}

/// Namespaces and what lies in them.
#[derive(Debug)]
struct Lab {
    /// What the names of all namespaces and interfaces begin with, so that two labs do not meet.
    prefix: String,
    spaces: Vec<String>,
    /// Devices so far.
    devices: u8,
}

impl Lab {
    /// An empty one. The number keeps the names of several in one process apart.
    fn new(number: u8) -> Self {
        Self { prefix: format!("nst{}{}", std::process::id() % 100_000, char::from(b'a' + number)), spaces: Vec::new(), devices: 0 }
    }

    /// Makes a namespace, its loopback up. Answers its full name.
    fn space(&mut self, name: &str) -> Result<String> {
        let space = format!("{}-{name}", self.prefix);
        command("ip", &["netns", "add", &space])?;
        self.spaces.push(space.clone());
        ip(&space, "link set lo up")?;
        Ok(space)
    }

    /// A wire between two namespaces: interface `one` in the first, `other` in the second, both up.
    fn wire(&self, (first, one): (&str, &str), (second, other): (&str, &str)) -> Result<()> {
        ip(first, &format!("link add {one} type veth peer name {other} netns {second}"))?;
        ip(first, &format!("link set {one} up"))?;
        ip(second, &format!("link set {other} up"))
    }

    /// A switch: a namespace with a bridge.
    fn switch(&mut self, name: &str) -> Result<String> {
        let space = self.space(name)?;
        ip(&space, "link add br0 type bridge")?;
        ip(&space, "link set br0 up")?;
        Ok(space)
    }

    /// Plugs a namespace into a switch: its interface `lan0` gets the address.
    fn plug(&self, space: &str, switch: &str, address: &str) -> Result<()> {
        let port = format!("p{}", address.replace(['.', '/'], "")).chars().take(12).collect::<String>();
        self.wire((space, "lan0"), (switch, &port))?;
        ip(switch, &format!("link set {port} master br0"))?;
        ip(space, &format!("addr add {address} dev lan0"))
    }

    /// A device in a namespace of its own with a wire to the testnet. It has no other network yet, and does not run.
    async fn device(&mut self, name: &str, folder: &Path, launcher: &Launcher) -> Result<(Device, String)> {
        let space = self.space(name)?;
        let number = self.devices;
        self.devices += 1;
        let [one, two] = MANAGEMENT;
        let (ours, its) = (Ipv4Addr::new(one, two, number, 1), Ipv4Addr::new(one, two, number, 2));
        let interface = format!("{}m{number}", self.prefix);
        command("ip", &["link", "add", &interface, "type", "veth", "peer", "name", "man0", "netns", &space])?;
        command("ip", &["addr", "add", &format!("{ours}/30"), "dev", &interface])?;
        command("ip", &["link", "set", &interface, "up"])?;
        ip(&space, &format!("addr add {its}/30 dev man0"))?;
        ip(&space, "link set man0 up")?;
        // Nothing but the API is heard there, whatever goes on around the testnet.
        nft(
            &space,
            "table inet management { chain in { type filter hook input priority 0; iifname \"man0\" meta l4proto != tcp drop; } }",
        )?;
        let mut prefix: Vec<std::ffi::OsString> = ["ip", "netns", "exec", &space].map(Into::into).into();
        prefix.extend(launcher.prefix.iter().cloned());
        let launcher = Launcher { program: launcher.program.clone(), prefix };
        let settings: Settings =
            [("api.address", its.to_string()), ("api.allowed_hosts", its.to_string()), ("api.allow_remote", "true".into())]
                .map(|(key, value)| (key.to_owned(), value))
                .into();
        let beginning = if number == 0 { Beginning::Founder("Lab") } else { Beginning::Empty };
        Ok((Device::create(name, folder, launcher, settings, beginning).await?, space))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // With a namespace go its interfaces and their other ends. What cannot be removed stays, and is named by its prefix.
        for space in &self.spaces {
            command("ip", &["netns", "del", space]).ok();
        }
    }
}

/// Devices without wires of ours.
fn unwired(devices: Vec<Device>) -> Cluster {
    let peer_ids = vec![String::new(); devices.len()];
    Cluster { devices, wires: Vec::new(), peer_ids, relay: None }
}

/// `ip` in a namespace; the words are separated by spaces.
fn ip(space: &str, words: &str) -> Result<()> {
    let mut all = vec!["-n", space];
    all.extend(words.split(' '));
    command("ip", &all).map(drop)
}

/// Rules of nftables in a namespace.
fn nft(space: &str, rules: &str) -> Result<()> {
    // nft reads statements line by line.
    let rules = rules.replace("; ", ";\n").replace("{ ", "{\n").replace("} ", "}\n");
    command("ip", &["netns", "exec", space, "nft", &rules]).map(drop)
}

/// Loses some of what comes in, and delays what goes out where the kernel can. Answers what could be had.
fn impair(space: &str, percent: u32, delay_ms: u32) -> Result<&'static str> {
    nft(
        space,
        &format!(
            "table inet weather {{ chain in {{ type filter hook input priority 0; iifname \"lan0\" numgen random mod 100 < {percent} drop; }} }}"
        ),
    )?;
    let delay = format!("{delay_ms}ms");
    let delayed = command("ip", &["netns", "exec", space, "tc", "qdisc", "add", "dev", "lan0", "root", "netem", "delay", &delay]);
    Ok(if delayed.is_ok() { "packets are lost and delayed" } else { "packets are lost; this kernel has no netem, so none is delayed" })
}

/// Runs a command to its end, and answers what it printed.
fn command(program: &str, arguments: &[&str]) -> Result<String> {
    let run = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = run.with_context(|| format!("cannot run `{program}`"))?;
    let error = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("`{program} {}`: {}", arguments.join(" "), error.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Makes a node at one device and waits until others have it.
async fn travels(cluster: &Cluster, from: usize, to: &[usize], id: &str) -> Result<String> {
    const TIME_MAX: std::time::Duration = std::time::Duration::from_secs(60);
    let started = tokio::time::Instant::now();
    let body = serde_json::json!({ "id": id, "content": "from afar" });
    let _: super::api::answer::WriteReply = cluster.devices[from].api()?.post("/v1/nodes", &body).await?;
    for number in to {
        let device = &cluster.devices[*number];
        while device.api()?.get::<super::api::answer::Node>(&format!("/v1/nodes/{id}")).await.is_err() {
            ensure!(
                started.elapsed() < TIME_MAX,
                "{} does not have what {} wrote {TIME_MAX:?} ago",
                device.name,
                cluster.devices[from].name
            );
            tokio::time::sleep(super::POLL).await;
        }
    }
    Ok(format!("{:.2} s", started.elapsed().as_secs_f64()))
}
