//! Replicas end to end, over sessions in memory.

mod audit;
mod paging;

use crate::clock::Timestamp;
use crate::conflict::{ConflictType, Policy, ResolutionStrategy};
use crate::crypto::KeyPair;
use crate::ids::NodeId;
use crate::membership::{Certificate, Role};
use crate::replica::{Author, Choice, Founding, NewNode, PendingBuffer, Replica};
use crate::session::{self, Session, SessionConfig, SessionEvent, SyncState};
use crate::store::{Checkpoint, MemoryStore, Store as _, StoreError};
use crate::text::TextPatch;
use crate::tree::Position;

type Device = Replica<MemoryStore>;

fn key(n: u8) -> KeyPair {
    KeyPair::from_seed(&[n; 32])
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(1_000_000 + ms)
}

fn id(text: &str) -> NodeId {
    NodeId::parse(text).unwrap()
}

fn author(n: u8) -> Author {
    Author { key: key(n), epoch: u32::from(n) }
}

fn found(policy: Policy) -> Device {
    let certificate = Certificate::issue(&key(101), key(1).device());
    let founding = Founding { name: "test".into(), policy, secret: [9; 32] };
    let mut replica = Replica::found(MemoryStore::new(), author(1), certificate, founding, at(0)).unwrap();
    replica.commit().unwrap();
    replica
}

/// Bytes each way and the number of times the direction turned.
#[derive(Debug, Default)]
struct Talk {
    bytes: [usize; 2],
    turns: usize,
    events: [Vec<SessionEvent>; 2],
}

fn talk(a: &mut Device, b: &mut Device, now: Timestamp, configs: [SessionConfig; 2]) -> (Talk, [SyncState; 2]) {
    let [config_a, config_b] = configs;
    let mut sessions = [
        Session::new(session::Role::Initiator, b.device().unwrap(), config_a, now),
        Session::new(session::Role::Responder, a.device().unwrap(), config_b, now),
    ];
    let mut pending = [PendingBuffer::default(), PendingBuffer::default()];
    let mut talk = Talk::default();
    let replicas = [a, b];
    sessions[0].start(replicas[0], now).unwrap();
    loop {
        let mut moved = false;
        for from in 0..2 {
            let mut frames = Vec::new();
            while let Some(frame) = sessions[from].poll_frame(replicas[from]).unwrap() {
                frames.push(frame);
            }
            talk.turns += usize::from(!frames.is_empty());
            for frame in frames {
                moved = true;
                talk.bytes[from] += frame.len();
                sessions[1 - from].receive(&frame, replicas[1 - from], &mut pending[1 - from], now).unwrap();
            }
            while let Some(event) = sessions[from].poll_event() {
                talk.events[from].push(event);
            }
        }
        if !moved {
            break;
        }
        assert!(talk.turns < 1000, "the session does not come to rest");
    }
    for (session, events) in sessions.iter_mut().zip(&mut talk.events) {
        events.extend(std::iter::from_fn(|| session.poll_event()));
    }
    let states = [sessions[0].status(replicas[0]).state, sessions[1].status(replicas[1]).state];
    (talk, states)
}

fn sync(a: &mut Device, b: &mut Device, now: Timestamp) -> Talk {
    let (talk, states) = talk(a, b, now, [SessionConfig::member(1, [1; 16]), SessionConfig::member(2, [2; 16])]);
    assert_eq!(states, [SyncState::Synced; 2], "{talk:?}");
    assert_eq!(a.state_digest(), b.state_digest());
    talk
}

fn join(member: &mut Device, n: u8, now: Timestamp, role: Role) -> Device {
    let ticket = member.invite(now, &key(200 + n % 50), role, now.plus_ms(10_000), 1).unwrap();
    member.commit().unwrap();
    let certificate = Certificate::issue(&key(100 + n), key(n).device());
    let mut joiner = Replica::open(ticket.workspace, MemoryStore::new(), Some(author(n)), now).unwrap();
    let config = SessionConfig::joiner(3, [3; 16], &ticket, certificate);
    let (_, states) = talk(&mut joiner, member, now, [config, SessionConfig::member(4, [4; 16])]);
    assert_eq!(states, [SyncState::Synced; 2]);
    joiner.join(now, &ticket, certificate).unwrap();
    joiner.commit().unwrap();
    sync(&mut joiner, member, now);
    joiner
}

#[test]
fn three_join_write_and_agree() {
    let mut a = found(Policy::default());
    let mut b = join(&mut a, 2, at(10), Role::Editor);
    let mut c = join(&mut a, 3, at(20), Role::Editor);
    a.create(at(30), NewNode::text(id("n1"), None, "hello world")).unwrap();
    a.create(at(31), NewNode::text(id("n2"), Some(id("n1")), "child")).unwrap();
    a.commit().unwrap();
    sync(&mut a, &mut b, at(40));
    sync(&mut b, &mut c, at(50));
    assert_eq!(c.node(&id("n1")).unwrap().unwrap().content(), "hello world");
    assert_eq!(c.tree().children(Some(&id("n1"))), vec![id("n2")]);
    // Typed at once by two.
    b.edit_text(at(60), &id("n1"), vec![TextPatch::new(0, 0, "B: ")]).unwrap();
    c.edit_text(at(61), &id("n1"), vec![TextPatch::new(11, 0, " from C")]).unwrap();
    c.move_node(at(62), &id("n2"), None, &Position::First).unwrap();
    b.commit().unwrap();
    c.commit().unwrap();
    sync(&mut b, &mut c, at(70));
    sync(&mut a, &mut c, at(80));
    assert_eq!(a.node(&id("n1")).unwrap().unwrap().content(), "B: hello world from C");
    sync(&mut a, &mut b, at(90));
    assert!(a.conflicts().unwrap().is_empty());
    let reopened = Replica::open(a.workspace(), a.store().clone(), Some(author(1)), at(95)).unwrap();
    let digest = a.state_digest();
    let mut reopened = reopened;
    assert_eq!(reopened.state_digest(), digest);
    a.checkpoint().unwrap();
    let mut from_checkpoint = Replica::open(a.workspace(), a.store().clone(), Some(author(1)), at(95)).unwrap();
    assert_eq!(from_checkpoint.state_digest(), digest);
    from_checkpoint.edit_text(at(99), &id("n1"), vec![TextPatch::new(0, 1, "")]).unwrap();
    from_checkpoint.commit().unwrap();
    sync(&mut from_checkpoint, &mut b, at(100));
}

#[test]
fn equal_replicas_need_one_round_trip_of_less_than_200_bytes() {
    let mut a = found(Policy::default());
    let mut b = join(&mut a, 2, at(10), Role::Editor);
    let talk = sync(&mut a, &mut b, at(20));
    assert!(talk.bytes[0] < 200 && talk.bytes[1] < 200, "{talk:?}");
    assert!(talk.turns <= 3, "{talk:?}");
}

#[test]
fn a_conflict_is_found_shown_and_resolved_by_an_operation() {
    for strategy in ResolutionStrategy::ALL {
        let mut a = found(Policy::default().with(ConflictType::ConcurrentEdit, strategy));
        let mut b = join(&mut a, 2, at(10), Role::Editor);
        a.create(at(20), NewNode::text(id("n"), None, "one two three")).unwrap();
        a.commit().unwrap();
        sync(&mut a, &mut b, at(30));
        a.set_text(at(40), &id("n"), "one TWO three").unwrap();
        b.set_text(at(41), &id("n"), "one 2 three").unwrap();
        a.commit().unwrap();
        b.commit().unwrap();
        sync(&mut a, &mut b, at(50));
        let found = a.conflicts().unwrap();
        assert_eq!(found.len(), 1, "{strategy:?}");
        assert_eq!(found, b.conflicts().unwrap());
        assert_eq!(found[0].conflict.is_open(), strategy.leaves_open());
        let choice = Choice::Text("one two (2) three".into());
        a.resolve_conflict(at(60), &id("n"), found[0].conflict.id, choice).unwrap();
        a.commit().unwrap();
        sync(&mut a, &mut b, at(70));
        assert_eq!(b.node(&id("n")).unwrap().unwrap().content(), "one two (2) three");
        let after = b.conflicts().unwrap();
        assert!(matches!(after[0].conflict.status, crate::conflict::ConflictStatus::Resolved(_)), "{after:?}");
    }
}

#[test]
fn what_a_removed_device_does_without_knowing_is_void() {
    let mut a = found(Policy::default());
    let mut b = join(&mut a, 2, at(10), Role::Editor);
    let mut c = join(&mut a, 3, at(11), Role::Editor);
    b.create(at(20), NewNode::text(id("seen"), None, "seen")).unwrap();
    b.commit().unwrap();
    sync(&mut a, &mut b, at(30));
    sync(&mut a, &mut c, at(31));
    let user = a.membership().user(&key(2).device()).unwrap();
    a.remove_member(at(40), user).unwrap();
    a.commit().unwrap();
    b.set_text(at(41), &id("seen"), "seen and changed").unwrap();
    b.create(at(42), NewNode::text(id("unseen"), None, "unseen")).unwrap();
    b.commit().unwrap();
    // C hears from B first, then of the removal.
    sync(&mut b, &mut c, at(50));
    assert_eq!(c.node(&id("seen")).unwrap().unwrap().content(), "seen and changed");
    sync(&mut a, &mut c, at(60));
    assert_eq!(c.node(&id("seen")).unwrap().unwrap().content(), "seen");
    assert!(c.node(&id("unseen")).unwrap().is_none());
    assert_eq!(a.frontier_digest(), c.frontier_digest());
}

#[test]
fn date_nodes_made_twice_are_one() {
    let mut a = found(Policy::default());
    let mut b = join(&mut a, 2, at(10), Role::Editor);
    a.create(at(20), NewNode::text(id("2025-08-30"), None, "")).unwrap();
    b.create(at(21), NewNode::text(id("2025-08-30"), None, "")).unwrap();
    a.edit_text(at(30), &id("2025-08-30"), vec![TextPatch::new(0, 0, "from a. ")]).unwrap();
    b.edit_text(at(31), &id("2025-08-30"), vec![TextPatch::new(0, 0, "from b. ")]).unwrap();
    a.commit().unwrap();
    b.commit().unwrap();
    sync(&mut a, &mut b, at(40));
    let text = a.node(&id("2025-08-30")).unwrap().unwrap().content().to_owned();
    assert!(text.contains("from a. ") && text.contains("from b. "), "{text}");
    assert_eq!(a.tree().children(None), vec![id("2025-08-30")]);
}

#[test]
fn a_fork_keeps_both_branches_and_is_proved() {
    let mut a = found(Policy::default());
    let mut b = join(&mut a, 2, at(10), Role::Editor);
    let mut c = join(&mut a, 3, at(11), Role::Editor);
    b.create(at(12), NewNode::text(id("base"), None, "base")).unwrap();
    b.commit().unwrap();
    sync(&mut a, &mut b, at(13));
    sync(&mut c, &mut a, at(14));
    let mut clone = Replica::open(b.workspace(), b.store().clone(), Some(author(2)), at(15)).unwrap();
    for n in 0..5 {
        b.create(at(20 + n), NewNode::text(id(&format!("b{n}")), None, "b")).unwrap();
        clone.create(at(30 + n), NewNode::text(id(&format!("c{n}")), None, "c")).unwrap();
    }
    b.commit().unwrap();
    clone.commit().unwrap();
    sync(&mut a, &mut b, at(50));
    sync(&mut c, &mut clone, at(51));
    sync(&mut a, &mut c, at(60));
    assert!(a.node(&id("c4")).unwrap().is_some() && c.node(&id("b4")).unwrap().is_some());
    let proofs = a.fork_proofs().unwrap();
    assert_eq!(proofs.len(), 1);
    assert_eq!(proofs[0].verify(&a.workspace()), Ok(()));
    let mut reopened = Replica::open(a.workspace(), a.store().clone(), Some(author(1)), at(95)).unwrap();
    assert_eq!(reopened.state_digest(), a.state_digest());
    assert_eq!(reopened.frontier_digest(), a.frontier_digest());
}

#[test]
fn the_future_is_held_back_and_then_takes_effect() {
    let mut a = found(Policy::default());
    let mut b = join(&mut a, 2, at(10), Role::Editor);
    b.create(at(500_000), NewNode::text(id("future"), None, "x")).unwrap();
    b.commit().unwrap();
    let (_, states) = talk(&mut a, &mut b, at(20), [SessionConfig::member(1, [1; 16]), SessionConfig::member(2, [2; 16])]);
    assert_eq!(states, [SyncState::Synced; 2]);
    assert!(a.node(&id("future")).unwrap().is_none());
    assert_eq!(a.counts().held, 1);
    a.create(at(21), NewNode::text(id("now"), None, "y")).unwrap();
    assert!(a.node(&id("now")).unwrap().unwrap().modified().unwrap().timestamp < at(30), "our clock is not dragged");
    a.tick(at(500_000)).unwrap();
    assert!(a.node(&id("future")).unwrap().is_some());
}

#[test]
fn a_damaged_checkpoint_costs_a_fold_and_nothing_else() {
    let mut a = found(Policy::default());
    a.create(at(10), NewNode::text(id("n"), None, "text")).unwrap();
    a.checkpoint().unwrap();
    let digest = a.state_digest();
    let store = a.store().clone();
    let records = store.checkpoint().unwrap().unwrap();
    let mut saver = store.saver();
    // A node's state is looked at when it is asked for: then the answer is an error, and opening anew the way out.
    let nodes = vec![(id("n"), [0xff; 9].into())];
    saver.save(Checkpoint { records, nodes, ..Checkpoint::default() }).unwrap();
    let reopened = Replica::open(a.workspace(), store.clone(), Some(author(1)), at(20)).unwrap();
    assert!(matches!(reopened.node(&id("n")), Err(StoreError::Corrupt { .. })));
    assert!(reopened.view(&id("n")).is_err());
    let mut anew = Replica::open_anew(a.workspace(), store.clone(), Some(author(1)), at(20)).unwrap();
    assert_eq!(anew.state_digest(), digest);
    anew.checkpoint().unwrap();
    let healed = Replica::open(a.workspace(), anew.into_store(), Some(author(1)), at(30)).unwrap();
    assert_eq!(healed.node(&id("n")).unwrap().unwrap().content(), "text");
    // Any part that is damaged is noticed when it is opened.
    let mut parts = Vec::new();
    store.parts(&mut |key, bytes| parts.push((key, bytes.to_vec()))).unwrap();
    for (key, bytes) in parts {
        for damaged in [Vec::new(), vec![0xff; 9], [&bytes[..], &[0]].concat()] {
            let store = store.clone();
            let nodes = a.node(&id("n")).unwrap().map(|state| (id("n"), crate::fold::record::encode(&state, None).into()));
            let parts = vec![(key, damaged.clone())];
            store.saver().save(Checkpoint { records, parts, nodes: nodes.into_iter().collect(), whole: false }).unwrap();
            let mut reopened = Replica::open(a.workspace(), store, Some(author(1)), at(20)).unwrap();
            assert_eq!(reopened.state_digest(), digest, "part {key:?} as {damaged:?}");
            assert_eq!(reopened.audit().unwrap(), []);
        }
    }
}

#[test]
fn a_device_whose_clock_is_far_behind_can_join_and_write() {
    let mut a = found(Policy::default());
    let ticket = a.invite(at(600_000), &key(200), Role::Editor, at(900_000), 1).unwrap();
    a.commit().unwrap();
    let certificate = Certificate::issue(&key(102), key(2).device());
    let mut b = Replica::open(ticket.workspace, MemoryStore::new(), Some(author(2)), at(0)).unwrap();
    let config = SessionConfig::joiner(3, [3; 16], &ticket, certificate);
    talk(&mut b, &mut a, at(600_000), [config, SessionConfig::member(4, [4; 16])]);
    b.join(at(1), &ticket, certificate).unwrap();
    b.create(at(2), NewNode::text(id("late"), None, "x")).unwrap();
    b.commit().unwrap();
    sync(&mut b, &mut a, at(600_010));
    assert!(a.node(&id("late")).unwrap().is_some());
}
