//! What goes wrong beside the network: power, disks, copies of disks, clocks, partitions.

use std::collections::BTreeSet;
use std::rc::Rc;

use nodespace_protocol::replica::Replica;
use nodespace_protocol::store::Store as _;

use super::{Partition, TICK_MS, World};
use crate::sim::check;
use crate::sim::clock::WallClock;
use crate::sim::device::{Device, Nature};
use crate::sim::event::Event;
use crate::sim::faults::Fault;
use crate::sim::workload::Work;

/// Milliseconds a device stays down.
const DOWN_MS: (u64, u64) = (50, 6_000);
/// Milliseconds a partition lasts.
const PARTITION_MS: (u64, u64) = (1_000, 15_000);
/// Partitions at one time.
const PARTITIONS_MAX: usize = 2;
/// Copies of one world's devices.
const COPIES_MAX: usize = 2;

/// A kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Cut,
    Partition,
    Crash,
    CrashWhileWriting,
    SyncFails,
    Checkpoint,
    Snapshot,
    Restore,
    Copy,
    ClockJump,
}

impl Trouble {
    /// All kinds, in the order of the plan's weights.
    pub(crate) const ALL: [Self; 10] = [
        Self::Cut,
        Self::Partition,
        Self::Crash,
        Self::CrashWhileWriting,
        Self::SyncFails,
        Self::Checkpoint,
        Self::Snapshot,
        Self::Restore,
        Self::Copy,
        Self::ClockJump,
    ];
}

impl World {
    pub(super) fn on_trouble(&mut self) {
        let weights = self.plan.trouble.list();
        if weights.iter().sum::<u64>() == 0 {
            return;
        }
        let trouble = Trouble::ALL[self.dice.weighted(&weights)];
        let up = self.honest_up();
        let Some(device) = self.dice.pick(&up).copied() else { return };
        self.trace.numbers(&[self.now, 7, trouble as u64, device as u64]);
        self.note(format_args!("trouble: {trouble:?} at device {device}"));
        match trouble {
            Trouble::Cut => self.cut_somewhere(),
            Trouble::Partition => self.partition(),
            Trouble::Crash => self.crash(device),
            Trouble::CrashWhileWriting => {
                for _ in 0..self.dice.between(1, 3) {
                    self.do_work(device, Work::Outlining);
                }
                self.crash(device);
            }
            Trouble::SyncFails => self.devices[device].control.arm(),
            Trouble::Checkpoint => self.checkpoint(device),
            Trouble::Snapshot => self.snapshot(device),
            Trouble::Restore => self.restore_snapshot(),
            Trouble::Copy => self.copy(device),
            Trouble::ClockJump => self.jump(device),
        }
    }

    fn cut_somewhere(&mut self) {
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        if let Some(id) = self.dice.pick(&ids).copied() {
            self.count(Fault::ConnectionCut);
            self.cut(id);
        }
    }

    fn partition(&mut self) {
        if self.partitions.len() >= PARTITIONS_MAX {
            return;
        }
        let inside: BTreeSet<usize> = (0..self.devices.len()).filter(|_| self.dice.chance(400)).collect();
        let one_way = self.dice.chance(400);
        self.count(if one_way { Fault::PartitionOneWay } else { Fault::PartitionTwoWay });
        self.partitions.push(Partition { inside, one_way });
        let heals = self.now + self.dice.between(PARTITION_MS.0, PARTITION_MS.1);
        self.queue.at(heals, Event::Heal);
    }

    /// Cuts a device's power: what was not durable is lost, from the end.
    pub(crate) fn crash(&mut self, device: usize) {
        let Some(mut disk) = self.take_down(device) else { return };
        let unsynced = disk.unsynced();
        let kept = self.dice.index(unsynced + 1);
        self.count(Fault::Crash);
        if kept < unsynced {
            self.count(Fault::UnsyncedLost);
        }
        if kept > 0 {
            self.count(Fault::UnsyncedKept);
        }
        self.note(format_args!("device {device} crashes: {kept} of {unsynced} records that were not durable stay"));
        disk.crash(kept);
        self.devices[device].disk = Some(disk);
        self.plan_restart(device);
    }

    /// Stops a device and answers its disk.
    fn take_down(&mut self, device: usize) -> Option<crate::sim::store::SimStore> {
        let disk = self.devices[device].stop()?;
        let ids: Vec<u64> = self.devices[device].sessions.keys().copied().collect();
        ids.into_iter().for_each(|id| self.cut(id));
        self.devices[device].pending = nodespace_protocol::replica::PendingBuffer::default();
        self.devices[device].control.disarm();
        self.devices[device].control.take_failed();
        Some(disk)
    }

    fn plan_restart(&mut self, device: usize) {
        let (low, high) = if self.quiet { (1, 100) } else { DOWN_MS };
        let at = self.now + self.dice.between(low, high);
        self.queue.at(at, Event::Restart { device });
    }

    /// Starts a device that is down, over the disk it has.
    pub(crate) fn restart(&mut self, device: usize) {
        if self.devices[device].is_up() {
            return;
        }
        self.start(device);
        check::no_loss::after_restart(self, device);
    }

    /// Starts a device for the first time, or again.
    pub(crate) fn start(&mut self, device: usize) {
        let now = self.time(device);
        let boot = self.dice.below(u64::MAX);
        let workspace = self.workspace;
        let state = &mut self.devices[device];
        let Some(disk) = state.disk.take() else { return };
        state.boot = boot;
        match Replica::open(workspace, disk, Some(state.author()), now) {
            Ok(mut replica) => {
                replica.set_cache_bytes(state.cache_bytes(device));
                state.replica = Some(replica);
            }
            Err(error) => return self.fail("open", format!("device {device} does not open its store: {error}")),
        }
        let log = state.log();
        state.gossiped = state.replica.as_ref().and_then(|replica| replica.logs().get(&log)).map_or(0, |log| log.last_seq());
        self.trace.numbers(&[self.now, 8, device as u64]);
        self.note(format_args!("device {device} starts"));
        self.after_change(device);
    }

    fn checkpoint(&mut self, device: usize) {
        if !self.devices[device].is_up() {
            return;
        }
        match self.devices[device].checkpoint() {
            Ok(()) => self.count(Fault::Checkpoint),
            Err(error) => self.note(format_args!("device {device} takes no checkpoint: {error}")),
        }
        self.commit(device);
    }

    fn snapshot(&mut self, device: usize) {
        let control = Rc::clone(&self.devices[device].control);
        let copy = self.devices[device].store().map(|store| store.copied_to(control));
        self.devices[device].snapshot = copy;
    }

    /// An old copy of a disk comes back: the device starts a new epoch, as it does when its store's incarnation is not the one it remembers.
    fn restore_snapshot(&mut self) {
        let with: Vec<usize> = self.honest_up().into_iter().filter(|device| self.devices[*device].snapshot.is_some()).collect();
        let Some(device) = self.dice.pick(&with).copied() else { return };
        let Some(snapshot) = self.devices[device].snapshot.take() else { return };
        let Some(lost) = self.take_down(device) else { return };
        let mut missing = Vec::new();
        for index in 0..lost.op_count() {
            if let Ok(op) = lost.op(nodespace_protocol::store::OpIndex(index))
                && !matches!(snapshot.find(&op.hash), Ok(Some(_)))
            {
                missing.push(op.hash);
            }
        }
        self.note(format_args!("device {device} comes back with an old disk: {} operations are gone", missing.len()));
        self.count(Fault::SnapshotRestored);
        self.ledger.excused.extend(missing);
        let epoch = self.dice.non_zero();
        let state = &mut self.devices[device];
        state.acknowledged.clear();
        state.acknowledged_through = 0;
        state.recorded = 0;
        state.digests.clear();
        state.epoch = epoch;
        state.disk = Some(snapshot);
        self.plan_restart(device);
    }

    /// A disk is copied to another machine, which goes on beside the first, with the same key and an epoch of its own.
    fn copy(&mut self, device: usize) {
        let copies = self.devices.iter().filter(|other| other.copy).count();
        let original = &self.devices[device];
        if copies >= COPIES_MAX {
            return;
        }
        let mut copy = Device::new(Nature::Honest, original.key.clone(), original.user, original.certificate, 1, WallClock::default());
        copy.copy = true;
        copy.welcome = original.welcome.clone();
        copy.secret = original.secret;
        copy.disk = original.store().map(|store| store.copied_to(Rc::clone(&copy.control)));
        copy.epoch = self.dice.non_zero();
        self.devices.push(copy);
        let copy = self.devices.len() - 1;
        self.count(Fault::StoreCopied);
        self.start(copy);
        self.employ(copy);
    }

    /// Plans some work and the ticks of a device that came late.
    pub(crate) fn employ(&mut self, device: usize) {
        let at = self.now + self.dice.below(TICK_MS.1);
        self.queue.at(at, Event::Tick { device });
        for _ in 0..self.dice.between(2, 8) {
            let at = self.now + self.dice.below(self.plan.chaos_ms / 2);
            self.queue.at(at, Event::Work { device });
        }
    }

    fn jump(&mut self, device: usize) {
        let most = self.plan.clock_jump_ms;
        let jump = self.dice.below(2 * most) as i64 - most as i64;
        self.devices[device].clock.offset_ms += jump;
        self.count(Fault::ClockJump);
        self.note(format_args!("the clock of device {device} jumps by {jump} ms"));
    }
}
