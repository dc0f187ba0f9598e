//! The task that owns the swarm: one loop over its events, commands and timers. It never waits for anything else: what happens goes into
//! the mailbox, which takes it at once.
//!
//! What to do is decided by the pure parts (who may in, whom to dial, which connection goes); this file only carries it out.

mod commands;
mod events;
mod repairs;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::SelectAll;
use libp2p::core::transport::ListenerId;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, Swarm};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};
use nodespace_protocol::ids::DeviceId;
use tokio::sync::mpsc;

use self::repairs::Repairs;
use super::address::split_peer;
use super::behaviour::Behaviour;
use super::book::Dial;
use super::control::SharedControl;
use super::handle::{ADDRESSES_PROTOCOL, ATTACHMENTS_PROTOCOL, Command, NODE_PROTOCOL, SYNC_PROTOCOL};
use super::identity::{device_of, peer_id};
use super::lasting::Lasting;
use super::links::{Closing, Links};
use super::supervisor::GoOn;
use super::swarm::Built;
use super::tasks::Tasks;
use crate::engine::wall_ms;

/// How long after a circuit relay was lost, or said no, it is asked again, in milliseconds; doubled with each further no. The first no is to
/// be expected: a relay looks up whether a peer is a member when it connects, and may not know yet when it is asked.
const CARRIER_RETRY_MS: u64 = 1_500;
/// How often that is doubled at most: to a minute and a half.
const CARRIER_DOUBLINGS_MAX: u32 = 6;
/// How long a member keeps a connection that was made before it was one, in milliseconds: what is under way ends meanwhile.
const PROMOTION_MS: u64 = 5_000;
/// How long somebody who is a member no more stays connected, in milliseconds: it is told so meanwhile.
const FAREWELL_MS: u64 = 2_000;
/// Dials leave by the port that is listened on, which hole punching needs; so the first waits for that, at most so long, in milliseconds.
const LISTEN_MS_MAX: u64 = 1_000;
/// How often the address book is saved, in milliseconds.
const SAVE_MS: u64 = 60_000;
/// How often it is looked at least whether the machine has slept.
const LOOK_TIME: Duration = Duration::from_secs(10);

/// Streams that peers open.
type Incoming = SelectAll<futures::stream::BoxStream<'static, (PeerId, StreamProtocol, Stream)>>;

/// The swarm and what belongs to its connections.
pub(super) struct NetTask<'a> {
    lasting: &'a mut Lasting,
    swarm: Swarm<Behaviour>,
    tasks: Tasks,
    incoming: Incoming,
    links: Links<ConnectionId>,
    /// Guests that have shown that they belong.
    vouched: BTreeSet<DeviceId>,
    /// Who could not be dialled because the port that is listened on is also another connection's: next time by any other.
    port_taken: BTreeSet<DeviceId>,
    /// Whom to disconnect when, and why.
    farewells: BTreeMap<DeviceId, (u64, &'static str)>,
    repairs: Repairs,
    /// Listeners through circuit relays.
    circuits: HashMap<ListenerId, Multiaddr>,
    carriers_due: BTreeMap<Multiaddr, u64>,
    /// How often in a row each circuit relay was lost or said no.
    carriers_lost: BTreeMap<Multiaddr, u32>,
    public: Option<bool>,
    save_due: u64,
    /// Nobody is dialled before this.
    dials_from: u64,
}

impl<'a> NetTask<'a> {
    /// Takes up what lasted.
    pub(super) fn start(lasting: &'a mut Lasting, Built { swarm, tasks }: Built, control: &SharedControl) -> Self {
        let mut streams = swarm.behaviour().stream.new_control();
        let mut incoming = SelectAll::new();
        for protocol in [SYNC_PROTOCOL, ADDRESSES_PROTOCOL, NODE_PROTOCOL, ATTACHMENTS_PROTOCOL] {
            // The swarm is new: nobody has taken a protocol yet.
            let accepted = streams.accept(protocol.clone()).expect("each protocol is taken once");
            incoming.push(accepted.map(move |(peer, stream)| (peer, protocol.clone(), stream)).boxed());
        }
        control.set(Some(streams));
        let own = device_of(swarm.local_peer_id()).expect("our own key is a device's");
        let now = lasting.clock.now_ms();
        lasting.book.restarted(now);
        lasting.admission.restarted();
        let mut task = Self {
            lasting,
            swarm,
            tasks,
            incoming,
            links: Links::new(own),
            vouched: BTreeSet::new(),
            port_taken: BTreeSet::new(),
            farewells: BTreeMap::new(),
            repairs: Repairs::default(),
            circuits: HashMap::new(),
            carriers_due: BTreeMap::new(),
            carriers_lost: BTreeMap::new(),
            public: None,
            save_due: now + SAVE_MS,
            dials_from: now + LISTEN_MS_MAX,
        };
        task.set_topics(task.lasting.topic_names.clone());
        task.set_carriers(task.lasting.carriers.clone());
        task
    }

    /// Runs until it is told to stop, until nobody holds a handle, or until a task beside it has panicked.
    pub(super) async fn run(&mut self, commands: &mut mpsc::Receiver<Command>) -> GoOn {
        loop {
            self.lasting.notice_wake(wall_ms());
            self.act();
            let wake = self.lasting.clock.until(self.next_timeout()).min(LOOK_TIME);
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm_event(event),
                command = commands.recv() => match command {
                    Some(Command::Stop(answer)) => {
                        self.lasting.save();
                        return ControlFlow::Break(Some(answer));
                    }
                    Some(command) => self.on_command(command),
                    None => return ControlFlow::Break(None),
                },
                Some((peer, protocol, stream)) = self.incoming.next() => self.on_stream(peer, protocol, stream),
                () = self.tasks.fault() => return ControlFlow::Continue(()),
                () = tokio::time::sleep(wake) => self.on_timeout(),
            }
        }
    }

    fn now(&self) -> u64 {
        self.lasting.clock.now_ms()
    }

    /// Carries out what the pure parts decided.
    fn act(&mut self) {
        let now = self.now();
        while let Some((id, why)) = self.links.poll_closing() {
            if let Some(link) = self.links.link(id) {
                tracing::debug!(device = %link.device.short(), reason = why.name(), "closing a connection");
                if why == Closing::GuestTooSlow {
                    self.lasting.metrics.refused(why.name(), &link.device.short());
                }
            }
            self.lasting.metrics.closed(why.name());
            self.swarm.close_connection(id);
        }
        while now >= self.dials_from
            && let Some(dial) = self.lasting.book.poll_dial(now)
        {
            self.dial(dial, now);
        }
    }

    fn dial(&mut self, dial: Dial, now: u64) {
        let Some(peer) = peer_id(&dial.device) else { return self.lasting.book.failed(&dial.device, now) };
        // The book dials nobody who is connected; one whose dead connection does not close is. The port is that of the listeners, as hole
        // punching needs; but while somebody else's connection has that port too, no dial by it succeeds.
        let options = DialOpts::peer_id(peer).condition(PeerCondition::NotDialing).addresses(dial.addresses);
        let options = if self.port_taken.remove(&dial.device) { options.allocate_new_port() } else { options }.build();
        if let Err(error) = self.swarm.dial(options) {
            tracing::debug!(device = %dial.device.short(), %error, "no dial");
            self.lasting.book.failed(&dial.device, now);
        }
    }

    fn next_timeout(&self) -> u64 {
        let farewell = self.farewells.values().map(|(at, _)| *at).min();
        let carrier = self.carriers_due.values().copied().min();
        let dial = self.lasting.book.next_timeout().map(|at| at.max(self.dials_from));
        let parts = [dial, self.links.next_timeout(), farewell, carrier, Some(self.save_due)];
        // Dials wait for a place when there is none: then the end of one wakes us, and the timer must not spin.
        parts.into_iter().flatten().min().unwrap_or(self.save_due).max(self.now() + 5)
    }

    fn on_timeout(&mut self) {
        let now = self.now();
        self.links.handle_timeout(now);
        let due: Vec<_> = self.farewells.iter().filter(|(_, (at, _))| *at <= now).map(|(device, (_, why))| (*device, *why)).collect();
        for (device, why) in due {
            self.farewells.remove(&device);
            self.disconnect(&device, why);
        }
        while let Some(id) = self.links.overdue(now) {
            self.on_closed(id, "it did not close in time");
        }
        let due: Vec<_> = self.carriers_due.extract_if(.., |_, at| *at <= now).map(|(address, _)| address).collect();
        for address in due {
            self.reserve(address);
        }
        if self.save_due <= now {
            self.save_due = now + SAVE_MS;
            self.lasting.save();
        }
    }

    /// Asks a circuit relay for a place.
    fn reserve(&mut self, address: Multiaddr) {
        match self.swarm.listen_on(address.clone().with(Protocol::P2pCircuit)) {
            Ok(id) => drop(self.circuits.insert(id, address)),
            Err(error) => {
                tracing::warn!(%address, %error, "this circuit relay cannot be used");
                self.carrier_lost(address);
            }
        }
    }

    /// A circuit relay was lost, or said no: it is asked again later.
    fn carrier_lost(&mut self, address: Multiaddr) {
        let times = self.carriers_lost.entry(address.clone()).or_insert(0);
        let wait = CARRIER_RETRY_MS << (*times).min(CARRIER_DOUBLINGS_MAX);
        *times = times.saturating_add(1);
        self.carriers_due.insert(address, self.lasting.clock.now_ms() + wait);
    }

    /// A circuit relay has given a place.
    fn carrier_won(&mut self, relay: &PeerId) {
        self.carriers_lost.retain(|address, _| split_peer(address).is_none_or(|(_, peer)| peer != *relay));
    }

    fn disconnect(&mut self, device: &DeviceId, why: &'static str) {
        let Some(peer) = peer_id(device) else { return };
        let now = self.now();
        self.links.dismiss(device, now);
        if self.swarm.disconnect_peer_id(peer).is_ok() {
            tracing::debug!(device = %device.short(), reason = why, "disconnected");
            self.lasting.metrics.closed(why);
        }
    }

    fn tell_reachable(&self) {
        self.lasting.outbox.reachable(self.reachable());
    }

    fn count_dropped(&self, kind: &'static str) {
        self.lasting.metrics.dropped.get_or_create(&[("kind", kind)]).inc();
    }

    fn on_stream(&self, peer: PeerId, protocol: StreamProtocol, stream: Stream) {
        let Some(device) = device_of(&peer) else { return };
        if !self.lasting.outbox.stream(device, protocol, stream) {
            self.count_dropped("stream");
        }
    }
}
