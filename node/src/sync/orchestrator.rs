//! When to sync with whom. The document's `SyncOrchestrator`.
//!
//! Every target has a time at which it is due: 30 s after the last success, with jitter; after failures two, four, eight and at most
//! sixteen times as long. News bring it forward: a connection, a gap, waking from sleep, a person. One attempt a target runs at a time
//! (the in-progress guard); what comes up meanwhile is remembered and makes it run once more. Peers go first: the relay waits a
//! while when peers are at it, since what it would send may come from next door, and is asked less often while peers are reachable. It is
//! still asked, so as to keep it current, and at once when the last peer has gone.
//!
//! What a target can bring about (connecting, announcing gaps) is spaced, the more the more it fails, so that nobody can keep us
//! busy. What a person asks for is not.
//!
//! Unlike the document's, an attempt with nothing to send still runs: a device with nothing to say must still receive.
//!
//! Document section "Sync Orchestration"; DESIGN sections 10 and 13.

mod event;
mod schedule;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

pub use self::event::{OrchestratorInput, OrchestratorOutput, SkipReason, Trigger};
use self::schedule::{Running, Schedule};
use super::failure::SyncFailure;
use super::target::{AttemptId, SyncCounts, Target};
use super::wake::WakeWatch;

/// How long after a success a target is asked again, in milliseconds: the document's 30 s. Jitter and backoff are added.
pub const INTERVAL_MS: u64 = 30_000;
/// How much less often the relay is asked while a peer is reachable. New operations reach it by [`BatchSync`](super::BatchSync) all the same.
pub const RELAY_RESERVE_FACTOR: u64 = 4;
/// How long the relay waits, once due, for peers that are at it, in milliseconds. After that it runs beside them.
pub const RELAY_PATIENCE_MS: u64 = 10_000;
/// The least time between attempts that the target itself brings about, in milliseconds, times the backoff's multiplier. News that come
/// sooner make it due when this has passed.
pub const SPACING_MS: u64 = 1_000;
/// After waking, targets become due within this time, in milliseconds, so that not all start at once on a network that is just coming up.
pub const WAKE_SPREAD_MS: u64 = 1_000;
/// An attempt of which nothing is heard for this long, in milliseconds, is given up and counts as failed.
pub const STALL_MS: u64 = 60_000;
/// Attempts with peers at one time. Further peers wait for a place. The relay has a place of its own.
pub const PEERS_AT_ONCE_MAX: usize = 4;
/// Targets that are known at one time. When there is no room the peer that was away longest is forgotten; when none is away the newcomer is
/// not taken, and [`OrchestratorOutput::Skipped`] says so.
pub const TARGETS_MAX: usize = 1_024;

/// How an attempt ended. The document's `SyncResult`; its third case is [`OrchestratorOutput::Skipped`], as nothing was attempted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncResult {
    /// Both hold the same.
    Success(SyncCounts),
    /// It did not come to that.
    Failed(SyncFailure),
}

/// The books on one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetReport {
    /// Whether it can be reached.
    pub reachable: bool,
    /// Whether an attempt runs.
    pub running: bool,
    /// The backoff's multiplier.
    pub multiplier: u32,
    /// Failures since the last success.
    pub failures: u32,
    /// When it is due, by the monotonic clock; `None` while it runs or is away.
    pub due: Option<u64>,
    /// When it last succeeded, by the monotonic clock.
    pub last_success: Option<u64>,
    /// How the last attempt ended.
    pub last_result: Option<SyncResult>,
    /// What all attempts brought together.
    pub totals: SyncCounts,
}

/// Decides when to sync with whom.
///
/// Contract: every [`OrchestratorOutput::Start`] is answered by one [`OrchestratorInput::Finished`]; what is not answered is given up
/// after [`STALL_MS`]. [`OrchestratorInput::Wall`] accompanies each timeout. See the parent module for the rest.
#[derive(Debug)]
pub struct SyncOrchestrator {
    seed: u64,
    interval_ms: u64,
    now: u64,
    wake: WakeWatch,
    attempts: u64,
    targets: BTreeMap<Target, Schedule>,
    outputs: VecDeque<OrchestratorOutput>,
}

impl SyncOrchestrator {
    /// Knows nobody yet. The seed is for jitter; devices should differ in it.
    pub fn new(seed: u64, now: u64) -> Self {
        Self {
            seed,
            interval_ms: INTERVAL_MS,
            now,
            wake: WakeWatch::default(),
            attempts: 0,
            targets: BTreeMap::new(),
            outputs: VecDeque::new(),
        }
    }

    /// With another time between attempts than [`INTERVAL_MS`]; at least a second.
    #[must_use]
    pub fn every_ms(mut self, interval_ms: u64) -> Self {
        self.interval_ms = interval_ms.max(SPACING_MS);
        self
    }

    /// Takes note of something.
    pub fn handle(&mut self, input: OrchestratorInput, now: u64) {
        self.advance(now);
        match input {
            OrchestratorInput::Reachable(target) => self.reachable(target),
            OrchestratorInput::Unreachable(target) => self.unreachable(&target),
            OrchestratorInput::Forget(target) => self.forget(&target),
            OrchestratorInput::GapSeen(target) => self.trigger(&target, Trigger::GapSeen),
            OrchestratorInput::Retry(target) => self.trigger(&target, Trigger::Recovery),
            OrchestratorInput::Wall { wall_ms } => self.wall(wall_ms),
            OrchestratorInput::Request(target) => self.request(target),
            OrchestratorInput::Progress(attempt) => self.progress(attempt, false),
            OrchestratorInput::Received(attempt) => self.progress(attempt, true),
            OrchestratorInput::Finished { attempt, result } => self.finished(attempt, result),
            OrchestratorInput::Synced(target) => self.synced(&target),
        }
        self.dispatch();
    }

    /// The next thing to do; call until `None`.
    pub fn poll_output(&mut self) -> Option<OrchestratorOutput> {
        self.outputs.pop_front()
    }

    /// When [`SyncOrchestrator::handle_timeout`] wants to be called; `None` when only news can change anything.
    pub fn next_timeout(&self) -> Option<u64> {
        let no_place = self.peers_running() >= PEERS_AT_ONCE_MAX;
        self.targets.iter().filter_map(|(target, schedule)| self.wakes_at(target, schedule, no_place)).min()
    }

    /// Starts what is due, and gives up what has stalled.
    pub fn handle_timeout(&mut self, now: u64) {
        self.advance(now);
        self.give_up_stalled();
        self.dispatch();
    }

    /// The books on a target.
    pub fn report(&self, target: &Target) -> Option<TargetReport> {
        self.targets.get(target).map(Schedule::report)
    }

    /// All targets that are known, peers first.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.keys()
    }

    fn advance(&mut self, now: u64) {
        self.now = self.now.max(now);
    }

    /// How often a target is asked, before backoff and jitter.
    fn interval_ms(&self, target: &Target) -> u64 {
        if *target == Target::Relay && self.peer_is_reachable() { self.interval_ms * RELAY_RESERVE_FACTOR } else { self.interval_ms }
    }

    fn peer_is_reachable(&self) -> bool {
        self.targets.iter().any(|(target, schedule)| *target != Target::Relay && schedule.reachable)
    }

    fn peers_running(&self) -> usize {
        self.targets.iter().filter(|(target, schedule)| **target != Target::Relay && schedule.running.is_some()).count()
    }

    fn reachable(&mut self, target: Target) {
        if !self.targets.contains_key(&target) && !self.make_room(target) {
            return;
        }
        let seed = self.seed ^ schedule::seed_of(&target);
        let now = self.now;
        let schedule = self.targets.entry(target).or_insert_with(|| Schedule::new(seed, now));
        schedule.reachable = true;
        schedule.trigger(Trigger::Connect, now);
    }

    /// Whether there is a place for a newcomer; the peer that was away longest makes one.
    fn make_room(&mut self, newcomer: Target) -> bool {
        if self.targets.len() < TARGETS_MAX {
            return true;
        }
        let away = self.targets.iter().filter(|(target, schedule)| **target != Target::Relay && schedule.is_idle_away());
        let Some(longest) = away.min_by_key(|(_, schedule)| schedule.away_since).map(|(target, _)| *target) else {
            self.outputs.push_back(OrchestratorOutput::Skipped { target: Some(newcomer), reason: SkipReason::TooManyTargets });
            return false;
        };
        self.targets.remove(&longest);
        true
    }

    fn unreachable(&mut self, target: &Target) {
        let now = self.now;
        let Some(schedule) = self.targets.get_mut(target) else { return };
        schedule.leave(now);
        self.peer_gone(target);
    }

    fn forget(&mut self, target: &Target) {
        let Some(schedule) = self.targets.remove(target) else { return };
        if let Some(running) = schedule.running {
            self.outputs.push_back(OrchestratorOutput::Abort { target: *target, attempt: running.attempt, failure: None });
        }
        self.peer_gone(target);
    }

    /// When the last peer has gone the relay stands in.
    fn peer_gone(&mut self, target: &Target) {
        if *target != Target::Relay && !self.peer_is_reachable() {
            self.trigger(&Target::Relay, Trigger::PeersGone);
        }
    }

    fn wall(&mut self, wall_ms: u64) {
        if self.wake.woke(wall_ms, self.now) {
            for schedule in self.targets.values_mut() {
                schedule.trigger(Trigger::Wake, self.now);
            }
        }
    }

    fn trigger(&mut self, target: &Target, trigger: Trigger) {
        let now = self.now;
        if let Some(schedule) = self.targets.get_mut(target) {
            schedule.trigger(trigger, now);
        }
    }

    fn request(&mut self, target: Option<Target>) {
        let wanted: Vec<Target> = match target {
            Some(target) => vec![target],
            None if self.targets.is_empty() => {
                self.outputs.push_back(OrchestratorOutput::Skipped { target: None, reason: SkipReason::NoTargets });
                return;
            }
            None => self.targets.keys().copied().collect(),
        };
        for target in wanted {
            self.request_one(target);
        }
    }

    fn request_one(&mut self, target: Target) {
        let reason = match self.targets.get(&target) {
            Some(schedule) if schedule.running.is_some() => Some(SkipReason::AlreadySyncing),
            Some(schedule) if schedule.reachable => None,
            _ => Some(SkipReason::Unreachable),
        };
        self.trigger(&target, Trigger::Request);
        if let Some(reason) = reason {
            self.outputs.push_back(OrchestratorOutput::Skipped { target: Some(target), reason });
        }
    }

    fn running(&mut self, attempt: AttemptId) -> Option<(Target, &mut Schedule)> {
        let is_it = |schedule: &Schedule| schedule.running.as_ref().is_some_and(|running| running.attempt == attempt);
        self.targets.iter_mut().find(|(_, schedule)| is_it(schedule)).map(|(target, schedule)| (*target, schedule))
    }

    fn progress(&mut self, attempt: AttemptId, received: bool) {
        let now = self.now;
        if let Some(running) = self.running(attempt).and_then(|(_, schedule)| schedule.running.as_mut()) {
            running.heard = now;
            running.received |= received;
        }
    }

    fn finished(&mut self, attempt: AttemptId, result: SyncResult) {
        let Some((target, _)) = self.running(attempt) else { return };
        self.settle(&target, result);
    }

    fn synced(&mut self, target: &Target) {
        let (interval, now) = (self.interval_ms(target), self.now);
        if let Some(schedule) = self.targets.get_mut(target).filter(|schedule| schedule.running.is_none()) {
            schedule.succeeded(SyncCounts::default(), interval, now);
        }
    }

    fn settle(&mut self, target: &Target, result: SyncResult) {
        let (interval, now) = (self.interval_ms(target), self.now);
        let Some(schedule) = self.targets.get_mut(target) else { return };
        match result {
            SyncResult::Success(counts) => schedule.succeeded(counts, interval, now),
            SyncResult::Failed(failure) => schedule.failed(failure, interval, now),
        }
    }

    fn give_up_stalled(&mut self) {
        let stalled = |schedule: &Schedule| schedule.running.as_ref().is_some_and(|running| running.stalls_at() <= self.now);
        let stalled: Vec<_> = self.targets.iter().filter(|(_, schedule)| stalled(schedule)).map(|(target, _)| *target).collect();
        for target in stalled {
            let Some(attempt) = self.targets.get(&target).and_then(|schedule| schedule.running.as_ref()).map(|running| running.attempt)
            else {
                continue;
            };
            let failure = SyncFailure::Timeout { waited_ms: STALL_MS };
            self.settle(&target, SyncResult::Failed(failure.clone()));
            self.outputs.push_back(OrchestratorOutput::Abort { target, attempt, failure: Some(failure) });
        }
    }

    /// Starts what is due and has a place: those that are due longest first, then peers by name, then the relay.
    fn dispatch(&mut self) {
        let mut due: Vec<(u64, Target)> = self.targets.iter().filter_map(|(target, schedule)| Some((schedule.due()?, *target))).collect();
        due.retain(|(at, target)| *at <= self.now && *target != Target::Relay);
        due.sort_unstable();
        let places = PEERS_AT_ONCE_MAX.saturating_sub(self.peers_running());
        for (_, target) in due.into_iter().take(places) {
            self.start(target);
        }
        if self.targets.get(&Target::Relay).and_then(|schedule| self.relay_starts_at(schedule)).is_some_and(|at| at <= self.now) {
            self.start(Target::Relay);
        }
    }

    /// When the relay may start: when it is due, but while peers are at it some time later, unless somebody asked.
    fn relay_starts_at(&self, schedule: &Schedule) -> Option<u64> {
        let due = schedule.due()?;
        let waits = self.peers_running() > 0 && !schedule.triggers.contains(&Trigger::Request);
        Some(if waits { due.saturating_add(RELAY_PATIENCE_MS) } else { due })
    }

    fn start(&mut self, target: Target) {
        let Some(schedule) = self.targets.get_mut(&target) else { return };
        self.attempts += 1;
        let attempt = AttemptId(self.attempts);
        let triggers = schedule.start(attempt, self.now);
        self.outputs.push_back(OrchestratorOutput::Start { target, attempt, triggers });
    }

    fn wakes_at(&self, target: &Target, schedule: &Schedule, no_place: bool) -> Option<u64> {
        match (&schedule.running, target) {
            (Some(running), _) => Some(Running::stalls_at(running)),
            (None, Target::Relay) => self.relay_starts_at(schedule),
            // What waits for a place is started by whoever leaves one: the ends and stalls of those that run are its timers.
            (None, Target::Peer { .. }) => schedule.due().filter(|_| !no_place),
        }
    }
}
