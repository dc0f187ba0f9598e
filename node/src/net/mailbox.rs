//! Events on their way from the task that owns the swarm to whoever reads them.
//!
//! The task must never wait for the reader: the reader gives commands to that same task and waits until they are taken, so each could wait
//! for the other for ever; and a swarm that is not polled answers nobody. Nor may it lose a connection that was made or lost. So each kind
//! of event waits in its own way, and all of it within bounds, however slow the reader is:
//!
//! - connections made and lost: in order; one that is made and lost before anybody was told of it was never there. So two wait at most for
//!   each device that may be connected;
//! - a fault of the network: it stands for all that was lost by it, and takes the place of what waited. One at most;
//! - own addresses, and that there is news of addresses: each tells all there is to know, so the latest alone waits;
//! - streams: each device has [`STREAMS_OF_ONE_MAX`] places of its own, and they are taken up in turn, so none keeps another's waiting. Those
//!   of a device whose last connection is gone are dead, and go with it;
//! - gossip: in order, [`GOSSIP_WAITING_MAX`] messages of [`GOSSIP_WAITING_BYTES_MAX`] together. What finds no room is dropped and counted:
//!   gossip is a hint, the session brings the same.
//!
//! What is first in this list is told first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use libp2p::{Multiaddr, Stream, StreamProtocol};
use nodespace_protocol::ids::DeviceId;
use tokio::sync::Notify;

use super::admission::Standing;
use super::handle::{GossipMessage, NetEvent};

/// Streams of one device that wait to be taken up; a further one is dropped, and whoever opened it opens it again. Enough for a peer with
/// which that many workspaces are shared, and that opens all its sessions at once.
const STREAMS_OF_ONE_MAX: usize = 64;
/// Gossip messages that wait to be taken up.
const GOSSIP_WAITING_MAX: usize = 256;
/// Bytes that they have together. A single message of any size that came in finds room when nothing else waits.
const GOSSIP_WAITING_BYTES_MAX: usize = 4 << 20;

/// A mailbox, empty: the end that is written to, and the one that is read.
pub(super) fn mailbox() -> (Outbox, NetEvents) {
    let shared = Arc::new(Shared::default());
    (Outbox { shared: Arc::downgrade(&shared) }, NetEvents { shared })
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting<Stream>>,
    /// Something came, or the writer has gone.
    news: Notify,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting<Stream>> {
        // Nothing in here panics half-way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What happens, as it happens.
#[derive(Debug)]
pub struct NetEvents {
    shared: Arc<Shared>,
}

impl NetEvents {
    /// The next event; `None` when the network has ended. Connections come before what comes over them. May be cancelled: nothing is lost.
    pub async fn next(&mut self) -> Option<NetEvent> {
        loop {
            let (event, ended) = {
                let mut waiting = self.shared.lock();
                (waiting.pop(), waiting.ended)
            };
            if event.is_some() || ended {
                return event;
            }
            // Of what comes between looking and waiting a permit is kept.
            self.shared.news.notified().await;
        }
    }
}

/// Where events are put. When nobody reads any more they are dropped, with all that waited.
#[derive(Debug)]
pub(super) struct Outbox {
    shared: Weak<Shared>,
}

impl Outbox {
    /// A first connection to a device stands.
    pub(super) fn connected(&self, device: DeviceId, standing: Standing) {
        self.put(|waiting| waiting.connected(device, standing));
    }

    /// The last connection to a device is gone.
    pub(super) fn disconnected(&self, device: DeviceId) {
        self.put(|waiting| waiting.disconnected(&device));
    }

    /// All connections are gone.
    pub(super) fn restarted(&self) {
        self.put(Waiting::restarted);
    }

    /// This is where the device can be reached now.
    pub(super) fn reachable(&self, addresses: Vec<Multiaddr>) {
        self.put(|waiting| waiting.reachable = Some(addresses));
    }

    /// The machine's addresses changed.
    pub(super) fn changed(&self) {
        self.put(|waiting| waiting.changed = true);
    }

    /// A member told an address of its own that was not known.
    pub(super) fn learned(&self) {
        self.put(|waiting| waiting.learned = true);
    }

    /// A peer opened a stream. Answers whether there was room.
    #[must_use]
    pub(super) fn stream(&self, device: DeviceId, protocol: StreamProtocol, stream: Stream) -> bool {
        self.put(|waiting| waiting.stream(device, protocol, stream)).unwrap_or(true)
    }

    /// A message came by gossip. Answers it when there is no room.
    #[must_use]
    pub(super) fn gossip(&self, message: GossipMessage) -> Option<GossipMessage> {
        self.put(|waiting| waiting.gossip(message)).flatten()
    }

    /// `None` when nobody reads.
    fn put<T>(&self, change: impl FnOnce(&mut Waiting<Stream>) -> T) -> Option<T> {
        let shared = self.shared.upgrade()?;
        let outcome = change(&mut shared.lock());
        shared.news.notify_one();
        Some(outcome)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.put(|waiting| waiting.ended = true);
    }
}

/// A connection that was made or lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Made(DeviceId, Standing),
    Lost(DeviceId),
    AllLost,
}

/// What waits. Pure; what a stream is does not matter to it.
#[derive(Debug)]
struct Waiting<S> {
    links: VecDeque<Link>,
    /// Who is connected, as the reader was told.
    told: BTreeSet<DeviceId>,
    reachable: Option<Vec<Multiaddr>>,
    changed: bool,
    learned: bool,
    /// None of them empty.
    streams: BTreeMap<DeviceId, VecDeque<(StreamProtocol, S)>>,
    /// Whose stream was taken up last.
    served: Option<DeviceId>,
    gossip: VecDeque<GossipMessage>,
    gossip_bytes: usize,
    ended: bool,
}

impl<S> Default for Waiting<S> {
    fn default() -> Self {
        Self {
            links: VecDeque::new(),
            told: BTreeSet::new(),
            reachable: None,
            changed: false,
            learned: false,
            streams: BTreeMap::new(),
            served: None,
            gossip: VecDeque::new(),
            gossip_bytes: 0,
            ended: false,
        }
    }
}

impl<S> Waiting<S> {
    fn connected(&mut self, device: DeviceId, standing: Standing) {
        self.forget_made(&device);
        self.links.push_back(Link::Made(device, standing));
    }

    fn disconnected(&mut self, device: &DeviceId) {
        self.forget_made(device);
        self.streams.remove(device);
        let is_told_of = |link: &Link| matches!(link, Link::Lost(other) if other == device) || *link == Link::AllLost;
        if self.told.contains(device) && !self.links.iter().any(is_told_of) {
            self.links.push_back(Link::Lost(*device));
        }
    }

    fn restarted(&mut self) {
        self.links.clear();
        self.links.push_back(Link::AllLost);
        self.streams.clear();
        // Nobody could be told any more what is thought of them.
        self.gossip.clear();
        self.gossip_bytes = 0;
    }

    /// Nobody needs to hear of a connection that is gone before it was told of, nor twice of one that stands.
    fn forget_made(&mut self, device: &DeviceId) {
        self.links.retain(|link| !matches!(link, Link::Made(other, _) if other == device));
    }

    fn stream(&mut self, device: DeviceId, protocol: StreamProtocol, stream: S) -> bool {
        let queue = self.streams.entry(device).or_default();
        let has_room = queue.len() < STREAMS_OF_ONE_MAX;
        if has_room {
            queue.push_back((protocol, stream));
        }
        has_room
    }

    fn gossip(&mut self, message: GossipMessage) -> Option<GossipMessage> {
        let bytes = self.gossip_bytes.saturating_add(message.data.len());
        if self.gossip.len() >= GOSSIP_WAITING_MAX || (bytes > GOSSIP_WAITING_BYTES_MAX && !self.gossip.is_empty()) {
            return Some(message);
        }
        self.gossip_bytes = bytes;
        self.gossip.push_back(message);
        None
    }

    fn pop(&mut self) -> Option<NetEvent<S>> {
        self.pop_link()
            .or_else(|| self.reachable.take().map(NetEvent::Reachable))
            .or_else(|| mem::take(&mut self.changed).then_some(NetEvent::Changed))
            .or_else(|| mem::take(&mut self.learned).then_some(NetEvent::Learned))
            .or_else(|| self.pop_stream())
            .or_else(|| self.pop_gossip())
    }

    fn pop_link(&mut self) -> Option<NetEvent<S>> {
        Some(match self.links.pop_front()? {
            Link::Made(device, standing) => {
                self.told.insert(device);
                NetEvent::Connected { device, standing }
            }
            Link::Lost(device) => {
                self.told.remove(&device);
                NetEvent::Disconnected(device)
            }
            Link::AllLost => {
                self.told.clear();
                NetEvent::Restarted
            }
        })
    }

    /// The next stream of the device whose turn it is.
    fn pop_stream(&mut self) -> Option<NetEvent<S>> {
        let after = self.served.map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = self.streams.range((after, Bound::Unbounded)).map(|(device, _)| *device);
        let device = behind.next().or_else(|| self.streams.keys().next().copied())?;
        let queue = self.streams.get_mut(&device)?;
        let (protocol, stream) = queue.pop_front()?;
        if queue.is_empty() {
            self.streams.remove(&device);
        }
        self.served = Some(device);
        Some(NetEvent::Stream { device, protocol, stream })
    }

    fn pop_gossip(&mut self) -> Option<NetEvent<S>> {
        let message = self.gossip.pop_front()?;
        self.gossip_bytes = self.gossip_bytes.saturating_sub(message.data.len());
        Some(NetEvent::Gossip(message))
    }
}

#[cfg(test)]
mod tests;
