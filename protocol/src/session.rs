//! A session between two devices about one workspace: who are you, what do you hold, here is what you lack, and then whatever is new.
//!
//! 1. *Hello*: versions, boot nonce, and a tag that only somebody who knows the workspace's secret can make. The transport has already
//!    proved the peer's device key. A device that is not known as a member is asked for a credential; without one
//!    that holds it learns nothing more.
//! 2. *Summary*: the digest of all that is held. Equal: done, in one round trip. Else *claims*: proof of how far the receiver's own logs
//!    are held.
//! 3. *Frontier*: how far each log is held, only where it differs (range fingerprints when there are many logs).
//! 4. *Plan*: how many operations and bytes are to come.
//! 5. *Segments*, in version order so that parents come first, each frame acknowledged when it is durable.
//! 6. *Done*: digests compared. Then the session stays open and forwards whatever is new (live mode).
//!
//! The driver's contract: frames arrive whole and in order and are handed to [`Session::receive`]; [`Session::poll_frame`] is called until
//! `None` after every call of any other method and after every local write; on an error the connection is dropped. The session commits
//! the replica before it acknowledges, and sends only what is durable. It holds no clock, socket or task.

mod hello;
pub mod message;
mod ranges;
mod status;
mod transfer;

use std::collections::{BTreeMap, VecDeque};

pub use hello::recognises;
pub use message::{ByeCode, Credential, Message};
pub use status::{SyncState, SyncStatus};

use crate::clock::Timestamp;
use crate::ids::{DeviceId, LogId};
use crate::log::Head;
use crate::membership::{Certificate, Ticket, certificate::join_proof};
use crate::replica::{LogRange, PendingBuffer, Refusal, Replica};
use crate::store::{Store, StoreError};
use crate::wire::DecodeError;

/// How often an idle session compares digests again, in milliseconds (the document's 30 s); jitter is added.
pub const RECONCILE_MS: u64 = 30_000;
/// How long a peer may take to finish its greeting, in milliseconds.
pub const GREETING_MS_MAX: u64 = 15_000;
/// Refused segments after which a session is ended.
pub const REFUSALS_MAX: u32 = 64;

/// Which side opened the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// We did.
    Initiator,
    /// The peer did.
    Responder,
}

/// What a session is started with.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    /// Whether embeddings are wanted.
    pub attachments: bool,
    /// Random at each start of the program.
    pub boot_nonce: u64,
    /// Random for each session.
    pub salt: [u8; 16],
    /// How this device shows that it belongs, should the peer not know it.
    pub credential: Option<Credential>,
    /// The workspace's secret when it is not held yet (a joiner has it from the ticket).
    pub secret: Option<[u8; 32]>,
}

impl SessionConfig {
    /// For a member that needs no credential.
    pub const fn member(boot_nonce: u64, salt: [u8; 16]) -> Self {
        Self { attachments: true, boot_nonce, salt, credential: None, secret: None }
    }

    /// For somebody who comes with a ticket.
    pub fn joiner(boot_nonce: u64, salt: [u8; 16], ticket: &Ticket, certificate: Certificate) -> Self {
        let proof = join_proof(&ticket.key, &ticket.workspace, &certificate);
        let credential = Credential::Join { invite: ticket.invite, certificate, proof };
        Self { attachments: true, boot_nonce, salt, credential: Some(credential), secret: Some(ticket.secret) }
    }
}

/// Something the driver or the user may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// The peer showed that it belongs. Its boot nonce tells a restart from a second connection.
    Admitted {
        /// The peer's boot nonce.
        boot_nonce: u64,
    },
    /// What is to come in this session, altogether.
    Planned {
        /// Operations we are to receive, as far as that can be true.
        receive_ops: u64,
        /// Bytes we are to receive, estimated.
        receive_bytes: u64,
        /// Operations we are to send.
        send_ops: u64,
    },
    /// Operations arrived and are durable.
    Received {
        /// How many were new.
        ops: u64,
    },
    /// The peer confirmed that it holds exactly what we hold.
    Synced {
        /// The digest both have.
        frontier: [u8; 32],
    },
    /// Both hold the same operations, yet their states differ: a fault in one of the programs. Told once; this session goes on passing
    /// operations and is never [`SyncState::Synced`] again. Whether it is over can be found out by another session.
    Diverged,
    /// A log was found to be forked.
    ForkFound(LogId),
    /// The peer has proved that our own log had more operations than we hold. Told when that comes to light, not each time it is said.
    OwnLogBehind,
    /// The peer claimed to hold more of our own log than we do, and what it showed for it is not signed by us. It is turned away.
    FalseClaim {
        /// Up to where.
        seq: u64,
    },
    /// A segment of the peer's was refused.
    Refused(Refusal),
    /// The peer ended the session.
    Ended {
        /// Why.
        code: ByeCode,
        /// In its words.
        reason: String,
    },
}

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The peer sent something that is no message. Drop it.
    #[error("the peer sent a malformed frame: {0}")]
    Malformed(#[from] DecodeError),
    /// The peer broke the order of messages, or a bound. Drop it.
    #[error("the peer broke the protocol: {0}")]
    Protocol(&'static str),
    /// The peer may not take part. Drop it.
    #[error("the peer was turned away: {0:?}")]
    TurnedAway(ByeCode),
    /// The peer ended the session.
    #[error("the peer ended the session: {0:?}")]
    Ended(ByeCode),
    /// Our storage failed. Stop.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How far the greeting has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Greeting {
    hello_sent: bool,
    hello_received: bool,
    /// The peer belongs.
    admitted: bool,
    summary_sent: bool,
    asked: bool,
    credential_sent: bool,
    claims_sent: bool,
    /// The peer showed a credential that holds.
    vouched: bool,
}

/// One side of a session.
#[derive(Debug)]
pub struct Session {
    role: Role,
    peer: DeviceId,
    config: SessionConfig,
    greeting: Greeting,
    peer_attachments: bool,
    outgoing: VecDeque<Message>,
    events: VecDeque<SessionEvent>,
    ended: bool,
    /// What the peer said it holds, last.
    peer_digest: Option<[u8; 32]>,
    /// The digest that was last equal on both sides.
    synced: Option<[u8; 32]>,
    /// Both held the same operations and showed another state: whatever is said later, this session is not synced any more.
    diverged: bool,
    /// The peer showed the state that is here, with the same operations.
    agreed: bool,
    /// What was held here when the last summary was made.
    summarised: Option<[u8; 32]>,
    /// The peer's last summary: what it held, its state, and how many of its operations had no effect.
    shown: Option<([u8; 32], [u8; 8], u64)>,
    /// Ends of logs the peer is known to hold.
    known: BTreeMap<LogId, Vec<Head>>,
    /// All logs have been compared: what is new is forwarded.
    compared: bool,
    /// Our own comparison waits for answers.
    comparing: bool,
    /// Runs to be sent.
    sending: Vec<LogRange>,
    send_ops: u64,
    send_bytes: u64,
    sent_ops: u64,
    receive_ops: u64,
    received_ops: u64,
    /// Operations that the peer said, in comparisons, to hold beyond what was here then: at most, as those of a fork are counted from the
    /// beginning of the log.
    ahead_ops: u64,
    /// Frames of segments sent and not acknowledged, by their size.
    unacknowledged: VecDeque<usize>,
    frames_sent: u64,
    frames_received: u64,
    done_sent: bool,
    refusals: u32,
    /// Operations of the store that have been looked at for forwarding.
    looked_at: u32,
    /// Operations of others are not forwarded before [`Session::release`].
    holding: bool,
    /// Some may be held back.
    held_back: bool,
    /// The digest the peer was told last.
    told: Option<[u8; 32]>,
    ladders_sent: Vec<LogId>,
    started: Timestamp,
    next_reconcile: Timestamp,
}

impl Session {
    /// A session with a peer whose device key the transport has proved.
    pub fn new(role: Role, peer: DeviceId, config: SessionConfig, now: Timestamp) -> Self {
        Self {
            role,
            peer,
            config,
            greeting: Greeting::default(),
            peer_attachments: false,
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
            ended: false,
            peer_digest: None,
            synced: None,
            diverged: false,
            agreed: false,
            summarised: None,
            shown: None,
            known: BTreeMap::new(),
            compared: false,
            comparing: false,
            sending: Vec::new(),
            send_ops: 0,
            send_bytes: 0,
            sent_ops: 0,
            receive_ops: 0,
            received_ops: 0,
            ahead_ops: 0,
            unacknowledged: VecDeque::new(),
            frames_sent: 0,
            frames_received: 0,
            done_sent: false,
            refusals: 0,
            looked_at: 0,
            holding: false,
            held_back: false,
            told: None,
            ladders_sent: Vec::new(),
            started: now,
            next_reconcile: now.plus_ms(RECONCILE_MS),
        }
    }

    /// Whether operations of other devices wait for [`Session::release`] instead of being forwarded as they come. Among devices that all
    /// talk to each other nearly everything reaches everybody from its author: whoever waits a moment and says first what is held
    /// ([`Session::tell`]) finds that there is nothing left to send. Own operations never wait.
    #[must_use]
    pub const fn holding(mut self, holding: bool) -> Self {
        self.holding = holding;
        self
    }

    /// The peer.
    pub const fn peer(&self) -> DeviceId {
        self.peer
    }

    /// Whether the session is over.
    pub const fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether the peer has shown, in this session, the very state that is here: more than that it holds the same operations, which is all
    /// that an acknowledgement says. For whoever has reason to doubt the state.
    pub const fn has_agreed(&self) -> bool {
        self.agreed
    }

    /// Begins. The initiator speaks first.
    ///
    /// # Errors
    /// When the workspace's secret is neither held nor given.
    pub fn start<S: Store>(&mut self, replica: &mut Replica<S>, now: Timestamp) -> Result<(), SessionError> {
        self.started = now;
        if self.role == Role::Initiator {
            self.send_hello(replica)?;
            // A peer we know as a member may see our summary at once: equal replicas need one round trip.
            if replica.membership().role(&self.peer).is_some() {
                self.send_summary(replica);
            }
        }
        Ok(())
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// When the connection is to be dropped. Frames queued before (a goodbye) may still be sent.
    pub fn receive<S: Store>(
        &mut self,
        frame: &[u8],
        replica: &mut Replica<S>,
        pending: &mut PendingBuffer,
        now: Timestamp,
    ) -> Result<(), SessionError> {
        if self.ended {
            return Ok(());
        }
        match Message::decode(frame) {
            Ok(message) => self.handle(message, replica, pending, now),
            Err(error) => Err(self.refuse_frame(error)),
        }
    }

    /// Ends the session because of a frame that is no message. For drivers that decode frames themselves, beside the thread that owns the
    /// replica; the others call [`Session::receive`].
    pub fn refuse_frame(&mut self, error: DecodeError) -> SessionError {
        self.bye(ByeCode::Malformed, "malformed frame");
        error.into()
    }

    /// Takes a message that was decoded already.
    ///
    /// # Errors
    /// See [`Session::receive`].
    pub fn handle<S: Store>(
        &mut self,
        message: Message,
        replica: &mut Replica<S>,
        pending: &mut PendingBuffer,
        now: Timestamp,
    ) -> Result<(), SessionError> {
        if self.ended {
            return Ok(());
        }
        self.on_late_refusals(pending)?;
        match message {
            Message::Bye { code, reason } => {
                self.ended = true;
                self.events.push_back(SessionEvent::Ended { code, reason });
                return Err(SessionError::Ended(code));
            }
            Message::Hello { versions, attachments, boot_nonce, salt, tag } => {
                self.peer_attachments = attachments;
                return self.on_hello(replica, versions, boot_nonce, (salt, tag));
            }
            _ if !self.greeting.hello_received => return Err(SessionError::Protocol("a session begins with a hello")),
            Message::WhoAreYou => return self.on_who_are_you(replica),
            Message::Credential(credential) => return self.on_credential(replica, &credential, now),
            // Sent before the peer knew that we ask: what it says is compared again once it is admitted.
            Message::Summary { .. } if self.greeting.asked && !self.greeting.admitted => {}
            // What is proved counts whoever says it.
            Message::Claims(claims) if self.greeting.asked => self.on_claims(replica, &claims)?,
            _ if !self.greeting.admitted => return Err(SessionError::Protocol("nothing is taken before membership is shown")),
            Message::Summary { frontier, state, unfolded } => self.on_summary(replica, frontier, (state, unfolded))?,
            Message::Claims(claims) => self.on_claims(replica, &claims)?,
            Message::Frontier { reply, ranges } => self.on_frontier(replica, reply, ranges)?,
            Message::Ladder { want, ladder } => self.on_ladder(replica, want, &ladder)?,
            Message::Plan { ops, bytes } => self.on_plan(ops, bytes),
            Message::Segments(segments) => self.on_segments(replica, pending, segments, now)?,
            Message::Ack { frames, frontier } => self.on_ack(replica, frames, frontier)?,
            Message::Done { frontier } => self.note_peer_digest(replica, frontier),
        }
        Ok(())
    }

    /// The next frame to send; call until `None`.
    ///
    /// # Errors
    /// When our storage fails.
    pub fn poll_frame<S: Store>(&mut self, replica: &mut Replica<S>) -> Result<Option<Vec<u8>>, SessionError> {
        Ok(self.poll_message(replica)?.map(|message| message.encode()))
    }

    /// The next message to send, not yet encoded: for drivers that encode beside the thread that owns the replica.
    ///
    /// # Errors
    /// See [`Session::poll_frame`].
    pub fn poll_message<S: Store>(&mut self, replica: &mut Replica<S>) -> Result<Option<Message>, SessionError> {
        if let Some(message) = self.outgoing.pop_front() {
            return Ok(Some(message));
        }
        if self.ended {
            return Ok(None);
        }
        if !self.may_be_shown(replica) {
            return Ok(self.outgoing.pop_front());
        }
        self.look_for_news(replica)?;
        if let Some(message) = self.outgoing.pop_front() {
            return Ok(Some(message));
        }
        self.next_transfer(replica)
    }

    /// How many frames of operations are under way that the peer has not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.unacknowledged.len()
    }

    /// Whether operations of others may be waiting for [`Session::release`].
    pub const fn holds_back(&self) -> bool {
        self.held_back
    }

    /// Says what is held here, if the peer was told something else last.
    pub fn tell<S: Store>(&mut self, replica: &Replica<S>) {
        let digest = replica.frontier_digest();
        if self.compared && !self.ended && self.told != Some(digest) {
            self.outgoing.push_back(Message::Done { frontier: digest });
            self.told = Some(digest);
        }
    }

    /// Forwards what was held back and the peer still lacks.
    ///
    /// # Errors
    /// When our storage fails.
    pub fn release<S: Store>(&mut self, replica: &mut Replica<S>) -> Result<(), SessionError> {
        if !std::mem::take(&mut self.held_back) || self.ended {
            return Ok(());
        }
        if self.peer_digest == Some(replica.frontier_digest()) {
            self.note_equal(replica);
        } else {
            self.forward(replica, |_| true)?;
        }
        // More may have come since the peer was told; when nothing is left to be sent, nothing else would tell it.
        self.tell(replica);
        Ok(())
    }

    /// Compares anew, for whoever does not want to wait for the timer. Does nothing while a comparison or a transfer runs.
    pub fn compare<S: Store>(&mut self, replica: &mut Replica<S>, now: Timestamp) {
        if self.ended || !self.greeting.admitted {
            return;
        }
        self.next_reconcile = now.plus_ms(RECONCILE_MS + self.jitter_ms());
        if self.unacknowledged.is_empty() && self.sending.is_empty() {
            self.ladders_sent.clear();
            self.send_summary(replica);
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// When [`Session::handle_timeout`] wants to be called.
    pub fn next_timeout(&self) -> Option<Timestamp> {
        if self.ended {
            return None;
        }
        let greeting = self.started.plus_ms(GREETING_MS_MAX);
        Some(if self.greeting.admitted { self.next_reconcile } else { greeting })
    }

    /// Gives up on a peer that does not greet; compares digests again from time to time.
    ///
    /// # Errors
    /// When the peer took too long.
    pub fn handle_timeout<S: Store>(&mut self, replica: &mut Replica<S>, now: Timestamp) -> Result<(), SessionError> {
        if self.ended || self.next_timeout().is_none_or(|at| now < at) {
            return Ok(());
        }
        if !self.greeting.admitted {
            self.bye(ByeCode::Closing, "the greeting took too long");
            return Err(SessionError::Protocol("the greeting took too long"));
        }
        self.compare(replica, now);
        Ok(())
    }

    /// Jitter from the salt: devices that started together do not ask together for ever.
    fn jitter_ms(&self) -> u64 {
        u64::from(self.config.salt[0]) * RECONCILE_MS / 1024
    }

    /// Ends the session from our side.
    pub fn close(&mut self) {
        if !self.ended {
            self.bye(ByeCode::Closing, "closing");
        }
    }

    fn bye(&mut self, code: ByeCode, reason: &str) {
        self.outgoing.clear();
        self.outgoing.push_back(Message::Bye { code, reason: reason.to_owned() });
        self.ended = true;
    }

    fn turn_away(&mut self, code: ByeCode, reason: &str) -> SessionError {
        self.bye(code, reason);
        SessionError::TurnedAway(code)
    }
}
