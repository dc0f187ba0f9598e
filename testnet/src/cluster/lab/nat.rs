//! Routers that translate addresses: one device in the open, two behind routers of their own.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{Finding, Lab, command, ip, nft, travels, unwired};
use crate::cluster::device::{Device, Launcher};

/// The network in the open.
const OPEN: &str = "10.88.0";
/// How long devices may take to become equal.
const SETTLE_TIME_MAX: Duration = Duration::from_secs(90);

pub(super) async fn run(launcher: &Launcher, folder: &Path) -> Result<Vec<Finding>> {
    let mut lab = Lab::new(1);
    let open = lab.switch("open")?;
    let (mut public, space) = lab.device("public", folder, launcher).await?;
    // Others outside its network find it again after a restart only where it was; by default it takes any free port.
    public.set("network.listen", "/ip4/0.0.0.0/tcp/4100,/ip4/0.0.0.0/udp/4100/quic-v1");
    lab.plug(&space, &open, &format!("{OPEN}.1/24"))?;
    let mut devices = vec![public];
    for (number, name) in ["home", "office"].into_iter().enumerate() {
        devices.push(behind_router(&mut lab, (number, name), (&open, OPEN), (folder, launcher)).await?);
    }
    let mut cluster = unwired(devices);
    for device in &mut cluster.devices {
        device.start().await?;
    }
    let ticket = cluster.invite(0, "editor", 600, 2).await?.ticket;
    let mut joined = Ok(());
    for number in [1, 2] {
        joined = joined.and(cluster.join(number, &ticket).await.map(drop));
    }
    let mut findings = vec![Finding::of("devices behind routers join by a ticket", joined.map(|()| "both".to_owned()))];
    let settled = cluster.settle(&[0, 1, 2], SETTLE_TIME_MAX).await;
    findings.push(Finding::of("all three are equal", settled.map(|took| format!("after {:.2} s", took.as_secs_f64()))));
    findings.push(Finding::of("nobody reaches a device behind a router", unreachable(&lab)));
    findings.push(Finding::of("a change in the open reaches both", travels(&cluster, 0, &[1, 2], "from-public").await));
    findings.push(Finding::of("a change behind one router reaches the other", travels(&cluster, 1, &[0, 2], "from-home").await));
    cluster.devices[0].stop().await?;
    cluster.devices[0].start().await?;
    findings.push(Finding::of("they come back when the open device restarts", travels(&cluster, 2, &[0, 1], "after-restart").await));
    Ok(findings)
}

/// A device whose router has one address in the open.
pub(super) async fn behind_router(
    lab: &mut Lab,
    (number, name): (usize, &str),
    (open, network): (&str, &str),
    (folder, launcher): (&Path, &Launcher),
) -> Result<Device> {
    let (device, space) = lab.device(name, folder, launcher).await?;
    let router = lab.space(&format!("r{number}"))?;
    let inside = 60 + number;
    lab.wire((&space, "lan0"), (&router, "in0"))?;
    ip(&space, &format!("addr add 192.168.{inside}.2/24 dev lan0"))?;
    ip(&space, &format!("route add default via 192.168.{inside}.1 dev lan0"))?;
    ip(&router, &format!("addr add 192.168.{inside}.1/24 dev in0"))?;
    lab.plug(&router, open, &format!("{network}.{}/24", 10 + number))?;
    command("ip", &["netns", "exec", &router, "sysctl", "-qw", "net.ipv4.ip_forward=1"])?;
    // Only what was asked for from inside comes in. What comes for the router itself is dropped without a word, as routers at home do: it
    // would refuse what two devices send each other at the same moment to get past their routers, and the port would count as taken.
    nft(
        &router,
        "table ip nat { chain post { type nat hook postrouting priority 100; oifname \"lan0\" masquerade; } \
         chain forward { type filter hook forward priority 0; policy drop; iifname \"in0\" accept; ct state established,related accept; } \
         chain own { type filter hook input priority 0; policy drop; iifname \"in0\" accept; ct state established,related accept; } }",
    )?;
    Ok(device)
}

/// That the open device cannot reach those behind routers: otherwise the experiment shows nothing.
fn unreachable(lab: &Lab) -> Result<String> {
    let public = lab.spaces.iter().find(|space| space.ends_with("-public")).context("there is an open device")?;
    for address in ["192.168.60.2", "192.168.61.2"] {
        let reached = command("ip", &["netns", "exec", public, "ip", "route", "get", address]);
        ensure!(reached.is_err(), "{public} has a route to {address}");
    }
    Ok("no route from the open network to either".into())
}
