//! All machines together, over a small world of virtual time: a device that writes, three peers and a relay that come, go and fail.
//!
//! Properties: however bad it was, once nobody fails any more the relay has every operation in order, everybody has confirmed, and no
//! person is asked for anything; "synced" was never said of somebody who lacked an operation; and nothing spins.

use std::collections::BTreeMap;

use nodespace_protocol::ids::{DeviceId, OpHash};
use nodespace_protocol::view::SyncTally;
use prometheus_client::registry::Registry;
use proptest::prelude::*;

use super::backoff::Jitter;
use super::batch::{BatchId, BatchOutput, BatchSync, OpRef};
use super::failure::SyncFailure;
use super::monitor::{BatchResult, SyncMonitor};
use super::orchestrator::{OrchestratorInput, OrchestratorOutput, SyncOrchestrator, SyncResult};
use super::recovery::{RecoveryAction, RecoveryInput, SyncRecovery};
use super::status::{StatusBoard, StatusInput, TargetState};
use super::target::{AttemptId, SyncCounts, Target};

const TROUBLE_MS: u64 = 20 * 60_000;
const QUIET_MS: u64 = 20 * 60_000;

/// Something that will have happened.
#[derive(Debug)]
enum Due {
    Attempt(Target, AttemptId),
    Batch(BatchId, Vec<OpRef>),
    Read { after: u64, limit: usize },
}

struct World {
    now: u64,
    chance: Jitter,
    trouble: bool,
    orchestrator: SyncOrchestrator,
    batch: BatchSync,
    recovery: SyncRecovery,
    board: StatusBoard,
    monitor: SyncMonitor,
    /// How many operations are held here; positions are 1 through this.
    held: u64,
    /// How many each target has. Those of the relay came in order, which is checked when they come.
    has: BTreeMap<Target, u64>,
    due: BTreeMap<(u64, u64), Due>,
    events: u64,
}

fn digest(operations: u64) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&operations.to_le_bytes());
    digest
}

fn targets() -> [Target; 4] {
    [Target::peer(DeviceId([1; 32])), Target::peer(DeviceId([2; 32])), Target::peer(DeviceId([3; 32])), Target::Relay]
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            now: 0,
            chance: Jitter::new(seed),
            trouble: true,
            orchestrator: SyncOrchestrator::new(seed, 0),
            batch: BatchSync::resume(0, 0, seed, 0),
            recovery: SyncRecovery::new(seed, 0),
            board: StatusBoard::new(digest(0), 0),
            monitor: SyncMonitor::new(&mut Registry::default(), SyncTally::default()),
            held: 0,
            has: targets().map(|target| (target, 0)).into(),
            due: BTreeMap::new(),
            events: 0,
        };
        for target in targets() {
            world.reach(target, true);
        }
        world
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.chance.up_to(count - 1) == 0
    }

    fn later(&mut self, due: Due) {
        self.events += 1;
        let at = self.now + 5 + self.chance.up_to(3_000);
        // Now and then no answer ever comes.
        if !(self.trouble && self.one_in(10)) {
            self.due.insert((at, self.events), due);
        }
    }

    fn reach(&mut self, target: Target, reachable: bool) {
        let (input, status) = if reachable {
            (OrchestratorInput::Reachable(target), StatusInput::Reachable(target))
        } else {
            (OrchestratorInput::Unreachable(target), StatusInput::Unreachable(target))
        };
        self.orchestrator.handle(input, self.now);
        self.board.handle(status);
        self.drain();
    }

    fn write(&mut self, count: u64) {
        for _ in 0..count {
            self.held += 1;
            let operation = OpRef { position: self.held, hash: OpHash(digest(self.held)) };
            let _queued = self.batch.queue_operation(operation, self.now);
        }
        self.board.handle(StatusInput::Held { digest: digest(self.held), operations: self.held });
        self.drain();
    }

    /// Does what the machines ask for.
    fn drain(&mut self) {
        while let Some(output) = self.orchestrator.poll_output() {
            match output {
                OrchestratorOutput::Start { target, attempt, .. } => self.later(Due::Attempt(target, attempt)),
                OrchestratorOutput::Abort { target, failure: Some(failure), .. } => self.fail(target, failure),
                OrchestratorOutput::Abort { failure: None, .. } | OrchestratorOutput::Skipped { .. } => {}
            }
        }
        while let Some(output) = self.batch.poll_output() {
            match output {
                BatchOutput::Send { batch, operations } => self.later(Due::Batch(batch, operations)),
                BatchOutput::Read { after, limit } => self.later(Due::Read { after, limit }),
                BatchOutput::Abort(_) => self.monitor.record_batch(0, 0, BatchResult::Failed),
                BatchOutput::Advance { cursor } => assert!(cursor <= self.has[&Target::Relay], "the cursor is ahead of the relay"),
            }
        }
        if let Some(action) = self.recovery.poll_output() {
            self.monitor.record_recovery(&action);
            match action {
                RecoveryAction::RetryWithBackoff { target, .. }
                | RecoveryAction::PartialSync { target, .. }
                | RecoveryAction::RebuildSyncState { target } => self.orchestrator.handle(OrchestratorInput::Retry(target), self.now),
                RecoveryAction::TryNode { node } | RecoveryAction::ForceReconciliation { node, .. } => {
                    self.recovery.handle(RecoveryInput::Settled(node), self.now);
                }
                RecoveryAction::ManualIntervention(case) => self.board.handle(StatusInput::HelpWanted(case)),
                RecoveryAction::Cleared(subject) => self.board.handle(StatusInput::Cleared(subject)),
            }
            return self.drain();
        }
        self.board.handle(StatusInput::RelayQueue(self.batch.pressure()));
        self.check();
    }

    fn check(&self) {
        let status = self.board.status();
        for target in &status.targets {
            let lacks = self.held - self.has[&target.target];
            assert!(target.state != TargetState::Synced || lacks == 0, "{target}, and lacks {lacks}");
            assert!(target.missing_there.most().is_none_or(|most| most >= lacks), "{target}, and lacks {lacks}");
        }
    }

    fn fail(&mut self, target: Target, failure: SyncFailure) {
        self.monitor.record_sync(target.kind(), &SyncResult::Failed(failure.clone()), 0);
        self.board.handle(StatusInput::Failed { target, failure: failure.clone() });
        self.recovery.handle(RecoveryInput::Failed { target, failure }, self.now);
    }

    /// An attempt ends. A peer has everything then; what the relay lacks comes by batches.
    fn end_attempt(&mut self, target: Target, attempt: AttemptId) {
        if self.trouble && self.one_in(2) {
            let failure = if self.one_in(3) { SyncFailure::VersionMismatch } else { SyncFailure::Unreachable };
            let result = SyncResult::Failed(failure.clone());
            self.orchestrator.handle(OrchestratorInput::Finished { attempt, result }, self.now);
            self.fail(target, failure);
            return;
        }
        if target != Target::Relay {
            self.has.insert(target, self.held);
        }
        let result = SyncResult::Success(SyncCounts { sent: 1, ..SyncCounts::default() });
        self.monitor.record_sync(target.kind(), &result, 10);
        self.orchestrator.handle(OrchestratorInput::Finished { attempt, result }, self.now);
        self.recovery.handle(RecoveryInput::Succeeded(target), self.now);
        if self.has[&target] == self.held {
            self.board.handle(StatusInput::Confirmed { target, digest: digest(self.held), wall_ms: self.now });
        }
    }

    fn end_batch(&mut self, batch: BatchId, operations: &[OpRef]) {
        let lost = self.trouble && self.one_in(3);
        if !(lost && self.one_in(2)) {
            let relay = self.has.entry(Target::Relay).or_default();
            for operation in operations {
                assert!(operation.position <= *relay + 1, "{} came before {}", operation.position, *relay + 1);
                *relay = operation.position.max(*relay);
            }
        }
        if lost {
            self.batch.fail(batch, None, self.now);
        } else {
            self.batch.acknowledge(batch, u64::MAX, self.now);
        }
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Attempt(target, attempt) => self.end_attempt(target, attempt),
            Due::Batch(batch, operations) => self.end_batch(batch, &operations),
            Due::Read { after, limit } => {
                let through = self.held.min(after + limit as u64);
                let found: Vec<_> = (after + 1..=through).map(|position| OpRef { position, hash: OpHash(digest(position)) }).collect();
                // A read that was given up meanwhile answers nothing that was asked.
                self.batch.refill(&found, through, self.now).unwrap_or_default();
            }
        }
        self.drain();
    }

    /// To the next moment at which something happens, at most to `until`.
    fn step(&mut self, until: u64) {
        let timers = [self.orchestrator.next_timeout(), self.batch.next_timeout(), self.recovery.next_timeout()];
        let next = timers.into_iter().flatten().chain(self.due.keys().map(|(at, _)| *at)).min().unwrap_or(until).min(until);
        self.now = self.now.max(next);
        while let Some(entry) = self.due.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let due = entry.remove();
            self.happen(due);
        }
        self.orchestrator.handle_timeout(self.now);
        self.batch.handle_timeout(self.now);
        self.recovery.handle_timeout(self.now);
        self.drain();
    }

    /// Runs until a time; answers how many steps it took.
    fn run(&mut self, until: u64) -> u64 {
        let mut steps = 0;
        while self.now < until {
            steps += 1;
            self.step(until);
        }
        steps
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn after_trouble_comes_quiet(seed: u64) {
        let mut world = World::new(seed);
        while world.now < TROUBLE_MS {
            let until = world.now + world.chance.up_to(60_000);
            world.run(until);
            match world.chance.up_to(5) {
                0 => world.write(6_000),
                1..=3 => { let count = world.chance.up_to(80); world.write(count); }
                _ => {
                    let target = targets()[usize::try_from(world.chance.up_to(3)).unwrap()];
                    let reachable = world.one_in(2);
                    world.reach(target, reachable);
                }
            }
        }
        world.trouble = false;
        targets().into_iter().for_each(|target| world.reach(target, true));
        let end = world.now + QUIET_MS;
        let steps = world.run(end);
        prop_assert!(steps < 2_000, "seed {seed}: {steps} steps in the quiet");
        prop_assert!(world.batch.is_idle() && world.batch.cursor() == world.held, "seed {seed}: {:?}", world.batch.pressure());
        let status = world.board.status();
        prop_assert!(status.targets.iter().all(|target| target.state == TargetState::Synced), "seed {seed}: {status}");
        prop_assert!(status.is_synced() && status.help_wanted.is_empty(), "seed {seed}: {status}");
        prop_assert_eq!(world.recovery.interventions().count(), 0);
        prop_assert!(world.monitor.tally().attempts() > 20);
    }
}
