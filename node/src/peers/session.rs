//! One session with one peer: three tasks and the workspace's writer.
//!
//! ```text
//!   stream ──▶ reader: frame, decode, decompress ──▶ ┐            ┌ ──▶ writer of frames: encode, compress ──▶ stream
//!                                                    ├ SessionTask ┤
//!   the workspace changed, timers, orders ─────────▶ ┘     │      └ ──▶ notes to WorkspaceSync
//!                                                          ▼
//!                                         step: a job of the workspace's writer thread
//! ```
//!
//! The protocol's session borrows the replica, which one thread owns, so the session travels there for each step and comes back with what
//! is to be sent. What is costly and needs no replica (decoding, compressing) is done on this side. Backpressure goes all the way: a peer
//! that does not read fills the queue of frames, then no step asks for more; a writer that is slow leaves frames unread.

mod pipes;
mod reach;
mod step;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::io::AsyncReadExt as _;
use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::ids::DeviceId;
use nodespace_protocol::replica::PendingBuffer;
use nodespace_protocol::session::message::Message;
use nodespace_protocol::session::{ByeCode, Session, SessionError, SessionEvent, SyncState, SyncStatus};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::budget::{Overdrawn, SharedBudget};
use super::traffic::Bytes;
use crate::engine::{Clock, Position, Workspace};
use crate::net::Stream;
use crate::net::frames::FrameError;
use pipes::{Arrival, Pipes};
use reach::Reach;
use step::{Outcome, Step};

/// Orders that wait for a session.
const ORDERS_MAX: usize = 8;
/// How long after something new of others came in the peer is told what is held here, in milliseconds.
const TELL_MS: u64 = 40;
/// How long after that it is sent what it still lacks of it, in milliseconds; up to half as much more, so that not all send at once.
const RELEASE_MS: u64 = 120;
/// How long what was said last may take to leave.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long is waited for what a lost line has brought already: a line that is dead may never say so.
const DRAIN: Duration = Duration::from_secs(1);
/// How long it is taken at most. A peer that only pretends to have lost the line could go on talking for ever.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// What a session is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Compare now.
    Compare,
    /// Say goodbye and end.
    Close,
    /// End: the connection is gone.
    Lost,
}

/// What a session tells.
#[derive(Debug)]
pub(super) struct Note {
    /// What happened.
    pub(super) events: Vec<SessionEvent>,
    /// Where it stands.
    pub(super) status: SyncStatus,
    /// Whether this follows something that the peer said.
    pub(super) heard: bool,
    /// Whether it came further: an attempt that waits for it has not stalled. A peer that only talks brings it no further.
    pub(super) moved: bool,
    /// Whether the peer has shown, in this session, the state that is here; not only that it holds the same operations.
    pub(super) agreed: bool,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// We were told to close it.
    Closed,
    /// The stream or the connection ended.
    Lost,
    /// The peer said goodbye.
    Bye(ByeCode, String),
    /// We turned the peer away.
    TurnedAway(ByeCode),
    /// The peer broke the protocol, or a bound.
    Broke(String),
    /// The peer did not show that it belongs in time.
    TooSlow,
    /// Our store failed, or the device is stopping.
    Store,
}

/// A session that runs, as its owner sees it.
#[derive(Clone, Debug)]
pub(super) struct SessionHandle {
    orders: mpsc::Sender<Order>,
}

impl SessionHandle {
    /// Gives an order. One too many is dropped: those before it do the same.
    pub(super) fn order(&self, order: Order) {
        self.orders.try_send(order).ok();
    }
}

/// What a session works with.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) workspace: Workspace,
    pub(super) clock: Clock,
    pub(super) session: Session,
    /// What the peer has said already.
    pub(super) first: Option<Vec<u8>>,
    pub(super) pending: Arc<Mutex<PendingBuffer>>,
    pub(super) bytes: Arc<Bytes>,
    /// What the peer may say that brings nothing.
    pub(super) budget: SharedBudget,
    /// Differs from session to session: for jitter.
    pub(super) seed: u64,
}

/// Where notes and the end are sent.
pub(super) trait Listener: Clone + Send + Sync + 'static {
    /// Something happened. Waits when the listener is slow.
    fn note(&self, note: Note) -> impl Future<Output = ()> + Send;
    /// It is over.
    fn ended(&self, end: End) -> impl Future<Output = ()> + Send;
}

/// Starts a session over a stream.
pub(super) fn start(parts: Parts, stream: Stream, listener: impl Listener) -> SessionHandle {
    let (orders, queue) = mpsc::channel(ORDERS_MAX);
    tokio::spawn(async move {
        let (reading, writing) = stream.split();
        let pipes = Pipes::open(reading, writing, parts.first, &parts.bytes);
        let news = parts.workspace.feed().watch();
        let mut task = SessionTask {
            peer: parts.session.peer(),
            session: Some(Box::new(parts.session)),
            workspace: parts.workspace,
            clock: parts.clock,
            pending: parts.pending,
            pipes,
            budget: parts.budget,
            jitter_ms: parts.seed % (RELEASE_MS / 2 + 1),
            hold: Hold::None,
            timeout: None,
            more: false,
            told: None,
            reach: Reach::default(),
        };
        let mut end = task.run(queue, news, &listener).await;
        if end == End::Lost
            && let Some(known) = task.drain(&listener).await
        {
            end = known;
        }
        task.pipes.close(FAREWELL).await;
        listener.ended(end).await;
    });
    SessionHandle { orders }
}

/// How long operations of others are held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    None,
    /// Then the peer is told what is here.
    Tell(Instant),
    /// Then it is sent what it lacks.
    Release(Instant),
}

struct SessionTask {
    peer: DeviceId,
    /// Here but while a step is under way.
    session: Option<Box<Session>>,
    workspace: Workspace,
    clock: Clock,
    pending: Arc<Mutex<PendingBuffer>>,
    pipes: Pipes,
    budget: SharedBudget,
    jitter_ms: u64,
    hold: Hold,
    timeout: Option<Instant>,
    /// There is more to send than there was room for.
    more: bool,
    /// The status that was told last.
    told: Option<SyncStatus>,
    /// How far it has come.
    reach: Reach,
}

impl SessionTask {
    async fn run(&mut self, mut orders: mpsc::Receiver<Order>, mut news: watch::Receiver<Position>, listener: &impl Listener) -> End {
        let mut step = Step::Start;
        loop {
            let heard = matches!(step, Step::Message(_));
            let closing = matches!(step, Step::Close);
            let Some(outcome) = self.step(step).await else { return End::Store };
            if let Some(end) = self.take(outcome, heard, listener).await {
                return if closing { End::Closed } else { end };
            }
            step = match self.next(&mut orders, &mut news).await {
                Ok(step) => step,
                Err(end) => return end,
            };
        }
    }

    /// Waits for a reason to do something.
    async fn next(&mut self, orders: &mut mpsc::Receiver<Order>, news: &mut watch::Receiver<Position>) -> Result<Step, End> {
        let hold = match self.hold {
            Hold::None => None,
            Hold::Tell(at) | Hold::Release(at) => Some(at),
        };
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Compare) => Ok(Step::Compare),
                Some(Order::Close) | None => Ok(Step::Close),
                Some(Order::Lost) => Err(End::Lost),
            },
            arrival = self.pipes.arrivals.next() => arrived(arrival),
            changed = news.changed() => match changed {
                Ok(()) => Ok(Step::Poll),
                Err(_) => Err(End::Store),
            },
            () = self.pipes.outgoing.has_room(), if self.more => Ok(Step::Poll),
            () = sleep_until(hold) => match self.hold {
                Hold::Release(_) => Ok(Step::Release),
                _ => Ok(Step::Tell),
            },
            () = sleep_until(self.timeout) => Ok(Step::Timeout),
        }
    }

    /// Takes the operations that a lost line has brought: else they would be sent again. Answers how the session ended, when what came says
    /// more than that the line was lost: a goodbye, say.
    async fn drain(&mut self, listener: &impl Listener) -> Option<End> {
        self.pipes.outgoing.shut();
        let began = Instant::now();
        while began.elapsed() < DRAIN_MAX
            && let Ok(arrival) = tokio::time::timeout(DRAIN, self.pipes.arrivals.next()).await
        {
            let step = match arrival {
                Arrival::Message(message @ (Message::Segments(_) | Message::Bye { .. })) => Step::Message(message),
                // Whatever else it said wants an answer.
                Arrival::Message(_) | Arrival::Unsendable(_) => continue,
                Arrival::Malformed(_) | Arrival::Ended(_) => return None,
            };
            let outcome = self.step(step).await?;
            let end = self.take(outcome, true, listener).await;
            if end.is_some() {
                return end;
            }
        }
        None
    }

    /// Takes the session to the writer and back. `None` when the writer takes no more.
    async fn step(&mut self, step: Step) -> Option<Outcome> {
        let mut session = self.session.take()?;
        let (pending, room) = (Arc::clone(&self.pending), self.pipes.outgoing.room());
        let job = move |replica: &mut crate::engine::DeviceReplica, now: Timestamp| {
            let outcome = step::run(&mut session, step, replica, &pending, room, now);
            Ok((session, outcome))
        };
        match self.workspace.write(None, job).await {
            Ok((session, outcome)) => {
                self.session = Some(session);
                Some(outcome)
            }
            Err(error) => {
                tracing::debug!(device = %self.peer.short(), %error, "the session ends with the workspace");
                None
            }
        }
    }

    /// Sends what is to be sent, tells what is to be told, sets the timers. Answers how the session ended, if it did.
    async fn take(&mut self, outcome: Outcome, heard: bool, listener: &impl Listener) -> Option<End> {
        let Outcome { messages, events, status, useful, more, holds_back, told, agreed, timeout, error } = outcome;
        for message in messages {
            self.pipes.outgoing.send(message).await;
        }
        self.more = more;
        self.set_hold(holds_back, told);
        self.timeout = timeout.map(|at| Instant::now() + until(self.clock.now(), at));
        let changed = self.told != Some(status);
        let moved = self.reach.grows(&status) || useful;
        if !events.is_empty() || changed || moved || (heard && status.state == SyncState::Synced) {
            self.told = Some(status);
            listener.note(Note { events, status, heard, moved, agreed }).await;
        }
        if let Some(error) = error {
            return Some(end_of(error));
        }
        if status.state == SyncState::Ended {
            return Some(End::Closed);
        }
        match (heard && !useful).then(|| self.budget.spend()) {
            Some(Err(Overdrawn)) => Some(End::Broke("it says too much that brings nothing".to_owned())),
            Some(Ok(())) | None => None,
        }
    }

    fn set_hold(&mut self, holds_back: bool, told: bool) {
        let now = Instant::now();
        self.hold = match (holds_back, self.hold) {
            (false, _) => Hold::None,
            (true, Hold::None) => Hold::Tell(now + Duration::from_millis(TELL_MS)),
            (true, Hold::Tell(_)) if told => Hold::Release(now + Duration::from_millis(RELEASE_MS + self.jitter_ms)),
            (true, hold) => hold,
        };
    }
}

fn arrived(arrival: Arrival) -> Result<Step, End> {
    match arrival {
        Arrival::Message(message) => Ok(Step::Message(message)),
        Arrival::Malformed(error) => Ok(Step::Malformed(error)),
        Arrival::Ended(FrameError::Closed | FrameError::Broken(_)) | Arrival::Unsendable(FrameError::Closed | FrameError::Broken(_)) => {
            Err(End::Lost)
        }
        Arrival::Ended(error) | Arrival::Unsendable(error) => Err(End::Broke(error.to_string())),
    }
}

/// How long until a moment of the workspace's clock.
fn until(now: Timestamp, at: Timestamp) -> Duration {
    // A millisecond more, so that it has come when we ask.
    Duration::from_millis(at.ms().saturating_sub(now.ms()) + 1)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn end_of(error: SessionError) -> End {
    match error {
        SessionError::Malformed(error) => End::Broke(error.to_string()),
        SessionError::Protocol(step::GREETING_TOO_SLOW) => End::TooSlow,
        SessionError::Protocol(what) => End::Broke(what.to_owned()),
        SessionError::TurnedAway(code) => End::TurnedAway(code),
        SessionError::Ended(code) => End::Bye(code, String::new()),
        SessionError::Store(_) => End::Store,
    }
}

impl End {
    /// The word for it in metrics and logs.
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Lost => "lost",
            Self::Bye(..) => "goodbye",
            Self::TurnedAway(ByeCode::Stranger) => "stranger",
            Self::TurnedAway(ByeCode::NotMember) => "not_member",
            Self::TurnedAway(ByeCode::Removed) => "removed",
            Self::TurnedAway(ByeCode::Version) => "protocol_version",
            Self::TurnedAway(_) | Self::Broke(_) => "protocol_broken",
            Self::TooSlow => "greeting_too_slow",
            Self::Store => "store",
        }
    }
}
