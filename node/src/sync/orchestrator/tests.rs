//! Properties, over random events with random time between them:
//!
//! 1. at most one attempt a target, and [`PEERS_AT_ONCE_MAX`] with peers;
//! 2. nothing starts with who is away;
//! 3. a timer is set whenever something reachable waits or runs, and firing it makes it move on;
//! 4. delays after success and failure keep within the bounds of backoff and jitter;
//! 5. left alone, every reachable target is synced again.

use std::collections::{BTreeMap, BTreeSet};

use nodespace_protocol::ids::DeviceId;
use proptest::prelude::*;

use super::*;

fn peer(number: u8) -> Target {
    Target::peer(DeviceId([number; 32]))
}

/// A driver that remembers what runs.
struct Driver {
    machine: SyncOrchestrator,
    now: u64,
    running: BTreeMap<Target, AttemptId>,
    started: Vec<(Target, BTreeSet<Trigger>)>,
    skipped: Vec<(Option<Target>, SkipReason)>,
}

impl Driver {
    fn new(seed: u64) -> Self {
        Self { machine: SyncOrchestrator::new(seed, 0), now: 0, running: BTreeMap::new(), started: vec![], skipped: vec![] }
    }

    fn handle(&mut self, input: OrchestratorInput) {
        self.machine.handle(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                OrchestratorOutput::Start { target, attempt, triggers } => {
                    assert!(!triggers.is_empty());
                    assert_eq!(self.running.insert(target, attempt), None, "two attempts with {target}");
                    self.started.push((target, triggers));
                }
                OrchestratorOutput::Abort { target, attempt, .. } => assert_eq!(self.running.remove(&target), Some(attempt)),
                OrchestratorOutput::Skipped { target, reason } => self.skipped.push((target, reason)),
            }
        }
        let peers = self.running.keys().filter(|target| **target != Target::Relay).count();
        assert!(peers <= PEERS_AT_ONCE_MAX, "{peers} at once");
    }

    fn finish(&mut self, target: Target, result: SyncResult) {
        let attempt = self.running.remove(&target).expect("it runs");
        self.handle(OrchestratorInput::Finished { attempt, result });
    }

    fn succeed(&mut self, target: Target) {
        self.finish(target, SyncResult::Success(SyncCounts::default()));
    }

    fn fail(&mut self, target: Target) {
        self.finish(target, SyncResult::Failed(SyncFailure::Unreachable));
    }

    /// Goes to the next timer; false when there is none.
    fn step(&mut self) -> bool {
        let Some(at) = self.machine.next_timeout() else { return false };
        self.now = self.now.max(at);
        self.machine.handle_timeout(self.now);
        self.drain();
        true
    }

    fn starts(&mut self) -> Vec<Target> {
        self.started.drain(..).map(|(target, _)| target).collect()
    }
}

#[test]
fn a_connection_starts_a_sync_and_the_timer_the_next() {
    let mut driver = Driver::new(1);
    driver.handle(OrchestratorInput::Reachable(peer(1)));
    assert_eq!(driver.started, [(peer(1), BTreeSet::from([Trigger::Connect]))]);
    driver.succeed(peer(1));
    driver.started.clear();
    assert!(driver.step());
    assert_eq!(driver.started, [(peer(1), BTreeSet::from([Trigger::Timer]))]);
    assert!((INTERVAL_MS..=INTERVAL_MS * 5 / 4).contains(&driver.now));
}

#[test]
fn what_comes_up_meanwhile_makes_it_run_once_more() {
    let mut driver = Driver::new(1);
    driver.handle(OrchestratorInput::Reachable(peer(1)));
    driver.handle(OrchestratorInput::GapSeen(peer(1)));
    driver.handle(OrchestratorInput::GapSeen(peer(1)));
    assert_eq!(driver.starts(), [peer(1)], "one at a time");
    driver.succeed(peer(1));
    assert!(driver.step());
    assert_eq!(driver.now, SPACING_MS, "spaced");
    assert_eq!(driver.starts(), [peer(1)]);
    driver.succeed(peer(1));
    assert!(driver.machine.next_timeout().unwrap() >= INTERVAL_MS, "and only once");
}

#[test]
fn a_target_cannot_keep_us_busy() {
    let mut driver = Driver::new(1);
    for round in 0..1_000 {
        driver.now = round * 10;
        driver.handle(OrchestratorInput::Unreachable(peer(1)));
        driver.handle(OrchestratorInput::Reachable(peer(1)));
        driver.machine.handle_timeout(driver.now);
        driver.drain();
        if driver.running.contains_key(&peer(1)) {
            driver.fail(peer(1));
        }
    }
    assert_eq!(driver.starts().len(), 3, "at 0 s, after 2 s and after 4 s more; 8 s more are not over");
}

#[test]
fn peers_go_first_and_the_relay_waits_a_while() {
    let mut driver = Driver::new(1);
    driver.handle(OrchestratorInput::Reachable(peer(1)));
    driver.handle(OrchestratorInput::Reachable(Target::Relay));
    assert_eq!(driver.starts(), [peer(1)]);
    driver.succeed(peer(1));
    assert_eq!(driver.starts(), [Target::Relay], "as soon as the peer is done");
    driver.succeed(Target::Relay);
    let due = driver.machine.report(&Target::Relay).unwrap().due.unwrap();
    assert!(due >= INTERVAL_MS * RELAY_RESERVE_FACTOR, "less often beside peers: {due}");

    driver.handle(OrchestratorInput::Request(Some(peer(1))));
    driver.handle(OrchestratorInput::Unreachable(peer(1)));
    assert!(driver.step());
    assert_eq!(driver.starts(), [peer(1), Target::Relay], "no peer left: the relay stands in though the old attempt still hangs");
    assert!(driver.now <= SPACING_MS + RELAY_PATIENCE_MS);
}

#[test]
fn a_stuck_peer_does_not_keep_the_relay_waiting() {
    let mut driver = Driver::new(1);
    for number in 0..8 {
        driver.handle(OrchestratorInput::Reachable(peer(number)));
    }
    driver.handle(OrchestratorInput::Reachable(Target::Relay));
    assert_eq!(driver.starts().len(), PEERS_AT_ONCE_MAX);
    assert!(driver.step());
    assert_eq!((driver.now, driver.starts()), (RELAY_PATIENCE_MS, vec![Target::Relay]));
    assert!(driver.step());
    assert_eq!(driver.now, STALL_MS);
    assert_eq!(driver.starts(), [peer(4), peer(5), peer(6), peer(7)], "those that stalled made room");
}

#[test]
fn sleep_is_noticed_by_the_wall_clock() {
    let mut driver = Driver::new(1);
    driver.handle(OrchestratorInput::Wall { wall_ms: 1_000_000 });
    driver.handle(OrchestratorInput::Reachable(peer(1)));
    driver.succeed(peer(1));
    driver.started.clear();
    for minute in 1..20 {
        driver.now = minute * 60;
        driver.handle(OrchestratorInput::Wall { wall_ms: 1_000_000 + minute * 1_000 });
    }
    assert_eq!(driver.machine.next_timeout().filter(|at| *at < INTERVAL_MS), None, "drift is no sleep");
    driver.handle(OrchestratorInput::Wall { wall_ms: 0 });
    assert_eq!(driver.machine.next_timeout().filter(|at| *at < INTERVAL_MS), None, "nor is a clock set back");
    driver.handle(OrchestratorInput::Wall { wall_ms: 3_600_000 });
    assert!(driver.step());
    assert_eq!(driver.started, [(peer(1), BTreeSet::from([Trigger::Wake]))]);
    assert!(driver.now <= 20 * 60 + WAKE_SPREAD_MS);
}

#[test]
fn a_request_is_answered_with_a_start_or_a_reason() {
    let mut driver = Driver::new(1);
    driver.handle(OrchestratorInput::Request(None));
    driver.handle(OrchestratorInput::Request(Some(peer(1))));
    driver.handle(OrchestratorInput::Reachable(peer(1)));
    driver.handle(OrchestratorInput::Request(None));
    let one = Some(peer(1));
    assert_eq!(driver.skipped, [(None, SkipReason::NoTargets), (one, SkipReason::Unreachable), (one, SkipReason::AlreadySyncing)]);
    assert_eq!(driver.starts(), [peer(1)]);
    driver.succeed(peer(1));
    assert_eq!(driver.starts(), [peer(1)], "and what was asked for is done when it can be");
}

#[test]
fn who_asks_for_patience_gets_it() {
    let mut driver = Driver::new(1);
    driver.handle(OrchestratorInput::Reachable(Target::Relay));
    driver.finish(Target::Relay, SyncResult::Failed(SyncFailure::RateLimited { retry_after_ms: 500_000 }));
    driver.handle(OrchestratorInput::Retry(Target::Relay));
    driver.handle(OrchestratorInput::GapSeen(Target::Relay));
    assert_eq!(driver.machine.next_timeout(), Some(500_000));
    driver.started.clear();
    driver.handle(OrchestratorInput::Request(None));
    assert_eq!(driver.starts(), [Target::Relay], "save from a person");
}

#[test]
fn quick_retries_do_not_slow_the_rhythm_down() {
    let mut driver = Driver::new(1);
    driver.handle(OrchestratorInput::Reachable(peer(1)));
    driver.fail(peer(1));
    for _ in 0..5 {
        driver.handle(OrchestratorInput::Retry(peer(1)));
        driver.fail(peer(1));
    }
    let report = driver.machine.report(&peer(1)).unwrap();
    assert_eq!((report.multiplier, report.failures), (2, 6));
}

#[test]
fn a_line_that_breaks_while_something_arrives_is_taken_up_again_soon() {
    let mut driver = Driver::new(1);
    driver.handle(OrchestratorInput::Reachable(peer(1)));
    for _ in 0..10 {
        driver.handle(OrchestratorInput::Received(driver.running[&peer(1)]));
        driver.now += SPACING_MS;
        driver.handle(OrchestratorInput::Unreachable(peer(1)));
        driver.fail(peer(1));
        driver.handle(OrchestratorInput::Reachable(peer(1)));
        assert!(driver.running.contains_key(&peer(1)), "at once");
    }
    driver.fail(peer(1));
    assert_eq!(driver.machine.report(&peer(1)).unwrap().multiplier, 2, "one in which nothing arrived counts");
}

#[test]
fn there_is_room_for_so_many() {
    let mut driver = Driver::new(1);
    let target = |number: usize| {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_le_bytes());
        Target::peer(DeviceId(key))
    };
    for number in 0..TARGETS_MAX {
        driver.handle(OrchestratorInput::Reachable(target(number)));
    }
    driver.handle(OrchestratorInput::Reachable(target(TARGETS_MAX)));
    assert_eq!(driver.skipped, [(Some(target(TARGETS_MAX)), SkipReason::TooManyTargets)]);
    let waiting = *driver.machine.targets().find(|target| !driver.running.contains_key(target)).unwrap();
    driver.handle(OrchestratorInput::Unreachable(waiting));
    driver.handle(OrchestratorInput::Reachable(target(TARGETS_MAX)));
    assert_eq!(driver.machine.report(&waiting), None, "who was away made room");
    assert!(driver.machine.report(&target(TARGETS_MAX)).is_some());
}

/// An event for a random target.
#[derive(Clone, Debug)]
enum Event {
    Input(u8, u8),
    Finish(u8, bool),
    Wait(u64),
    Timer,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0u8..8, 0u8..8).prop_map(|(kind, target)| Event::Input(kind, target)),
        3 => (0u8..8, any::<bool>()).prop_map(|(target, success)| Event::Finish(target, success)),
        2 => (0u64..40_000).prop_map(Event::Wait),
        3 => Just(Event::Timer),
    ];
    prop::collection::vec(event, 0..120)
}

fn target_of(number: u8) -> Target {
    if number == 7 { Target::Relay } else { peer(number) }
}

/// What the machine was told, to compare with what it does.
#[derive(Default)]
struct Model {
    reachable: BTreeSet<Target>,
}

impl Model {
    fn input(&mut self, kind: u8, target: Target, now: u64) -> OrchestratorInput {
        match kind {
            0..=2 => {
                self.reachable.insert(target);
                OrchestratorInput::Reachable(target)
            }
            3 => {
                self.reachable.remove(&target);
                OrchestratorInput::Unreachable(target)
            }
            4 => {
                self.reachable.remove(&target);
                OrchestratorInput::Forget(target)
            }
            5 => OrchestratorInput::GapSeen(target),
            6 => OrchestratorInput::Request(Some(target)),
            _ => OrchestratorInput::Wall { wall_ms: now * 3 },
        }
    }

    /// Properties 2 and 3, at any moment.
    fn check(&self, driver: &Driver, started: &[Target]) {
        for target in started {
            assert!(self.reachable.contains(target), "{target} is away");
        }
        let idle = self.reachable.iter().any(|target| !driver.running.contains_key(target));
        if !driver.running.is_empty() || idle {
            let at = driver.machine.next_timeout().expect("a timer");
            assert!(at > driver.now, "a timer at {at} that is over at {} would spin", driver.now);
        }
    }
}

proptest! {
    #[test]
    fn random_events(seed: u64, events in events()) {
        let mut driver = Driver::new(seed);
        let mut model = Model::default();
        for event in events {
            match event {
                Event::Input(kind, number) => {
                    let input = model.input(kind, target_of(number), driver.now);
                    driver.handle(input);
                }
                Event::Finish(number, success) => finish(&mut driver, target_of(number), success),
                Event::Wait(ms) => {
                    driver.now += ms;
                    driver.machine.handle_timeout(driver.now);
                    driver.drain();
                }
                Event::Timer => { driver.step(); }
            }
            let started = driver.starts();
            model.check(&driver, &started);
        }
        quiet(&mut driver, &model);
    }
}

/// Property 4.
fn finish(driver: &mut Driver, target: Target, success: bool) {
    if !driver.running.contains_key(&target) {
        return;
    }
    let before = driver.machine.report(&target).unwrap().multiplier;
    if success {
        driver.succeed(target)
    } else {
        driver.fail(target)
    }
    let report = driver.machine.report(&target).unwrap();
    assert_eq!(report.multiplier, if success { 1 } else { (before * 2).min(16) });
    if let Some(due) = report.due {
        let most = (INTERVAL_MS * RELAY_RESERVE_FACTOR * u64::from(report.multiplier)).min(INTERVAL_MS * 16);
        assert!(due <= driver.now + most + most / 4, "{due} is too late");
    }
}

/// Property 5: when all attempts succeed, everybody reachable is synced within a few intervals, from whatever state.
fn quiet(driver: &mut Driver, model: &Model) {
    let from = driver.now;
    let mut left = model.reachable.clone();
    for _ in 0..2_000 {
        for target in driver.running.keys().copied().collect::<Vec<_>>() {
            left.remove(&target);
            driver.succeed(target);
        }
        if left.is_empty() || !driver.step() {
            break;
        }
    }
    assert!(left.is_empty(), "never synced: {left:?}");
    let longest = INTERVAL_MS * 16 * 5 / 4 + STALL_MS;
    assert!(driver.now - from <= longest, "took {} ms", driver.now - from);
}
