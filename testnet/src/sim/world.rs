//! The world of one seed: machines, wires, virtual time. One thread, no randomness but the seed's.
//!
//! A run has three phases. *Set-up*: a workspace is founded and the devices come in, without faults. *Chaos*: people work, everything
//! that the plan holds goes wrong, hostile devices act. *Quiet*: faults heal, clocks are set, writers stop; within a bounded time all
//! honest members must agree. Then the checkers look at everything.

mod arrival;
mod network;
mod quiet;
mod setup;
pub(crate) mod trouble;
mod work;

use std::collections::{BTreeMap, BTreeSet};

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::WorkspaceId;

use super::check;
use super::device::{Device, Nature};
use super::dice::Dice;
use super::event::{Event, Queue};
use super::faults::{Fault, Faults};
use super::hostile;
use super::ledger::{Failure, Ledger};
use super::plan::Plan;
use super::trace::Trace;
pub(crate) use network::{Connection, Partition};

/// The milliseconds between two looks of a device at its timers.
const TICK_MS: (u64, u64) = (1_000, 2_500);

/// What happened, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Totals {
    /// Honest devices, late joiners included.
    pub devices: u64,
    /// Operations written by honest devices.
    pub ops: u64,
    /// Sessions that were opened.
    pub sessions: u64,
    /// Frames that were sent.
    pub frames: u64,
    /// Bytes that were sent, gossip included.
    pub bytes: u64,
    /// Events that were handled.
    pub events: u64,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
}

impl Totals {
    /// Adds the totals of another world.
    pub fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.devices, other.devices),
            (&mut self.ops, other.ops),
            (&mut self.sessions, other.sessions),
            (&mut self.frames, other.frames),
            (&mut self.bytes, other.bytes),
            (&mut self.events, other.events),
            (&mut self.virtual_ms, other.virtual_ms),
        ];
        sums.into_iter().for_each(|(sum, value)| *sum += value);
    }
}

/// How a world ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) trace: [u8; 32],
    pub(crate) failure: Option<Failure>,
    pub(crate) totals: Totals,
    pub(crate) faults: Faults,
}

/// The world.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) dice: Dice,
    pub(crate) now: u64,
    pub(crate) queue: Queue,
    pub(crate) workspace: WorkspaceId,
    pub(crate) users: Vec<KeyPair>,
    pub(crate) devices: Vec<Device>,
    pub(crate) connections: BTreeMap<u64, Connection>,
    next_connection: u64,
    pub(crate) partitions: Vec<Partition>,
    /// Sessions, by connection and end, of which it is planned when they stop holding back.
    pub(crate) releasing: BTreeSet<(u64, usize)>,
    pub(crate) quiet: bool,
    pub(crate) quiet_since: u64,
    pub(crate) ledger: Ledger,
    pub(crate) faults: Faults,
    pub(crate) totals: Totals,
    pub(crate) trace: Trace,
    failure: Option<Failure>,
    finished: bool,
}

impl World {
    /// The world of a plan, set up and ready.
    pub(crate) fn new(plan: Plan, print: bool) -> Self {
        let dice = Dice::new(plan.seed, 1);
        let mut world = Self {
            plan,
            dice,
            now: 0,
            queue: Queue::default(),
            workspace: WorkspaceId([0; 32]),
            users: Vec::new(),
            devices: Vec::new(),
            connections: BTreeMap::new(),
            next_connection: 0,
            partitions: Vec::new(),
            releasing: BTreeSet::new(),
            quiet: false,
            quiet_since: 0,
            ledger: Ledger::default(),
            faults: Faults::default(),
            totals: Totals::default(),
            trace: Trace::new(print),
            failure: None,
            finished: false,
        };
        world.set_up();
        world
    }

    /// Lets everything happen.
    pub(crate) fn run(mut self) -> Outcome {
        while !self.finished && self.failure.is_none() {
            let Some((ms, event)) = self.queue.pop() else { break };
            self.now = ms;
            self.totals.events += 1;
            self.handle(event);
        }
        if self.failure.is_none() {
            check::at_the_end(&mut self);
        }
        let mut digests = BTreeSet::new();
        for device in &mut self.devices {
            digests.extend(device.replica.as_mut().map(|replica| replica.state_digest()));
        }
        digests.iter().for_each(|digest| self.trace.bytes(digest));
        self.totals.virtual_ms = self.now;
        self.totals.devices = self.devices.iter().filter(|device| device.is_honest()).count() as u64;
        Outcome { trace: self.trace.hash(), failure: self.failure, totals: self.totals, faults: self.faults }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Work { device } => self.on_work(device),
            Event::Frame { connection, to, bytes } => self.on_frame(connection, to, &bytes),
            Event::Gossip { from, to, bytes } => self.on_gossip(from, to, &bytes),
            Event::Cut { connection } => self.cut(connection),
            Event::Release { connection, device, told } => self.on_release(connection, device, told),
            Event::Tick { device } => self.on_tick(device),
            Event::Restart { device } => self.restart(device),
            Event::Trouble if !self.quiet => self.on_trouble(),
            Event::Mischief { device } if !self.quiet => hostile::act(self, device),
            Event::Trouble | Event::Mischief { .. } => {}
            Event::Heal => {
                self.partitions.pop();
                self.note(format_args!("a partition heals"));
            }
            Event::Quiet => self.on_quiet(),
            Event::Look => self.on_look(),
        }
    }

    /// Records that a check failed; the first one counts.
    pub(crate) fn fail(&mut self, check: &'static str, what: String) {
        if self.failure.is_none() {
            self.note(format_args!("FAILED {check}: {what}"));
            self.failure = Some(Failure { check, what, at_ms: self.now });
        }
    }

    /// Whether a check has failed.
    pub(crate) const fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Prints what happens, when asked to.
    pub(crate) fn note(&self, what: std::fmt::Arguments<'_>) {
        self.trace.line(self.now, what);
    }

    /// Counts a fault.
    pub(crate) fn count(&mut self, fault: Fault) {
        self.faults.count(fault);
    }

    /// What a device's clock shows.
    pub(crate) fn time(&mut self, device: usize) -> Timestamp {
        let now = self.now;
        self.devices[device].clock.read(now)
    }

    /// Devices of a kind, by index.
    pub(crate) fn of_nature(&self, nature: Nature) -> Vec<usize> {
        (0..self.devices.len()).filter(|device| self.devices[*device].nature == nature).collect()
    }

    /// Honest devices that run.
    pub(crate) fn honest_up(&self) -> Vec<usize> {
        self.of_nature(Nature::Honest).into_iter().filter(|device| self.devices[*device].is_up()).collect()
    }

    fn finish(&mut self) {
        self.finished = true;
    }
}
