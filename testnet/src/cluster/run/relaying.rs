//! What happens to the relay, and what devices make of it. What does not end as the scenario says is a finding, not a failure to run.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hyper::Method;
use nodespace_protocol::ids::DeviceId;
use serde_json::Value;
use tokio::time::Instant;

use super::Run;
use crate::cluster::POLL;
use crate::cluster::api::answer::{RelayChecks, RelayList, Sync};
use crate::cluster::relay::{LieKind, RelaySide};
use crate::cluster::scenario::{Caught, RelayAction};

impl Run<'_> {
    pub(super) async fn relay_event(&mut self, action: &RelayAction) -> Result<()> {
        match action {
            RelayAction::RelayLie { lie, to } => return self.lie(*lie, to).await,
            RelayAction::RelayCaught { device, by, within_s } => return self.caught(*device, *by, *within_s).await,
            RelayAction::RelayCheck { device } => return self.look_at_relay(*device).await,
            RelayAction::RelayRestore {} | RelayAction::RelayLose {} => {
                let epoch = self.relay()?.epoch().await?;
                self.epochs.push(epoch);
            }
            _ => {}
        }
        let relay = self.relay()?;
        match action {
            RelayAction::RelayKill { instance } => relay.kill_instance(*instance),
            RelayAction::RelayStop { instance } => relay.stop_instance(*instance).await,
            RelayAction::RelayStart { instance } => relay.start_instance(*instance).await,
            RelayAction::RelayCrash { instance } => {
                relay.kill_instance(*instance)?;
                relay.start_instance(*instance).await
            }
            RelayAction::PostgresKill {} => relay.postgres().kill(),
            RelayAction::PostgresStop {} => relay.postgres().stop().await,
            RelayAction::PostgresStart {} => relay.postgres().start().await,
            RelayAction::RedisKill {} => relay.redis().kill(),
            RelayAction::RedisStart {} => relay.redis().start().await,
            RelayAction::RedisFlush {} => relay.redis().flush().await,
            RelayAction::RelayBackUp {} => relay.postgres().back_up().await,
            RelayAction::RelayRestore {} => relay.restore().await,
            RelayAction::RelayLose {} => relay.lose().await,
            RelayAction::RelayHonest {} => {
                relay.be_honest();
                Ok(())
            }
            RelayAction::RelayLie { .. } | RelayAction::RelayCaught { .. } | RelayAction::RelayCheck { .. } => Ok(()),
        }
    }

    /// Devices must hold the same.
    pub(super) async fn equal(&mut self, devices: &[usize], within_s: f64) -> Result<()> {
        let (begun, mut differ) = (Instant::now(), self.cluster.differing(devices).await?);
        while differ.is_some() && begun.elapsed() < Duration::from_secs_f64(within_s) {
            tokio::time::sleep(POLL).await;
            differ = self.cluster.differing(devices).await?;
        }
        match differ {
            None => self.note(format!("they hold the same after {:.1} s", begun.elapsed().as_secs_f64())),
            Some(why) => self.surprises.push(format!("not equal within {within_s} s: {why}")),
        }
        Ok(())
    }

    /// A device must say that it is synced.
    pub(super) async fn synced(&mut self, device: usize, within_s: f64) -> Result<()> {
        let (begun, among) = (Instant::now(), self.group_of(device));
        let mut lacks = self.cluster.unsynced_among(device, &among).await?;
        while lacks.is_some() && begun.elapsed() < Duration::from_secs_f64(within_s) {
            tokio::time::sleep(POLL).await;
            lacks = self.cluster.unsynced_among(device, &among).await?;
        }
        match lacks {
            None => self.note(format!("d{device} is synced after {:.1} s", begun.elapsed().as_secs_f64())),
            Some(why) => self.surprises.push(format!("d{device} is not synced within {within_s} s: {why}")),
        }
        Ok(())
    }

    async fn lie(&mut self, lie: LieKind, to: &[usize]) -> Result<()> {
        let mut victims = BTreeSet::new();
        for number in to {
            let key = self.cluster.status(*number).await?.device;
            let device: DeviceId = serde_json::from_value(Value::String(key)).with_context(|| format!("d{number} has no key"))?;
            victims.insert(device);
        }
        self.relay()?.lie(lie, victims);
        Ok(())
    }

    /// Waits until a device shows that it has caught the relay.
    async fn caught(&mut self, device: usize, by: Caught, within_s: f64) -> Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(said) = self.says_of_relay(device, by).await? {
                self.note(format!("d{device} after {:.1} s: {said}", begun.elapsed().as_secs_f64()));
                return Ok(());
            }
            if begun.elapsed() >= Duration::from_secs_f64(within_s) {
                self.surprises.push(format!("d{device} did not catch the relay ({by:?}) within {within_s} s"));
                return Ok(());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// What a device has against the relay, if it has.
    async fn says_of_relay(&self, device: usize, by: Caught) -> Result<Option<String>> {
        let api = self.cluster.devices[device].api()?;
        Ok(match by {
            Caught::Alarm => {
                let relays = api.get::<RelayList>("/v1/relays").await?.relays;
                relays.into_iter().find_map(|relay| relay.alarm).map(|alarm| alarm.message)
            }
            Caught::Failing => {
                let sync: Sync = api.get("/v1/sync").await?;
                let of_relay = |target: &&Value| target["target"]["kind"] == "relay" && target["failure"]["code"] == "protocol_broken";
                let failure = sync.targets.iter().find(of_relay).map(|target| &target["failure"]["message"]);
                failure.map(|message| message.as_str().unwrap_or_default().to_owned())
            }
        })
    }

    /// Somebody has the device look at the relay, as `nodespace relay check` does; it must be trusted then.
    async fn look_at_relay(&mut self, device: usize) -> Result<()> {
        let found: RelayChecks = self.cluster.devices[device].api()?.ask(Method::POST, "/v1/relays/check", None::<&Value>).await?;
        for check in found.checks {
            let findings = check.findings.join("; ");
            if check.usable {
                self.note(format!("d{device} has looked at the relay: {findings}"));
            } else {
                self.surprises.push(format!("d{device} does not trust the relay after a look: {findings}"));
            }
        }
        Ok(())
    }

    fn relay(&mut self) -> Result<&mut RelaySide> {
        self.cluster.relay.as_mut().context("there is no relay")
    }
}
