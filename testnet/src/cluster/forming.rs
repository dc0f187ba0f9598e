//! Devices become a workspace: the first one founds it, the others join by an invite, over the wires they will use afterwards.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nodespace_protocol::membership::Ticket;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::api::ApiError;
use super::api::answer::{Invited, Joined};
use super::device::{Beginning, Device, Launcher, Settings};
use super::link::{Conditions, Link};
use super::relay::{RelayPlan, RelaySide};
use super::{Cluster, LISTEN_TIME_MAX, POLL, Wire};

/// How long each line of a join's answer may take.
pub const JOIN_TIME_MAX: Duration = Duration::from_secs(120);
/// The most addresses a ticket carries; a joiner with more wires leaves some out.
const ADDRESSES_MAX: usize = 16;
/// How long an invite of a cluster is good for, in seconds.
const INVITE_SECONDS: u64 = 3600;

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where homes and logs go.
    pub folder: PathBuf,
    /// How the program is run.
    pub launcher: Launcher,
    /// The devices' names; the first founds.
    pub names: Vec<String>,
    /// How many of them, from the first, are joined to the workspace. The others have keys and wires and nothing else.
    pub joined: usize,
    /// Who has a wire to whom, the dialler first; nobody when they reach each other directly.
    pub wires: Vec<(usize, usize)>,
    /// The wires' conditions.
    pub conditions: Conditions,
    /// What the wires draw from.
    pub seed: u64,
    /// Settings of all devices.
    pub settings: Settings,
    /// Settings of single devices.
    pub own_settings: Vec<(usize, String, String)>,
    /// The relay that the first device is told to use; the others have it from their tickets.
    pub relay: Option<RelayPlan>,
}

impl Plan {
    /// Wires between all.
    pub fn mesh(devices: usize) -> Vec<(usize, usize)> {
        (0..devices).flat_map(|dialler| (0..dialler).map(move |answerer| (dialler, answerer))).collect()
    }

    /// Wires from all to the first.
    pub fn star(devices: usize) -> Vec<(usize, usize)> {
        (1..devices).map(|dialler| (dialler, 0)).collect()
    }

    /// Wires from each to the one before.
    pub fn line(devices: usize) -> Vec<(usize, usize)> {
        (1..devices).map(|dialler| (dialler, dialler - 1)).collect()
    }

    /// Settings of devices that find each other by their wires alone.
    pub fn wired_settings() -> Settings {
        let settings = [("network.listen", "/ip4/127.0.0.1/tcp/0"), ("network.mdns", "false"), ("network.explicit_only", "true")];
        settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
    }

    /// Settings of devices that reach each other over the loopback, without wires.
    pub fn direct_settings() -> Settings {
        [("network.listen", "/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/udp/0/quic-v1"), ("network.mdns", "false")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }
}

impl Cluster {
    /// Makes the devices, starts them and connects their wires, and the relay if there is to be one. Nobody has joined yet.
    ///
    /// # Errors
    /// When a device cannot be made or started.
    pub async fn start_all(plan: &Plan) -> Result<Self> {
        let mut starting = JoinSet::new();
        for (number, name) in plan.names.iter().enumerate() {
            let mut settings = plan.settings.clone();
            let own = plan.own_settings.iter().filter(|(device, ..)| *device == number);
            settings.extend(own.map(|(_, key, value)| (key.clone(), value.clone())));
            let (name, folder, launcher) = (name.clone(), plan.folder.clone(), plan.launcher.clone());
            starting.spawn(async move {
                let beginning = if number == 0 { Beginning::Founder("Testnet") } else { Beginning::Empty };
                let mut device = Device::create(&name, &folder, launcher, settings, beginning).await?;
                device.start().await?;
                anyhow::Ok((number, device))
            });
        }
        let mut devices = Vec::new();
        while let Some(started) = starting.join_next().await {
            devices.push(started??);
        }
        devices.sort_by_key(|(number, _)| *number);
        let devices: Vec<Device> = devices.into_iter().map(|(_, device)| device).collect();
        let mut wires = Vec::new();
        for (index, (dialler, answerer)) in plan.wires.iter().enumerate() {
            let link = Link::open(plan.conditions, plan.seed.wrapping_add(index as u64)).await?;
            wires.push(Wire { dialler: *dialler, answerer: *answerer, link });
        }
        let peer_ids = vec![String::new(); devices.len()];
        let relay = match &plan.relay {
            Some(relay) => Some(RelaySide::start(relay, &plan.folder).await?),
            None => None,
        };
        let mut cluster = Self { devices, wires, peer_ids, relay };
        // Those who answer come first, so that the diallers' addresses are complete.
        for number in 0..cluster.devices.len() {
            cluster.connect(number).await?;
        }
        if let Some(relay) = &cluster.relay {
            let used: Result<Value, _> = cluster.devices[0].api()?.post("/v1/relays", &json!({ "url": relay.url() })).await;
            used.context("the first device does not take the relay")?;
        }
        Ok(cluster)
    }

    /// Makes the devices and joins them to one workspace, one after the other.
    ///
    /// # Errors
    /// When a device cannot be made, started or joined.
    pub async fn form(plan: &Plan) -> Result<Self> {
        let cluster = Self::start_all(plan).await?;
        if plan.joined > 1 {
            let ticket = cluster.first_ticket(plan.joined as u64 - 1).await?;
            for number in 1..plan.joined {
                cluster.join(number, &ticket).await?;
            }
        }
        Ok(cluster)
    }

    /// The ticket by which the others join. Where it is all that leads to the founder it has to carry an address, and a device answers a
    /// moment before it listens. Each invite is an operation: none is made before that. What is shown and what goes into tickets is told by
    /// different tasks, so a second one may still be needed.
    async fn first_ticket(&self, uses: u64) -> Result<String> {
        let started = Instant::now();
        let leads_alone = self.wires.is_empty() && self.relay.is_none();
        while leads_alone && self.devices[0].network().await?.listening.is_empty() {
            ensure!(started.elapsed() < LISTEN_TIME_MAX, "{} does not listen after {LISTEN_TIME_MAX:?}", self.devices[0].name);
            tokio::time::sleep(POLL).await;
        }
        loop {
            let invited = self.invite(0, "editor", INVITE_SECONDS, uses).await?;
            if invited.addresses > 0 || !leads_alone {
                return Ok(invited.ticket);
            }
            ensure!(started.elapsed() < LISTEN_TIME_MAX, "{} knows no address of itself after {LISTEN_TIME_MAX:?}", self.devices[0].name);
            tokio::time::sleep(POLL).await;
        }
    }

    /// Makes an invite.
    ///
    /// # Errors
    /// When the device refuses.
    pub async fn invite(&self, by: usize, role: &str, expires_s: u64, uses: u64) -> Result<Invited> {
        let body = json!({ "role": role, "expires_s": expires_s, "uses": uses });
        let device = &self.devices[by];
        device.api()?.post("/v1/invites", &body).await.with_context(|| format!("{} cannot invite", device.name))
    }

    /// Joins a device by a ticket, over its own wires.
    ///
    /// # Errors
    /// When the device cannot join.
    pub async fn join(&self, number: usize, ticket: &str) -> Result<Joined> {
        let ticket = self.over_wires(number, ticket)?;
        self.join_with(number, &ticket).await.with_context(|| format!("{} cannot join", self.devices[number].name))
    }

    /// Joins a device by exactly this text.
    ///
    /// # Errors
    /// When the device refuses, is refused, or does not run.
    pub async fn join_with(&self, number: usize, text: &str) -> Result<Joined, ApiError> {
        let api = self.devices[number].api().map_err(|_| ApiError::Unfinished)?;
        api.task("/v1/join", &json!({ "ticket": text }), JOIN_TIME_MAX).await
    }

    /// The ticket with the addresses of the joiner's wires in place of the inviter's: an address is a hint, which nobody signs. Where there
    /// is only the relay it names no address at all.
    ///
    /// # Errors
    /// When the text is no ticket, or the joiner has no wire to a member and there is no relay.
    pub fn over_wires(&self, number: usize, ticket: &str) -> Result<String> {
        if self.wires.is_empty() && self.relay.is_none() {
            return Ok(ticket.to_owned());
        }
        let mut ticket = Ticket::parse(ticket).context("the device made a ticket that is none")?;
        ticket.addresses = self.wires.iter().filter(|wire| wire.dialler == number).filter_map(|wire| self.address(wire)).collect();
        if ticket.addresses.is_empty() && self.relay.is_none() {
            bail!("{} has no wire on which it dials", self.devices[number].name);
        }
        ticket.addresses.truncate(ADDRESSES_MAX);
        Ok(ticket.to_text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_a_wire_to_somebody_before() {
        assert_eq!(Plan::mesh(4).len(), 6);
        for wires in [Plan::mesh(5), Plan::star(5), Plan::line(5)] {
            assert!(wires.iter().all(|(dialler, answerer)| dialler > answerer));
            assert!((1..5).all(|number| wires.iter().any(|(dialler, _)| *dialler == number)), "{wires:?}");
        }
    }
}
