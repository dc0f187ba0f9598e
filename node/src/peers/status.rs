//! The network as people see it.

use std::collections::BTreeMap;

use nodespace_protocol::ids::DeviceId;

use super::Peers;
use crate::engine::{DeviceReplica, wall_ms};
use crate::model::{NatStatus, NetworkStatus, PeerStatus, ServiceError};

/// Who a device is, in the workspaces here.
#[derive(Debug, Default)]
struct Known {
    user: Option<String>,
    workspaces: Vec<String>,
}

pub(super) async fn snapshot(peers: &Peers) -> Result<NetworkStatus, ServiceError> {
    let snapshot = peers.net.snapshot().await.ok_or_else(ServiceError::stopping)?;
    let known = known(peers).await;
    let now = wall_ms();
    let mut shown: Vec<PeerStatus> = Vec::new();
    for peer in snapshot.peers {
        let Known { user, workspaces } = known
            .get(&peer.device)
            .map_or_else(Known::default, |known| Known { user: known.user.clone(), workspaces: known.workspaces.clone() });
        let (bytes_sent, bytes_received) = peers.traffic.of(peer.device).both();
        shown.push(PeerStatus {
            device: Some(peer.device.to_string()),
            user,
            peer_id: Some(peer.peer_id),
            connected: peer.connected,
            address: peer.address.map(|address| address.to_string()),
            relayed: peer.relayed,
            rtt_ms: peer.rtt_ms.map(u64::from),
            bytes_sent,
            bytes_received,
            since_ms: peer.for_ms.map(|for_ms| now.saturating_sub(for_ms)),
            workspaces,
        });
    }
    shown.sort_by_key(|peer| !peer.connected);
    Ok(NetworkStatus {
        peer_id: snapshot.peer_id,
        device: peers.device.id().to_string(),
        listening: snapshot.listening.iter().map(ToString::to_string).collect(),
        external: snapshot.external.iter().map(ToString::to_string).collect(),
        nat: match snapshot.public {
            None => NatStatus::Unknown,
            Some(true) => NatStatus::Public,
            Some(false) => NatStatus::Private,
        },
        peers: shown,
        refused: snapshot.refused,
    })
}

/// The members of all workspaces that answer. One whose writer has ended must not hide who is connected: `/health` tells of it, and the log.
async fn known(peers: &Peers) -> BTreeMap<DeviceId, Known> {
    let mut known: BTreeMap<DeviceId, Known> = BTreeMap::new();
    for workspace in peers.device.workspaces() {
        let members = workspace.read(|replica: &DeviceReplica| replica.membership().members()).await;
        for member in members.into_iter().flatten() {
            for device in member.devices {
                let entry = known.entry(device).or_default();
                entry.user = Some(member.user.to_string());
                entry.workspaces.push(workspace.id().to_string());
            }
        }
    }
    known
}
