//! One step of a session, where the replica is.

use std::sync::{Mutex, PoisonError};

use nodespace_protocol::DecodeError;
use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::replica::{PendingBuffer, Replica};
use nodespace_protocol::session::message::Message;
use nodespace_protocol::session::{Session, SessionError, SessionEvent, SyncStatus};
use nodespace_protocol::store::Store;

/// What the protocol says of a peer whose greeting took too long.
pub(super) const GREETING_TOO_SLOW: &str = "the greeting took too long";

/// What is to be done.
#[derive(Debug)]
pub(super) enum Step {
    Start,
    Message(Message),
    Malformed(DecodeError),
    Poll,
    Timeout,
    Tell,
    Release,
    Compare,
    Close,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    /// To be sent, in order.
    pub(super) messages: Vec<Message>,
    pub(super) events: Vec<SessionEvent>,
    pub(super) status: SyncStatus,
    /// What the peer said changed something that words alone do not change: operations came that were not here, ours were acknowledged
    /// that were not, or it holds what is held here and did not before. Plans, comparisons and greetings pay for nothing.
    pub(super) useful: bool,
    /// There is more to send than there was room for.
    pub(super) more: bool,
    /// Operations of others wait to be forwarded.
    pub(super) holds_back: bool,
    /// The peer was told what is held here.
    pub(super) told: bool,
    /// The peer has shown the state that is here.
    pub(super) agreed: bool,
    pub(super) timeout: Option<Timestamp>,
    /// It is over. What is to be sent may still be sent.
    pub(super) error: Option<SessionError>,
}

/// Does a step, and asks for at most `room` messages.
pub(super) fn run<S: Store>(
    session: &mut Session,
    step: Step,
    replica: &mut Replica<S>,
    pending: &Mutex<PendingBuffer>,
    room: usize,
    now: Timestamp,
) -> Outcome {
    let told = matches!(step, Step::Tell);
    let under_way = session.unacknowledged();
    let mut error = carry_out(session, step, replica, pending, now).err();
    // Before anything else is sent, which would be under way as well.
    let acknowledged = session.unacknowledged() < under_way;
    let mut messages = Vec::new();
    // After an error, too: there may be a goodbye.
    while messages.len() < room {
        match session.poll_message(replica) {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => break,
            Err(failure) => {
                error = error.or(Some(failure));
                break;
            }
        }
    }
    let events: Vec<SessionEvent> = std::iter::from_fn(|| session.poll_event()).collect();
    let brought = |event: &SessionEvent| matches!(event, SessionEvent::Received { .. } | SessionEvent::Synced { .. });
    Outcome {
        more: messages.len() == room,
        useful: acknowledged || events.iter().any(brought),
        messages,
        events,
        status: session.status(replica),
        holds_back: session.holds_back(),
        told,
        agreed: session.has_agreed(),
        timeout: session.next_timeout(),
        error,
    }
}

fn carry_out<S: Store>(
    session: &mut Session,
    step: Step,
    replica: &mut Replica<S>,
    pending: &Mutex<PendingBuffer>,
    now: Timestamp,
) -> Result<(), SessionError> {
    match step {
        Step::Start => session.start(replica, now),
        Step::Message(message) => {
            let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
            session.handle(message, replica, &mut pending, now)
        }
        Step::Malformed(error) => Err(session.refuse_frame(error)),
        Step::Poll => Ok(()),
        Step::Timeout => session.handle_timeout(replica, now),
        Step::Tell => {
            session.tell(replica);
            Ok(())
        }
        Step::Release => session.release(replica),
        Step::Compare => {
            session.compare(replica, now);
            Ok(())
        }
        Step::Close => {
            session.close();
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use nodespace_protocol::conflict::Policy;
    use nodespace_protocol::crypto::KeyPair;
    use nodespace_protocol::ids::{DeviceId, LogId, NodeId};
    use nodespace_protocol::membership::{Certificate, WorkspaceAction};
    use nodespace_protocol::replica::{Author, Founding, NewNode};
    use nodespace_protocol::session::message::{Credential, Range, RangeContent};
    use nodespace_protocol::session::{Role, SessionConfig};
    use nodespace_protocol::store::MemoryStore;

    use super::*;

    const NOW: Timestamp = Timestamp::from_ms(1_800_000_000_000);
    const SECRET: [u8; 32] = [9; 32];

    fn key(number: u8) -> KeyPair {
        KeyPair::from_seed(&[number; 32])
    }

    /// Device 2 is another device of the user whose device 1 is.
    fn certificate(device: u8) -> Certificate {
        Certificate::issue(&key(101), key(device).device())
    }

    /// Device 1's end of a session with device 2.
    struct End {
        replica: Replica<MemoryStore>,
        session: Session,
        pending: Mutex<PendingBuffer>,
    }

    impl End {
        fn new() -> Self {
            let founding = Founding { name: "test".into(), policy: Policy::default(), secret: SECRET };
            let author = Author { key: key(1), epoch: 1 };
            let mut replica = Replica::found(MemoryStore::new(), author, certificate(1), founding, NOW).unwrap();
            replica.change_workspace(NOW, WorkspaceAction::AddDevice { certificate: certificate(2) }).unwrap();
            replica.create(NOW, NewNode::text(NodeId::parse("page").unwrap(), None, "hello")).unwrap();
            replica.commit().unwrap();
            let session = Session::new(Role::Responder, key(2).device(), SessionConfig::member(1, [3; 16]), NOW);
            Self { replica, session, pending: Mutex::default() }
        }

        /// Device 2 has said hello.
        fn greeted() -> Self {
            let mut end = Self::new();
            let author = Author { key: key(2), epoch: 1 };
            let mut other = Replica::open(end.replica.workspace(), MemoryStore::new(), Some(author), NOW).unwrap();
            let config = SessionConfig { secret: Some(SECRET), ..SessionConfig::member(2, [4; 16]) };
            let mut session = Session::new(Role::Initiator, key(1).device(), config, NOW);
            session.start(&mut other, NOW).unwrap();
            let hello = session.poll_message(&mut other).unwrap().unwrap();
            assert!(!end.is_useful(hello), "anybody can begin anew");
            end
        }

        fn is_useful(&mut self, message: Message) -> bool {
            let outcome = run(&mut self.session, Step::Message(message), &mut self.replica, &self.pending, 16, NOW);
            assert!(outcome.error.is_none(), "{:?}", outcome.error);
            outcome.useful
        }
    }

    /// "I hold nothing", as a question.
    fn nothing() -> Message {
        let first = LogId { device: DeviceId([0; 32]), epoch: 0 };
        let range = Range { from: first, to: None, content: RangeContent::Entries(Vec::new()) };
        Message::Frontier { reply: false, ranges: vec![range] }
    }

    #[test]
    fn words_are_of_no_use() {
        let mut end = End::greeted();
        let words = [
            Message::Credential(Credential::Device(certificate(2))),
            Message::Summary { frontier: [1; 32], state: [1; 8], unfolded: 0 },
            nothing(),
            Message::Plan { ops: 5, bytes: 100 },
            Message::Plan { ops: u64::MAX, bytes: u64::MAX },
            Message::Segments(Vec::new()),
            Message::Done { frontier: [1; 32] },
        ];
        for message in words {
            assert!(!end.is_useful(message.clone()), "{message:?}");
        }
    }

    #[test]
    fn what_changes_something_is_of_use_once() {
        let mut end = End::greeted();
        assert!(!end.is_useful(nothing()));
        assert_eq!(end.session.unacknowledged(), 1, "it is sent what it lacks");
        let acknowledged = |frames| Message::Ack { frames, frontier: [1; 32] };
        assert!(!end.is_useful(acknowledged(0)), "nothing is acknowledged by that");
        assert!(end.is_useful(acknowledged(1)));
        assert!(!end.is_useful(acknowledged(1)), "nor by saying it again");
        let done = Message::Done { frontier: end.replica.frontier_digest() };
        assert!(end.is_useful(done.clone()), "now it holds what is here");
        assert!(!end.is_useful(done));
    }
}
