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
        for number in 0..self.cluster.devices.len() {
            self.cluster.devices[number].resume()?;
            if !self.cluster.devices[number].is_running() {
                self.cluster.start(number).await?;
            }
        }
        self.note("quiet".into());
        tell("quiet: everything is healed, nobody writes");
        let begun = self.ledger.now();
        let members = self.member_numbers();
        let allowed = Duration::from_secs_f64(self.scenario.expect.converge_s);
        loop {
            for number in &members {
                self.cluster.devices[*number].check_alive()?;
            }
            let unsettled = self.cluster.unsettled(&members).await?;
            let took = self.ledger.now() - begun;
            let (begun_s, took_s) = (begun.as_secs_f64(), took.as_secs_f64());
            match unsettled {
                None => {
                    tell(&format!("  all equal after {took_s:.2} s"));
                    self.note("all equal".into());
                    return Ok(Convergence { begun_s, took_s: Some(took_s), unsettled: None });
                }
                Some(why) if took > allowed * PATIENCE_FACTOR => {
                    tell(&format!("  not equal after {took_s:.0} s: {why}"));
                    return Ok(Convergence { begun_s, took_s: None, unsettled: Some(why) });
                }
                Some(_) => tokio::time::sleep(POLL).await,
            }
        }
    }
}
