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
    /// What the peer said brought something.
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
    let chatter = matches!(&step, Step::Message(message) if super::is_chatter(message));
    let acknowledged = matches!(&step, Step::Message(Message::Ack { .. })) && session.has_unacknowledged();
    let mut error = carry_out(session, step, replica, pending, now).err();
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
    let received = events.iter().any(|event| matches!(event, SessionEvent::Received { .. }));
    Outcome {
        more: messages.len() == room,
        useful: received || acknowledged || (chatter && !events.is_empty()),
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
