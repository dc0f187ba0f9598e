//! The quiet at the end: faults heal, clocks are set, everything that is down comes up, nobody writes. Within a bounded time all honest
//! members must hold the same, with nothing waiting (I3).

use super::World;
use crate::sim::check;
use crate::sim::device::Nature;
use crate::sim::event::Event;
use crate::sim::plan::NetworkPlan;

/// The longest it may take until all agree, in virtual milliseconds: the furthest clock jump, the bound on what is held back, and some
/// rounds of reconciling.
const QUIET_MS_MAX: u64 = 600_000;
/// Milliseconds between two looks.
const LOOK_MS: u64 = 2_000;

impl World {
    pub(super) fn on_quiet(&mut self) {
        self.note(format_args!("quiet"));
        self.quiet = true;
        self.quiet_since = self.now;
        self.partitions.clear();
        self.plan.network = NetworkPlan { latency_ms: self.plan.network.latency_ms, ..NetworkPlan::default() };
        for device in 0..self.devices.len() {
            self.devices[device].clock.heal();
            self.devices[device].control.disarm();
            if self.devices[device].disk.is_some() && !matches!(self.devices[device].nature, Nature::Forger | Nature::Flooder) {
                let waits = matches!(self.devices[device].welcome, crate::sim::device::Welcome::Nothing);
                if !waits {
                    self.restart(device);
                }
            }
            if self.devices[device].is_up() {
                self.commit(device);
            }
        }
        self.queue.at(self.now + LOOK_MS, Event::Look);
    }

    pub(super) fn on_look(&mut self) {
        match check::agreement::disagreement(self) {
            None => self.finish(),
            Some(what) if self.now > self.quiet_since + QUIET_MS_MAX => self.fail("I3", what),
            Some(_) => self.queue.at(self.now + LOOK_MS, Event::Look),
        }
    }

    /// Honest devices that the founder knows as members, running.
    pub(crate) fn honest_members(&self) -> Vec<usize> {
        let Some(founder) = &self.devices[0].replica else { return Vec::new() };
        let members = self.honest_up().into_iter().filter(|device| founder.membership().role(&self.devices[*device].id()).is_some());
        members.collect()
    }
}
