//! Properties, over random events: "synced" is said only of somebody reachable whose last confirmed digest is that of what is held now, and of
//! the device only when that is so of all who are reachable and of at least one; nothing is missing there only when it is confirmed; a
//! change is told, and told once.

use nodespace_protocol::ids::DeviceId;
use nodespace_protocol::session::{SyncState, SyncStatus};
use proptest::prelude::*;

use super::*;
use crate::sync::batch::{Behind, Pressure};
use crate::sync::failure::SyncFailure;
use crate::sync::recovery::Intervention;

fn peer(number: u8) -> Target {
    Target::peer(DeviceId([number; 32]))
}

fn session(state: SyncState) -> SyncStatus {
    SyncStatus { state, send_ops: 10, sent_ops: 4, receive_ops: 7, received_ops: 7, waiting: 0, refusals: 0 }
}

fn confirmed(target: Target, digest: u8) -> StatusInput {
    StatusInput::Confirmed { target, digest: [digest; 32], wall_ms: 1_000 }
}

fn held(digest: u8, operations: u64) -> StatusInput {
    StatusInput::Held { digest: [digest; 32], operations }
}

fn board(inputs: impl IntoIterator<Item = StatusInput>) -> StatusBoard {
    let mut board = StatusBoard::new([0; 32], 100);
    inputs.into_iter().for_each(|input| board.handle(input));
    board
}

#[test]
fn with_nobody_it_is_local_only() {
    let status = board([]).status();
    assert_eq!(status.summary, Summary::LocalOnly);
    assert!(status.to_string().starts_with("local only"), "{status}");
}

#[test]
fn one_more_operation_and_it_is_synced_no_more() {
    let mut board = board([StatusInput::Reachable(peer(1)), StatusInput::Known(Target::Relay), confirmed(peer(1), 0)]);
    assert_eq!(board.status().to_string().lines().next(), Some("synced with 1 of 2; the others are away"));
    board.handle(held(1, 103));
    let status = board.status();
    assert_eq!(status.summary, Summary::Behind);
    assert_eq!((status.targets[0].missing_there, status.targets[0].missing_here), (Missing::AtMost(3), Missing::Unknown));
    let line = "peer 01010101: behind; at most 3 operation(s) missing there, an unknown number of operations missing here";
    assert_eq!(status.targets[0].to_string(), line);
    board.handle(confirmed(peer(1), 1));
    assert!(board.status().is_synced());
}

#[test]
fn a_confirmation_that_comes_late_is_of_what_was() {
    let board = board([StatusInput::Reachable(peer(1)), held(1, 101), confirmed(peer(1), 0)]);
    assert_eq!(board.status().targets[0].state, TargetState::Behind);
    assert_eq!(board.status().targets[0].missing_there, Missing::AtMost(101));
}

#[test]
fn who_shows_another_state_is_not_synced_though_it_holds_the_same() {
    let mut board = board([StatusInput::Reachable(peer(1)), confirmed(peer(1), 0)]);
    assert!(board.status().is_synced());
    board.handle(StatusInput::Failed { target: peer(1), failure: SyncFailure::DataCorruption { node: None } });
    assert!(!board.status().is_synced());
    board.handle(StatusInput::Reachable(peer(1)));
    assert!(!board.status().is_synced(), "until it says so anew");
}

#[test]
fn what_is_cleared_has_not_failed_any_more() {
    let mut board = board([StatusInput::Reachable(peer(1)), confirmed(peer(1), 0)]);
    board.handle(StatusInput::Failed { target: peer(1), failure: SyncFailure::Unreachable });
    assert_eq!(board.status().targets[0].state, TargetState::Failing);
    // It says again what it has confirmed before: that is no confirmation of anything new.
    board.handle(StatusInput::Session { target: peer(1), status: session(SyncState::Synced), now_ms: 0 });
    board.handle(StatusInput::Cleared(Subject::Target { target: peer(1) }));
    let status = board.status();
    assert!(status.is_synced() && status.targets[0].failure.is_none(), "{status:#?}");
}

#[test]
fn a_plan_tells_what_is_missing() {
    let mut board = board([StatusInput::Reachable(peer(1))]);
    assert_eq!(board.status().targets[0].missing_there, Missing::Unknown);
    board.handle(StatusInput::Session { target: peer(1), status: session(SyncState::Transferring), now_ms: 0 });
    let status = board.status();
    assert_eq!(status.summary, Summary::Syncing);
    assert_eq!((status.targets[0].missing_there, status.targets[0].missing_here), (Missing::Exactly(6), Missing::Exactly(0)));
    assert_eq!(status.targets[0].sent, Progress { done: 4, total: 10 });
}

#[test]
fn what_waits_for_the_relay_is_counted() {
    let pressure = Pressure { held: 40, capacity: 4_096, behind: Some(Behind { after: 1_000, through: 1_060 }) };
    let board = board([StatusInput::Reachable(Target::Relay), StatusInput::RelayQueue(pressure)]);
    assert_eq!(board.status().targets[0].missing_there, Missing::AtMost(100));
}

#[test]
fn help_that_is_wanted_is_seen_until_it_is_given() {
    let subject = Subject::Target { target: Target::Relay };
    let case = Intervention { subject: subject.clone(), attempts: 1, failure: SyncFailure::TurnedAway };
    let failed = StatusInput::Failed { target: Target::Relay, failure: SyncFailure::TurnedAway };
    let mut board = board([StatusInput::Reachable(Target::Relay), failed, StatusInput::HelpWanted(case)]);
    let status = board.status();
    assert_eq!((status.summary, status.targets[0].state), (Summary::NeedsHelp { cases: 1 }, TargetState::Failing));
    assert!(status.to_string().contains("All data is kept. What to do: ask an owner"), "{status}");
    let json = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<DeviceStatus>(&json).unwrap(), status, "{json}");
    board.handle(StatusInput::Cleared(subject));
    board.handle(confirmed(Target::Relay, 0));
    assert!(board.status().is_synced());
}

#[test]
fn a_change_is_told_once() {
    let mut board = board([StatusInput::Reachable(peer(1))]);
    assert!(board.poll_change().is_some());
    assert_eq!(board.poll_change(), None);
    board.handle(StatusInput::Reachable(peer(1)));
    assert_eq!(board.poll_change(), None);
    board.handle(StatusInput::Unreachable(peer(1)));
    assert_eq!(board.poll_change().map(|status| status.summary), Some(Summary::Offline));
}

fn input() -> impl Strategy<Value = StatusInput> {
    let target = (0u8..4).prop_map(|number| if number == 3 { Target::Relay } else { peer(number) });
    (target, 0u8..12, 0u8..3).prop_map(|(target, kind, number)| match kind {
        0 | 1 => held(number, 100 + u64::from(number)),
        2 => StatusInput::Known(target),
        3 | 4 => StatusInput::Reachable(target),
        5 => StatusInput::Unreachable(target),
        6 => StatusInput::Forget(target),
        7 => StatusInput::Session { target, status: session(SyncState::Synced), now_ms: 0 },
        8 => StatusInput::Session { target, status: session(SyncState::Transferring), now_ms: 0 },
        9 => StatusInput::Failed { target, failure: SyncFailure::Unreachable },
        _ => confirmed(target, number),
    })
}

/// The digest a target confirmed last since it was taken up, and whether it is reachable, told from the events alone.
fn last_word(events: &[StatusInput], wanted: Target) -> (Option<[u8; 32]>, bool) {
    events.iter().fold((None, false), |(digest, reachable), event| match event {
        StatusInput::Reachable(target) if *target == wanted => (digest, true),
        StatusInput::Unreachable(target) if *target == wanted => (digest, false),
        StatusInput::Forget(target) if *target == wanted => (None, false),
        StatusInput::Confirmed { target, digest, .. } if *target == wanted => (Some(*digest), reachable),
        _ => (digest, reachable),
    })
}

#[test]
fn who_wrote_a_moment_ago_is_not_told_that_it_is_synced() {
    let known = [StatusInput::Reachable(peer(1)), StatusInput::Reachable(peer(2)), confirmed(peer(1), 0), confirmed(peer(2), 0)];
    let status = board(known.into_iter().chain([StatusInput::Unreachable(peer(2))])).status();
    assert!(status.is_synced(), "{status}");
    assert_eq!(status.clone().as_of(100), status);
    let later = status.as_of(102);
    assert_eq!((later.summary, later.operations), (Summary::Behind, 102));
    assert!(later.targets.iter().all(|target| target.missing_there == Missing::AtMost(2)), "{later}");
    assert_eq!(later.targets[1].state, TargetState::Away);
}

#[test]
fn when_whoever_syncs_has_ended_nobody_is_synced_any_more() {
    let known = [StatusInput::Reachable(peer(1)), StatusInput::Known(Target::Relay), confirmed(peer(1), 0)];
    let status = board(known).status();
    assert!(status.is_synced() && !status.has_failed(), "{status}");
    let given_up = status.clone().given_up(&SyncFailure::StoreFailed);
    assert!(given_up.has_failed(), "who was away as well: it is not known any more that it is: {given_up}");
    assert_eq!(given_up.summary, Summary::NeedsHelp { cases: 2 });
    for target in &given_up.targets {
        assert_eq!(target.failure.as_ref().map(|failure| failure.code.as_str()), Some("store_failed"));
        assert_eq!((target.missing_there, target.missing_here), (Missing::Unknown, Missing::Unknown));
    }
    assert_eq!(given_up.targets[0].last_success_ms, Some(1_000), "that stays true");
    assert!(given_up.help_wanted[0].note.message.contains("start again"), "{given_up}");
    assert_eq!(given_up.clone().given_up(&SyncFailure::StoreFailed), given_up, "nobody is asked twice");
    let begun_anew = given_up.given_up(&SyncFailure::Fault);
    assert_eq!((begun_anew.summary, begun_anew.help_wanted.len()), (Summary::Behind, 0), "that heals by itself");
    assert!(begun_anew.has_failed());
    let nobody = board([]).status().given_up(&SyncFailure::Fault);
    assert_eq!((nobody.summary, nobody.has_failed()), (Summary::LocalOnly, false));
}

proptest! {
    #[test]
    fn synced_is_said_only_of_what_is_confirmed(events in prop::collection::vec(input(), 0..60)) {
        let mut board = board([]);
        let mut now = [0; 32];
        let mut told = None;
        for (index, event) in events.iter().enumerate() {
            if let StatusInput::Held { digest, .. } = event {
                now = *digest;
            }
            board.handle(event.clone());
            let status = board.status();
            let change = board.poll_change();
            prop_assert_eq!(change.is_some(), told.as_ref() != Some(&status));
            told = change.or(told);
            for target in &status.targets {
                let (digest, reachable) = last_word(&events[..=index], target.target);
                if target.state == TargetState::Synced {
                    prop_assert!(digest == Some(now) && reachable, "{target}");
                }
                if target.missing_there == Missing::None {
                    prop_assert_eq!(digest, Some(now));
                }
            }
            if status.is_synced() {
                let reachable: Vec<_> = status.targets.iter().filter(|target| target.state != TargetState::Away).collect();
                prop_assert!(!reachable.is_empty() && reachable.iter().all(|target| target.state == TargetState::Synced));
            }
        }
    }
}
