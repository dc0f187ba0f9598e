//! Set-up: a workspace is founded, its devices come in over perfect links, in three ways: by invite, certified by another device of the
//! user, or added as a member who certifies the device. Some wait outside for the chaos.

use std::rc::Rc;

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::membership::{Certificate, Role, Ticket, WorkspaceAction};
use nodespace_protocol::replica::{Founding, Replica};

use super::{TICK_MS, World};
use crate::sim::clock::{WallClock, true_time};
use crate::sim::device::{Device, Nature, Welcome};
use crate::sim::event::Event;
use crate::sim::faults::Fault;
use crate::sim::plan::NetworkPlan;
use crate::sim::store::SimStore;

/// The furthest a clock is off from the start, in milliseconds.
const CLOCK_OFF_MS: u64 = 40_000;
/// The most a clock drifts, in millionths.
const DRIFT_PPM: u64 = 2_000;
/// Milliseconds between two devices coming in.
const ARRIVAL_MS: u64 = 500;
/// Milliseconds an invite of the set-up is good for.
const INVITE_MS: u64 = 3_600_000;

impl World {
    pub(super) fn set_up(&mut self) {
        // The perfect network of the set-up; the plan's comes with the chaos.
        let network = std::mem::replace(&mut self.plan.network, NetworkPlan { latency_ms: (1, 5), ..NetworkPlan::default() });
        self.found();
        let hostile = self.plan.hostile;
        let members = [
            (Nature::Honest, self.plan.devices.saturating_sub(1)),
            (Nature::Equivocator, hostile.equivocators),
            (Nature::Rogue, hostile.rogues),
            (Nature::Liar, hostile.liars),
        ];
        for (nature, count) in members {
            for _ in 0..count {
                self.bring_in(nature);
            }
        }
        self.plan.network = network;
        self.set_clocks();
        for _ in 0..self.plan.reserve {
            self.new_device(Nature::Honest, None);
        }
        for (nature, count) in [(Nature::Forger, hostile.forgers), (Nature::Flooder, hostile.flooders)] {
            for _ in 0..count {
                self.stranger(nature);
            }
        }
        self.schedule();
    }

    /// A device of a fresh user, or of one there is.
    pub(crate) fn new_device(&mut self, nature: Nature, user: Option<usize>) -> usize {
        let user = user.unwrap_or_else(|| {
            self.users.push(KeyPair::from_seed(&self.dice.bytes()));
            self.users.len() - 1
        });
        let key = KeyPair::from_seed(&self.dice.bytes());
        let certificate = Certificate::issue(&self.users[user], key.device());
        let epoch = self.dice.non_zero();
        self.devices.push(Device::new(nature, key, user, certificate, epoch, WallClock::default()));
        self.devices.len() - 1
    }

    fn found(&mut self) {
        let device = self.new_device(Nature::Honest, None);
        let founding = Founding { name: "simulated".into(), policy: self.plan.policy, secret: self.dice.bytes() };
        let now = self.time(device);
        let founder = &mut self.devices[device];
        let store = SimStore::new(Rc::clone(&founder.control));
        founder.disk = None;
        founder.welcome = Welcome::Founder;
        match Replica::found(store, founder.author(), founder.certificate, founding, now) {
            Ok(mut replica) => {
                self.workspace = replica.workspace();
                replica.set_cache_bytes(founder.cache_bytes(device));
                founder.replica = Some(replica);
            }
            Err(error) => self.fail("set-up", format!("founding: {error}")),
        }
        self.commit(device);
    }

    /// Brings one device in and lets the network settle.
    fn bring_in(&mut self, nature: Nature) {
        let founder_now = self.time(0);
        let way = if nature == Nature::Honest { self.dice.below(4) } else { 0 };
        let device = match way {
            0 | 1 => {
                let device = self.new_device(nature, None);
                // An equivocator that may change the workspace is worse than one that may not. To lie one need not write.
                let weights = if nature == Nature::Liar { [0, 0, 1] } else { [5, 4, u64::from(nature == Nature::Honest)] };
                let role = [Role::Editor, Role::Owner, Role::Viewer][self.dice.weighted(&weights)];
                self.welcome_by_ticket(device, role, founder_now);
                device
            }
            2 => {
                let user = self.users_of_honest();
                let device = self.new_device(nature, Some(user));
                self.devices[device].welcome = Welcome::Certified { writes: true };
                device
            }
            _ => {
                let device = self.new_device(nature, None);
                let (user, role) = (self.users[self.devices[device].user].user(), Role::Editor);
                self.change(0, WorkspaceAction::AddMember { user, role });
                self.devices[device].welcome = Welcome::Certified { writes: true };
                device
            }
        };
        self.devices[device].secret = self.devices[0].replica.as_ref().and_then(|replica| replica.membership().secret());
        self.start(device);
        self.connect(device, 0);
        self.settle_for(ARRIVAL_MS);
        self.enter(device);
        self.settle_for(ARRIVAL_MS);
        let id = self.devices[device].id();
        let role = self.devices[device].replica.as_ref().and_then(|replica| replica.membership().role(&id));
        if role.is_none() {
            self.fail("set-up", format!("device {device} did not become a member"));
        }
    }

    fn users_of_honest(&mut self) -> usize {
        let honest = self.of_nature(Nature::Honest);
        self.dice.pick(&honest).map_or(0, |device| self.devices[*device].user)
    }

    fn welcome_by_ticket(&mut self, device: usize, role: Role, now: Timestamp) {
        let key = KeyPair::from_seed(&self.dice.bytes());
        let Some(founder) = self.devices[0].replica.as_mut() else { return };
        match founder.invite(now, &key, role, now.plus_ms(INVITE_MS), 1) {
            Ok(ticket) => self.devices[device].welcome = Welcome::Ticket(Box::new(ticket)),
            Err(error) => self.fail("set-up", format!("inviting: {error}")),
        }
        self.commit(0);
    }

    fn change(&mut self, device: usize, action: WorkspaceAction) {
        let now = self.time(device);
        let Some(replica) = self.devices[device].replica.as_mut() else { return };
        if let Err(error) = replica.change_workspace(now, action) {
            self.fail("set-up", format!("changing the workspace: {error}"));
        }
        self.commit(device);
    }

    /// Handles events for a while.
    fn settle_for(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some((at, event)) = self.queue.pop_until(end) {
            self.now = at;
            self.handle(event);
        }
        self.now = end;
    }

    /// A hostile device outside. It knows the secret: that is not what keeps it out.
    fn stranger(&mut self, nature: Nature) {
        let device = self.new_device(nature, None);
        let secret = self.devices[0].replica.as_ref().and_then(|replica| replica.membership().secret());
        self.devices[device].secret = secret.filter(|_| self.dice.chance(700)).or_else(|| Some(self.dice.bytes()));
        self.start(device);
    }

    fn set_clocks(&mut self) {
        for device in 1..self.devices.len() {
            let wrong = self.plan.clocks_wrong;
            if self.dice.chance(wrong) {
                self.devices[device].clock.offset_ms = self.dice.below(2 * CLOCK_OFF_MS) as i64 - CLOCK_OFF_MS as i64;
                self.count(Fault::ClockOffset);
            }
            if self.dice.chance(wrong) {
                self.devices[device].clock.drift_ppm = self.dice.below(2 * DRIFT_PPM) as i64 - DRIFT_PPM as i64;
                self.count(Fault::ClockDrift);
            }
        }
    }

    /// Plans the chaos.
    fn schedule(&mut self) {
        let (start, length) = (self.now, self.plan.chaos_ms);
        let works = |device: &usize| {
            let device = &self.devices[*device];
            device.is_up() && !matches!(device.nature, Nature::Forger | Nature::Flooder)
        };
        let workers: Vec<usize> = (0..self.devices.len()).filter(works).collect();
        for _ in 0..self.plan.works {
            let at = start + self.dice.below(length);
            let device = self.dice.pick(&workers).copied().unwrap_or(0);
            self.queue.at(at, Event::Work { device });
        }
        for _ in 0..self.plan.troubles {
            let at = start + self.dice.below(length);
            self.queue.at(at, Event::Trouble);
        }
        for device in 0..self.devices.len() {
            let at = start + self.dice.below(TICK_MS.1);
            self.queue.at(at, Event::Tick { device });
            if !self.devices[device].is_honest() {
                for _ in 0..self.dice.between(4, 12) {
                    let at = start + self.dice.between(length / 8, length);
                    self.queue.at(at, Event::Mischief { device });
                }
            }
        }
        self.queue.at(start + length, Event::Quiet);
    }

    /// The ticket or certificate a device in waiting gets.
    pub(crate) fn let_in(&mut self, device: usize, welcome: Welcome) {
        let secret = self.secret_of_world();
        self.devices[device].welcome = welcome;
        self.devices[device].secret = secret;
        self.start(device);
    }

    fn secret_of_world(&self) -> Option<[u8; 32]> {
        self.devices.iter().find_map(|device| device.replica.as_ref().and_then(|replica| replica.membership().secret()))
    }

    /// A certificate's or ticket's holder outside, if any.
    pub(crate) fn newcomer(&self) -> Option<usize> {
        (0..self.devices.len()).find(|device| {
            let device = &self.devices[*device];
            device.is_honest() && matches!(device.welcome, Welcome::Nothing)
        })
    }

    /// The time everywhere, when clocks are right.
    pub(crate) const fn true_time(&self) -> Timestamp {
        true_time(self.now)
    }

    /// Writes a device's own join, or its own addition, when it is not in yet.
    pub(crate) fn enter(&mut self, device: usize) {
        let now = self.time(device);
        let state = &mut self.devices[device];
        let (id, certificate) = (state.id(), state.certificate);
        let Some(replica) = state.replica.as_mut() else { return };
        if replica.membership().is_empty() || replica.membership().knows_device(&id) {
            return;
        }
        let ticket: Option<Ticket> = match &state.welcome {
            Welcome::Ticket(ticket) => Some((**ticket).clone()),
            Welcome::Certified { writes: true } => None,
            _ => return,
        };
        let result = match ticket {
            Some(ticket) => replica.join(now, &ticket, certificate),
            None => replica.change_workspace(now, WorkspaceAction::AddDevice { certificate }),
        };
        match result {
            Ok(_) => {
                self.note(format_args!("device {device} enters the workspace"));
                self.commit(device);
            }
            // The invite or the membership has not arrived, or does not hold any more: tried again at the next tick.
            Err(error) => self.note(format_args!("device {device} cannot enter: {error}")),
        }
    }
}
