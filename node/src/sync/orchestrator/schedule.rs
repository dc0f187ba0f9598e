//! One target's place in time: when it is due and why, what runs, and how it has been going.

use std::collections::BTreeSet;

use super::{INTERVAL_MS, SPACING_MS, STALL_MS, SyncResult, TargetReport, Trigger, WAKE_SPREAD_MS};
use crate::sync::backoff::{Backoff, MULTIPLIER_MAX};
use crate::sync::failure::SyncFailure;
use crate::sync::target::{AttemptId, SyncCounts, Target};

/// An attempt that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) attempt: AttemptId,
    /// When something was last heard of it.
    pub(super) heard: u64,
    /// Operations have arrived in it.
    pub(super) received: bool,
    /// Why it was started.
    triggers: BTreeSet<Trigger>,
}

/// One target's place in time.
#[derive(Debug)]
pub(super) struct Schedule {
    pub(super) reachable: bool,
    pub(super) away_since: u64,
    /// Set while an attempt runs: the in-progress guard.
    pub(super) running: Option<Running>,
    /// Why it is due; while it runs, why it shall run again.
    pub(super) triggers: BTreeSet<Trigger>,
    due: u64,
    backoff: Backoff,
    /// It asked not to be bothered before.
    hold_until: u64,
    started: Option<u64>,
    failures: u32,
    last_success: Option<u64>,
    last_result: Option<SyncResult>,
    totals: SyncCounts,
}

/// A different seed for each target, so that they do not go in step.
pub(super) fn seed_of(target: &Target) -> u64 {
    match target {
        Target::Relay => 0,
        Target::Peer { device } => device.0.iter().fold(1, |seed: u64, byte| seed.rotate_left(5) ^ u64::from(*byte)),
    }
}

impl Running {
    /// When it is given up unless something is heard.
    pub(super) const fn stalls_at(&self) -> u64 {
        self.heard.saturating_add(STALL_MS)
    }
}

impl Schedule {
    pub(super) const fn new(seed: u64, now: u64) -> Self {
        Self {
            reachable: false,
            away_since: now,
            running: None,
            triggers: BTreeSet::new(),
            due: u64::MAX,
            backoff: Backoff::new(seed),
            hold_until: 0,
            started: None,
            failures: 0,
            last_success: None,
            last_result: None,
            totals: SyncCounts { sent: 0, received: 0, conflicts: 0, sent_bytes: 0, received_bytes: 0 },
        }
    }

    /// When it is to start; `None` while it runs or is away.
    pub(super) const fn due(&self) -> Option<u64> {
        if self.reachable && self.running.is_none() { Some(self.due) } else { None }
    }

    /// Whether it could be forgotten without loss.
    pub(super) const fn is_idle_away(&self) -> bool {
        !self.reachable && self.running.is_none()
    }

    /// It cannot be reached any more.
    pub(super) fn leave(&mut self, now: u64) {
        if self.reachable {
            self.reachable = false;
            self.away_since = now;
            // What was due is due no more: connecting again is a reason of its own.
            self.triggers.clear();
            self.due = u64::MAX;
        }
    }

    /// Brings it forward, or makes what runs run again.
    pub(super) fn trigger(&mut self, trigger: Trigger, now: u64) {
        if !self.reachable {
            return;
        }
        self.triggers.insert(trigger);
        if self.running.is_none() {
            self.due = self.due.min(self.earliest(trigger, now));
        }
    }

    /// How soon something may make it start.
    fn earliest(&mut self, trigger: Trigger, now: u64) -> u64 {
        let at = match trigger {
            Trigger::Request => return now,
            Trigger::Recovery | Trigger::Timer => now,
            Trigger::Wake => now.saturating_add(self.backoff.up_to(WAKE_SPREAD_MS)),
            Trigger::Connect | Trigger::GapSeen | Trigger::PeersGone => {
                let spacing = SPACING_MS * u64::from(self.backoff.multiplier());
                self.started.map_or(now, |started| now.max(started.saturating_add(spacing)))
            }
        };
        at.max(self.hold_until)
    }

    /// It starts. Answers why.
    pub(super) fn start(&mut self, attempt: AttemptId, now: u64) -> BTreeSet<Trigger> {
        let mut triggers = std::mem::take(&mut self.triggers);
        if triggers.is_empty() {
            triggers.insert(Trigger::Timer);
        }
        self.started = Some(now);
        self.running = Some(Running { attempt, heard: now, received: false, triggers: triggers.clone() });
        triggers
    }

    pub(super) fn succeeded(&mut self, counts: SyncCounts, interval_ms: u64, now: u64) {
        self.running = None;
        self.backoff.reset();
        self.failures = 0;
        self.hold_until = 0;
        self.last_success = Some(now);
        self.last_result = Some(SyncResult::Success(counts));
        self.totals = self.totals.plus(counts);
        self.plan(interval_ms, now);
    }

    pub(super) fn failed(&mut self, failure: SyncFailure, interval_ms: u64, now: u64) {
        let running = self.running.take();
        // Recovery's quick retries do not make the slow rhythm slower: a minute's outage would else cost eight.
        let quick = |running: &Running| running.triggers.iter().all(|trigger| *trigger == Trigger::Recovery);
        if running.as_ref().is_some_and(|running| running.received) {
            self.backoff.reset();
        } else if !running.as_ref().is_some_and(quick) {
            self.backoff.raise();
        }
        self.failures = self.failures.saturating_add(1);
        self.hold_until = failure.retry_after_ms().map_or(0, |wait_ms| now.saturating_add(wait_ms));
        self.last_result = Some(SyncResult::Failed(failure));
        self.plan(interval_ms, now);
    }

    /// The next time: by the rhythm, or sooner when something came up meanwhile.
    fn plan(&mut self, interval_ms: u64, now: u64) {
        if !self.reachable {
            self.triggers.clear();
            self.due = u64::MAX;
            return;
        }
        // The relay's longer interval is not multiplied beyond what a peer's would come to.
        let base_ms = interval_ms.min(INTERVAL_MS * u64::from(MULTIPLIER_MAX / self.backoff.multiplier()));
        self.due = now.saturating_add(self.backoff.delay_ms(base_ms)).max(self.hold_until);
        for trigger in self.triggers.clone() {
            self.due = self.due.min(self.earliest(trigger, now));
        }
    }

    pub(super) fn report(&self) -> TargetReport {
        TargetReport {
            reachable: self.reachable,
            running: self.running.is_some(),
            multiplier: self.backoff.multiplier(),
            failures: self.failures,
            due: self.due(),
            last_success: self.last_success,
            last_result: self.last_result.clone(),
            totals: self.totals,
        }
    }
}
