//! How the rest of the device talks to the network: commands with answers, and events.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use libp2p::{Multiaddr, Stream, StreamProtocol};
use nodespace_protocol::ids::DeviceId;
use tokio::sync::{mpsc, oneshot};

use super::address::Source;
use super::admission::{Roll, Standing};
use super::metrics::NetMetrics;

/// Commands that wait; whoever comes then waits to be let in.
pub(super) const COMMANDS_MAX: usize = 256;
/// How long a stream may take to open.
const OPEN_TIME: Duration = Duration::from_secs(15);

/// A stream on which workspaces are synced.
pub const SYNC_PROTOCOL: StreamProtocol = StreamProtocol::new("/nodespace/sync/1");
/// A stream on which members tell each other addresses.
pub const ADDRESSES_PROTOCOL: StreamProtocol = StreamProtocol::new("/nodespace/addresses/1");
/// A stream on which a node's version is asked for.
pub const NODE_PROTOCOL: StreamProtocol = StreamProtocol::new("/nodespace/node/1");
/// A stream on which attachments are asked for.
pub const ATTACHMENTS_PROTOCOL: StreamProtocol = StreamProtocol::new("/nodespace/attachments/1");

/// What happens. How each waits until it is read, and how much of it at most, is the mailbox's.
#[derive(Debug)]
pub enum NetEvent<S = Stream> {
    /// A first connection to a device stands.
    Connected {
        /// To whom.
        device: DeviceId,
        /// What it is to us.
        standing: Standing,
    },
    /// The last connection to a device is gone.
    Disconnected(DeviceId),
    /// Addresses at which this device can be reached, `/p2p/` and its own name at the end.
    Reachable(Vec<Multiaddr>),
    /// The machine's addresses changed.
    Changed,
    /// A member told an address of its own that was not known.
    Learned,
    /// A peer opened a stream.
    Stream {
        /// Who.
        device: DeviceId,
        /// For what.
        protocol: StreamProtocol,
        /// The stream.
        stream: S,
    },
    /// A message came by gossip, and waits for a verdict.
    Gossip(GossipMessage),
    /// The network task was started anew after a fault: all connections are gone.
    Restarted,
}

/// A message that came by gossip.
#[derive(Debug)]
pub struct GossipMessage {
    /// On which topic.
    pub topic: String,
    /// Who handed it on.
    pub from: DeviceId,
    /// What it says.
    pub data: Vec<u8>,
    pub(super) id: libp2p::gossipsub::MessageId,
}

/// What is thought of a message that came by gossip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is good: hand it on.
    Accept,
    /// It may be good: do not hand it on.
    Ignore,
    /// It is bad, and who handed it on should have known.
    Reject,
}

impl Verdict {
    /// The word for it in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accept => "accepted",
            Self::Ignore => "ignored",
            Self::Reject => "rejected",
        }
    }
}

/// Why a stream could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no connection to the device.
    #[error("device {} is not connected", .0.short())]
    NotConnected(DeviceId),
    /// It does not speak this.
    #[error("device {} does not speak {protocol}; it may run another version", device.short())]
    Unsupported {
        /// Which device.
        device: DeviceId,
        /// What was tried.
        protocol: StreamProtocol,
    },
    /// It took too long, or the connection broke.
    #[error("no stream could be opened to device {}", .0.short())]
    Failed(DeviceId),
    /// The network is stopping.
    #[error("the network is stopping")]
    Stopping,
}

/// A connected or known device, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSnapshot {
    /// Who.
    pub device: DeviceId,
    /// Its libp2p name.
    pub peer_id: String,
    /// Whether a connection stands.
    pub connected: bool,
    /// The address in use, or the best known.
    pub address: Option<Multiaddr>,
    /// Whether the connection goes through a circuit relay.
    pub relayed: bool,
    /// The last ping's round trip in milliseconds.
    pub rtt_ms: Option<u32>,
    /// For how long the connection has stood, in milliseconds.
    pub for_ms: Option<u64>,
}

/// The network, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetSnapshot {
    /// This device's libp2p name.
    pub peer_id: String,
    /// Where it listens.
    pub listening: Vec<Multiaddr>,
    /// Addresses others confirmed, and those of the configuration.
    pub external: Vec<Multiaddr>,
    /// Whether others could reach it without help: `None` while nobody knows.
    pub public: Option<bool>,
    /// Wanted and connected devices, and those of which an address was set by hand.
    pub peers: Vec<PeerSnapshot>,
    /// Refusals since the start, by reason.
    pub refused: BTreeMap<String, u64>,
}

pub(super) enum Command {
    SetRoll(Roll),
    SetCarriers(Vec<Multiaddr>),
    Dial(DeviceId),
    Learn {
        device: DeviceId,
        addresses: Vec<Multiaddr>,
        source: Source,
        near: bool,
    },
    Forget {
        device: DeviceId,
        address: Multiaddr,
        answer: oneshot::Sender<bool>,
    },
    Disconnect {
        device: DeviceId,
        reason: &'static str,
        turn_away: bool,
    },
    Vouched(DeviceId),
    Useful(DeviceId),
    Booted {
        device: DeviceId,
        nonce: u64,
    },
    Topics(BTreeSet<String>),
    Publish {
        topic: String,
        data: Vec<u8>,
    },
    Judge {
        message: Box<GossipMessage>,
        verdict: Verdict,
    },
    ByHand(oneshot::Sender<BTreeSet<DeviceId>>),
    AddressesFor(oneshot::Sender<BTreeMap<DeviceId, Vec<Multiaddr>>>),
    Snapshot(oneshot::Sender<NetSnapshot>),
    IsConnected(DeviceId, oneshot::Sender<bool>),
    Stop(oneshot::Sender<()>),
    #[cfg(test)]
    Panic,
    #[cfg(test)]
    PanicInTask,
}

/// Commands to the network. Clones share it.
#[derive(Clone)]
pub struct NetHandle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) control: super::control::SharedControl,
    pub(super) metrics: NetMetrics,
    pub(super) peer_id: libp2p::PeerId,
}

impl std::fmt::Debug for NetHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetHandle").field("peer_id", &self.peer_id).finish_non_exhaustive()
    }
}

impl NetHandle {
    /// This device's libp2p name.
    pub const fn peer_id(&self) -> libp2p::PeerId {
        self.peer_id
    }

    /// What the network counts.
    pub const fn metrics(&self) -> &NetMetrics {
        &self.metrics
    }

    /// Says who belongs. Who does not any more is disconnected, who newly does is dialled. Devices of which an address was set by hand need
    /// not be named: they are hosts as soon as anything can be synced.
    pub async fn set_roll(&self, roll: Roll) {
        self.send(Command::SetRoll(roll)).await;
    }

    /// Names the circuit relays to be reachable through, each address ending in `/p2p/PEER`.
    pub async fn set_carriers(&self, carriers: Vec<Multiaddr>) {
        self.send(Command::SetCarriers(carriers)).await;
    }

    /// Wants a connection now.
    pub async fn dial(&self, device: DeviceId) {
        self.send(Command::Dial(device)).await;
    }

    /// Tells addresses of a device; `near` when who told them is connected from this machine itself.
    pub async fn learn(&self, device: DeviceId, addresses: Vec<Multiaddr>, source: Source, near: bool) {
        self.send(Command::Learn { device, addresses, source, near }).await;
    }

    /// Takes an address back that was set by hand. Answers whether it was there.
    pub async fn forget(&self, device: DeviceId, address: Multiaddr) -> bool {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Forget { device, address, answer }).await;
        answered.await.unwrap_or(false)
    }

    /// Devices of which an address was set by hand, in the configuration or by [`NetHandle::learn`].
    pub async fn by_hand(&self) -> BTreeSet<DeviceId> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::ByHand(answer)).await;
        answered.await.unwrap_or_default()
    }

    /// Drops a device; with `turn_away` it is not let in again for a while, unless it is a member.
    pub async fn disconnect(&self, device: DeviceId, reason: &'static str, turn_away: bool) {
        self.send(Command::Disconnect { device, reason, turn_away }).await;
    }

    /// A guest has shown that it belongs: it may stay until it is known as a member.
    pub async fn vouched(&self, device: DeviceId) {
        self.send(Command::Vouched(device)).await;
    }

    /// Operations went to or came from a device: when the connection breaks it is made again at once, however short it was.
    pub async fn useful(&self, device: DeviceId) {
        self.send(Command::Useful(device)).await;
    }

    /// Tells a peer's boot nonce: another one than before over an older connection means that it was started anew behind our back.
    pub async fn booted(&self, device: DeviceId, nonce: u64) {
        self.send(Command::Booted { device, nonce }).await;
    }

    /// Says on which topics to gossip.
    pub async fn set_topics(&self, topics: BTreeSet<String>) {
        self.send(Command::Topics(topics)).await;
    }

    /// Gossips; dropped when the network is too busy, as gossip may be.
    pub fn publish(&self, topic: String, data: Vec<u8>) {
        if self.commands.try_send(Command::Publish { topic, data }).is_err() {
            self.metrics.gossip_sent.get_or_create(&[("result", "dropped")]).inc();
        }
    }

    /// Says what is thought of a message. After five seconds nobody wants to know any more.
    pub async fn judge(&self, message: GossipMessage, verdict: Verdict) {
        self.metrics.gossip_received.get_or_create(&[("verdict", verdict.name())]).inc();
        self.send(Command::Judge { message: Box::new(message), verdict }).await;
    }

    /// Known addresses of wanted devices, for other members.
    pub async fn addresses(&self) -> BTreeMap<DeviceId, Vec<Multiaddr>> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::AddressesFor(answer)).await;
        answered.await.unwrap_or_default()
    }

    /// The network, for people. `None` when it is stopping.
    pub async fn snapshot(&self) -> Option<NetSnapshot> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Snapshot(answer)).await;
        answered.await.ok()
    }

    /// Opens a stream to a device that is connected.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(&self, device: DeviceId, protocol: StreamProtocol) -> Result<Stream, OpenError> {
        let (answer, answered) = oneshot::channel();
        self.send(Command::IsConnected(device, answer)).await;
        // Asked for without a connection, a stream could wait for ever (rust-libp2p#6157).
        if !answered.await.map_err(|_| OpenError::Stopping)? {
            return Err(OpenError::NotConnected(device));
        }
        let peer = super::identity::peer_id(&device).ok_or(OpenError::NotConnected(device))?;
        let mut control = self.control.get().ok_or(OpenError::Stopping)?;
        match tokio::time::timeout(OPEN_TIME, control.open_stream(peer, protocol.clone())).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(libp2p_stream::OpenStreamError::UnsupportedProtocol(_))) => Err(OpenError::Unsupported { device, protocol }),
            Ok(Err(_)) | Err(_) => Err(OpenError::Failed(device)),
        }
    }

    /// Ends the network: connections are closed, what was learnt is saved.
    pub async fn stop(&self) {
        let (answer, answered) = oneshot::channel();
        self.send(Command::Stop(answer)).await;
        // When nobody answers it has stopped already.
        answered.await.ok();
    }

    /// Has the network task panic, to see that it is started anew.
    #[cfg(test)]
    pub(crate) async fn panic_on_purpose(&self) {
        self.send(Command::Panic).await;
    }

    /// Has a task beside the network task panic, as that of a connection may.
    #[cfg(test)]
    pub(crate) async fn panic_in_task_on_purpose(&self) {
        self.send(Command::PanicInTask).await;
    }

    async fn send(&self, command: Command) {
        // After the end there is nobody to do it, and nothing to do it to.
        self.commands.send(command).await.ok();
    }
}
