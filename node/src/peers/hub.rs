//! The hub: one a device. Knows which workspaces there are and who belongs to which, and hands on what the network brings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nodespace_protocol::ids::{DeviceId, WorkspaceId};
use nodespace_protocol::session::{ByeCode, Message, recognises};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::addresses::Exchange;
use super::budget::{ADDRESSES, ATTACHMENTS, Budgets, QUESTIONS, SESSIONS};
use super::carriers::Carriers;
use super::host::Host;
use super::told::{Tellings, Told};
use super::traffic::Traffic;
use super::workspace::{self, Inbox, Input, RelayNote, Setup};
use super::{PeersOptions, attachments, inspect};
use crate::engine::{Device, Joining, TicketAddresses, Workspace};
use crate::net::address::{Source, is_loopback};
use crate::net::admission::{Roll, Standing};
use crate::net::frames::read_frame;
use crate::net::{
    ADDRESSES_PROTOCOL, ATTACHMENTS_PROTOCOL, Multiaddr, NODE_PROTOCOL, NetEvent, NetEvents, NetHandle, SYNC_PROTOCOL, Stream,
    StreamProtocol, Verdict,
};
use crate::sync::{DeviceStatus, Target};

/// The largest first frame of a session: a hello is short.
const HELLO_BYTES_MAX: usize = 1_024;
/// How long a peer may take for it.
const HELLO_TIME: Duration = Duration::from_secs(10);
/// How long what was learnt of addresses is gathered before others are told.
const EXCHANGE_PAUSE: Duration = Duration::from_secs(1);
/// Answers with attachments that one peer can have under way.
const ANSWERS_AT_ONCE_MAX: usize = 4;
/// Addresses in a ticket.
const TICKET_ADDRESSES_MAX: usize = 8;

/// What the hub is asked for.
#[derive(Debug)]
pub(super) enum HubCommand {
    SyncNow {
        workspace: WorkspaceId,
        target: Option<Target>,
        answer: oneshot::Sender<Result<DeviceStatus, ()>>,
    },
    Join {
        workspace: WorkspaceId,
        joining: Box<Joining>,
        hosts: BTreeMap<DeviceId, Vec<Multiaddr>>,
        refusals: mpsc::Sender<(Host, String)>,
    },
    RelaysChanged(WorkspaceId),
    AddPeer {
        device: DeviceId,
        address: Multiaddr,
        answer: oneshot::Sender<()>,
    },
    Stop(oneshot::Sender<()>),
    /// Has the sync of a workspace fail, to see what comes of it.
    #[cfg(test)]
    FailSync(WorkspaceId, Option<crate::model::ServiceError>),
}

#[derive(Debug)]
struct Known {
    workspace: Workspace,
    inbox: Inbox,
    members: BTreeSet<DeviceId>,
    topic: Option<String>,
    /// Whom a ticket names.
    hosts: BTreeSet<DeviceId>,
    /// The secret of the ticket, while the workspace's own has not arrived.
    secret: Option<[u8; 32]>,
}

/// One a device.
pub(super) struct Hub {
    device: Device,
    net: NetHandle,
    traffic: Traffic,
    carriers: Carriers,
    options: PeersOptions,
    explicit_only: bool,
    boot_nonce: u64,
    workspaces: BTreeMap<WorkspaceId, Known>,
    connected: BTreeMap<DeviceId, Standing>,
    /// Sessions that peers may begin.
    sessions: Budgets,
    /// Exchanges of addresses that peers may begin.
    exchanges: Budgets,
    /// Questions about nodes that peers may ask.
    questions: Budgets,
    /// Questions for attachments that peers may ask.
    wishes: Budgets,
    /// Answers with attachments that are under way, by whom they are for: each holds one.
    answering: BTreeMap<DeviceId, Arc<()>>,
    /// When members are told of addresses that were learnt.
    exchange_due: Option<Instant>,
    tellings: Tellings,
}

impl Hub {
    pub(super) fn new(device: Device, net: NetHandle, traffic: Traffic, options: PeersOptions, explicit_only: bool) -> Self {
        Self {
            device,
            net,
            traffic,
            carriers: Carriers::default(),
            options,
            explicit_only,
            boot_nonce: random(),
            workspaces: BTreeMap::new(),
            connected: BTreeMap::new(),
            sessions: Budgets::new(SESSIONS),
            exchanges: Budgets::new(ADDRESSES),
            questions: Budgets::new(QUESTIONS),
            wishes: Budgets::new(ATTACHMENTS),
            answering: BTreeMap::new(),
            exchange_due: None,
            tellings: Tellings::default(),
        }
    }

    pub(super) async fn run(mut self, mut events: NetEvents, mut commands: mpsc::Receiver<HubCommand>) {
        let mut generation = self.device.watch_workspaces();
        self.follow_workspaces(&mut generation).await;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.on_event(event).await,
                    None => return,
                },
                command = commands.recv() => match command {
                    Some(HubCommand::Stop(answer)) => return self.stop(answer).await,
                    Some(command) => self.on_command(command).await,
                    None => return,
                },
                told = self.tellings.next() => self.on_told(told).await,
                () = sleep_until(self.exchange_due) => self.exchange_with_all(),
                changed = generation.changed() => match changed {
                    Ok(()) => self.follow_workspaces(&mut generation).await,
                    Err(_) => return,
                },
            }
        }
    }

    /// Begins with workspaces that came, ends with those that went.
    async fn follow_workspaces(&mut self, generation: &mut watch::Receiver<u64>) {
        generation.mark_unchanged();
        let present: BTreeMap<WorkspaceId, Workspace> =
            self.device.workspaces().into_iter().map(|workspace| (workspace.id(), workspace)).collect();
        let gone: Vec<_> = self.workspaces.extract_if(.., |id, _| !present.contains_key(id)).collect();
        for (id, known) in gone {
            let (answer, _) = oneshot::channel();
            known.inbox.send(Input::Stop(answer)).await;
            self.carriers.set(&self.net, id, Vec::new()).await;
        }
        for (id, workspace) in present {
            if !self.workspaces.contains_key(&id) {
                let known = self.begin(workspace);
                self.workspaces.insert(id, known);
            }
        }
        self.set_roll().await;
    }

    fn begin(&self, workspace: Workspace) -> Known {
        let setup = Setup {
            workspace: workspace.clone(),
            device: self.device.clone(),
            own: self.device.id(),
            clock: self.device.clock(),
            net: self.net.clone(),
            traffic: self.traffic.clone(),
            carriers: self.carriers.clone(),
            explicit_only: self.explicit_only,
            monitor: self.device.metrics().sync.clone(),
            options: self.options.clone(),
            boot_nonce: self.boot_nonce,
            seed: random(),
            connected: self.connected.keys().copied().collect(),
            hub: self.tellings.clone(),
        };
        let inbox = workspace::start(setup);
        Known { workspace, inbox, members: BTreeSet::new(), topic: None, hosts: BTreeSet::new(), secret: None }
    }

    async fn on_told(&mut self, told: Told) {
        let Some(known) = self.workspaces.get_mut(&told.workspace) else { return };
        (known.members, known.topic) = (told.members, told.topic);
        if known.members.contains(&self.device.id()) {
            // The join is done: from here on the workspace itself says who belongs.
            (known.hosts, known.secret) = (BTreeSet::new(), None);
        }
        self.set_roll().await;
        let topics = self.workspaces.values().filter_map(|known| known.topic.clone()).collect();
        self.net.set_topics(topics).await;
    }

    async fn set_roll(&self) {
        let own = self.device.id();
        let all = |of: fn(&Known) -> &BTreeSet<DeviceId>| -> BTreeSet<DeviceId> {
            self.workspaces.values().flat_map(of).copied().filter(|device| *device != own).collect()
        };
        let members = all(|known| &known.members);
        let has_workspace = self.workspaces.values().any(|known| !known.members.is_empty());
        self.net.set_roll(Roll { members, hosts: all(|known| &known.hosts), has_workspace }).await;
    }

    async fn on_event(&mut self, event: NetEvent) {
        match event {
            NetEvent::Connected { device, standing } => {
                self.connected.insert(device, standing);
                for known in self.workspaces.values() {
                    known.inbox.send(Input::Connected(device)).await;
                }
                if standing == Standing::Member && self.device.id() < device {
                    self.exchange_addresses(device, None);
                }
            }
            NetEvent::Disconnected(device) => self.on_disconnected(device).await,
            NetEvent::Restarted => {
                for device in std::mem::take(&mut self.connected).into_keys() {
                    self.on_disconnected(device).await;
                }
            }
            NetEvent::Reachable(addresses) => {
                self.set_ticket_addresses(&addresses);
                for known in self.workspaces.values() {
                    // Where there is no room the directory hears of it with the next sync.
                    known.inbox.try_send(Input::Relay(RelayNote::Moved));
                }
            }
            // Others may want to know of what is new.
            NetEvent::Changed | NetEvent::Learned => {
                self.exchange_due = self.exchange_due.or_else(|| Some(Instant::now() + EXCHANGE_PAUSE))
            }
            NetEvent::Stream { device, protocol, stream } => self.on_stream(device, &protocol, stream),
            NetEvent::Gossip(message) => {
                let known = self.workspaces.values().find(|known| known.topic.as_ref() == Some(&message.topic));
                let lost = match known {
                    Some(known) => known.inbox.offer_gossip(message),
                    None => Some(message),
                };
                if let Some(message) = lost {
                    self.net.metrics().dropped.get_or_create(&[("kind", "gossip")]).inc();
                    self.net.judge(message, Verdict::Ignore).await;
                }
            }
        }
    }

    async fn on_disconnected(&mut self, device: DeviceId) {
        self.connected.remove(&device);
        for known in self.workspaces.values() {
            known.inbox.send(Input::Disconnected(device)).await;
        }
    }

    /// A peer opened a stream. It is answered as the peer's budget allows: what is too much is dropped, as it will see.
    fn on_stream(&mut self, device: DeviceId, protocol: &StreamProtocol, stream: Stream) {
        let budget = match protocol {
            protocol if *protocol == SYNC_PROTOCOL => &mut self.sessions,
            protocol if *protocol == NODE_PROTOCOL => &mut self.questions,
            protocol if *protocol == ATTACHMENTS_PROTOCOL => &mut self.wishes,
            _ => &mut self.exchanges,
        };
        if budget.spend(device).is_err() {
            return self.net.metrics().refused("overdrawn", &device.short());
        }
        match protocol {
            protocol if *protocol == SYNC_PROTOCOL => self.on_sync_stream(device, stream),
            protocol if *protocol == NODE_PROTOCOL => drop(tokio::spawn(inspect::answer(self.device.clone(), device, stream))),
            protocol if *protocol == ATTACHMENTS_PROTOCOL => self.give_attachments(device, stream),
            _ => self.exchange_addresses(device, Some(stream)),
        }
    }

    /// Answers a question for attachments, beside this task. A peer that does not read its answers gets no more of them: each takes memory.
    fn give_attachments(&mut self, device: DeviceId, stream: Stream) {
        self.answering.retain(|_, answer| Arc::strong_count(answer) > 1);
        let answer = Arc::clone(self.answering.entry(device).or_default());
        if Arc::strong_count(&answer) > ANSWERS_AT_ONCE_MAX + 1 {
            return self.net.metrics().refused("overdrawn", &device.short());
        }
        let inboxes = self.workspaces.iter().map(|(id, known)| (*id, known.inbox.clone())).collect();
        let own = self.device.clone();
        tokio::spawn(async move {
            attachments::answer(own, device, stream, inboxes).await;
            drop(answer);
        });
    }

    /// Reads a stream's hello and finds out for which workspace it is, beside this task: a peer may take its time.
    fn on_sync_stream(&self, device: DeviceId, mut stream: Stream) {
        let own = self.device.id();
        let known: Vec<(Workspace, Inbox, Option<[u8; 32]>)> =
            self.workspaces.values().map(|known| (known.workspace.clone(), known.inbox.clone(), known.secret)).collect();
        let net = self.net.clone();
        // Who is a member of one workspace may speak of another that is not here yet, or not any more.
        let belongs = matches!(self.connected.get(&device), Some(Standing::Member | Standing::Host));
        tokio::spawn(async move {
            let hello = match tokio::time::timeout(HELLO_TIME, read_frame(&mut stream, HELLO_BYTES_MAX)).await {
                Ok(Ok(hello)) => hello,
                Ok(Err(error)) => return refuse(&net, device, "malformed_hello", &error.to_string()).await,
                Err(_) => return refuse(&net, device, "greeting_too_slow", "it did not say hello").await,
            };
            let mut all_read = true;
            for (workspace, inbox, ticket_secret) in known {
                let Ok(secret) = workspace.read(|replica| replica.membership().secret()).await else {
                    all_read = false;
                    continue;
                };
                match secret.or(ticket_secret).map(|secret| recognises(&hello, &secret, &device, &own)) {
                    Some(Ok(true)) => return inbox.send(Input::Incoming { device, stream, hello }).await,
                    Some(Ok(false)) | None => {}
                    Some(Err(error)) => return refuse(&net, device, "malformed_hello", &error.to_string()).await,
                }
            }
            if !all_read {
                // It may belong to what cannot be read, and must not hear that it is a stranger.
                return goodbye(&mut stream, ByeCode::Closing, "a workspace cannot be read").await;
            }
            goodbye(&mut stream, ByeCode::Stranger, "unknown workspace").await;
            if belongs {
                return net.metrics().refused("unknown_workspace", &device.short());
            }
            refuse(&net, device, "stranger", "it knows the secret of no workspace that is here").await;
        });
    }

    /// Tells all members what was learnt since they were told last.
    fn exchange_with_all(&mut self) {
        self.exchange_due = None;
        for device in self.connected.iter().filter(|(_, standing)| **standing == Standing::Member).map(|(device, _)| *device) {
            self.exchange_addresses(device, None);
        }
    }

    fn exchange_addresses(&self, peer: DeviceId, stream: Option<Stream>) {
        let shared: BTreeSet<DeviceId> = self
            .workspaces
            .values()
            .filter(|known| known.members.contains(&peer))
            .flat_map(|known| known.members.iter().copied())
            .collect();
        if shared.is_empty() || self.explicit_only {
            return;
        }
        let net = self.net.clone();
        tokio::spawn(async move {
            let near = net.snapshot().await.is_some_and(|snapshot| {
                snapshot.peers.iter().any(|other| other.device == peer && other.address.as_ref().is_some_and(is_loopback))
            });
            let exchange = Exchange { net: net.clone(), peer, shared, near };
            match stream {
                Some(stream) => exchange.run(stream, false).await,
                None => match net.open(peer, ADDRESSES_PROTOCOL).await {
                    Ok(stream) => exchange.run(stream, true).await,
                    Err(error) => tracing::debug!(%error, "addresses were not exchanged"),
                },
            }
        });
    }

    fn set_ticket_addresses(&self, reachable: &[Multiaddr]) {
        // Loopback addresses lead nowhere from elsewhere; they are of use when there are no others, as on a machine that plays several.
        let others: Vec<String> = reachable.iter().filter(|address| !is_loopback(address)).map(ToString::to_string).collect();
        let loopback = || reachable.iter().map(ToString::to_string).collect();
        let mut addresses: Vec<String> = if others.is_empty() { loopback() } else { others };
        addresses.truncate(TICKET_ADDRESSES_MAX);
        self.device.set_ticket_addresses(TicketAddresses { addresses, relays: self.options.relays.clone() });
    }

    async fn on_command(&mut self, command: HubCommand) {
        match command {
            HubCommand::SyncNow { workspace, target, answer } => match self.workspaces.get(&workspace) {
                Some(known) => known.inbox.send(Input::SyncNow { target, answer }).await,
                // Whoever asked may have gone.
                None => drop(answer.send(Err(()))),
            },
            HubCommand::RelaysChanged(workspace) => {
                if let Some(known) = self.workspaces.get(&workspace) {
                    known.inbox.send(Input::Relay(RelayNote::Changed)).await;
                }
            }
            HubCommand::Join { workspace, joining, hosts, refusals } => self.join(workspace, joining, hosts, refusals).await,
            HubCommand::AddPeer { device, address, answer } => {
                self.net.learn(device, vec![address], Source::Explicit, true).await;
                self.net.dial(device).await;
                answer.send(()).ok();
            }
            HubCommand::Stop(_) => {}
            #[cfg(test)]
            HubCommand::FailSync(workspace, error) => {
                if let Some(known) = self.workspaces.get(&workspace) {
                    known.inbox.send(Input::Fail(error)).await;
                }
            }
        }
    }

    async fn join(
        &mut self,
        id: WorkspaceId,
        joining: Box<Joining>,
        hosts: BTreeMap<DeviceId, Vec<Multiaddr>>,
        refusals: mpsc::Sender<(Host, String)>,
    ) {
        let mut generation = self.device.watch_workspaces();
        self.follow_workspaces(&mut generation).await;
        let by_hand = self.net.by_hand().await;
        let Some(known) = self.workspaces.get_mut(&id) else { return };
        // Whoever was set by hand may be a member as well.
        known.hosts = hosts.keys().chain(&by_hand).copied().collect();
        known.secret = Some(joining.secret);
        let whom = known.hosts.clone();
        known.inbox.send(Input::Join { joining, hosts: whom, refusals }).await;
        self.set_roll().await;
        for (device, addresses) in hosts {
            self.net.learn(device, addresses, Source::Ticket, true).await;
            self.net.dial(device).await;
        }
    }

    async fn stop(self, answer: oneshot::Sender<()>) {
        let mut answers = Vec::new();
        for known in self.workspaces.values() {
            let (answer, answered) = oneshot::channel();
            known.inbox.send(Input::Stop(answer)).await;
            answers.push(answered);
        }
        for answered in answers {
            // One that had ended before has nothing to say.
            answered.await.ok();
        }
        answer.send(()).ok();
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn refuse(net: &NetHandle, device: DeviceId, reason: &'static str, words: &str) {
    tracing::debug!(device = %device.short(), reason, words, "turned away");
    net.disconnect(device, reason, true).await;
}

/// Tells somebody why it is not spoken with, and nothing else.
async fn goodbye(stream: &mut Stream, code: ByeCode, reason: &str) {
    let bye = Message::Bye { code, reason: reason.to_owned() };
    // It may have gone.
    crate::net::frames::write_frame(stream, &bye.encode()).await.ok();
}

/// A number that differs from start to start. Nothing secret hangs on it.
fn random() -> u64 {
    getrandom::u64().unwrap_or_else(|_| crate::engine::wall_ms())
}
