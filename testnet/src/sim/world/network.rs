//! Wires: connections that carry frames in order until they are cut, gossip that promises nothing, and partitions of both.

use std::collections::BTreeSet;

use nodespace_protocol::op::Segment;
use nodespace_protocol::session::message::{FRAME_BYTES_MAX, Message};
use nodespace_protocol::session::{Role, Session};

use super::World;
use crate::sim::check;
use crate::sim::event::Event;
use crate::sim::faults::Fault;

/// Milliseconds after which a connection on which a frame was lost is given up.
const GIVE_UP_MS: u64 = 3_000;
/// Milliseconds after which a session tells what is held, and further ones after which it forwards what it held back.
const TELL_MS: u64 = 40;
const RELEASE_MS: u64 = 150;
/// Milliseconds by which a reordered segment is late.
const LATE_MS: u64 = 4_000;

/// A connection of two devices.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Connection {
    /// The initiator and the responder.
    pub(crate) ends: [usize; 2],
    /// When the last frame of each direction arrives: frames do not overtake.
    arrival: [u64; 2],
    /// A frame of this direction was lost: what follows is lost too.
    broken: [bool; 2],
    /// A byte was changed on it: what its ends say of each other need not be true.
    pub(crate) corrupted: bool,
}

impl Connection {
    /// The other end.
    pub(crate) const fn other(&self, device: usize) -> usize {
        if self.ends[0] == device { self.ends[1] } else { self.ends[0] }
    }
}

/// Devices that cannot reach the others.
#[derive(Clone, Debug)]
pub(crate) struct Partition {
    pub(crate) inside: BTreeSet<usize>,
    /// Whether they can still be reached.
    pub(crate) one_way: bool,
}

impl World {
    /// Whether nothing gets from one device to another.
    pub(crate) fn is_blocked(&self, from: usize, to: usize) -> bool {
        self.partitions.iter().any(|partition| {
            let (from, to) = (partition.inside.contains(&from), partition.inside.contains(&to));
            from != to && (from || !partition.one_way)
        })
    }

    pub(crate) fn latency(&mut self) -> u64 {
        let (low, high) = self.plan.network.latency_ms;
        self.dice.between(low, high)
    }

    /// Whether two devices are connected.
    pub(crate) fn are_connected(&self, a: usize, b: usize) -> bool {
        self.devices[a].sessions.keys().any(|id| self.connections.get(id).is_some_and(|connection| connection.other(a) == b))
    }

    /// Opens a connection, and a session over it.
    pub(crate) fn connect(&mut self, a: usize, b: usize) {
        let possible = self.devices[a].is_up() && self.devices[b].is_up() && !self.is_blocked(a, b) && !self.is_blocked(b, a);
        if a == b || !possible || self.devices[a].id() == self.devices[b].id() || self.devices[a].deaf || self.devices[b].deaf {
            return;
        }
        self.next_connection += 1;
        let id = self.next_connection;
        self.connections.insert(id, Connection { ends: [a, b], arrival: [0; 2], broken: [false; 2], corrupted: false });
        self.totals.sessions += 1;
        self.trace.numbers(&[self.now, 1, a as u64, b as u64]);
        self.note(format_args!("device {a} connects to {b} ({id})"));
        for (role, own, peer) in [(Role::Initiator, a, b), (Role::Responder, b, a)] {
            let (now, salt) = (self.time(own), self.dice.bytes());
            let peer = self.devices[peer].id();
            let device = &mut self.devices[own];
            let mut session = Session::new(role, peer, device.session_config(salt), now).holding(self.plan.holding);
            let started = device.replica.as_mut().map(|replica| session.start(replica, now));
            if let Some(Err(error)) = started {
                self.note(format_args!("device {own} cannot start a session: {error}"));
            }
            self.devices[own].sessions.insert(id, session);
        }
        self.pump(a);
    }

    /// Ends a connection.
    pub(crate) fn cut(&mut self, id: u64) {
        if let Some(connection) = self.connections.remove(&id) {
            for end in connection.ends {
                self.devices[end].sessions.remove(&id);
                let peer = self.devices[connection.other(end)].id();
                if self.dice.chance(300) {
                    self.devices[end].pending.forget(&peer);
                }
            }
        }
    }

    /// Sends what a device's sessions have to say.
    pub(crate) fn pump(&mut self, device: usize) {
        let ids: Vec<u64> = self.devices[device].sessions.keys().copied().collect();
        for id in ids {
            loop {
                let state = &mut self.devices[device];
                let (Some(replica), Some(session)) = (state.replica.as_mut(), state.sessions.get_mut(&id)) else { break };
                match session.poll_frame(replica) {
                    Ok(Some(frame)) => self.send(id, device, frame),
                    Ok(None) => break,
                    Err(error) => {
                        self.note(format_args!("device {device}: {error}"));
                        break;
                    }
                }
            }
            self.take_events(device, id);
            self.plan_release(id, device);
            if self.devices[device].sessions.get(&id).is_some_and(Session::is_ended) {
                let at = self.now + GIVE_UP_MS / 2;
                self.queue.at(at, Event::Cut { connection: id });
            }
        }
        self.after_change(device);
    }

    /// Lets a session that holds something back tell of it, once.
    fn plan_release(&mut self, connection: u64, device: usize) {
        let holds = self.devices[device].sessions.get(&connection).is_some_and(Session::holds_back);
        if holds && self.releasing.insert((connection, device)) {
            self.queue.at(self.now + TELL_MS, Event::Release { connection, device, told: false });
        }
    }

    /// First the other end is told, then, a while later, sent what it lacks.
    pub(super) fn on_release(&mut self, connection: u64, device: usize, told: bool) {
        let state = &mut self.devices[device];
        let (Some(replica), Some(session)) = (state.replica.as_mut(), state.sessions.get_mut(&connection)) else {
            self.releasing.remove(&(connection, device));
            return;
        };
        let mut failed = None;
        if told {
            failed = session.release(replica).err();
            self.releasing.remove(&(connection, device));
        } else {
            session.tell(replica);
            self.queue.at(self.now + RELEASE_MS, Event::Release { connection, device, told: true });
        }
        if let Some(error) = failed {
            self.note(format_args!("device {device}: {error}"));
        }
        self.pump(device);
    }

    /// Puts a frame on the wire.
    pub(crate) fn send(&mut self, id: u64, from: usize, mut bytes: Vec<u8>) {
        self.totals.frames += 1;
        self.totals.bytes += bytes.len() as u64;
        self.trace.numbers(&[self.now, 2, id, from as u64]);
        self.trace.bytes(&bytes);
        self.note(format_args!("device {from} says on {id}: {}", Said(&bytes)));
        if bytes.len() > FRAME_BYTES_MAX {
            self.fail("I6", format!("device {from} sends a frame of {} bytes, at most {FRAME_BYTES_MAX} are allowed", bytes.len()));
        }
        let Some(connection) = self.connections.get(&id).copied() else { return };
        check::strangers::said(self, from, connection.other(from), &bytes);
        let direction = usize::from(connection.ends[1] == from);
        let to = connection.other(from);
        let plan = self.plan.network;
        let lost = self.dice.chance(plan.frame_lost);
        if connection.broken[direction] || lost || self.is_blocked(from, to) {
            if !connection.broken[direction] {
                self.count(Fault::FrameLost);
                let at = self.now + GIVE_UP_MS;
                self.queue.at(at, Event::Cut { connection: id });
            }
            self.set_connection(id, |connection| connection.broken[direction] = true);
            return;
        }
        if self.dice.chance(plan.frame_corrupted) {
            self.corrupt(&mut bytes, from, to);
            self.count(Fault::FrameCorrupted);
            self.set_connection(id, |connection| connection.corrupted = true);
            let at = self.now + GIVE_UP_MS;
            self.queue.at(at, Event::Cut { connection: id });
        }
        let arrival = connection.arrival[direction].max(self.now + self.latency());
        self.set_connection(id, |connection| connection.arrival[direction] = arrival);
        self.queue.at(arrival, Event::Frame { connection: id, to, bytes });
    }

    fn set_connection(&mut self, id: u64, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.connections.get_mut(&id) {
            change(connection);
        }
    }

    fn corrupt(&mut self, bytes: &mut [u8], from: usize, to: usize) {
        self.ledger.garbled.insert((self.devices[from].id(), to));
        let (at, bit) = (self.dice.index(bytes.len()), self.dice.below(8));
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << bit;
        }
    }

    /// Sends a segment to another device outside any session.
    pub(crate) fn gossip(&mut self, from: usize, to: usize, bytes: &[u8]) {
        let plan = self.plan.network;
        self.totals.bytes += bytes.len() as u64;
        if self.dice.chance(plan.gossip_lost) || self.is_blocked(from, to) {
            return self.count(Fault::GossipLost);
        }
        let copies = if self.dice.chance(plan.gossip_duplicated) { 2 } else { 1 };
        if copies == 2 {
            self.count(Fault::GossipDuplicated);
        }
        for _ in 0..copies {
            let mut bytes = bytes.to_vec();
            if self.dice.chance(plan.gossip_corrupted) {
                self.corrupt(&mut bytes, from, to);
                self.count(Fault::GossipCorrupted);
            }
            let mut at = self.now + self.latency();
            if self.dice.chance(plan.gossip_reordered) {
                at += self.dice.below(LATE_MS);
                self.count(Fault::GossipReordered);
            }
            self.queue.at(at, Event::Gossip { from, to, bytes });
        }
    }
}

/// A frame in a few words, for traces.
struct Said<'a>(&'a [u8]);

impl std::fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match Message::decode(self.0) {
            Ok(Message::Segments(segments)) => {
                let run = |segment: &Segment| format!("{} {}..={}", segment.log, segment.first_seq, segment.last_seq());
                write!(f, "Segments {}", segments.iter().map(run).collect::<Vec<_>>().join(", "))
            }
            Ok(other) => write!(f, "{other:?}"),
            Err(error) => write!(f, "{error}"),
        }
    }
}
