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
use crate::net::address::is_name;
use crate::net::{Multiaddr, PeerSnapshot};

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
    let has_relay = peers.has_relay || !joining.relays.is_empty();
    let is_lost = peers.explicit_only && !has_relay && is_nobody_known(peers, &hosts).await;
    let command = HubCommand::Join { workspace: workspace.id(), joining: Box::new(joining.clone()), hosts, refusals };
    peers.commands.send(command).await.map_err(|_| ServiceError::stopping())?;
    let mut news = workspace.feed().watch();
    let mut reasons: BTreeMap<Host, String> = BTreeMap::new();
    // Where nobody can be looked for it is said at once. The workspace goes on waiting for whom the ticket names, who may come here.
    let mut deadline = if is_lost { Instant::now() } else { Instant::now() + FETCH_TIME };
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
            () = tokio::time::sleep_until(deadline) => return Err(match is_lost {
                true => lost(&whom),
                false => given_up(&joining, &whom, &reasons, peers.explicit_only),
            }),
        }
    }
}

/// The devices that a ticket names, with their addresses. One that is only named is a host like the others: it is dialled once multicast
/// tells where it is. A second device knows nobody but whom the ticket names either.
fn hosts(joining: &Joining) -> BTreeMap<DeviceId, Vec<Multiaddr>> {
    let mut hosts: BTreeMap<DeviceId, Vec<_>> = BTreeMap::new();
    for (device, address) in joining.addresses.iter().filter_map(|text| addresses::parse(text).ok()) {
        let known = hosts.entry(device).or_default();
        if !address.is_empty() {
            known.push(address);
        }
    }
    hosts
}

/// Whether it is known of nobody where it is: the ticket has names alone, and no device that it names, nor any by hand, has an address here.
async fn is_nobody_known(peers: &Peers, hosts: &BTreeMap<DeviceId, Vec<Multiaddr>>) -> bool {
    let known = peers.net.snapshot().await.map(|snapshot| snapshot.peers).unwrap_or_default();
    let leads = |peer: &PeerSnapshot| hosts.contains_key(&peer.device) && (peer.connected || peer.address.is_some());
    hosts.values().all(Vec::is_empty) && !known.iter().any(leads) && peers.net.by_hand().await.is_empty()
}

/// Where somebody was looked for: at an address, at a relay, or, when there is only a name, in the local network, if that is allowed.
fn tried(text: &str, explicit_only: bool) -> String {
    match (is_name(text), explicit_only) {
        (true, false) => format!("{text} in the local network, by multicast"),
        (true, true) => format!("{text} nowhere, as `network.explicit_only` is set"),
        (false, _) => text.to_owned(),
    }
}

/// With `network.explicit_only` nobody is looked for, and a ticket without an address leads nowhere.
fn lost(whom: &BTreeSet<Host>) -> ServiceError {
    let named: Vec<String> = whom.iter().map(Host::to_string).collect();
    let named = if named.is_empty() { "nobody".to_owned() } else { named.join(", ") };
    ServiceError::new(
        ErrorCode::Unavailable,
        format!(
            "the ticket names {named}, and no address: with `network.explicit_only` nobody is looked for by multicast; tell where it is with \
             `nodespace peers add`, or ask for a ticket with an address"
        ),
    )
}

fn told(reasons: &BTreeMap<Host, String>) -> String {
    let each: Vec<String> = reasons.iter().map(|(host, reason)| format!("{host} says: {reason}")).collect();
    each.join("; ")
}

/// Nobody has let us in by now: some said no, or nobody was there.
fn given_up(joining: &Joining, whom: &BTreeSet<Host>, reasons: &BTreeMap<Host, String>, explicit_only: bool) -> ServiceError {
    if !reasons.is_empty() {
        let silent = whom.iter().filter(|host| !reasons.contains_key(host)).map(|host| format!("{host} does not answer"));
        let each: Vec<String> = std::iter::once(told(reasons)).chain(silent).collect();
        return ServiceError::new(ErrorCode::Forbidden, each.join("; "));
    }
    let kind = if matches!(joining.credential, Credential::Join { .. }) { "member" } else { "device of yours" };
    let named: Vec<String> = joining.addresses.iter().chain(&joining.relays).map(|text| tried(text, explicit_only)).collect();
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

#[cfg(test)]
mod tests {
    use nodespace_protocol::clock::Timestamp;
    use nodespace_protocol::crypto::KeyPair;
    use nodespace_protocol::ids::{OpHash, WorkspaceId};
    use nodespace_protocol::membership::{Certificate, Role, Ticket};

    use super::*;
    use crate::net::peer_id;

    fn joining(addresses: Vec<String>) -> Joining {
        let key = KeyPair::from_seed(&[5; 32]);
        let ticket = Ticket {
            workspace: WorkspaceId([1; 32]),
            invite: OpHash([2; 32]),
            key: KeyPair::from_seed(&[3; 32]),
            secret: [4; 32],
            role: Role::Editor,
            expires: Timestamp::from_ms(99),
            addresses,
            relay: None,
        };
        Joining::by_invite(&ticket, Certificate::issue(&key, key.device()))
    }

    #[test]
    fn whom_a_ticket_only_names_is_a_host_without_an_address() {
        let device = KeyPair::from_seed(&[7; 32]).device();
        let name = format!("/p2p/{}", peer_id(&device).unwrap());
        assert_eq!(hosts(&joining(vec![name.clone()])), BTreeMap::from([(device, Vec::new())]));
        let address = "/ip4/192.0.2.1/tcp/4100";
        let both = hosts(&joining(vec![name.clone(), format!("{address}{name}")]));
        assert_eq!(both, BTreeMap::from([(device, vec![address.parse().unwrap()])]));
        assert!(hosts(&joining(vec![address.to_owned(), "nonsense".to_owned()])).is_empty());
    }

    #[test]
    fn who_finds_nobody_is_told_where_it_was_looked() {
        let told = |addresses: &[&str]| {
            let joining = joining(addresses.iter().map(|text| (*text).to_owned()).collect());
            given_up(&joining, &BTreeSet::new(), &BTreeMap::new(), false).to_string()
        };
        assert!(told(&[]).contains("the ticket names no address"));
        let told = told(&["/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN", "/ip4/192.0.2.1/tcp/4100"]);
        assert!(told.contains("nXTN in the local network, by multicast, /ip4/192.0.2.1/tcp/4100"), "{told}");
    }
}
