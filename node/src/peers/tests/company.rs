//! Devices, and how a test waits: for what it expects to be told, never for a while.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nodespace_protocol::conflict::Policy;
use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::{DeviceId, NodeId};
use nodespace_protocol::membership::{Role, Ticket};
use nodespace_protocol::replica::NewNode;
use tempfile::TempDir;

use crate::engine::{Clock, CreateOptions, Device, DeviceReplica, Network as _, OpenOptions, Workspace};
use crate::model::{Joined, ServiceError};
use crate::net::address::Source;
use crate::net::{Multiaddr, NetOptions};
use crate::peers::{GossipUse, Peers, PeersOptions};
use crate::sync::recovery::Pace;
use crate::sync::status::TargetState;
use crate::sync::{DeviceStatus, Target};

/// How long anything may take before a test fails. Far more than it needs.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A device with its network.
pub(super) struct Somebody {
    pub(super) device: Device,
    pub(super) peers: Arc<Peers>,
    home: TempDir,
    gossip: GossipUse,
    pace: Pace,
}

impl Somebody {
    /// With a workspace of its own.
    pub(super) async fn new(name: &str) -> Self {
        Self::new_by(name, Pace::default(), |_| {}).await
    }

    /// As [`Self::new`], and it finds others and is found by multicast, where this machine has any.
    pub(super) async fn new_with_multicast(name: &str) -> Self {
        Self::new_by(name, Pace::default(), with_multicast).await
    }

    /// As [`Self::new`], and recovery goes at a pace, and the network has other options.
    async fn new_by(name: &str, pace: Pace, adjust: fn(&mut NetOptions)) -> Self {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("home");
        Device::create(&CreateOptions { home: path, workspace_name: name.to_owned(), policy: Policy::default() }).unwrap();
        Self::open_by(home, GossipUse::WhenUseful, Clock::default(), pace, adjust).await
    }

    /// Without any.
    pub(super) async fn empty() -> Self {
        Self::empty_by(Pace::default(), |_| {}).await
    }

    /// Without any, and recovery goes at a pace, and the network has other options.
    async fn empty_by(pace: Pace, adjust: impl FnOnce(&mut NetOptions)) -> Self {
        let home = tempfile::tempdir().unwrap();
        Device::create_empty(&home.path().join("home")).unwrap();
        Self::open_by(home, GossipUse::WhenUseful, Clock::default(), pace, adjust).await
    }

    /// Without any, and it tells nobody where it is, nor hears where others are: it is connected with whom its ticket names, and no other.
    pub(super) async fn secluded() -> Self {
        Self::empty_by(Pace::default(), |net| net.explicit_only = true).await
    }

    /// Without any, and with peers in its configuration.
    pub(super) async fn empty_with_peers(peers: Vec<Multiaddr>) -> Self {
        Self::empty_by(Pace::default(), |net| net.peers = peers).await
    }

    pub(super) async fn open(home: TempDir, gossip: GossipUse, peers: Vec<Multiaddr>) -> Self {
        Self::open_by(home, gossip, Clock::default(), Pace::default(), |net| net.peers = peers).await
    }

    async fn open_by(home: TempDir, gossip: GossipUse, clock: Clock, pace: Pace, adjust: impl FnOnce(&mut NetOptions)) -> Self {
        // `RUST_LOG=nodespace_node=debug` shows what a failing test did; the first one that asks gets it.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init().ok();
        let options = OpenOptions { projection: false, clock, ..OpenOptions::new(home.path().join("home")) };
        let device = Device::open(options).await.unwrap();
        let mut net = NetOptions {
            key: device.key().clone(),
            listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
            announce: Vec::new(),
            peers: Vec::new(),
            carriers: Vec::new(),
            mdns: false,
            explicit_only: false,
            connections_max: 64,
            book: Some(home.path().join("peers.json")),
            seed: 7,
        };
        adjust(&mut net);
        let is_told_of = !net.explicit_only;
        let options = PeersOptions { interval_ms: 30_000, gossip, relays: Vec::new(), pace };
        let peers = Peers::start(&device, net, options).unwrap();
        device.attach_network(Arc::clone(&peers) as Arc<dyn crate::engine::Network>);
        let somebody = Self { device, peers, home, gossip, pace };
        if is_told_of {
            somebody.listening().await;
        }
        somebody
    }

    /// Stops, and starts again by another clock.
    pub(super) async fn restart_by(self, clock: Clock) -> Self {
        let Offline { home, gossip, pace } = self.stop().await;
        Self::open_by(home, gossip, clock, pace, |_| {}).await
    }

    /// Stops, and starts again; recovery goes at a pace from then on.
    pub(super) async fn restart_at(self, pace: Pace) -> Self {
        let Offline { home, gossip, .. } = self.stop().await;
        Self::open_by(home, gossip, Clock::default(), pace, |_| {}).await
    }

    /// Stops, and starts again with the same identity.
    pub(super) async fn restart(self, gossip: GossipUse) -> Self {
        let Self { device, home, .. } = self;
        device.close().await.unwrap();
        drop(device);
        Self::open(home, gossip, Vec::new()).await
    }

    /// Stops.
    pub(super) async fn stop(self) -> Offline {
        let Self { device, home, gossip, pace, .. } = self;
        device.close().await.unwrap();
        drop(device);
        Offline { home, gossip, pace }
    }

    /// Stops; writes something without a network.
    pub(super) async fn restart_offline(self) -> Offline {
        let offline = self.stop().await;
        let device = offline.open().await;
        let new = NewNode::text(NodeId::parse("offline").unwrap(), None, "written offline");
        device.workspace(None).unwrap().write(None, move |replica, now| Ok(replica.create(now, new)?)).await.unwrap();
        device.close().await.unwrap();
        offline
    }

    /// A ticket by the founder, with this device's address: whoever uses it comes here.
    pub(super) async fn invite_as_member(&self, founder: &Self) -> Ticket {
        let mut ticket = founder.invite(1).await;
        ticket.addresses = self.device.ticket_addresses().addresses;
        let invite = ticket.invite;
        until(&self.workspace(), "the invite", move |replica| replica.membership().contains(&invite)).await;
        ticket
    }

    pub(super) fn id(&self) -> DeviceId {
        self.device.id()
    }

    pub(super) fn workspace(&self) -> Workspace {
        self.device.workspace(None).unwrap()
    }

    /// Its address, once it listens.
    pub(super) async fn listening(&self) -> Multiaddr {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let snapshot = self.peers.net().snapshot().await.unwrap();
            // Only an address that tickets tell of too is settled.
            if let (Some(address), false) = (snapshot.listening.first(), self.device.ticket_addresses().addresses.is_empty()) {
                return address.clone().with(libp2p::multiaddr::Protocol::P2p(self.peers.net().peer_id()));
            }
            assert!(tokio::time::Instant::now() < deadline, "it does not listen");
            tokio::task::yield_now().await;
        }
    }

    /// Is told where another one is: after a restart at both ends nobody else would say.
    pub(super) async fn is_told_of(&self, other: &Self) {
        self.peers.net().learn(other.id(), vec![other.listening().await], Source::Explicit, true).await;
    }

    pub(super) async fn invite(&self, uses: u32) -> Ticket {
        let mut ticket = self
            .workspace()
            .write(None, move |replica, now| {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).unwrap();
                Ok(replica.invite(now, &KeyPair::from_seed(&seed), Role::Editor, now.plus_ms(3_600_000), uses)?)
            })
            .await
            .unwrap();
        ticket.addresses = self.device.ticket_addresses().addresses;
        ticket
    }

    pub(super) async fn join(&self, ticket: &Ticket) -> Result<Joined, ServiceError> {
        let report = self.device.join(&ticket.to_text(), Arc::new(|_| ())).await?;
        Ok(report.joined.into_iter().next().unwrap())
    }

    pub(super) async fn write(&self, id: &str, text: &str) {
        self.write_to(&self.workspace(), id, text).await;
    }

    pub(super) async fn write_to(&self, workspace: &Workspace, id: &str, text: &str) {
        let new = NewNode::text(NodeId::parse(id).unwrap(), None, text);
        workspace.write(None, move |replica, now| Ok(replica.create(now, new)?)).await.unwrap();
    }

    /// Waits until a node has a text here.
    pub(super) async fn sees(&self, id: &str, text: &str) {
        self.sees_in(&self.workspace(), id, text).await;
    }

    pub(super) async fn sees_in(&self, workspace: &Workspace, id: &str, text: &str) {
        let (id, text) = (NodeId::parse(id).unwrap(), text.to_owned());
        let what = format!("device {} to see {id} as `{text}`", self.id().short());
        until(workspace, &what, move |replica| replica.view(&id).is_ok_and(|view| view.content == text)).await;
    }

    /// Waits until sync stands as it should.
    pub(super) async fn status(&self, what: &str, is_it: impl Fn(&DeviceStatus) -> bool) -> DeviceStatus {
        let mut status = self.workspace().watch_sync_status();
        let waited = tokio::time::timeout(PATIENCE, status.wait_for(|status| is_it(status))).await;
        match waited {
            Ok(found) => found.unwrap().clone(),
            Err(_) => panic!("waited for {what}; it is {:#?}", self.workspace().watch_sync_status().borrow().clone()),
        }
    }

    /// Waits until others have confirmed what is held here: not what was held when the status was last told.
    pub(super) async fn is_synced_with(&self, others: &[&Self]) -> DeviceStatus {
        let others: BTreeSet<DeviceId> = others.iter().map(|other| other.id()).collect();
        let confirmed = |status: &DeviceStatus| {
            others.iter().all(|other| {
                let target = Target::peer(*other);
                status.targets.iter().any(|status| status.target == target && status.state == TargetState::Synced)
            })
        };
        loop {
            let held = self.workspace().read(|replica| u64::from(replica.durable_ops())).await.unwrap();
            let status = self.status("being synced", |status| status.operations >= held && confirmed(status)).await;
            if status.operations == self.workspace().read(|replica| u64::from(replica.durable_ops())).await.unwrap() {
                return status;
            }
        }
    }

    pub(super) async fn digest(&self) -> [u8; 32] {
        self.workspace().write(None, |replica, _| Ok(replica.state_digest())).await.unwrap()
    }

    /// What a metric shows; 0 while nothing was counted.
    pub(super) fn metric(&self, series: &str) -> u64 {
        let text = self.device.metrics().text(&[]);
        let shown = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        shown.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a metric shows what it should: looks again whenever sync stands otherwise, and now and then.
    pub(super) async fn counts(&self, series: &str, is_it: impl Fn(u64) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut status = self.workspace().watch_sync_status();
        while !is_it(self.metric(series)) {
            let told = || format!("{series} is {} in vain: {:#?}", self.metric(series), *self.workspace().watch_sync_status().borrow());
            assert!(tokio::time::Instant::now() < deadline, "{}", told());
            // Not every step changes how sync stands.
            tokio::time::timeout(Duration::from_millis(20), status.changed()).await.ok();
        }
    }

    /// Waits until the network has refused somebody for this reason.
    pub(super) async fn refused(&self, reason: &str) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.has_refused(reason).await {
            let refused = self.peers.snapshot().await.unwrap().refused;
            assert!(tokio::time::Instant::now() < deadline, "nobody was refused for {reason}: {refused:?}");
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn has_refused(&self, reason: &str) -> bool {
        self.peers.snapshot().await.unwrap().refused.get(reason).is_some_and(|count| *count > 0)
    }
}

/// A device that does not run.
pub(super) struct Offline {
    home: TempDir,
    gossip: GossipUse,
    pace: Pace,
}

impl Offline {
    /// Opened without a network; to be closed again by whoever did.
    pub(super) async fn open(&self) -> Device {
        let options = OpenOptions { projection: false, ..OpenOptions::new(self.home.path().join("home")) };
        Device::open(options).await.unwrap()
    }

    /// Where its workspace is kept.
    pub(super) async fn workspace_folder(&self) -> PathBuf {
        let device = self.open().await;
        let folder = device.workspace(None).unwrap().folder().to_owned();
        device.close().await.unwrap();
        folder
    }

    pub(super) async fn come_back(self) -> Somebody {
        Somebody::open_by(self.home, self.gossip, Clock::default(), self.pace, |_| {}).await
    }
}

/// Waits until the state of a workspace is as it should be: looks again whenever something was committed.
pub(super) async fn until(workspace: &Workspace, what: &str, is_it: impl Fn(&DeviceReplica) -> bool + Clone + Send + 'static) {
    let mut news = workspace.feed().watch();
    let wait = async {
        loop {
            news.mark_unchanged();
            let look = is_it.clone();
            if workspace.read(move |replica| look(replica)).await.unwrap() {
                return;
            }
            news.changed().await.unwrap();
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "waited in vain for {what}");
}

/// A founder and those who joined.
pub(super) async fn company(joiners: usize) -> Vec<Somebody> {
    company_at(joiners, Pace::default()).await
}

/// As [`company`], and recovery goes at a pace: who waits for a person to be asked need not wait for half a minute.
pub(super) async fn company_at(joiners: usize, pace: Pace) -> Vec<Somebody> {
    company_by(joiners, pace, |_| {}).await
}

/// As [`company`], and all find each other by multicast as well, where this machine has any.
pub(super) async fn company_with_multicast(joiners: usize) -> Vec<Somebody> {
    company_by(joiners, Pace::default(), with_multicast).await
}

fn with_multicast(net: &mut NetOptions) {
    net.mdns = true;
}

async fn company_by(joiners: usize, pace: Pace, adjust: fn(&mut NetOptions)) -> Vec<Somebody> {
    let founder = Somebody::new_by("Notes", pace, adjust).await;
    let ticket = founder.invite(u32::try_from(joiners.max(1)).unwrap()).await;
    let mut all = vec![founder];
    for _ in 0..joiners {
        let somebody = Somebody::empty_by(pace, adjust).await;
        somebody.join(&ticket).await.unwrap();
        all.push(somebody);
    }
    all
}

/// Has all but the first stop and come back. Who joins does so as a guest, and that connection is made anew some seconds later. A test that
/// opens streams by itself, or asks once and looks at the answer, must not come upon that; connections of members stay.
pub(super) async fn reconnected(mut all: Vec<Somebody>) -> Vec<Somebody> {
    for joiner in all.split_off(1) {
        let target = Target::peer(joiner.id());
        let is_away = |status: &DeviceStatus| status.targets.iter().any(|known| known.target == target && known.state == TargetState::Away);
        let stopped = joiner.stop().await;
        all[0].status("who stopped to be away", is_away).await;
        all.push(stopped.come_back().await);
    }
    agree(&all).await;
    all
}

/// Waits until all hold the same, and have said so of each other.
pub(super) async fn agree(all: &[Somebody]) {
    for somebody in all {
        let others: Vec<&Somebody> = all.iter().filter(|other| other.id() != somebody.id()).collect();
        somebody.is_synced_with(&others).await;
    }
    let first = all[0].digest().await;
    for other in &all[1..] {
        assert_eq!(other.digest().await, first);
    }
}
