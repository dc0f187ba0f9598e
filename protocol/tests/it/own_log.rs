//! What peers say of a device's own log: a store that was set back gets its operations back before it writes, and a lie stops nobody.

use nodespace_protocol::crypto::{Purpose, Signature};
use nodespace_protocol::ids::{LogId, OpHash, WorkspaceId};
use nodespace_protocol::membership::Role as MemberRole;
use nodespace_protocol::op::Header;
use nodespace_protocol::replica::{LogClaim, NewNode, Replica, WriteError};
use nodespace_protocol::session::{ByeCode, Message, Role, SessionError, SessionEvent};
use nodespace_protocol::store::{MemoryStore, Store};

use super::sessions::{End, ahead, end, in_the_quiet, settle};
use super::world::{Device, at, author, exchange, found, join, key, log, meet, node, stranger, write_node};

/// Device `n` over a store that is what it was some time ago.
fn set_back(n: u8, workspace: WorkspaceId, store: MemoryStore) -> Device {
    Replica::open(workspace, store, Some(author(n)), at(10)).unwrap()
}

/// The header of the last operation of a log, and its hash.
fn last_of(device: &Device, log: LogId) -> (Header, OpHash) {
    let entry = device.logs().get(&log).unwrap();
    let op = device.store().op(entry.only(entry.last_seq()).unwrap()).unwrap();
    (op.header.clone(), op.hash)
}

fn claims(claims: Vec<LogClaim>) -> Vec<u8> {
    Message::Claims(claims).encode()
}

fn are_claims(frame: &[u8]) -> bool {
    matches!(Message::decode(frame), Ok(Message::Claims(_)))
}

fn may_not_write_yet(device: &mut Device) -> bool {
    device.is_own_log_behind() && matches!(device.create(at(11), NewNode::text(node("early"), None, "")), Err(WriteError::OwnLogBehind))
}

/// An owner; a member whose store was set back to when it had just joined, while the owner holds what it wrote since.
fn owner_and_set_back() -> (Device, Device) {
    let mut owner = found(1);
    let mut member = join(&mut owner, 2, MemberRole::Editor, at(1));
    let old = member.store().clone();
    write_node(&mut member, "n1", "one", at(5));
    write_node(&mut member, "n2", "two", at(6));
    meet(&mut owner, &mut member, at(7));
    let member = set_back(2, owner.workspace(), old);
    assert_eq!(member.logs().get(&log(2)).unwrap().last_seq() + 2, owner.logs().get(&log(2)).unwrap().last_seq());
    (owner, member)
}

fn times_told(end: &End) -> usize {
    end.events.iter().filter(|event| **event == SessionEvent::OwnLogBehind).count()
}

#[test]
fn a_store_that_was_set_back_gets_its_operations_back_before_it_writes() {
    let (mut a, mut b) = owner_and_set_back();
    let (mut at_a, mut at_b) = (end(Role::Initiator, 2), end(Role::Responder, 1));
    at_a.session.start(&mut a, at(10)).unwrap();
    let greeting = at_a.frames(&mut a);
    at_b.receive(&mut b, greeting);
    let answers = at_b.frames(&mut b);
    at_a.receive(&mut a, answers);
    let (said, rest) = at_a.frames(&mut a).split_first().map(|(first, rest)| (first.clone(), rest.to_vec())).unwrap();
    assert!(are_claims(&said), "before anything else");
    // The owner says so twice, before anything has come.
    at_b.receive(&mut b, vec![said.clone(), said]);
    assert!(may_not_write_yet(&mut b), "it would sign a second operation for a position");
    let answers = at_b.frames(&mut b);
    assert_eq!(times_told(&at_b), 1);
    at_b.receive(&mut b, rest);
    at_a.receive(&mut a, answers);
    settle((&mut at_a, &mut a), (&mut at_b, &mut b));
    assert!(!b.is_own_log_behind());
    write_node(&mut b, "n3", "three", at(12));
    b.commit().unwrap();
    settle((&mut at_a, &mut a), (&mut at_b, &mut b));
    assert_eq!((a.frontier_digest(), a.state_digest()), (b.frontier_digest(), b.state_digest()));
    assert!(!a.logs().get(&log(2)).unwrap().is_forked());
    assert!(!at_b.events.iter().any(|event| matches!(event, SessionEvent::FalseClaim { .. })));
}

#[test]
fn what_a_peer_proves_counts_before_it_is_known_as_a_member() {
    let mut a = found(1);
    let mut b = join(&mut a, 2, MemberRole::Editor, at(1));
    let old = b.store().clone();
    write_node(&mut b, "n1", "one", at(5));
    meet(&mut a, &mut b, at(6));
    let mut c = join(&mut a, 3, MemberRole::Viewer, at(7));
    // The third one came when the second had written what it lost: it is a stranger to it.
    let mut b = set_back(2, a.workspace(), old);
    let (mut at_c, mut at_b) = (end(Role::Initiator, 2), end(Role::Responder, 3));
    at_c.session.start(&mut c, at(10)).unwrap();
    let greeting = at_c.frames(&mut c);
    at_b.receive(&mut b, greeting);
    let question = at_b.frames(&mut b);
    assert_eq!(question.len(), 2, "a hello, and the question who it is");
    at_c.receive(&mut c, question);
    let said = at_c.frames(&mut c).swap_remove(0);
    assert!(are_claims(&said));
    at_b.receive(&mut b, vec![said]);
    assert!(may_not_write_yet(&mut b));
}

/// Claims about device 1's log in a workspace, none of which it has signed.
fn lies(a: &Device) -> Vec<(&'static str, LogClaim)> {
    let (genuine, hash) = last_of(a, log(1));
    let signature = key(1).sign(Purpose::Operation, &[&hash.0]);
    let mut header = genuine.clone();
    header.seq = 1 << 63;
    let workspace = a.workspace();
    let next_hash = header.hash(&workspace, &mut Vec::new());
    let claim = |header: &Header, signature| LogClaim { workspace, header: header.clone(), signature };
    // What the same device wrote elsewhere, in a log of the same name and further on.
    let mut other = found(3);
    let mut there = join(&mut other, 1, MemberRole::Editor, at(1));
    for number in 0..8 {
        write_node(&mut there, &format!("n{number}"), "", at(10 + number));
    }
    let (elsewhere, hash_there) = last_of(&there, log(1));
    assert!(elsewhere.seq > genuine.seq);
    let signed_there = key(1).sign(Purpose::Operation, &[&hash_there.0]);
    let mut of_another = header.clone();
    of_another.log = log(2);
    vec![
        ("its number was raised", claim(&header, signature)),
        ("another has signed it", claim(&header, key(2).sign(Purpose::Operation, &[&next_hash.0]))),
        ("it was signed for another purpose", claim(&header, key(1).sign(Purpose::Device, &[&next_hash.0]))),
        ("nobody has signed it", claim(&header, Signature([0; 64]))),
        ("it is of another workspace", LogClaim { workspace: other.workspace(), ..claim(&elsewhere, signed_there) }),
        ("it is of another workspace, and says otherwise", claim(&elsewhere, signed_there)),
        ("it is about another device", claim(&of_another, key(2).sign(Purpose::Operation, &[&next_hash.0]))),
    ]
}

#[test]
fn who_claims_without_proof_is_turned_away_and_stops_nobody_from_writing() {
    let ((_, founder), _) = in_the_quiet();
    for (what, lie) in lies(&founder) {
        let ((mut at_a, mut a), _) = in_the_quiet();
        let before = a.frontier_digest();
        let seq = lie.header.seq;
        let told = at_a.session.receive(&claims(vec![lie]), &mut a, &mut at_a.pending, at(20));
        assert!(matches!(told, Err(SessionError::TurnedAway(ByeCode::Malformed))), "{what}: {told:?}");
        let farewell: Vec<Message> = at_a.frames(&mut a).iter().map(|frame| Message::decode(frame).unwrap()).collect();
        assert!(matches!(farewell.as_slice(), [Message::Bye { code: ByeCode::Malformed, .. }]), "{what}: {farewell:?}");
        assert!(at_a.events.contains(&SessionEvent::FalseClaim { seq }) && times_told(&at_a) == 0, "{what}: {:?}", at_a.events);
        assert!(!a.is_own_log_behind(), "{what}");
        write_node(&mut a, "n1", "written all the same", at(21));
        assert_ne!(a.frontier_digest(), before);
    }
}

#[test]
fn a_position_alone_is_no_claim() {
    let ((mut at_a, mut a), _) = in_the_quiet();
    at_a.receive(&mut a, vec![ahead(log(1), 1 << 63).encode()]);
    assert!(!a.is_own_log_behind());
    write_node(&mut a, "n1", "written all the same", at(21));
}

#[test]
fn what_is_true_and_known_is_no_news() {
    let ((mut at_a, mut a), _) = in_the_quiet();
    let (header, hash) = last_of(&a, log(1));
    let known = LogClaim { workspace: a.workspace(), header, signature: key(1).sign(Purpose::Operation, &[&hash.0]) };
    // Of an epoch that is over nothing is lost: it is not written to any more.
    let mut of_before = known.clone();
    (of_before.header.log.epoch, of_before.header.seq) = (5, 1 << 40);
    at_a.receive(&mut a, vec![claims(vec![known, of_before])]);
    at_a.frames(&mut a);
    assert!(times_told(&at_a) == 0 && !a.is_own_log_behind());
}

/// A genesis names no workspace, and one device writes logs of one epoch in all its workspaces.
#[test]
fn the_beginning_of_another_workspace_proves_nothing_here() {
    let elsewhere = found(2);
    let (header, hash) = last_of(&elsewhere, log(2));
    assert!(header.is_genesis());
    let mut a = found(1);
    let mut b = stranger(2, a.workspace());
    exchange(&mut a, &mut b, at(5));
    let (mut at_a, mut at_b) = (end(Role::Initiator, 2), end(Role::Responder, 1));
    at_a.session.start(&mut a, at(10)).unwrap();
    let hello = at_a.frames(&mut a);
    at_b.receive(&mut b, hello);
    let claim = LogClaim { workspace: elsewhere.workspace(), header, signature: key(2).sign(Purpose::Operation, &[&hash.0]) };
    let told = at_b.session.receive(&claims(vec![claim]), &mut b, &mut at_b.pending, at(20));
    assert!(matches!(told, Err(SessionError::TurnedAway(ByeCode::Malformed))), "{told:?}");
    assert!(!b.is_own_log_behind());
}
