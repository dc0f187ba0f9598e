//! Real devices on this machine: processes, the wires between them, what they are told to do, and what is found in the end.
//!
//! 1. [`program`], [`usage`]: the device program, running, as a process of [`nodespace_servers`];
//! 2. [`api`], [`device`]: talking to it; [`link`]: the wire between two, which can be cut;
//! 3. [`relay`]: a relay with its servers, which can be broken; [`forming`]: devices become a workspace; [`Cluster`] is what comes of it;
//! 4. [`scenario`]: what is to happen, as a file; [`workload`]: people at work; [`ledger`] and [`watcher`]: what was acknowledged and who saw it;
//! 5. [`run`] makes it happen, [`check`] judges, [`report`] tells;
//! 6. [`show`]: the demonstration; [`bulk`]: how fast a new device takes everything; [`lab`]: network namespaces.

pub mod api;
pub mod bulk;
pub mod check;
pub mod device;
pub mod forming;
pub mod lab;
pub mod ledger;
pub mod link;
pub mod program;
pub mod relay;
pub mod report;
pub mod run;
pub mod scenario;
pub mod show;
pub mod usage;
pub mod watcher;
pub mod workload;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::api::answer::{Network, Status, Sync};
use self::device::Device;
use self::link::Link;
use self::relay::RelaySide;

/// How often devices are asked while something is waited for.
pub const POLL: Duration = Duration::from_millis(50);
/// How long a device that answers may take until it listens for others.
const LISTEN_TIME_MAX: Duration = Duration::from_secs(20);

/// A link and whom it connects, by number. The dialler's is the greater one.
#[derive(Debug)]
pub struct Wire {
    /// Who makes the connections.
    pub dialler: usize,
    /// Who takes them.
    pub answerer: usize,
    /// The proxy between them.
    pub link: Link,
}

impl Wire {
    /// Whether it has this end.
    pub const fn touches(&self, device: usize) -> bool {
        self.dialler == device || self.answerer == device
    }

    /// Whether it connects these two.
    pub const fn connects(&self, one: usize, other: usize) -> bool {
        (self.dialler == one && self.answerer == other) || (self.dialler == other && self.answerer == one)
    }
}

/// Devices and the wires between them. Dropping it ends all of them.
#[derive(Debug)]
pub struct Cluster {
    /// The devices, by number.
    pub devices: Vec<Device>,
    /// The wires; none when devices reach each other directly.
    pub wires: Vec<Wire>,
    /// The relay that all use, if there is one.
    pub relay: Option<RelaySide>,
    /// The devices' names in the network.
    peer_ids: Vec<String>,
}

impl Cluster {
    /// The number of a device by its name.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn number(&self, name: &str) -> Result<usize> {
        self.devices.iter().position(|device| device.name == name).with_context(|| format!("there is no device `{name}`"))
    }

    /// Starts a device and connects it: its wires follow it to its new port, and it is told its peers' addresses again.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start(&mut self, number: usize) -> Result<()> {
        self.devices[number].start().await?;
        self.connect(number).await
    }

    /// Stops a device in order.
    ///
    /// # Errors
    /// When it does not stop as it should.
    pub async fn stop(&mut self, number: usize) -> Result<()> {
        self.unplug(number);
        self.devices[number].stop().await
    }

    /// Kills a device.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, number: usize) -> Result<()> {
        self.unplug(number);
        self.devices[number].kill()
    }

    /// A process that is gone has given its port back; whoever gets it next is not to be dialled.
    fn unplug(&self, number: usize) {
        self.wires.iter().filter(|wire| wire.answerer == number).for_each(|wire| wire.link.set_target(None));
    }

    async fn connect(&mut self, number: usize) -> Result<()> {
        if self.wires.is_empty() {
            return Ok(());
        }
        let network = listening(&self.devices[number]).await?;
        self.peer_ids[number].clone_from(&network.peer_id);
        let target = loopback_port(&network).map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        self.wires.iter().filter(|wire| wire.answerer == number).for_each(|wire| wire.link.set_target(target));
        let addresses: Vec<String> =
            self.wires.iter().filter(|wire| wire.dialler == number).filter_map(|wire| self.address(wire)).collect();
        let api = self.devices[number].api()?;
        for address in addresses {
            let _: Value = api.post("/v1/network/peers", &json!({ "address": address })).await.context("a peer's address was refused")?;
        }
        Ok(())
    }

    /// Where the dialler of a wire finds the one who answers; nothing before that one has started.
    fn address(&self, wire: &Wire) -> Option<String> {
        let peer = self.peer_ids.get(wire.answerer).filter(|peer| !peer.is_empty())?;
        Some(format!("/ip4/127.0.0.1/tcp/{}/p2p/{peer}", wire.link.port()))
    }

    /// What a device says of itself.
    ///
    /// # Errors
    /// When it does not run or does not answer.
    pub async fn status(&self, number: usize) -> Result<Status> {
        let device = &self.devices[number];
        device.api()?.get("/v1/status").await.with_context(|| format!("{}: its status", device.name))
    }

    /// How a device is in sync with others.
    ///
    /// # Errors
    /// When it does not run or does not answer.
    pub async fn sync(&self, number: usize) -> Result<Sync> {
        let device = &self.devices[number];
        device.api()?.get("/v1/sync").await.with_context(|| format!("{}: its sync", device.name))
    }

    /// Waits until all of these hold the same and each says that it is synced with as many peers as it has wires to the others, and with the
    /// relay. Answers how long it took.
    ///
    /// # Errors
    /// When it takes longer than it may, with how far they came; when a device dies.
    pub async fn settle(&mut self, numbers: &[usize], within: Duration) -> Result<Duration> {
        let started = Instant::now();
        loop {
            self.check_alive(numbers)?;
            let unsettled = self.unsettled(numbers).await?;
            let Some(why) = unsettled else { return Ok(started.elapsed()) };
            ensure!(started.elapsed() < within, "not settled within {within:?}: {why}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Ends with an error when one of these, or a part of the relay, has ended by itself.
    ///
    /// # Errors
    /// When it has, with the end of its log.
    pub fn check_alive(&mut self, numbers: &[usize]) -> Result<()> {
        numbers.iter().try_for_each(|number| self.devices[*number].check_alive())?;
        self.relay.as_mut().map_or(Ok(()), RelaySide::check_alive)
    }

    /// Why these are not settled; nothing when they are.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn unsettled(&self, numbers: &[usize]) -> Result<Option<String>> {
        match self.differing(numbers).await? {
            Some(why) => Ok(Some(why)),
            None => self.unsynced(numbers).await,
        }
    }

    /// Which two of these do not hold the same; nothing when all do.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn differing(&self, numbers: &[usize]) -> Result<Option<String>> {
        let mut first: Option<(usize, Status)> = None;
        for number in numbers {
            let status = self.status(*number).await?;
            match &first {
                Some((other, held)) if held.state_digest != status.state_digest || held.store.ops != status.store.ops => {
                    let (one, two) = (&self.devices[*other].name, &self.devices[*number].name);
                    let held_back = [held.store.held, status.store.held];
                    return Ok(Some(format!(
                        "{one} holds {} operations ({} of them held back), {two} {} ({})",
                        held.store.ops, held_back[0], status.store.ops, held_back[1]
                    )));
                }
                Some(_) => {}
                None => first = Some((*number, status)),
            }
        }
        Ok(None)
    }

    /// Which of these does not say that it is synced with all it has wires to, and with the relay; nothing when all do.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn unsynced(&self, numbers: &[usize]) -> Result<Option<String>> {
        for number in numbers {
            if let Some(why) = self.unsynced_among(*number, numbers).await? {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    /// Why a device does not say that it is synced with all of these that it has wires to, and with the relay; nothing when it does.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn unsynced_among(&self, number: usize, among: &[usize]) -> Result<Option<String>> {
        let sync = self.sync(number).await?;
        let expected = self.peers_of(number, among) + usize::from(self.relay.is_some());
        // Who is alone has nobody to be synced with.
        if expected == 0 || sync.is_synced_with(expected) {
            return Ok(None);
        }
        let said = serde_json::to_string(&sync).unwrap_or_default();
        Ok(Some(format!("{} should be synced with {expected} and says {said}", self.devices[number].name)))
    }

    /// With how many of these a device has a wire; without wires and relay everybody reaches somebody.
    fn peers_of(&self, number: usize, among: &[usize]) -> usize {
        if self.wires.is_empty() {
            return usize::from(among.len() > 1 && self.relay.is_none());
        }
        among.iter().filter(|other| self.wires.iter().any(|wire| **other != number && wire.connects(number, **other))).count()
    }
}

/// Waits until a device listens, and answers what its network says.
async fn listening(device: &Device) -> Result<Network> {
    let started = Instant::now();
    loop {
        let network = device.network().await?;
        if loopback_port(&network).is_some() {
            return Ok(network);
        }
        ensure!(started.elapsed() < LISTEN_TIME_MAX, "{} does not listen on the loopback: {:?}", device.name, network.listening);
        tokio::time::sleep(POLL).await;
    }
}

/// The TCP port of a device on the loopback.
fn loopback_port(network: &Network) -> Option<u16> {
    network.listening.iter().find_map(|address| {
        let mut parts = address.strip_prefix("/ip4/127.0.0.1/tcp/")?.split('/');
        parts.next()?.parse().ok().filter(|port| *port != 0)
    })
}
