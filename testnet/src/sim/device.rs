//! One simulated machine: a replica on a disk, sessions, a clock.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::{DeviceId, LogId, OpHash};
use nodespace_protocol::membership::{Certificate, Ticket};
use nodespace_protocol::replica::{Author, CACHE_BYTES_DEFAULT, PendingBuffer, PreparedCheckpoint, Replica};
use nodespace_protocol::session::{Credential, Session, SessionConfig};
use nodespace_protocol::store::{Store as _, StoreError};

use super::clock::WallClock;
use super::store::{DiskControl, SimStore};

/// What kind of a device it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// Keeps to the rules.
    Honest,
    /// Writes one log from two places.
    Equivocator,
    /// A member that is removed and goes on.
    Rogue,
    /// Never a member; sends forged operations.
    Forger,
    /// Sends what can never be taken.
    Flooder,
    /// A member that says of others' logs what it cannot prove.
    Liar,
}

/// How a device came into the workspace.
#[derive(Clone, Debug)]
pub(crate) enum Welcome {
    /// It founded it.
    Founder,
    /// By a ticket: it writes its own join.
    Ticket(Box<Ticket>),
    /// Another device of its user added it, or it adds itself, being its user's.
    Certified {
        /// Whether it writes its own addition.
        writes: bool,
    },
    /// Not at all, so far.
    Nothing,
}

/// A machine.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) nature: Nature,
    pub(crate) key: KeyPair,
    pub(crate) user: usize,
    pub(crate) epoch: u32,
    pub(crate) certificate: Certificate,
    pub(crate) welcome: Welcome,
    /// The workspace secret when it came out of band.
    pub(crate) secret: Option<[u8; 32]>,
    /// The replica while the device runs.
    pub(crate) replica: Option<Replica<SimStore>>,
    /// A checkpoint that is being saved while the replica goes on.
    pub(crate) saving: Option<PreparedCheckpoint>,
    /// The disk while it does not.
    pub(crate) disk: Option<SimStore>,
    pub(crate) control: Rc<DiskControl>,
    pub(crate) pending: PendingBuffer,
    /// By connection.
    pub(crate) sessions: BTreeMap<u64, Session>,
    pub(crate) clock: WallClock,
    pub(crate) boot: u64,
    /// Own operations acknowledged to the user, in order.
    pub(crate) acknowledged: Vec<OpHash>,
    /// The last position of its log that was acknowledged.
    pub(crate) acknowledged_through: u64,
    /// Operations of this device's log that have been looked at for gossip.
    pub(crate) gossiped: u64,
    /// An old copy of the disk.
    pub(crate) snapshot: Option<SimStore>,
    /// Every digest its frontier has had since the device started: what it may truthfully have confirmed.
    pub(crate) digests: BTreeSet<[u8; 32]>,
    /// Takes nothing in any more.
    pub(crate) deaf: bool,
    /// The operation that removed it, of a rogue.
    pub(crate) removal: Option<OpHash>,
    /// How far its log is in the world's ledger.
    pub(crate) recorded: u64,
    /// A copy of another device's store.
    pub(crate) copy: bool,
}

impl Device {
    /// A machine that has nothing yet.
    pub(crate) fn new(nature: Nature, key: KeyPair, user: usize, certificate: Certificate, epoch: u32, clock: WallClock) -> Self {
        let control = Rc::new(DiskControl::default());
        Self {
            nature,
            key,
            user,
            epoch,
            certificate,
            welcome: Welcome::Nothing,
            secret: None,
            replica: None,
            saving: None,
            disk: Some(SimStore::new(Rc::clone(&control))),
            control,
            pending: PendingBuffer::default(),
            sessions: BTreeMap::new(),
            clock,
            boot: 0,
            acknowledged: Vec::new(),
            acknowledged_through: 0,
            gossiped: 0,
            snapshot: None,
            digests: BTreeSet::new(),
            deaf: false,
            removal: None,
            recorded: 0,
            copy: false,
        }
    }

    /// Its key.
    pub(crate) fn id(&self) -> DeviceId {
        self.certificate.device
    }

    /// The log it writes.
    pub(crate) fn log(&self) -> LogId {
        LogId { device: self.id(), epoch: self.epoch }
    }

    /// Who writes here.
    pub(crate) fn author(&self) -> Author {
        Author { key: self.key.clone(), epoch: self.epoch }
    }

    /// How much of unchanged nodes it keeps in memory: of three devices one keeps nothing, one a few nodes, one what devices keep. Not drawn,
    /// so that it changes nothing else in a seed's world: it must not.
    pub(crate) fn cache_bytes(&self, number: usize) -> usize {
        const FEW_NODES: usize = 8 * 1024;
        [0, FEW_NODES, CACHE_BYTES_DEFAULT][number % 3]
    }

    /// Makes a checkpoint: every other time in one go, else its saving begins now and ends at the next call, or at the device's end.
    pub(crate) fn checkpoint(&mut self) -> Result<(), StoreError> {
        let Some(replica) = self.replica.as_mut() else { return Ok(()) };
        if let Some(prepared) = self.saving.take() {
            let saved = prepared.save(&mut *replica.store().saver());
            replica.finish_checkpoint(saved.is_ok());
            return saved;
        }
        if replica.store().op_count().is_multiple_of(2) {
            return replica.checkpoint();
        }
        self.saving = replica.prepare_checkpoint()?;
        Ok(())
    }

    /// The replica ends: a checkpoint that was being saved is on the disk or not.
    pub(crate) fn stop(&mut self) -> Option<SimStore> {
        let store = self.replica.take()?.into_store();
        let arrives = store.op_count() % 4 == 1;
        if let Some(prepared) = self.saving.take().filter(|_| arrives) {
            // When it fails, it did not arrive.
            prepared.save(&mut *store.saver()).ok();
        }
        Some(store)
    }

    /// Whether it keeps to the rules.
    pub(crate) fn is_honest(&self) -> bool {
        self.nature == Nature::Honest
    }

    /// Whether it runs.
    pub(crate) const fn is_up(&self) -> bool {
        self.replica.is_some()
    }

    /// How much of its log it has acknowledged.
    pub(crate) fn promised(&self) -> u64 {
        self.acknowledged_through
    }

    /// The store, running or not.
    pub(crate) fn store(&self) -> Option<&SimStore> {
        self.replica.as_ref().map(Replica::store).or(self.disk.as_ref())
    }

    /// What it starts a session with.
    pub(crate) fn session_config(&self, salt: [u8; 16]) -> SessionConfig {
        match &self.welcome {
            Welcome::Ticket(ticket) => SessionConfig::joiner(self.boot, salt, ticket, self.certificate),
            Welcome::Certified { .. } => SessionConfig {
                credential: Some(Credential::Device(self.certificate)),
                secret: self.secret,
                ..SessionConfig::member(self.boot, salt)
            },
            Welcome::Founder | Welcome::Nothing => SessionConfig { secret: self.secret, ..SessionConfig::member(self.boot, salt) },
        }
    }
}
