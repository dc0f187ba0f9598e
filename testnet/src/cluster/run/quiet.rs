//! The quiet: everything heals, nobody writes, and the clock runs until all are equal.

use std::time::Duration;

use anyhow::Result;

use super::Run;
use crate::cluster::POLL;
use crate::cluster::report::Convergence;

/// After the time in which devices must become equal, it is still watched for so many times as long, to know whether they do at all.
const PATIENCE_FACTOR: u32 = 6;

impl Run<'_> {
    /// Heals everything and waits until the members are equal, and say so.
    ///
    /// # Errors
    /// When a device does not come back, or dies.
    pub(super) async fn quiet(&mut self, tell: &mut (dyn FnMut(&str) + Send)) -> Result<Convergence> {
        self.heal();
        let healthy = self.scenario.link.conditions();
        for wire in &self.cluster.wires {
            wire.link.change(|conditions| {
                (conditions.forward, conditions.backward) = (healthy.forward, healthy.backward);
                conditions.lifetime = None;
            });
        }
        if let Some(relay) = &mut self.cluster.relay {
            relay.heal().await?;
        }
        for number in 0..self.cluster.devices.len() {
            self.cluster.devices[number].resume()?;
            if !self.cluster.devices[number].is_running() {
                self.cluster.start(number).await?;
            }
        }
        self.note("quiet".into());
        tell("quiet: everything is healed, nobody writes");
        self.watch_quiet(tell).await
    }

    /// How members differ before the quiet, when the scenario forbids that: those that do not run by what they held when they were stopped.
    ///
    /// # Errors
    /// When one does not answer.
    pub(super) async fn differing_before_quiet(&self) -> Result<Vec<String>> {
        let mut faults = Vec::new();
        if !self.scenario.expect.equal_before_quiet {
            return Ok(faults);
        }
        let mut first: Option<String> = None;
        for number in self.member_numbers() {
            let device = &self.cluster.devices[number];
            let status = if device.is_running() { Some(self.cluster.status(number).await?) } else { self.left[number].clone() };
            let Some(status) = status else {
                faults.push(format!("nobody knows what {} held when it was stopped", device.name));
                continue;
            };
            if *first.get_or_insert_with(|| status.state_digest.clone()) != status.state_digest {
                faults.push(format!("{} holds another state than the first, with {} operations", device.name, status.store.ops));
            }
        }
        Ok(faults)
    }

    /// Watches until all are equal and say so, or nobody believes in it any more.
    async fn watch_quiet(&mut self, tell: &mut (dyn FnMut(&str) + Send)) -> Result<Convergence> {
        let begun = self.ledger.now();
        let members = self.member_numbers();
        let patience = PATIENCE_FACTOR * Duration::from_secs_f64(self.scenario.expect.converge_s);
        let mut convergence = Convergence { begun_s: begun.as_secs_f64(), ..Convergence::default() };
        loop {
            self.cluster.check_alive(&members)?;
            let differ = self.cluster.differing(&members).await?;
            let took = self.ledger.now() - begun;
            if differ.is_none() && convergence.equal_s.is_none() {
                convergence.equal_s = Some(took.as_secs_f64());
            }
            let unsettled = match differ {
                Some(why) => Some(why),
                None => self.cluster.unsynced(&members).await?,
            };
            let Some(why) = unsettled else {
                let took_s = (self.ledger.now() - begun).as_secs_f64();
                tell(&format!("  all equal after {:.2} s, all say so after {took_s:.2} s", convergence.equal_s.unwrap_or(took_s)));
                self.note("all equal".into());
                return Ok(Convergence { took_s: Some(took_s), ..convergence });
            };
            convergence.last_missing = Some(why.clone());
            if took > patience {
                tell(&format!("  not settled after {:.0} s: {why}", took.as_secs_f64()));
                return Ok(convergence);
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
