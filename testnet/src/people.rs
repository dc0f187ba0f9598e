//! Users with one device each, and how they come together: for demonstrations and replays.

use anyhow::{Result, ensure};
use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::conflict::Policy;
use nodespace_protocol::crypto::{Domain, KeyPair};
use nodespace_protocol::membership::{Certificate, Role, Ticket};
use nodespace_protocol::replica::{Author, Founding, Replica};
use nodespace_protocol::session::SessionConfig;
use nodespace_protocol::store::MemoryStore;

use crate::pair::{self, Report};

/// A replica in memory.
pub type Device = Replica<MemoryStore>;

/// A person with one device. Keys are derived from the name: good for a demonstration, and for nothing else.
#[derive(Debug)]
pub struct Person {
    /// Their name.
    pub name: String,
    /// Their device's copy of the workspace.
    pub replica: Device,
    sessions: u64,
}

fn seed(name: &str, what: &str) -> [u8; 32] {
    Domain::Secret.hash_parts(&[b"testnet", name.as_bytes(), what.as_bytes()])
}

fn epoch(name: &str) -> u32 {
    let bytes = seed(name, "epoch");
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]).max(1)
}

fn author(name: &str) -> Author {
    Author { key: KeyPair::from_seed(&seed(name, "device")), epoch: epoch(name) }
}

fn certificate(name: &str) -> Certificate {
    Certificate::issue(&KeyPair::from_seed(&seed(name, "user")), author(name).key.device())
}

impl Person {
    /// Founds a workspace.
    ///
    /// # Errors
    /// When the workspace cannot be founded.
    pub fn found(name: &str, workspace: &str, policy: Policy, now: Timestamp) -> Result<Self> {
        let founding = Founding { name: workspace.to_owned(), policy, secret: seed(workspace, "secret") };
        let mut replica = Replica::found(MemoryStore::new(), author(name), certificate(name), founding, now)?;
        replica.commit()?;
        Ok(Self { name: name.to_owned(), replica, sessions: 0 })
    }

    /// Makes a ticket for one joiner.
    ///
    /// # Errors
    /// When this person is no owner.
    pub fn invite(&mut self, now: Timestamp, role: Role, whom: &str) -> Result<Ticket> {
        let key = KeyPair::from_seed(&seed(whom, "invite"));
        let ticket = self.replica.invite(now, &key, role, now.plus_ms(3_600_000), 1)?;
        self.replica.commit()?;
        Ok(ticket)
    }

    /// Joins by a ticket, through the member that gave it.
    ///
    /// # Errors
    /// When the member turns the joiner away, or the two do not end up with the same.
    pub fn join(name: &str, ticket: &Ticket, member: &mut Self, now: Timestamp) -> Result<Self> {
        let replica = Replica::open(ticket.workspace, MemoryStore::new(), Some(author(name)), now)?;
        let mut joiner = Self { name: name.to_owned(), replica, sessions: 0 };
        let config = SessionConfig::joiner(1, [1; 16], ticket, certificate(name));
        let other = member.config();
        pair::sync((&mut joiner.replica, config), (&mut member.replica, other), now, &mut |_, _| {})?;
        joiner.replica.join(now, ticket, certificate(name))?;
        joiner.replica.commit()?;
        joiner.sync(member, now)?;
        Ok(joiner)
    }

    fn config(&mut self) -> SessionConfig {
        self.sessions += 1;
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&self.sessions.to_le_bytes());
        SessionConfig::member(u64::from(epoch(&self.name)), salt)
    }

    /// Runs a session with somebody until both have confirmed that they hold the same.
    ///
    /// # Errors
    /// When the session fails or ends without that.
    pub fn sync(&mut self, other: &mut Self, now: Timestamp) -> Result<Report> {
        self.sync_with(other, now, &mut |_, _| {})
    }

    /// The same, telling progress.
    ///
    /// # Errors
    /// As [`Person::sync`].
    pub fn sync_with(&mut self, other: &mut Self, now: Timestamp, progress: &mut dyn FnMut(u64, u64)) -> Result<Report> {
        let configs = (self.config(), other.config());
        let report = pair::sync((&mut self.replica, configs.0), (&mut other.replica, configs.1), now, progress)?;
        ensure!(report.is_synced(), "{} and {} did not confirm that they hold the same: {:?}", self.name, other.name, report.states);
        Ok(report)
    }
}
