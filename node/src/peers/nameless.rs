//! Peers of which somebody knows the address and not the name.
//!
//! Whoever answers there is asked who it is, beside the network and before anything else: the network itself dials nobody it has no name of. Of
//! members the address is kept, as if it had been written with the name; of others nothing is.
//!
//! An address of the configuration is asked again and again until a member answers: it is meant for good, and its device may be off, or this
//! one may not have joined yet.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nodespace_protocol::ids::DeviceId;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::engine::{Device, DeviceReplica};
use crate::model::{ErrorCode, ServiceError};
use crate::net::address::{Source, named};
use crate::net::book::DIAL_RETRY_MS;
use crate::net::{Multiaddr, NetHandle, peer_id, who_answers};
use crate::sync::backoff::Backoff;

/// Asks who is at addresses of the configuration, each in a task of its own. They end with it.
#[derive(Debug)]
pub(super) struct Asking {
    tasks: Mutex<JoinSet<()>>,
}

impl Asking {
    /// Begins; the seed is for jitter.
    pub(super) fn start(device: &Device, net: &NetHandle, addresses: Vec<Multiaddr>, seed: u64) -> Self {
        let mut tasks = JoinSet::new();
        for (number, address) in (0_u64..).zip(addresses) {
            tasks.spawn(keep_asking(device.clone(), net.clone(), address, seed.wrapping_add(number)));
        }
        Self { tasks: Mutex::new(tasks) }
    }

    /// Ends, whoever has answered by now.
    pub(super) async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }
}

/// Asks who is at an address until a member answers, and keeps it then. Who does not answer, or is no member, is asked again as a peer that
/// is away is dialled: later and later, and at once when a workspace came.
async fn keep_asking(device: Device, net: NetHandle, address: Multiaddr, seed: u64) {
    let mut backoff = Backoff::new(seed);
    let mut workspaces = device.watch_workspaces();
    loop {
        workspaces.mark_unchanged();
        // Without a workspace nobody is a member of one.
        if !device.workspaces().is_empty() {
            match member_at(&device, &address).await {
                Ok(there) => {
                    tracing::info!(%address, device = %there.short(), "a member answers at this address of the configuration");
                    net.learn(there, vec![address], Source::Explicit, true).await;
                    return net.dial(there).await;
                }
                // Our own, in a configuration that several devices share.
                Err(error) if error.code() == ErrorCode::InvalidValue => return tracing::debug!(%error, "no peer of the configuration"),
                Err(error) => tracing::info!(%error, "a peer of the configuration was not found; it is asked for again"),
            }
        }
        let pause = Duration::from_millis(backoff.delay_ms(DIAL_RETRY_MS));
        backoff.raise();
        match timeout(pause, workspaces.changed()).await {
            Ok(Ok(())) => backoff.reset(),
            Ok(Err(_)) => return,
            Err(_) => {}
        }
    }
}

/// The member's device that answers at an address.
///
/// # Errors
/// When nobody answers there, or somebody who is a member of no workspace that is here.
pub(super) async fn member_at(device: &Device, address: &Multiaddr) -> Result<DeviceId, ServiceError> {
    let answered = who_answers(device.key(), address).await;
    let there = answered.map_err(|error| ServiceError::new(ErrorCode::Unavailable, format!("nobody was found at {address}: {error}")))?;
    if there == device.id() {
        return Err(ServiceError::new(ErrorCode::InvalidValue, format!("this device itself answers at {address}")));
    }
    let mut unread = None;
    for workspace in device.workspaces() {
        match workspace.read(move |replica: &DeviceReplica| replica.membership().role(&there)).await {
            Ok(Some(_)) => return Ok(there),
            Ok(None) => {}
            Err(error) => unread = Some(error),
        }
    }
    if let Some(error) = unread {
        // It may be a member of what cannot be read.
        return Err(error);
    }
    let peer = peer_id(&there).map(|peer| peer.to_string()).unwrap_or_default();
    let message = format!(
        "device {} answers at {address}, and is a member of no workspace that is here: to dial it all the same, for a join, say, write {}",
        there.short(),
        named(&address.to_string(), &peer)
    );
    Err(ServiceError::new(ErrorCode::Forbidden, message))
}

/// Takes an address back, whosever it is. Answers whose it was, if it had been set by hand.
pub(super) async fn forget(net: &NetHandle, address: &Multiaddr) -> Option<DeviceId> {
    for device in net.by_hand().await {
        if net.forget(device, address.clone()).await {
            return Some(device);
        }
    }
    None
}
