//! Properties, over random failures, successes, settlements and waits:
//!
//! 1. whatever is in trouble has a timer that lies ahead, a step under way, or a person who was asked;
//! 2. a person is asked once about one thing, and never before [`ATTEMPTS_MAX`] attempts unless waiting cannot help;
//! 3. no node leaves the set that is set aside unless it is settled;
//! 4. steps on a target keep within the bounds of backoff;
//! 5. success clears.

use nodespace_protocol::ids::DeviceId;
use proptest::prelude::*;

use super::*;

fn peer(number: u8) -> Target {
    Target::peer(DeviceId([number; 32]))
}

fn node(number: u8) -> NodeId {
    NodeId::parse(&format!("node-{number}")).unwrap()
}

fn conflict(nodes: &[u8]) -> SyncFailure {
    SyncFailure::ConflictResolutionFailed { nodes: nodes.iter().map(|number| node(*number)).collect() }
}

struct Driver {
    machine: SyncRecovery,
    now: u64,
}

impl Driver {
    fn new() -> Self {
        Self { machine: SyncRecovery::new(7, 0), now: 0 }
    }

    fn handle(&mut self, input: RecoveryInput) -> Vec<RecoveryAction> {
        self.machine.handle(input, self.now);
        self.actions()
    }

    fn fail(&mut self, target: Target, failure: SyncFailure) -> Vec<RecoveryAction> {
        self.handle(RecoveryInput::Failed { target, failure })
    }

    fn actions(&mut self) -> Vec<RecoveryAction> {
        std::iter::from_fn(|| self.machine.poll_output()).collect()
    }

    fn step(&mut self) -> Vec<RecoveryAction> {
        let at = self.machine.next_timeout().expect("a timer");
        assert!(at > self.now, "a timer at {at} that is over at {} would spin", self.now);
        self.now = at;
        self.machine.handle_timeout(at);
        self.actions()
    }
}

#[test]
fn five_attempts_and_then_a_person_is_asked_once() {
    let mut driver = Driver::new();
    for attempt in 1..=5u32 {
        let before = driver.now;
        assert_eq!(driver.fail(peer(1), SyncFailure::Unreachable), []);
        assert_eq!(driver.step(), [RecoveryAction::RetryWithBackoff { target: peer(1), attempt }]);
        let least = RETRY_MS << (attempt - 1);
        assert!((least..=least * 5 / 4).contains(&(driver.now - before)), "attempt {attempt} after {}", driver.now - before);
    }
    let asked = driver.fail(peer(1), SyncFailure::Unreachable);
    let [RecoveryAction::ManualIntervention(intervention)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(
        intervention.to_string(),
        "sync with peer 01010101 failed 6 time(s) (unreachable). All data is kept. What to do: check the network and whether the other \
         side runs; nothing else is needed, as it goes on being tried."
    );
    assert!(intervention.heals_by_itself());
    assert_eq!(driver.fail(peer(1), SyncFailure::Unreachable), [], "once");
    assert_eq!(driver.machine.next_timeout(), None);
    assert_eq!(driver.machine.interventions().count(), 1);
    assert_eq!(driver.handle(RecoveryInput::Succeeded(peer(1))), [RecoveryAction::Cleared(Subject::Target { target: peer(1) })]);
    assert_eq!(driver.machine.interventions().count(), 0);
}

#[test]
fn while_each_piece_brings_something_no_person_is_asked() {
    let mut driver = Driver::new();
    for _ in 0..20 {
        let before = driver.now;
        assert_eq!(driver.fail(peer(1), SyncFailure::Unreachable), []);
        assert_eq!(driver.step(), [RecoveryAction::RetryWithBackoff { target: peer(1), attempt: 1 }]);
        assert!(driver.now - before <= RETRY_MS * 5 / 4);
        assert_eq!(driver.handle(RecoveryInput::Received(peer(1))), [], "not cleared: it is not known to be equal");
    }
    (0..=ATTEMPTS_MAX).for_each(|_| drop(driver.fail(peer(1), SyncFailure::Unreachable)));
    driver.handle(RecoveryInput::Received(peer(1)));
    assert_eq!(driver.machine.interventions().count(), 1, "who was asked is told when both are equal");
}

#[test]
fn copies_that_differ_are_asked_about_although_operations_arrive_and_the_line_breaks() {
    let mut driver = Driver::new();
    let differs = SyncFailure::DataCorruption { node: None };
    for attempt in 1..=5 {
        let failure = if attempt == 4 { SyncFailure::Unreachable } else { differs.clone() };
        assert_eq!(driver.fail(peer(1), failure), []);
        driver.handle(RecoveryInput::Received(peer(1)));
        driver.step();
    }
    let asked = driver.fail(peer(1), SyncFailure::Unreachable);
    let [RecoveryAction::ManualIntervention(case)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((&case.failure, case.heals_by_itself()), (&differs, false), "the gravest is told, not the last");
}

#[test]
fn the_pace_can_be_another() {
    let mut driver = Driver { machine: SyncRecovery::new(7, 0).paced(Pace { retry_ms: 8, node_retry_ms: 80 }), now: 0 };
    driver.fail(peer(1), conflict(&[1]));
    driver.step();
    assert!((8..=10).contains(&driver.now), "{}", driver.now);
    driver.handle(RecoveryInput::Succeeded(peer(1)));
    assert_eq!(driver.step(), [RecoveryAction::TryNode { node: node(1) }]);
    assert!((80..=100).contains(&driver.now), "{}", driver.now);
}

#[test]
fn who_was_turned_away_is_told_at_once() {
    let mut driver = Driver::new();
    let asked = driver.fail(Target::Relay, SyncFailure::TurnedAway);
    assert!(matches!(&asked[..], [RecoveryAction::ManualIntervention(case)] if case.attempts == 1 && !case.heals_by_itself()), "{asked:?}");
    let subject = Subject::Target { target: Target::Relay };
    let retried = driver.handle(RecoveryInput::RetryByHand(subject));
    assert_eq!(retried, [RecoveryAction::RetryWithBackoff { target: Target::Relay, attempt: 0 }]);
}

#[test]
fn nodes_that_cannot_be_settled_are_set_aside_and_the_others_go_on() {
    let mut driver = Driver::new();
    driver.fail(peer(1), conflict(&[1, 2]));
    let aside = BTreeSet::from([node(1), node(2)]);
    assert_eq!(driver.step(), [RecoveryAction::PartialSync { target: peer(1), aside: aside.clone() }]);
    driver.handle(RecoveryInput::Succeeded(peer(1)));
    assert_eq!(driver.machine.aside(), aside, "that they succeeded without them settles nothing");
    let tried = [driver.step(), driver.step()].concat();
    assert!(tried.len() == 2 && [1, 2].iter().all(|number| tried.contains(&RecoveryAction::TryNode { node: node(*number) })), "{tried:?}");
    assert!((NODE_RETRY_MS..=NODE_RETRY_MS * 5 / 4).contains(&driver.now));
    assert_eq!(driver.handle(RecoveryInput::Settled(node(2))), [RecoveryAction::Cleared(Subject::Node { node: node(2) })]);
    assert_eq!(driver.machine.aside(), BTreeSet::from([node(1)]));
}

#[test]
fn a_node_goes_from_trying_to_force_to_a_person() {
    let mut driver = Driver::new();
    driver.fail(Target::Relay, conflict(&[1]));
    driver.step();
    driver.handle(RecoveryInput::Succeeded(Target::Relay));
    let mut steps = Vec::new();
    for _ in 0..5 {
        steps.extend(driver.step());
        let failure = SyncFailure::Unreachable;
        steps.extend(driver.handle(RecoveryInput::NodeFailed { node: node(1), failure }));
    }
    let force = RecoveryAction::ForceReconciliation { node: node(1), target: Target::Relay };
    let try_node = RecoveryAction::TryNode { node: node(1) };
    assert_eq!(steps[..5], [try_node.clone(), try_node, force.clone(), force.clone(), force]);
    let [RecoveryAction::ManualIntervention(case)] = &steps[5..] else { panic!("{steps:?}") };
    assert_eq!(case.failure, conflict(&[1]), "the gravest is told, not that a line broke beside it");
    assert!(case.advice().contains("start the device"), "{case}");
    assert_eq!(driver.machine.next_timeout(), None);
    assert_eq!(driver.machine.aside_count(), 1, "and it is kept");
    let again = driver.handle(RecoveryInput::RetryByHand(Subject::Node { node: node(1) }));
    assert_eq!(again, [RecoveryAction::TryNode { node: node(1) }]);
}

#[test]
fn of_a_nodes_failures_the_gravest_is_told() {
    let differs = SyncFailure::DataCorruption { node: Some(node(1)) };
    let mut driver = Driver::new();
    driver.fail(peer(1), conflict(&[1]));
    driver.step();
    driver.handle(RecoveryInput::Succeeded(peer(1)));
    let failed = |failure: &SyncFailure| RecoveryInput::NodeFailed { node: node(1), failure: failure.clone() };
    let mut asked = Vec::new();
    for failure in [&SyncFailure::Unreachable, &differs, &conflict(&[1]), &SyncFailure::Unreachable, &SyncFailure::Unreachable] {
        driver.step();
        asked.extend(driver.handle(failed(failure)));
    }
    let [RecoveryAction::ManualIntervention(case)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!((&case.subject, &case.failure), (&Subject::Node { node: node(1) }, &differs));
    // Somebody has done something about it: what was before is not told again.
    driver.handle(RecoveryInput::RetryByHand(case.subject.clone()));
    let mut again = Vec::new();
    while again.is_empty() {
        again = driver.handle(failed(&SyncFailure::Unreachable));
        if again.is_empty() {
            driver.step();
        }
    }
    let [RecoveryAction::ManualIntervention(case)] = &again[..] else { panic!("{again:?}") };
    assert_eq!(case.failure, SyncFailure::Unreachable);
}

#[test]
fn a_step_on_a_node_that_nobody_answers_counts_as_failed() {
    let mut driver = Driver::new();
    driver.fail(peer(1), SyncFailure::DataCorruption { node: Some(node(1)) });
    assert_eq!(driver.step().len(), 1, "the partial sync");
    driver.handle(RecoveryInput::Succeeded(peer(1)));
    let mut asked = Vec::new();
    for _ in 0..10 {
        asked.extend(driver.step());
    }
    let force = asked.iter().filter(|action| matches!(action, RecoveryAction::ForceReconciliation { .. })).count();
    assert_eq!((force, asked.len()), (5, 6), "copies that differ are not just tried again: {asked:?}");
    assert!(matches!(asked.last(), Some(RecoveryAction::ManualIntervention(_))));
}

#[test]
fn another_log_makes_what_is_remembered_anew() {
    let mut driver = Driver::new();
    driver.fail(Target::Relay, SyncFailure::VersionMismatch);
    driver.fail(Target::Relay, SyncFailure::Unreachable);
    assert_eq!(driver.step(), [RecoveryAction::RebuildSyncState { target: Target::Relay }], "a milder failure does not undo the plan");
}

#[test]
fn too_many_unsettled_nodes_are_not_the_nodes_fault() {
    let mut driver = Driver::new();
    let nodes: BTreeSet<NodeId> = (0..=NODES_ASIDE_MAX).map(|number| NodeId::parse(&format!("n{number}")).unwrap()).collect();
    driver.fail(peer(1), SyncFailure::ConflictResolutionFailed { nodes });
    assert_eq!(driver.machine.aside_count(), 0);
    assert_eq!(driver.step(), [RecoveryAction::RebuildSyncState { target: peer(1) }]);
}

#[test]
fn patience_is_kept() {
    let mut driver = Driver::new();
    driver.fail(Target::Relay, SyncFailure::RateLimited { retry_after_ms: 90_000 });
    assert_eq!(driver.machine.next_timeout(), Some(90_000));
    driver.handle(RecoveryInput::Forget(Target::Relay));
    assert_eq!(driver.machine.next_timeout(), None);
}

#[derive(Clone, Debug)]
enum Event {
    Fail(u8, SyncFailure),
    Succeed(u8),
    Settle(u8),
    FailNode(u8),
    Retry(u8, bool),
    Timer,
    Wait(u64),
}

fn failure() -> impl Strategy<Value = SyncFailure> {
    prop_oneof![
        4 => Just(SyncFailure::Unreachable),
        2 => (0u64..100_000).prop_map(|retry_after_ms| SyncFailure::RateLimited { retry_after_ms }),
        4 => prop::collection::vec(0u8..6, 0..4).prop_map(|nodes| conflict(&nodes)),
        2 => prop::option::of(0u8..6).prop_map(|number| SyncFailure::DataCorruption { node: number.map(node) }),
        1 => Just(SyncFailure::VersionMismatch),
        1 => Just(SyncFailure::TurnedAway),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0u8..3, failure()).prop_map(|(target, failure)| Event::Fail(target, failure)),
        1 => (0u8..3).prop_map(Event::Succeed),
        1 => (0u8..6).prop_map(Event::Settle),
        4 => (0u8..6).prop_map(Event::FailNode),
        1 => (0u8..6, any::<bool>()).prop_map(|(number, target)| Event::Retry(number, target)),
        8 => Just(Event::Timer),
        2 => (0u64..20_000).prop_map(Event::Wait),
    ]
}

/// What was done and asked so far.
#[derive(Default)]
struct Model {
    aside: BTreeSet<NodeId>,
    failures: BTreeMap<Target, u32>,
    asked: BTreeSet<Subject>,
}

impl Model {
    fn take(&mut self, driver: &Driver, actions: &[RecoveryAction]) {
        for action in actions {
            match action {
                RecoveryAction::ManualIntervention(case) => {
                    assert!(self.asked.insert(case.subject.clone()), "asked twice about {}", case.subject);
                    assert!(case.attempts > ATTEMPTS_MAX || case.failure.remedy() == Remedy::Person, "asked too soon: {case}");
                    if let Subject::Target { target } = &case.subject {
                        assert_eq!(self.failures.get(target), Some(&case.attempts));
                    }
                }
                RecoveryAction::Cleared(subject) => {
                    self.asked.remove(subject);
                }
                RecoveryAction::PartialSync { aside, .. } => assert_eq!(*aside, self.aside),
                RecoveryAction::RetryWithBackoff { attempt, .. } => assert!(*attempt <= ATTEMPTS_MAX),
                RecoveryAction::TryNode { node } | RecoveryAction::ForceReconciliation { node, .. } => assert!(self.aside.contains(node)),
                RecoveryAction::RebuildSyncState { .. } => {}
            }
        }
        assert_eq!(driver.machine.aside(), self.aside);
        assert_eq!(driver.machine.interventions().map(|case| case.subject.clone()).collect::<BTreeSet<_>>(), self.asked);
        let nodes_waiting = self.aside.iter().any(|node| !self.asked.contains(&Subject::Node { node: node.clone() }));
        match driver.machine.next_timeout() {
            Some(at) => assert!(at > driver.now, "a timer at {at} that is over at {}", driver.now),
            None => assert!(!nodes_waiting, "a node waits without a timer"),
        }
    }

    fn fail(&mut self, driver: &mut Driver, target: Target, failure: SyncFailure) -> Vec<RecoveryAction> {
        let actions = driver.fail(target, failure.clone());
        *self.failures.entry(target).or_default() += 1;
        let asked_before = self.asked.contains(&Subject::Target { target });
        let asked = actions.iter().any(|action| matches!(action, RecoveryAction::ManualIntervention(_)));
        if !asked_before && !asked {
            match &failure {
                SyncFailure::ConflictResolutionFailed { nodes } => self.aside.extend(nodes.iter().cloned()),
                SyncFailure::DataCorruption { node } => self.aside.extend(node.clone()),
                _ => {}
            }
            let at = driver.machine.next_timeout().expect("a step is planned");
            let most = RETRY_MS * 16 * 5 / 4;
            assert!(at <= driver.now + most.max(failure.retry_after_ms().unwrap_or(0)));
        }
        actions
    }
}

proptest! {
    #[test]
    fn random_events(events in prop::collection::vec(event(), 0..150)) {
        let mut driver = Driver::new();
        let mut model = Model::default();
        for event in events {
            let actions = match event {
                Event::Fail(target, failure) => model.fail(&mut driver, peer(target), failure),
                Event::Succeed(target) => {
                    let target = peer(target);
                    let known = model.failures.remove(&target).is_some();
                    let actions = driver.handle(RecoveryInput::Succeeded(target));
                    prop_assert_eq!(actions.len(), usize::from(known), "success clears, and says so once");
                    actions
                }
                Event::Settle(number) => {
                    model.aside.remove(&node(number));
                    driver.handle(RecoveryInput::Settled(node(number)))
                }
                Event::FailNode(number) => {
                    driver.handle(RecoveryInput::NodeFailed { node: node(number), failure: SyncFailure::Unreachable })
                }
                Event::Retry(number, true) => {
                    let target = peer(number % 3);
                    model.failures.entry(target).and_modify(|failures| *failures = 0);
                    model.asked.remove(&Subject::Target { target });
                    driver.handle(RecoveryInput::RetryByHand(Subject::Target { target }))
                }
                Event::Retry(number, false) => {
                    model.asked.remove(&Subject::Node { node: node(number) });
                    driver.handle(RecoveryInput::RetryByHand(Subject::Node { node: node(number) }))
                }
                Event::Timer if driver.machine.next_timeout().is_some() => driver.step(),
                Event::Timer => Vec::new(),
                Event::Wait(ms) => {
                    driver.now += ms;
                    driver.machine.handle_timeout(driver.now);
                    driver.actions()
                }
            };
            model.take(&driver, &actions);
        }
    }
}
