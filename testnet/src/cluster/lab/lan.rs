//! One switch. One device joins by a ticket, the next by a ticket without an address, whose maker it finds by mDNS; then all move to other
//! addresses, where only mDNS can find anybody; then one of them moves on while it runs.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use nodespace_protocol::membership::Ticket;

use super::{Finding, Lab, impair, ip, travels, unwired};
use crate::cluster::Cluster;
use crate::cluster::device::Launcher;

/// How long devices may take to find each other and be equal.
const FIND_TIME_MAX: Duration = Duration::from_secs(90);
/// How long it may take until one that moved while it ran is connected with both others: connections of before are dead without a word, which
/// pings find out within a minute, at each end by itself.
const MOVE_TIME_MAX: Duration = Duration::from_secs(150);
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Who moves while it runs, and where to: within the second network, as from a cable to the air.
const MOVER: usize = 2;
const MOVED_TO: &str = "10.77.1.103";
/// Of a hundred packets, so many are lost at each device.
const LOST_PERCENT: u32 = 3;
const DELAY_MS: u32 = 10;

pub(super) async fn run(launcher: &Launcher, folder: &Path) -> Result<Vec<Finding>> {
    let mut lab = Lab::new(0);
    let switch = lab.switch("sw")?;
    let (mut devices, mut spaces) = (Vec::new(), Vec::new());
    for (number, name) in NAMES.iter().enumerate() {
        let (device, space) = lab.device(name, folder, launcher).await?;
        lab.plug(&space, &switch, &address(0, number))?;
        devices.push(device);
        spaces.push(space);
    }
    let mut cluster = unwired(devices);
    for device in &mut cluster.devices {
        device.start().await?;
    }
    let mut findings = vec![Finding::of("a device joins over the switch by a ticket", join(&mut cluster).await)];
    findings.push(Finding::of("the next by one without an address, by mDNS", join_by_name(&mut cluster).await));
    for number in 0..NAMES.len() {
        cluster.devices[number].stop().await?;
    }
    let mut weather = "";
    for (number, space) in spaces.iter().enumerate() {
        ip(space, &format!("addr del {} dev lan0", address(0, number)))?;
        ip(space, &format!("addr add {} dev lan0", address(1, number)))?;
        weather = impair(space, LOST_PERCENT, DELAY_MS)?;
    }
    for device in &mut cluster.devices {
        device.start().await?;
    }
    let found = find(&mut cluster).await.map(|took| format!("{took}; {weather}"));
    findings.push(Finding::of("all have moved: found by mDNS alone", found));
    findings.push(Finding::of("a change reaches both others", travels(&cluster, 1, &[0, 2], "lan-node").await));
    // The old one first: with the first address of a network the kernel takes the others away.
    ip(&spaces[MOVER], &format!("addr del {} dev lan0", address(1, MOVER)))?;
    ip(&spaces[MOVER], &format!("addr add {MOVED_TO}/24 dev lan0"))?;
    findings.push(Finding::of("one moves while it runs: connected anew", moved(&cluster).await));
    findings.push(Finding::of("a change of it reaches both others", travels(&cluster, MOVER, &[0, 1], "moved-node").await));
    Ok(findings)
}

/// The address of a device in the first or the second network.
fn address(network: u8, number: usize) -> String {
    format!("10.77.{network}.{}/24", number + 1)
}

async fn join(cluster: &mut Cluster) -> Result<String> {
    let ticket = cluster.invite(0, "editor", 600, 1).await?.ticket;
    cluster.join(1, &ticket).await?;
    let took = cluster.settle(&[0, 1], FIND_TIME_MAX).await?;
    Ok(format!("equal {:.2} s later", took.as_secs_f64()))
}

/// By a ticket as a device makes it that does not run yet: it names its maker, and no address.
async fn join_by_name(cluster: &mut Cluster) -> Result<String> {
    let mut ticket = Ticket::parse(&cluster.invite(0, "editor", 600, 1).await?.ticket)?;
    ticket.addresses = vec![format!("/p2p/{}", cluster.devices[0].network().await?.peer_id)];
    cluster.join(2, &ticket.to_text()).await?;
    let took = cluster.settle(&[0, 1, 2], FIND_TIME_MAX).await?;
    Ok(format!("equal {:.2} s later", took.as_secs_f64()))
}

/// Waits until both others are connected with the one that moved, where it is now.
async fn moved(cluster: &Cluster) -> Result<String> {
    let started = tokio::time::Instant::now();
    let here = format!("/ip4/{MOVED_TO}/");
    loop {
        let mut met = 0;
        for device in cluster.devices.iter().enumerate().filter(|(number, _)| *number != MOVER).map(|(_, device)| device) {
            let peers = device.network().await?.peers;
            let is_here = |address: &String| address.contains(&here);
            met += peers.iter().filter(|peer| peer.connected && peer.address.as_ref().is_some_and(is_here)).count();
        }
        if met == NAMES.len() - 1 {
            return Ok(format!("after {:.1} s", started.elapsed().as_secs_f64()));
        }
        ensure!(started.elapsed() < MOVE_TIME_MAX, "only {met} of 2 connections after {MOVE_TIME_MAX:?}");
        tokio::time::sleep(crate::cluster::POLL).await;
    }
}

/// Waits until each has a connection to both others, at addresses of the new network.
async fn find(cluster: &mut Cluster) -> Result<String> {
    let started = tokio::time::Instant::now();
    loop {
        let mut met = 0;
        for device in &cluster.devices {
            let network = device.network().await?;
            let here = |address: &String| address.contains("/ip4/10.77.1.");
            met += network.peers.iter().filter(|peer| peer.connected && peer.address.as_ref().is_some_and(here)).count();
        }
        if met >= NAMES.len() * (NAMES.len() - 1) {
            break;
        }
        ensure!(started.elapsed() < FIND_TIME_MAX, "only {met} of 6 connections after {FIND_TIME_MAX:?}");
        tokio::time::sleep(crate::cluster::POLL).await;
    }
    let met = started.elapsed().as_secs_f64();
    cluster.settle(&[0, 1, 2], FIND_TIME_MAX).await.context("they met and are not equal")?;
    Ok(format!("all met after {met:.1} s"))
}
