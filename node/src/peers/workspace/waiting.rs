//! People who asked for a sync and wait for its end.

use std::collections::BTreeSet;

use tokio::sync::oneshot;

use super::WorkspaceSync;
use crate::sync::recovery::Subject;
use crate::sync::{DeviceStatus, OrchestratorInput, RecoveryInput, Target};

/// How long somebody waits at most, in milliseconds.
const WAIT_MS_MAX: u64 = 60_000;
/// How long a connection is waited for when there is none, in milliseconds.
const CONNECT_MS_MAX: u64 = 4_000;

/// Somebody who waits.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Whom for.
    targets: BTreeSet<Target>,
    /// Of whom only, if of one.
    only: Option<Target>,
    deadline: u64,
    answer: Option<oneshot::Sender<Result<DeviceStatus, ()>>>,
}

impl Waiter {
    pub(super) const fn deadline(&self) -> u64 {
        self.deadline
    }
}

impl WorkspaceSync {
    pub(super) async fn on_sync_now(&mut self, target: Option<Target>, answer: oneshot::Sender<Result<DeviceStatus, ()>>) {
        if !self.facts.has_genesis {
            // Whoever asked may have gone.
            answer.send(Err(())).ok();
            return;
        }
        let now = self.now();
        // Whoever asks has done something about what failed: patience begins anew.
        let subjects: Vec<Subject> = self.recovery.interventions().map(|case| case.subject.clone()).collect();
        let asked = |subject: &Subject| target.is_none_or(|target| *subject == Subject::Target { target });
        for subject in subjects.into_iter().filter(asked) {
            self.recovery.handle(RecoveryInput::RetryByHand(subject), now);
        }
        let peers = self.facts.members.iter().filter(|device| **device != self.setup.own).copied();
        let wanted: Vec<Target> = peers.map(Target::peer).filter(|peer| target.is_none_or(|target| target == *peer)).collect();
        let mut waiter = Waiter { targets: BTreeSet::new(), only: target, deadline: now + CONNECT_MS_MAX, answer: Some(answer) };
        for wanted in wanted {
            let Target::Peer { device } = wanted else { continue };
            if self.setup.connected.contains(&device) {
                waiter.targets.insert(wanted);
                waiter.deadline = now + WAIT_MS_MAX;
                self.orchestrate(OrchestratorInput::Request(Some(wanted)));
            } else {
                self.setup.net.dial(device).await;
            }
        }
        if self.relaying.is_configured() && target.is_none_or(|target| target == Target::Relay) {
            waiter.targets.insert(Target::Relay);
            waiter.deadline = now + WAIT_MS_MAX;
            self.orchestrate(OrchestratorInput::Request(Some(Target::Relay)));
        }
        self.waiters.push(waiter);
    }

    /// Somebody became reachable whom people who have nobody yet may wait for.
    pub(super) fn expect_of_waiters(&mut self, target: Target) {
        let deadline = self.now() + WAIT_MS_MAX;
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.only.is_none_or(|only| only == target)) {
            waiter.targets.insert(target);
            waiter.deadline = deadline;
        }
    }

    /// A sync with a target has ended, one way or the other.
    pub(super) fn finish_waiting(&mut self, target: Target) {
        for waiter in &mut self.waiters {
            if waiter.targets.remove(&target) && waiter.targets.is_empty() {
                waiter.deadline = 0;
            }
        }
        self.give_up_waiting(self.now());
    }

    /// Answers everybody with this, whatever is under way.
    pub(super) fn answer_waiters(&mut self, status: &DeviceStatus) {
        for answer in self.waiters.drain(..).filter_map(|waiter| waiter.answer) {
            // Whoever asked may have gone.
            answer.send(Ok(status.clone())).ok();
        }
    }

    pub(super) fn give_up_waiting(&mut self, now: u64) {
        if self.waiters.iter().all(|waiter| waiter.deadline > now) {
            return;
        }
        let status = self.board.status();
        for waiter in self.waiters.iter_mut().filter(|waiter| waiter.deadline <= now) {
            // Whoever asked may have gone.
            waiter.answer.take().map(|answer| answer.send(Ok(status.clone())).ok());
        }
        self.waiters.retain(|waiter| waiter.answer.is_some());
    }
}
