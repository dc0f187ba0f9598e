//! `WorkspaceSync`: drives the machines of [`crate::sync`] for one workspace, over the network.
//!
//! One task. It hears of connections, sessions, gossip and requests; asks the machines what to do; does it; and publishes how it stands.
//! "Synced" is said only of a peer that confirmed the digest of what is held here at that moment (invariant I8): what is held is read anew
//! before a confirmation is noted. Of one that was seen to show another state with the same operations it is not said before it has shown
//! the state that is here (`WorkspaceSync::suspects`). When the work of this task ends before its time nobody is called synced any more
//! ([`supervisor`]).

mod attempts;
mod facts;
mod gossiping;
mod late;
mod recovering;
mod relaying;
mod sessions;
mod supervisor;
mod waiting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nodespace_protocol::ids::{DeviceId, NodeId, WorkspaceId};
use nodespace_protocol::replica::PendingBuffer;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::account::Account;
use super::budget::SharedBudget;
use super::carriers::Carriers;
use super::gossip::Channel;
use super::host::Host;
use super::session::{End, Listener, Note, SessionHandle};
use super::told::Tellings;
use super::traffic::Traffic;
use super::{GossipUse, PeersOptions};
use crate::engine::{Clock, Device, Joining, Workspace};
use crate::model::{ErrorCode, ServiceError};
use crate::net::{GossipMessage, NetHandle, OpenError, Stream};
use crate::sync::status::StatusInput;
use crate::sync::{AttemptId, DeviceStatus, OrchestratorInput, StatusBoard, SyncMonitor, SyncOrchestrator, SyncRecovery, Target};
use facts::Facts;
use late::Late;
pub(super) use late::LateNote;
pub(super) use relaying::RelayNote;
use relaying::Relaying;
use sessions::Live;
use waiting::Waiter;

/// Inputs that wait. Sessions wait to be let in; gossip and streams beyond it are dropped.
const INPUTS_MAX: usize = 1_024;
/// Gossip messages that are looked at at one time: each waits for the writer, with up to 64 KiB.
const GOSSIP_AT_ONCE_MAX: usize = 32;
/// How often the status is published at most, in milliseconds.
const PUBLISH_MS: u64 = 25;

/// What happens.
#[derive(Debug)]
pub(super) enum Input {
    /// A first connection to a device stands.
    Connected(DeviceId),
    /// The last connection to it is gone.
    Disconnected(DeviceId),
    /// A peer opened a stream, and its hello is for this workspace.
    Incoming { device: DeviceId, stream: Stream, hello: Vec<u8> },
    /// A stream that we wanted to open.
    Opened { device: DeviceId, opened: Result<Stream, OpenError> },
    /// A session tells.
    Note { device: DeviceId, serial: u64, note: Note },
    /// A session is over.
    Ended { device: DeviceId, serial: u64, end: End },
    /// An operation came by gossip.
    Gossip(GossipMessage),
    /// An operation that came by gossip could not be taken before others.
    Gap(DeviceId),
    /// Somebody wants to sync now.
    SyncNow { target: Option<Target>, answer: oneshot::Sender<Result<DeviceStatus, ()>> },
    /// This workspace is being joined by this; the answer tells who turned us away, and why.
    Join { joining: Box<Joining>, hosts: BTreeSet<DeviceId>, refusals: mpsc::Sender<(Host, String)> },
    /// A relay's task tells.
    Relay(RelayNote),
    /// What is known of embeddings that are missing here.
    Late(LateNote),
    /// A step on a node that was set aside is over.
    Node { node: NodeId, outcome: Result<(), crate::sync::SyncFailure> },
    /// Say goodbye and end.
    Stop(oneshot::Sender<()>),
    /// Fail, to see what comes of it: as when the store cannot be read, or by a panic.
    #[cfg(test)]
    Fail(Option<ServiceError>),
}

/// Sends inputs. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Inbox {
    inputs: mpsc::Sender<Input>,
}

impl Inbox {
    /// Waits for room. What comes after the end is for nobody.
    pub(super) async fn send(&self, input: Input) {
        self.inputs.send(input).await.ok();
    }

    /// Hands on gossip, which may be lost. Answers it when there is no room.
    pub(super) fn offer_gossip(&self, message: GossipMessage) -> Option<GossipMessage> {
        match self.inputs.try_send(Input::Gossip(message)).map_err(mpsc::error::TrySendError::into_inner) {
            Err(Input::Gossip(message)) => Some(message),
            Err(_) | Ok(()) => None,
        }
    }

    /// Answers whether there was room.
    pub(super) fn try_send(&self, input: Input) -> bool {
        self.inputs.try_send(input).is_ok()
    }
}

/// A session's ear.
#[derive(Clone, Debug)]
struct Ear {
    inbox: Inbox,
    device: DeviceId,
    serial: u64,
    /// What it hears goes here first: of a session that is over for everybody else, too.
    account: Arc<Account>,
}

impl Listener for Ear {
    async fn note(&self, note: Note) {
        self.account.note(note.status.sent_ops, note.status.received_ops);
        self.inbox.send(Input::Note { device: self.device, serial: self.serial, note }).await;
    }

    async fn ended(&self, end: End) {
        self.inbox.send(Input::Ended { device: self.device, serial: self.serial, end }).await;
    }
}

/// What a workspace's sync is started with.
#[derive(Debug)]
pub(super) struct Setup {
    pub(super) workspace: Workspace,
    pub(super) device: Device,
    pub(super) own: DeviceId,
    pub(super) clock: Clock,
    pub(super) net: NetHandle,
    pub(super) traffic: Traffic,
    pub(super) carriers: Carriers,
    /// Whether only addresses are used that somebody set.
    pub(super) explicit_only: bool,
    pub(super) monitor: SyncMonitor,
    pub(super) options: PeersOptions,
    pub(super) boot_nonce: u64,
    pub(super) seed: u64,
    /// Who is connected already.
    pub(super) connected: BTreeSet<DeviceId>,
    /// Where changes of membership are told.
    pub(super) hub: Tellings,
}

/// A join that is under way.
#[derive(Debug)]
struct Join {
    joining: Joining,
    hosts: BTreeSet<DeviceId>,
    refusals: mpsc::Sender<(Host, String)>,
}

/// Syncs one workspace.
pub(super) struct WorkspaceSync {
    setup: Setup,
    start: Instant,
    inbox: Inbox,
    facts: Facts,
    channel: Option<Channel>,
    /// Operations of the store up to which own ones have been looked at for gossip.
    gossiped: u32,
    pending: Arc<Mutex<PendingBuffer>>,
    /// Gossip that is looked at; more at one time is dropped.
    gossip_slots: Arc<Semaphore>,
    /// What peers may say that brings nothing, in however many sessions.
    budgets: BTreeMap<DeviceId, SharedBudget>,
    orchestrator: SyncOrchestrator,
    recovery: SyncRecovery,
    board: StatusBoard,
    sessions: BTreeMap<DeviceId, Live>,
    /// Who held the same operations and showed another state, and has not shown ours since: that such a one holds the same is no success.
    suspects: BTreeSet<DeviceId>,
    /// Streams that are being opened.
    opening: BTreeSet<DeviceId>,
    /// Until when a peer is to open the stream, before we do.
    expected: BTreeMap<DeviceId, u64>,
    /// Until when no stream of a peer is taken, because it broke the protocol.
    penalties: BTreeMap<DeviceId, u64>,
    attempts: BTreeMap<AttemptId, (Target, u64)>,
    waiters: Vec<Waiter>,
    join: Option<Join>,
    relaying: Relaying,
    late: Late,
    serial: u64,
    published: u64,
    unpublished: bool,
}

/// Starts syncing a workspace.
pub(super) fn start(setup: Setup) -> Inbox {
    let (inputs, queue) = mpsc::channel(INPUTS_MAX);
    let inbox = Inbox { inputs };
    tokio::spawn(supervisor::supervise(setup, inbox.clone(), queue));
    inbox
}

impl WorkspaceSync {
    fn new(setup: Setup, inbox: Inbox) -> Self {
        Self {
            start: Instant::now(),
            inbox,
            facts: Facts::default(),
            channel: None,
            gossiped: 0,
            pending: Arc::default(),
            gossip_slots: Arc::new(Semaphore::new(GOSSIP_AT_ONCE_MAX)),
            budgets: BTreeMap::new(),
            orchestrator: SyncOrchestrator::new(setup.seed, 0).every_ms(setup.options.interval_ms),
            recovery: SyncRecovery::new(setup.seed.rotate_left(32), 0).paced(setup.options.pace),
            board: StatusBoard::new([0; 32], 0),
            sessions: BTreeMap::new(),
            suspects: BTreeSet::new(),
            opening: BTreeSet::new(),
            expected: BTreeMap::new(),
            penalties: BTreeMap::new(),
            attempts: BTreeMap::new(),
            waiters: Vec::new(),
            join: None,
            relaying: Relaying::new(setup.seed),
            late: Late::default(),
            serial: 0,
            published: 0,
            unpublished: true,
            setup,
        }
    }

    /// Syncs until it is told to stop, and answers whom to tell when it has; nobody when nobody can tell it anything any more.
    ///
    /// # Errors
    /// When what is held here cannot be read.
    async fn run(&mut self, inputs: &mut mpsc::Receiver<Input>) -> Result<Option<oneshot::Sender<()>>, ServiceError> {
        let workspace = self.setup.workspace.clone();
        let (mut news, mut late_news) = (workspace.feed().watch(), workspace.watch_late());
        self.refresh().await?;
        self.resume_late().await?;
        self.gossiped = self.facts.ops;
        self.resume_join().await?;
        loop {
            if self.relaying.stale {
                self.look_up_relays().await?;
            }
            self.act();
            self.act_on_late();
            self.publish();
            let wake = self.until_next();
            tokio::select! {
                input = inputs.recv() => match input {
                    Some(Input::Stop(asked)) => return Ok(Some(asked)),
                    Some(input) => self.on_input(input).await?,
                    None => return Ok(None),
                },
                changed = news.changed() => {
                    // It is there as long as the workspace, and that is held here.
                    changed.map_err(|_| ServiceError::stopping())?;
                    self.on_news().await?;
                }
                Ok(()) = late_news.changed() => self.on_late_news(),
                () = workspace.ended() => {
                    return Err(ServiceError::new(ErrorCode::Unavailable, "nothing of the workspace is read or written any more"));
                }
                () = tokio::time::sleep(wake) => self.on_timeout(),
            }
        }
    }

    fn id(&self) -> WorkspaceId {
        self.setup.workspace.id()
    }

    /// The join that is under way: none once this device is a member, when the workspace itself says who belongs. (A relay that has not heard
    /// of it yet still wants to see the ticket.)
    fn joining(&self) -> Option<&Join> {
        self.join.as_ref().filter(|_| !self.facts.members.contains(&self.setup.own))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn on_input(&mut self, input: Input) -> Result<(), ServiceError> {
        match input {
            Input::Connected(device) => self.on_connected(device),
            Input::Disconnected(device) => self.on_disconnected(&device),
            Input::Incoming { device, stream, hello } => self.on_incoming(device, stream, hello),
            Input::Opened { device, opened } => self.on_opened(device, opened),
            Input::Note { device, serial, note } => self.on_note(device, serial, note).await?,
            Input::Ended { device, serial, end } => self.on_ended(device, serial, end),
            Input::Gossip(message) => self.on_gossip(message),
            Input::Gap(device) => self.orchestrate(OrchestratorInput::GapSeen(Target::peer(device))),
            Input::SyncNow { target, answer } => self.on_sync_now(target, answer).await,
            Input::Join { joining, hosts, refusals } => self.on_join(*joining, hosts, refusals).await?,
            Input::Relay(note) => self.on_relay(note).await?,
            Input::Late(note) => self.on_late(note),
            Input::Node { node, outcome } => self.on_node(node, outcome),
            Input::Stop(_) => {}
            #[cfg(test)]
            Input::Fail(error) => return Err(error.expect("a fault on purpose")),
        }
        Ok(())
    }

    /// Something was committed.
    async fn on_news(&mut self) -> Result<(), ServiceError> {
        self.refresh().await?;
        self.queue_news().await?;
        self.gossip_news().await
    }

    fn on_timeout(&mut self) {
        let now = self.now();
        self.orchestrate(OrchestratorInput::Wall { wall_ms: self.setup.clock.now_ms() });
        self.orchestrator.handle_timeout(now);
        self.recovery.handle_timeout(now);
        self.on_queue_timeout(now);
        self.open_expected(now);
        self.penalties.retain(|_, until| *until > now);
        self.give_up_waiting(now);
    }

    fn until_next(&self) -> Duration {
        let publish = self.unpublished.then_some(self.published + PUBLISH_MS);
        let waiters = self.waiters.iter().map(|waiter| waiter.deadline()).min();
        let expected = self.expected.values().copied().min();
        let relay = self.relaying.next_timeout();
        let late = self.late_timeout();
        let machines = [self.orchestrator.next_timeout(), self.recovery.next_timeout(), relay, late, publish, waiters, expected];
        let at = machines.into_iter().flatten().min().unwrap_or(u64::MAX);
        // At least now and then, so that a machine that slept is noticed.
        Duration::from_millis(at.saturating_sub(self.now()).min(10_000))
    }

    /// Tells people and operators how it stands, not too often.
    fn publish(&mut self) {
        let now = self.now();
        self.unpublished = true;
        if now < self.published + PUBLISH_MS && self.published > 0 {
            return;
        }
        self.unpublished = false;
        self.published = now.max(1);
        self.count_aside();
        if let Some(status) = self.board.poll_change() {
            self.setup.monitor.set_status(self.id(), &status);
            self.setup.workspace.publish_sync_status(status);
        }
    }

    fn tell_board(&mut self, input: StatusInput) {
        self.board.handle(input);
        self.unpublished = true;
    }

    fn wants_gossip(&self) -> bool {
        let others = self.facts.members.iter().filter(|device| **device != self.setup.own);
        self.setup.options.gossip == GossipUse::Always || others.count() > self.sessions.len()
    }

    /// Says goodbye to everybody, and tells whoever asked for it when that is done.
    async fn stop(mut self, asked: Option<oneshot::Sender<()>>, inputs: &mut mpsc::Receiver<Input>) {
        self.relaying.stop();
        self.setup.monitor.forget(&self.setup.workspace.id());
        for live in self.sessions.values() {
            live.handle.order(super::session::Order::Close);
        }
        let gone = async {
            while !self.sessions.is_empty()
                && let Some(input) = inputs.recv().await
            {
                if let Input::Ended { device, serial, .. } = input
                    && self.sessions.get(&device).is_some_and(|live| live.serial == serial)
                {
                    self.sessions.remove(&device);
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(2), gone).await.ok();
        if let Some(asked) = asked {
            // Whoever asked may have gone.
            asked.send(()).ok();
        }
    }
}

/// A session that is no more needed, by name.
fn close(handle: &SessionHandle) {
    handle.order(super::session::Order::Close);
}
