//! Sessions that go on: what is heard from a third device, what a comparison in the quiet is answered, and who is not believed.

use nodespace_protocol::ids::{DeviceId, LogId, OpHash};
use nodespace_protocol::log::Head;
use nodespace_protocol::log::frontier::FrontierEntry;
use nodespace_protocol::membership::Role as MemberRole;
use nodespace_protocol::replica::PendingBuffer;
use nodespace_protocol::session::message::{Range, RangeContent};
use nodespace_protocol::session::{Message, Role, Session, SessionConfig, SessionEvent, SyncState};

use super::world::{Device, at, exchange, found, join, key, log, meet, write_node};

/// One end of a session: the replica is lent for each step.
pub(crate) struct End {
    pub(crate) session: Session,
    pub(crate) pending: PendingBuffer,
    pub(crate) events: Vec<SessionEvent>,
}

pub(crate) fn end(role: Role, peer: u8) -> End {
    let session = Session::new(role, key(peer).device(), SessionConfig::member(1, [peer; 16]), at(10)).holding(true);
    End { session, pending: PendingBuffer::default(), events: Vec::new() }
}

impl End {
    /// Everything that is to be sent now.
    pub(crate) fn frames(&mut self, replica: &mut Device) -> Vec<Vec<u8>> {
        let frames = std::iter::from_fn(|| self.session.poll_frame(replica).unwrap()).collect();
        self.events.extend(std::iter::from_fn(|| self.session.poll_event()));
        frames
    }

    pub(crate) fn receive(&mut self, replica: &mut Device, frames: Vec<Vec<u8>>) {
        for frame in frames {
            self.session.receive(&frame, replica, &mut self.pending, at(20)).unwrap();
        }
    }

    pub(crate) fn state(&self, replica: &Device) -> SyncState {
        self.session.status(replica).state
    }
}

/// Both ends talk until neither has anything to say.
pub(crate) fn settle(one: (&mut End, &mut Device), other: (&mut End, &mut Device)) {
    let ((one, a), (other, b)) = (one, other);
    loop {
        let there = one.frames(a);
        other.receive(b, there.clone());
        let back = other.frames(b);
        one.receive(a, back.clone());
        if there.is_empty() && back.is_empty() {
            return;
        }
    }
}

/// Two devices that have said all they have to say.
pub(crate) fn in_the_quiet() -> ((End, Device), (End, Device)) {
    let mut a = found(1);
    let mut b = join(&mut a, 2, MemberRole::Editor, at(1));
    meet(&mut a, &mut b, at(3));
    let (mut at_a, mut at_b) = (end(Role::Initiator, 2), end(Role::Responder, 1));
    at_a.session.start(&mut a, at(10)).unwrap();
    settle((&mut at_a, &mut a), (&mut at_b, &mut b));
    ((at_a, a), (at_b, b))
}

#[test]
fn what_a_peer_said_first_confirms_what_comes_from_a_third_one_later() {
    let mut a = found(1);
    let mut b = join(&mut a, 2, MemberRole::Editor, at(1));
    let mut c = join(&mut a, 3, MemberRole::Editor, at(2));
    meet(&mut a, &mut b, at(3));
    let (mut at_a, mut at_b) = (end(Role::Initiator, 2), end(Role::Responder, 1));
    at_a.session.start(&mut a, at(10)).unwrap();
    settle((&mut at_a, &mut a), (&mut at_b, &mut b));
    assert_eq!(at_b.state(&b), SyncState::Synced);
    // The third one's word reaches the first, which tells the second what it holds now.
    write_node(&mut c, "n1", "heard by the first one first", at(11));
    assert_eq!(exchange(&mut c, &mut a, at(12)), []);
    assert_eq!(at_a.frames(&mut a), Vec::<Vec<u8>>::new(), "what others wrote is held back");
    at_a.session.tell(&a);
    let told = at_a.frames(&mut a);
    at_b.receive(&mut b, told);
    at_b.frames(&mut b);
    assert_ne!(at_b.state(&b), SyncState::Synced, "the second one lacks something");
    // Then it reaches the second one, from the third: nobody will say anything more.
    at_b.events.clear();
    assert_eq!(exchange(&mut c, &mut b, at(13)), []);
    at_b.frames(&mut b);
    assert_eq!(at_b.state(&b), SyncState::Synced, "the first one has said that it holds exactly this");
    assert_eq!(at_b.events, [SessionEvent::Synced { frontier: b.frontier_digest() }]);
    // And what is written since is not confirmed by it.
    write_node(&mut b, "n2", "new", at(14));
    b.commit().unwrap();
    at_b.frames(&mut b);
    assert_ne!(at_b.state(&b), SyncState::Synced);
}

#[test]
fn a_comparison_in_the_quiet_is_answered() {
    let ((mut at_a, mut a), (mut at_b, mut b)) = in_the_quiet();
    at_a.session.compare(&mut a, at(30));
    let asked = at_a.frames(&mut a);
    assert_eq!(asked.len(), 1);
    at_b.receive(&mut b, asked);
    let answer = at_b.frames(&mut b);
    assert_eq!(answer.len(), 1, "whoever compares waits for a word");
    at_a.receive(&mut a, answer);
    assert_eq!(at_a.state(&a), SyncState::Synced);
    assert_eq!(at_a.frames(&mut a), Vec::<Vec<u8>>::new(), "and has nothing to say to it");
}

#[test]
fn who_showed_another_state_is_not_synced_in_this_session_whatever_it_says_later() {
    let ((mut at_a, mut a), (at_b, _)) = in_the_quiet();
    assert!(at_a.session.has_agreed() && at_b.session.has_agreed());
    at_a.events.clear();
    let (frontier, mut state) = (a.frontier_digest(), [0; 8]);
    state.copy_from_slice(&a.state_digest()[..8]);
    state[0] ^= 1;
    let summary = Message::Summary { frontier, state, unfolded: 0 }.encode();
    let done = Message::Done { frontier }.encode();
    at_a.receive(&mut a, vec![summary.clone(), done, summary]);
    at_a.frames(&mut a);
    assert_eq!(at_a.events, [SessionEvent::Diverged], "told once");
    assert_eq!(at_a.state(&a), SyncState::Behind);
    assert!(!at_a.session.has_agreed());
}

/// Says of one log that it is held up to a position; of all others that they are equal.
pub(crate) fn ahead(log: LogId, seq: u64) -> Message {
    let entries = vec![FrontierEntry { log, heads: vec![Head { seq, hash: OpHash([7; 32]) }] }];
    let first = LogId { device: DeviceId([0; 32]), epoch: 0 };
    Message::Frontier { reply: true, ranges: vec![Range { from: first, to: None, content: RangeContent::Entries(entries) }] }
}

#[test]
fn a_plan_is_shown_as_far_as_it_can_be_true() {
    let ((mut at_a, mut a), _) = in_the_quiet();
    let mut shown = |message: Message| {
        at_a.receive(&mut a, vec![message.encode()]);
        let status = at_a.session.status(&a);
        (status.receive_ops, status.state)
    };
    let all = Message::Plan { ops: u64::MAX, bytes: u64::MAX };
    assert_eq!(shown(all.clone()), (0, SyncState::Synced), "it holds nothing that is not here, as it has said itself");
    shown(ahead(log(2), 1_000));
    assert_eq!(shown(Message::Plan { ops: 3, bytes: 90 }).0, 3);
    assert_eq!(shown(all.clone()).0, 1_000, "not more than it said to hold");
    shown(ahead(log(2), u64::MAX));
    assert_eq!(shown(all).0, u64::from(u32::MAX), "nor more than a device can hold");
}
