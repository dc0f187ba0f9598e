//! The wire between two devices: a TCP proxy that can be slow, narrow, lossy, cut, or dead without anybody noticing.
//!
//! One device *dials*, the other *answers*; the dialler is given the proxy's address for the other one. *Forward* is from the dialler. TCP
//! cannot lose bytes, so what IP would do to packets is done to the stream as TCP's users would see it:
//!
//! | on a network | here |
//! |---|---|
//! | delay, jitter, a narrow line | each piece is handed on later, in order |
//! | a lost packet | what comes after it waits for a retransmission: [`RETRANSMISSION`] |
//! | unplugged, short | [`Cut::Hold`]: nothing passes, nothing is lost; it goes on when the cut heals |
//! | unplugged, for long; a dead NAT entry | [`Cut::Swallow`]: bytes vanish and connections hang; those that lost any are reset when it heals |
//! | a firewall, nobody at home | [`Cut::Refuse`]: connections are reset, new ones as well |
//!
//! Every way has its own conditions, so cuts may be one-way. Bytes are counted where they are handed on.

pub mod conditions;
mod connection;
mod pump;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::conditions::{Conditions, Cut, Way};

/// What a lost packet costs: Linux' least retransmission time-out.
pub const RETRANSMISSION: Duration = Duration::from_millis(200);

/// What passed and what did not.
#[derive(Debug, Default)]
pub(super) struct Counters {
    forward_bytes: AtomicU64,
    backward_bytes: AtomicU64,
    connections: AtomicU64,
    refused: AtomicU64,
    resets: AtomicU64,
    swallowed_bytes: AtomicU64,
}

/// What passed and what did not, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Traffic {
    /// Bytes handed to the one who answers.
    pub forward_bytes: u64,
    /// Bytes handed to the one who dials.
    pub backward_bytes: u64,
    /// Connections made.
    pub connections: u64,
    /// Connections turned away.
    pub refused: u64,
    /// Connections that were reset while they lived.
    pub resets: u64,
    /// Bytes that vanished.
    pub swallowed_bytes: u64,
}

impl Traffic {
    /// Bytes handed on, both ways.
    pub const fn bytes(&self) -> u64 {
        self.forward_bytes + self.backward_bytes
    }
}

/// What the connections of a link share.
#[derive(Debug)]
pub(super) struct Shared {
    conditions: watch::Sender<Conditions>,
    target: watch::Sender<Option<SocketAddr>>,
    counters: Counters,
    seed: u64,
}

/// A proxy between two devices. It ends when it is dropped, and all its connections with it.
#[derive(Debug)]
pub struct Link {
    port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

impl Link {
    /// Opens a proxy on a free port of the loopback. Nothing passes before there is a target. What is drawn (jitter, losses, life spans)
    /// comes from the seed.
    ///
    /// # Errors
    /// When no port can be had.
    pub async fn open(conditions: Conditions, seed: u64) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for a link")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            conditions: watch::Sender::new(conditions),
            target: watch::Sender::new(None),
            counters: Counters::default(),
            seed,
        });
        let accepting = tokio::spawn(connection::accept(listener, Arc::clone(&shared)));
        Ok(Self { port, shared, accepting })
    }

    /// Where the dialler finds the other one.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Says where the one who answers listens; nothing while it does not.
    pub fn set_target(&self, target: Option<SocketAddr>) {
        self.shared.target.send_replace(target);
    }

    /// The conditions now.
    pub fn conditions(&self) -> Conditions {
        *self.shared.conditions.borrow()
    }

    /// Changes the conditions.
    pub fn change(&self, change: impl FnOnce(&mut Conditions)) {
        self.shared.conditions.send_modify(change);
    }

    /// Resets all connections there are; new ones may be made.
    pub fn reset(&self) {
        self.change(|conditions| conditions.generation += 1);
    }

    /// What passed so far.
    pub fn traffic(&self) -> Traffic {
        self.meter().traffic()
    }

    /// Something that counts what passes, for whoever does not own the link.
    pub fn meter(&self) -> Meter {
        Meter { shared: Arc::clone(&self.shared) }
    }
}

/// The counters of a link.
#[derive(Clone, Debug)]
pub struct Meter {
    shared: Arc<Shared>,
}

impl Meter {
    /// What passed so far.
    pub fn traffic(&self) -> Traffic {
        let counters = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            forward_bytes: read(&counters.forward_bytes),
            backward_bytes: read(&counters.backward_bytes),
            connections: read(&counters.connections),
            refused: read(&counters.refused),
            resets: read(&counters.resets),
            swallowed_bytes: read(&counters.swallowed_bytes),
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[cfg(test)]
mod tests;
