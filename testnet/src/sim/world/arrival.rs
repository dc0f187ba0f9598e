//! What arrives at a device, and what follows from it.

use nodespace_protocol::op::Segment;
use nodespace_protocol::session::{ByeCode, SessionError, SessionEvent, SyncState};
use nodespace_protocol::store::Store as _;

use super::World;
use crate::sim::check;
use crate::sim::device::Nature;
use crate::sim::event::Event;
use crate::sim::faults::Fault;

/// Milliseconds that a goodbye has to arrive before the connection is cut.
const GOODBYE_MS: u64 = 1_000;

impl World {
    pub(super) fn on_frame(&mut self, id: u64, to: usize, bytes: &[u8]) {
        if !self.connections.contains_key(&id) || self.devices[to].deaf {
            return;
        }
        self.trace.numbers(&[self.now, 3, id, to as u64]);
        let now = self.time(to);
        let device = &mut self.devices[to];
        let (Some(replica), Some(session)) = (device.replica.as_mut(), device.sessions.get_mut(&id)) else { return };
        if let Err(error) = session.receive(bytes, replica, &mut device.pending, now) {
            self.note(format_args!("device {to} drops connection {id}: {error}"));
            let at = self.now + GOODBYE_MS;
            self.queue.at(at, Event::Cut { connection: id });
            if matches!(error, SessionError::TurnedAway(ByeCode::Malformed)) {
                check::blame::turned_away(self, to, id);
            }
        }
        self.pump(to);
    }

    pub(super) fn on_gossip(&mut self, from: usize, to: usize, bytes: &[u8]) {
        if !self.devices[to].is_up() || self.devices[to].deaf {
            return;
        }
        self.trace.numbers(&[self.now, 4, from as u64, to as u64]);
        let Ok(segment) = Segment::decode(bytes) else { return };
        let (now, from) = (self.time(to), self.devices[from].id());
        let device = &mut self.devices[to];
        let Some(replica) = device.replica.as_mut() else { return };
        let result = device.pending.receive(replica, from, segment, now).and_then(|received| {
            replica.commit()?;
            Ok(received)
        });
        match result {
            Ok(received) => {
                let held: u32 = received.ingested.iter().map(|ingested| ingested.held).sum();
                if held > 0 {
                    self.count(Fault::HeldBack);
                }
                if received.ingested.iter().any(|ingested| ingested.forked) {
                    self.count(Fault::Equivocation);
                }
                check::bounds::pending(self, to);
            }
            Err(error) => self.note(format_args!("device {to}: {error}")),
        }
        self.pump(to);
    }

    /// What a session has to tell.
    pub(super) fn take_events(&mut self, device: usize, id: u64) {
        while let Some(event) = self.devices[device].sessions.get_mut(&id).and_then(|session| session.poll_event()) {
            let Some(connection) = self.connections.get(&id).copied() else { continue };
            let peer = connection.other(device);
            match event {
                SessionEvent::Synced { frontier } => check::synced::confirmed(self, device, peer, &frontier, connection.corrupted),
                SessionEvent::Diverged if !connection.corrupted => {
                    let what = check::same_state::difference(self, device, peer);
                    self.fail("I2", format!("devices {device} and {peer} hold the same operations and differ: {what}"));
                }
                SessionEvent::ForkFound(_) => self.count(Fault::Equivocation),
                SessionEvent::FalseClaim { .. } if self.devices[peer].nature == Nature::Liar => self.count(Fault::FalseClaim),
                SessionEvent::FalseClaim { seq } if self.devices[peer].is_honest() && !connection.corrupted => {
                    self.fail("claims", format!("device {device} does not believe {peer}, which holds its log up to {seq}"));
                }
                SessionEvent::Ended { code, reason } => self.note(format_args!("device {peer} ends {id}: {code:?}, {reason}")),
                SessionEvent::Refused(why) => self.note(format_args!("device {device} refuses what {peer} sends: {why}")),
                _ => {}
            }
        }
    }

    /// Looks at a device whose replica may have changed: its disk, its promises.
    pub(crate) fn after_change(&mut self, device: usize) {
        if self.devices[device].control.take_failed() {
            self.count(Fault::SyncFailed);
            self.note(format_args!("device {device}: the disk failed"));
            return self.crash(device);
        }
        if let Some(replica) = &self.devices[device].replica {
            let digest = replica.frontier_digest();
            self.devices[device].digests.insert(digest);
        }
        if self.devices[device].nature == Nature::Honest {
            check::one_signature::record(self, device);
        }
        check::synced::claims(self, device);
    }

    /// Makes durable what a device has, and takes note of what it thereby promises.
    pub(crate) fn commit(&mut self, device: usize) -> bool {
        let state = &mut self.devices[device];
        let Some(replica) = state.replica.as_mut() else { return false };
        if let Err(error) = replica.commit() {
            self.note(format_args!("device {device}: {error}"));
            self.after_change(device);
            return false;
        }
        let log = state.log();
        let held = state.replica.as_ref().and_then(|replica| replica.logs().get(&log)).map_or(0, |log| log.last_seq());
        for seq in state.promised() + 1..=held {
            check::no_loss::promise(self, device, seq);
        }
        self.gossip_news(device);
        self.pump(device);
        self.devices[device].is_up()
    }

    /// Hands fresh operations of a device to some others at once.
    fn gossip_news(&mut self, device: usize) {
        /// More fresh operations than this at once are left to the sessions.
        const NEWS_MAX: u64 = 6;
        let state = &self.devices[device];
        let Some(replica) = &state.replica else { return };
        let held = replica.logs().get(&state.log()).map_or(0, |log| log.last_seq());
        let after = std::mem::replace(&mut self.devices[device].gossiped, held);
        if held.saturating_sub(after) > NEWS_MAX {
            return;
        }
        for seq in after + 1..=held {
            let Some(bytes) = self.single(device, seq) else { continue };
            self.spread(device, &bytes);
        }
    }

    /// One operation of a device's own log, as gossip carries it.
    pub(crate) fn single(&self, device: usize, seq: u64) -> Option<Vec<u8>> {
        let state = &self.devices[device];
        let replica = state.replica.as_ref()?;
        let entry = replica.logs().get(&state.log())?;
        let branch = entry.leaves().find(|leaf| entry.on_path(*leaf, seq).is_some())?;
        let range = nodespace_protocol::replica::LogRange { log: state.log(), branch, after: seq - 1, through: seq };
        Some(replica.segment(&range, true, &|_| 0).ok()??.encode())
    }

    /// Gossips a segment to some of the others.
    pub(crate) fn spread(&mut self, from: usize, bytes: &[u8]) {
        for to in 0..self.devices.len() {
            let chance = self.plan.network.gossip;
            if to != from && self.devices[to].is_up() && self.dice.chance(chance) {
                self.gossip(from, to, bytes);
            }
        }
    }

    /// Whether a session of a device says that all is the same.
    pub(crate) fn says_synced(&self, device: usize, id: u64) -> bool {
        let state = &self.devices[device];
        let (Some(replica), Some(session)) = (&state.replica, state.sessions.get(&id)) else { return false };
        session.status(replica).state == SyncState::Synced
    }

    /// Operations of a device's store.
    pub(crate) fn op_count(&self, device: usize) -> u32 {
        self.devices[device].store().map_or(0, |store| store.op_count())
    }
}
