//! Who is blamed for a segment that had to wait and is refused when what it waited for has come: whoever brought it, and not whoever brought
//! what was missing. Else a member that lies could have honest ones turned away.

use nodespace_protocol::ids::OpHash;
use nodespace_protocol::membership::Role as MemberRole;
use nodespace_protocol::op::segment::{ChainError, WireParent};
use nodespace_protocol::op::{OpType, Payload, Segment};
use nodespace_protocol::replica::{LogRange, PENDING_REFUSALS_MAX, PendingBuffer, Refusal, Replica};
use nodespace_protocol::session::{ByeCode, Message, Role, SessionError, SessionEvent};

use super::sessions::{End, end, settle};
use super::world::*;

/// An owner in the quiet with two editors; the first of these has written something that the owner has not heard of. The other one lies.
struct Company {
    owner: Device,
    /// The owner's ends.
    to_honest: End,
    to_liar: End,
    /// What waits at the owner, whoever sent it.
    pending: PendingBuffer,
    honest: Device,
    at_honest: End,
    written: OpHash,
    liar: Device,
}

fn company() -> Company {
    let mut owner = found(1);
    let mut honest = join(&mut owner, 2, MemberRole::Editor, at(1));
    let mut liar = join(&mut owner, 3, MemberRole::Editor, at(2));
    meet(&mut owner, &mut honest, at(3));
    let (mut to_honest, mut at_honest) = (end(Role::Initiator, 2), end(Role::Responder, 1));
    let (mut to_liar, mut at_liar) = (end(Role::Initiator, 3), end(Role::Responder, 1));
    to_honest.session.start(&mut owner, at(10)).unwrap();
    to_liar.session.start(&mut owner, at(10)).unwrap();
    settle((&mut to_honest, &mut owner), (&mut at_honest, &mut honest));
    settle((&mut to_liar, &mut owner), (&mut at_liar, &mut liar));
    let written = write_node(&mut honest, "word", "the truth", at(30));
    honest.commit().unwrap();
    Company { owner, to_honest, to_liar, pending: PendingBuffer::default(), honest, at_honest, written, liar }
}

impl Company {
    /// What the honest editor would write next, signed by the liar.
    fn lie(&self) -> Segment {
        let payload = Payload { node_type: Some("lies".into()), ..Payload::default() };
        let op = Pen::of(&self.honest, 2, at(40)).op(&node("lie"), OpType::Create, &payload, &[]);
        signed(&key(3), &[op])
    }

    /// What the honest editor wrote, as it is gossiped.
    fn truth(&self) -> Segment {
        self.honest.gossip(&self.written).unwrap().expect("it is its own")
    }

    /// The liar says something to the owner.
    fn liar_says(&mut self, message: &Message) -> Result<(), SessionError> {
        self.to_liar.session.receive(&message.encode(), &mut self.owner, &mut self.pending, at(50))
    }

    /// The honest editor sends what it has written, by its session.
    fn honest_sends(&mut self) {
        for frame in self.at_honest.frames(&mut self.honest) {
            self.to_honest.session.receive(&frame, &mut self.owner, &mut self.pending, at(51)).unwrap();
        }
        assert!(self.owner.view(&node("word")).is_ok(), "it is taken");
    }

    /// Nothing is held against the honest editor.
    fn honest_is_not_blamed(&mut self) {
        self.to_honest.frames(&mut self.owner);
        let events = &self.to_honest.events;
        assert!(!events.iter().any(|event| matches!(event, SessionEvent::Refused(_))), "{events:?}");
        assert!(!self.to_honest.session.is_ended());
        assert_eq!(self.pending.take_refused(&key(2).device()), []);
    }

    /// The liar was turned away with the answer `told`, for one lie.
    fn liar_is_turned_away(&mut self, told: Result<(), SessionError>) {
        assert!(matches!(told, Err(SessionError::TurnedAway(ByeCode::Malformed))), "{told:?}");
        self.to_liar.frames(&mut self.owner);
        let refused: Vec<&SessionEvent> = self.to_liar.events.iter().filter(|event| matches!(event, SessionEvent::Refused(_))).collect();
        assert!(matches!(refused.as_slice(), [SessionEvent::Refused(Refusal::Chain(ChainError::Signature { .. }))]), "{refused:?}");
    }
}

/// Something to say that changes nothing.
const WORDS: Message = Message::Done { frontier: [1; 32] };

#[test]
fn who_brings_what_a_lie_waits_for_is_not_turned_away_and_the_liar_is() {
    let mut all = company();
    let lie = Message::Segments(vec![all.lie()]);
    all.liar_says(&lie).unwrap();
    assert_eq!(all.pending.len(), 1, "what is before it is not here");
    all.honest_sends();
    all.honest_is_not_blamed();
    assert!(all.pending.is_empty());
    assert!(!all.to_liar.session.is_ended(), "it is not its turn");
    let told = all.liar_says(&WORDS);
    all.liar_is_turned_away(told);
}

#[test]
fn a_liar_that_brings_what_its_lie_waits_for_is_turned_away_at_once() {
    let mut all = company();
    let both = Message::Segments(vec![all.lie(), all.truth()]);
    let told = all.liar_says(&both);
    all.liar_is_turned_away(told);
    assert!(all.owner.view(&node("word")).is_ok(), "what is true is taken whoever brings it");
}

#[test]
fn who_gossips_what_a_lie_waits_for_is_not_blamed() {
    let mut all = company();
    let (lie, truth, [honest, liar]) = (all.lie(), all.truth(), [2, 3].map(|n| key(n).device()));
    let left = all.pending.receive(&mut all.owner, liar, lie, at(50)).unwrap();
    assert!(left.missing.is_some() && left.refused.is_empty(), "{left:?}");
    let brought = all.pending.receive(&mut all.owner, honest, truth, at(51)).unwrap();
    assert_eq!((brought.ingested.len(), brought.missing), (1, None));
    let blamed: Vec<_> = brought.refused.iter().map(|refused| (refused.from, refused.waited)).collect();
    assert_eq!(blamed, [(liar, true)]);
    all.honest_is_not_blamed();
    let told = all.liar_says(&WORDS);
    all.liar_is_turned_away(told);
}

#[test]
fn of_a_peer_that_is_gone_nothing_is_remembered() {
    let mut all = company();
    let lie = Message::Segments(vec![all.lie()]);
    all.liar_says(&lie).unwrap();
    all.honest_sends();
    all.pending.forget(&key(3).device());
    all.liar_says(&WORDS).unwrap();
    all.honest_is_not_blamed();
}

#[test]
fn of_many_lies_so_many_are_remembered_as_end_a_session() {
    let mut all = company();
    let (lie, truth, liar) = (all.lie(), all.truth(), key(3).device());
    let lies = PENDING_REFUSALS_MAX + 20;
    for number in 0..lies {
        let mut lie = lie.clone();
        lie.signature.0[..8].copy_from_slice(&(number as u64).to_le_bytes());
        all.pending.receive(&mut all.owner, liar, lie, at(50)).unwrap();
    }
    assert_eq!(all.pending.len(), lies);
    let brought = all.pending.receive(&mut all.owner, key(2).device(), truth, at(51)).unwrap();
    assert_eq!(brought.refused.len(), lies);
    assert_eq!(all.pending.take_refused(&liar).len(), PENDING_REFUSALS_MAX);
    assert_eq!(all.pending.take_refused(&liar), [], "each is told once");
}

/// The operation that a device wrote last, with parents that others wrote named by position.
fn last_of(device: &mut Device, n: u8) -> Segment {
    device.commit().unwrap();
    let through = device.logs().get(&log(n)).unwrap().last_seq();
    let range = LogRange { log: log(n), branch: 0, after: through - 1, through };
    device.segment(&range, true, &|_| u64::MAX).unwrap().expect("it is its own")
}

/// The liar writes its log in two places, and on one of them about something that the owner has not heard of. Who brings that is not told
/// to have a forked log.
#[test]
fn a_fork_that_comes_to_light_by_what_another_brings_is_found_in_the_log_that_is_forked() {
    let mut all = company();
    let copy = || Replica::open(all.owner.workspace(), all.liar.store().clone(), Some(author(3)), at(35)).unwrap();
    let (mut left, mut right) = (copy(), copy());
    write_node(&mut left, "left", "in one place", at(40));
    take(&mut right, &all.truth(), at(41));
    right.set_text(at(42), &node("word"), "the truth, in the other place").unwrap().expect("it changes");
    take(&mut all.owner, &last_of(&mut left, 3), at(50));
    let second = Message::Segments(vec![last_of(&mut right, 3)]);
    all.liar_says(&second).unwrap();
    assert_eq!(all.pending.len(), 1, "what it is about is not here");
    all.honest_sends();
    all.honest_is_not_blamed();
    let is_fork = |event: &&SessionEvent| matches!(event, SessionEvent::ForkFound(_));
    let forks: Vec<&SessionEvent> = all.to_honest.events.iter().filter(is_fork).collect();
    assert_eq!(forks, [&SessionEvent::ForkFound(log(3))]);
}

/// A copy of a device's store writes a node, and somebody hears of it.
fn branch(device: &Device, to: &mut Device, name: &str) -> Vec<Segment> {
    let mut copy = Replica::open(to.workspace(), device.store().clone(), Some(author(2)), at(35)).unwrap();
    write_node(&mut copy, name, name, at(40));
    let branch = segments(&mut copy, to);
    for segment in &branch {
        take(to, segment, at(50));
    }
    branch
}

#[test]
fn a_parent_that_is_another_one_on_this_branch_of_a_fork_is_nobodys_lie() {
    let mut owner = found(1);
    let mut editor = join(&mut owner, 2, MemberRole::Editor, at(10));
    let mut third = join(&mut owner, 3, MemberRole::Editor, at(12));
    write_node(&mut editor, "common", "all have this", at(20));
    meet(&mut owner, &mut editor, at(30));
    meet(&mut owner, &mut third, at(31));
    let left = branch(&editor, &mut owner, "left");
    branch(&editor, &mut third, "right");
    // The owner builds on what it holds, and takes the third device for one that holds the same.
    owner.set_text(at(70), &node("left"), "left, and more").unwrap().expect("it changes");
    let placed = last_of(&mut owner, 1);
    assert!(matches!(placed.ops[0].parents.as_slice(), [WireParent::At(position)] if position.log == log(2)), "{placed:?}");
    let mut pending = PendingBuffer::default();
    let received = pending.receive(&mut third, key(1).device(), placed, at(80)).unwrap();
    assert!(received.refused.is_empty() && received.missing.is_some(), "{received:?}");
    // Who knows of the fork spells the hash out.
    for segment in &left {
        take(&mut third, segment, at(81));
    }
    assert_eq!(exchange(&mut third, &mut owner, at(82)), []);
    assert_eq!(exchange(&mut owner, &mut third, at(83)), []);
    assert_eq!(third.view(&node("left")).unwrap().content, "left, and more");
}
