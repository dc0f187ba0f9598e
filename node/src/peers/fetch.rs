//! Bringing a workspace's membership to a device that is joining, and waiting until somebody confirms what this device holds.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nodespace_protocol::ids::DeviceId;
use nodespace_protocol::session::Credential;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::host::Host;
use super::hub::HubCommand;
use super::{Peers, addresses};
use crate::engine::{DeviceReplica, JoinProgress, Joining, Workspace};
use crate::model::{ErrorCode, Progress, ServiceError};

/// How long a member is looked for.
const FETCH_TIME: Duration = Duration::from_secs(60);
/// How long after a first refusal somebody else is waited for, who may know of an invite that the first one has not heard of.
const SECOND_OPINION_TIME: Duration = Duration::from_secs(10);
/// How long nothing may come in before waiting for a confirmation is given up.
const QUIET_TIME: Duration = Duration::from_secs(20);
/// Refusals that wait to be heard.
const REFUSALS_MAX: usize = 16;

/// See [`Network::fetch_membership`](crate::engine::Network::fetch_membership).
pub(super) async fn membership(peers: &Peers, workspace: Workspace, joining: Joining, progress: JoinProgress) -> Result<(), ServiceError> {
    let hosts = hosts(&joining);
    let relays = joining.relays.iter().cloned().map(Host::Relay);
    let (refusals, mut refused) = mpsc::channel(REFUSALS_MAX);
    let whom: BTreeSet<Host> = hosts.keys().copied().map(Host::Device).chain(relays).collect();
    let command = HubCommand::Join { workspace: workspace.id(), joining: Box::new(joining.clone()), hosts, refusals };
    peers.commands.send(command).await.map_err(|_| ServiceError::stopping())?;
    let mut news = workspace.feed().watch();
    let mut reasons: BTreeMap<Host, String> = BTreeMap::new();
    let mut deadline = Instant::now() + FETCH_TIME;
    loop {
        let credential = joining.clone();
        let look = move |replica: &DeviceReplica| (credential.has_arrived(replica.membership()), u64::from(replica.durable_ops()));
        let (arrived, ops) = workspace.read(look).await?;
        if arrived {
            return Ok(());
        }
        if ops > 0 {
            progress(Progress { step: "receiving".to_owned(), done: ops, total: None });
        }
        tokio::select! {
            changed = news.changed() => changed.map_err(|_| ServiceError::stopping())?,
            Some((host, reason)) = refused.recv() => {
                reasons.insert(host, reason);
                deadline = deadline.min(Instant::now() + SECOND_OPINION_TIME);
                // When everybody whom the ticket names has said no, waiting is in vain. Peers that were set by hand may have said no as well.
                if whom.iter().all(|host| reasons.contains_key(host)) {
                    return Err(ServiceError::new(ErrorCode::Forbidden, told(&reasons)));
                }
            }
            () = tokio::time::sleep_until(deadline) => return Err(given_up(&joining, &whom, &reasons)),
        }
    }
}

/// The devices that a ticket names, with their addresses. A second device knows nobody but whom the ticket names either.
fn hosts(joining: &Joining) -> BTreeMap<DeviceId, Vec<crate::net::Multiaddr>> {
    let mut hosts: BTreeMap<DeviceId, Vec<_>> = BTreeMap::new();
    for (device, address) in joining.addresses.iter().filter_map(|text| addresses::parse(text).ok()) {
        hosts.entry(device).or_default().push(address);
    }
    hosts
}

fn told(reasons: &BTreeMap<Host, String>) -> String {
    let each: Vec<String> = reasons.iter().map(|(host, reason)| format!("{host} says: {reason}")).collect();
    each.join("; ")
}

/// Nobody has let us in by now: some said no, or nobody was there.
fn given_up(joining: &Joining, whom: &BTreeSet<Host>, reasons: &BTreeMap<Host, String>) -> ServiceError {
    if !reasons.is_empty() {
        let silent = whom.iter().filter(|host| !reasons.contains_key(host)).map(|host| format!("{host} does not answer"));
        let each: Vec<String> = std::iter::once(told(reasons)).chain(silent).collect();
        return ServiceError::new(ErrorCode::Forbidden, each.join("; "));
    }
    let kind = if matches!(joining.credential, Credential::Join { .. }) { "member" } else { "device of yours" };
    let named: Vec<&str> = joining.addresses.iter().chain(&joining.relays).map(String::as_str).collect();
    let tried = if named.is_empty() { "the ticket names no address".to_owned() } else { named.join(", ") };
    ServiceError::new(
        ErrorCode::Unavailable,
        format!(
            "no {kind} could be reached in {} s: {tried}; is the device that made the ticket running, and on this network?",
            FETCH_TIME.as_secs()
        ),
    )
}

/// See [`Network::confirm`](crate::engine::Network::confirm).
pub(super) async fn confirm(workspace: Workspace, progress: JoinProgress) -> Result<bool, ServiceError> {
    let mut status = workspace.watch_sync_status();
    let mut news = workspace.feed().watch();
    let mut quiet = Instant::now() + QUIET_TIME;
    loop {
        let held = workspace.read(|replica| u64::from(replica.durable_ops())).await?;
        {
            let status = status.borrow_and_update();
            // What is held now, not what was held when it was said.
            if status.operations == held && status.targets.iter().any(|target| target.state == crate::sync::status::TargetState::Synced) {
                return Ok(true);
            }
            let total = status.targets.iter().map(|target| target.received.total).max().filter(|total| *total > 0);
            progress(Progress { step: "receiving".to_owned(), done: held, total });
        }
        tokio::select! {
            changed = status.changed() => changed.map_err(|_| ServiceError::stopping())?,
            changed = news.changed() => {
                changed.map_err(|_| ServiceError::stopping())?;
                quiet = Instant::now() + QUIET_TIME;
            }
            () = tokio::time::sleep_until(quiet) => return Ok(false),
        }
    }
}
