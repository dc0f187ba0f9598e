//! What a file cannot say by its form: that its numbers fit together.

use anyhow::{Context as _, Result, bail, ensure};

use super::relay::validate_wait;
use super::{Action, Event, Phase, Scenario, Topology};

/// More devices than one machine is good for.
const DEVICES_MAX: usize = 64;
/// The longest phase; a longer one is a slip of the pen.
const PHASE_SECONDS_MAX: f64 = 24.0 * 3600.0;

/// What there is by the time of an event.
#[derive(Debug, Default)]
struct Before {
    tickets: Vec<String>,
    backups: usize,
}

impl Scenario {
    /// Checks what the form does not.
    ///
    /// # Errors
    /// When something does not fit, with where it stands.
    pub(super) fn validate(&self) -> Result<()> {
        ensure!(self.devices >= 1, "`devices` is 0: somebody has to found the workspace");
        ensure!(self.devices_all() <= DEVICES_MAX, "{} devices are more than the {DEVICES_MAX} allowed", self.devices_all());
        ensure!(!self.phase.is_empty(), "there is no phase");
        ensure!((0.0..=1.0).contains(&self.short.time) && self.short.time > 0.0, "`short.time` is not between 0 and 1");
        ensure!((0.0..=1.0).contains(&self.short.size) && self.short.size > 0.0, "`short.size` is not between 0 and 1");
        ensure!(self.link.loss_per_mille <= 1000, "`link.loss_per_mille` is more than 1000");
        for spec in &self.device {
            ensure!(spec.number < self.devices_all(), "there are settings for device {}, which does not exist", spec.number);
        }
        self.validate_relay()?;
        let mut before = Before::default();
        for phase in &self.phase {
            self.validate_phase(phase, &mut before).with_context(|| format!("phase `{}`", phase.name))?;
        }
        for goal in &self.expect.latency {
            ensure!(self.phase.iter().any(|phase| phase.name == goal.phase), "`expect.latency` speaks of the phase `{}`", goal.phase);
        }
        Ok(())
    }

    fn validate_relay(&self) -> Result<()> {
        let Some(relay) = &self.relay else {
            let alone = self.topology == Topology::None && self.devices_all() > 1;
            ensure!(!alone, "`topology` is none and there is no `[relay]`: nobody can reach anybody");
            ensure!(self.expect.lies_min == 0, "`expect.lies_min` without a `[relay]`");
            return Ok(());
        };
        relay.validate()
    }

    fn validate_phase(&self, phase: &Phase, before: &mut Before) -> Result<()> {
        let lasts = phase.for_s;
        ensure!(lasts.is_finite() && (0.0..=PHASE_SECONDS_MAX).contains(&lasts), "`for_s` = {lasts} is not between 0 and a day");
        ensure!(phase.writes_per_s.is_finite() && phase.writes_per_s >= 0.0, "`writes_per_s` is less than nothing");
        ensure!(phase.mix.weights().iter().any(|weight| *weight > 0), "`mix` has no weight");
        for writer in phase.writers.iter().flatten() {
            ensure!(*writer < self.devices_all(), "writer {writer} does not exist");
        }
        for event in &phase.event {
            self.validate_event(event, lasts, before).with_context(|| format!("event `{}`", event.action.words()))?;
        }
        Ok(())
    }

    fn validate_event(&self, event: &Event, lasts: f64, before: &mut Before) -> Result<()> {
        ensure!((0.0..=lasts).contains(&event.at_s), "`at_s` = {} is not within the phase's {lasts} s", event.at_s);
        let mut devices = event.action.devices();
        for device in &devices {
            ensure!(*device < self.devices_all(), "device {device} does not exist: there are 0 to {}", self.devices_all() - 1);
        }
        match &event.action {
            Action::Partition { .. } | Action::OneWay { .. } => {
                let named = devices.len();
                devices.sort_unstable();
                devices.dedup();
                ensure!(devices.len() == named, "a device is named twice");
            }
            Action::Link { conditions, .. } => ensure!(conditions.loss_per_mille <= 1000, "`loss_per_mille` is more than 1000"),
            Action::Import { nodes, .. } => ensure!(*nodes > 0, "`nodes` is 0"),
            Action::Invite { ticket, uses, .. } => {
                ensure!(*uses > 0, "`uses` is 0");
                before.tickets.push(ticket.clone());
            }
            Action::Join { ticket, .. } | Action::Revoke { ticket, .. } if !before.tickets.contains(ticket) => {
                bail!("there is no ticket `{ticket}` before it")
            }
            Action::Remove { device, by, .. } => ensure!(device != by, "nobody removes itself"),
            Action::Equal { within_s, .. } | Action::Synced { within_s, .. } => validate_wait(*within_s)?,
            Action::Relay(action) => action.validate(self.relay.as_ref(), &mut before.backups)?,
            _ => {}
        }
        Ok(())
    }
}
