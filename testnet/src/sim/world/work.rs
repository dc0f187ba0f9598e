//! People at their devices, and devices at their timers.

use nodespace_protocol::ids::UserId;
use nodespace_protocol::replica::WriteError;

use super::{TICK_MS, World};
use crate::sim::device::Welcome;
use crate::sim::event::Event;
use crate::sim::faults::Fault;
use crate::sim::workload::membership::{self, Crew, Deed};
use crate::sim::workload::{self, Desk, Work};

/// Milliseconds between two looks of a device at its timers when all is quiet.
const QUIET_TICK_MS: (u64, u64) = (2_000, 4_000);
/// Connections beyond the plan's that a device may open when all is quiet.
const QUIET_MORE: usize = 3;

impl World {
    pub(super) fn on_work(&mut self, device: usize) {
        if self.quiet || !self.devices[device].is_up() {
            return;
        }
        let work = Work::ALL[self.dice.weighted(&self.plan.weights)];
        self.trace.numbers(&[self.now, 5, device as u64, work as u64]);
        self.note(format_args!("device {device}: {work:?}"));
        self.do_work(device, work);
        if self.dice.chance(900) {
            self.commit(device);
        } else {
            self.pump(device);
        }
    }

    /// Does one thing at a device, without making it durable.
    pub(crate) fn do_work(&mut self, device: usize, work: Work) {
        let before = self.op_count(device);
        let result = if work == Work::Membership { self.change_members(device) } else { self.work_on_nodes(device, work) };
        self.totals.ops += u64::from(self.op_count(device).saturating_sub(before));
        if let Err(error) = result {
            self.judge(device, work, &error);
        }
    }

    fn work_on_nodes(&mut self, device: usize, work: Work) -> Result<(), WriteError> {
        let now = self.time(device);
        let Self { devices, dice, .. } = self;
        let Some(replica) = devices[device].replica.as_mut() else { return Ok(()) };
        if replica.membership().is_empty() {
            return Ok(());
        }
        workload::work(&mut Desk { replica, dice, now }, work)
    }

    fn change_members(&mut self, device: usize) -> Result<(), WriteError> {
        let now = self.time(device);
        let newcomer = self.newcomer();
        let newcomer_id = newcomer.map(|newcomer| self.devices[newcomer].id());
        let users: Vec<UserId> = self.users.iter().map(|user| user.user()).collect();
        let founder = (users[0], self.devices[0].id());
        let Self { devices, dice, users: keys, .. } = self;
        let own = &keys[devices[device].user];
        let Some(replica) = devices[device].replica.as_mut() else { return Ok(()) };
        if replica.membership().is_empty() {
            return Ok(());
        }
        let crew = Crew { own, founder, users: &users, newcomer: newcomer_id };
        let deed = membership::work(&mut Desk { replica, dice, now }, &crew)?;
        self.follow(device, deed, newcomer);
        Ok(())
    }

    fn follow(&mut self, device: usize, deed: Deed, newcomer: Option<usize>) {
        match (deed, newcomer) {
            (Deed::Invited(ticket), Some(newcomer)) => self.let_in(newcomer, Welcome::Ticket(ticket)),
            (Deed::Certified(certificate), Some(newcomer)) => {
                self.devices[newcomer].user = self.devices[device].user;
                self.devices[newcomer].certificate = certificate;
                self.let_in(newcomer, Welcome::Certified { writes: false });
            }
            (Deed::RemovedUser(user), _) => {
                let removed: Vec<_> =
                    self.devices.iter().filter(|device| device.certificate.user == user).map(|device| device.id()).collect();
                self.note(format_args!("device {device} removes user {}", user.short()));
                self.ledger.removed.extend(removed);
            }
            (Deed::RemovedDevice(removed), _) => {
                self.note(format_args!("device {device} removes device {}", removed.short()));
                self.ledger.removed.insert(removed);
            }
            _ => {}
        }
    }

    /// Tells answers that a rule demands from ones that are wrong.
    fn judge(&mut self, device: usize, work: Work, error: &WriteError) {
        let held = self.devices[device].replica.as_ref().map_or(0, |replica| replica.held_ops());
        match error {
            WriteError::Forked if self.devices[device].is_honest() => {
                self.fail("I4", format!("honest device {device} finds its own log forked"));
            }
            WriteError::OwnLogBehind if self.devices[device].is_honest() => {
                self.fail("I3", format!("honest device {device} believes that it has lost operations, and writes nothing"));
            }
            // A device whose own changes are held back, because its clock went back, does not see what it made.
            // What a conflict's side did may not be possible any more.
            WriteError::Place(_) if work == Work::Resolutions => {}
            WriteError::UnknownNode(_) | WriteError::EditsDoNotFit(_) | WriteError::Exists(_) | WriteError::Place(_) if held == 0 => {
                self.fail("work", format!("device {device} could not do {work:?}: {error}"));
            }
            WriteError::ReadOnly | WriteError::TooLarge { .. } => {
                self.fail("work", format!("device {device} could not do {work:?}: {error}"));
            }
            _ => self.note(format_args!("device {device} may not: {error}")),
        }
    }

    pub(super) fn on_tick(&mut self, device: usize) {
        let (low, high) = if self.quiet { QUIET_TICK_MS } else { TICK_MS };
        let again = self.now + self.dice.between(low, high);
        self.queue.at(again, Event::Tick { device });
        if !self.devices[device].is_up() || self.devices[device].deaf {
            return;
        }
        self.trace.numbers(&[self.now, 6, device as u64]);
        let now = self.time(device);
        let state = &mut self.devices[device];
        let Some(replica) = state.replica.as_mut() else { return };
        let held = replica.held_ops();
        if let Err(error) = replica.tick(now) {
            self.fail("work", format!("device {device}: {error}"));
            return;
        }
        for session in state.sessions.values_mut() {
            // A session that gives up says goodbye by itself.
            session.handle_timeout(replica, now).ok();
        }
        if held > 0 {
            self.count(Fault::HeldBack);
        }
        self.enter(device);
        self.pump(device);
        self.dial(device);
    }

    /// Opens connections while there are too few.
    fn dial(&mut self, device: usize) {
        if !self.devices[device].is_honest() && self.quiet {
            return;
        }
        if self.quiet {
            self.dial_ring(device);
        }
        // In the quiet a few more than enough: whom a device is connected with may have been removed, or be as alone as itself.
        let sessions = self.devices[device].sessions.len();
        let alone = self.quiet && sessions < self.plan.degree + QUIET_MORE && self.dice.chance(300);
        if sessions < self.plan.degree || alone {
            let peer = self.dice.index(self.devices.len());
            let welcome = !self.quiet || self.devices[peer].is_honest();
            if welcome && !self.are_connected(device, peer) {
                self.connect(device, peer);
            }
        }
    }

    /// When all is quiet every member knows the next one. Copies of one machine cannot be told apart by the transport, so not they.
    fn dial_ring(&mut self, device: usize) {
        let ring = self.honest_members();
        let Some(at) = ring.iter().position(|other| *other == device) else { return };
        let after = ring[at + 1..].iter().chain(&ring[..at]);
        let next = after.copied().find(|other| self.devices[*other].id() != self.devices[device].id());
        if let Some(next) = next.filter(|next| !self.are_connected(device, *next)) {
            self.connect(device, next);
        }
    }
}
