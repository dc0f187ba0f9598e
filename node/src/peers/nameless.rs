//! Peers of which somebody knows the address and not the name.
//!
//! Whoever answers there is asked who it is, beside the network and before anything else: the network itself dials nobody it has no name of. Of
//! members the address is kept, as if it had been written with the name; of others nothing is.

use nodespace_protocol::ids::DeviceId;

use crate::engine::{Device, DeviceReplica};
use crate::model::{ErrorCode, ServiceError};
use crate::net::{Multiaddr, NetHandle, peer_id, who_answers};

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
    for workspace in device.workspaces() {
        if workspace.read(move |replica: &DeviceReplica| replica.membership().role(&there)).await?.is_some() {
            return Ok(there);
        }
    }
    let name = peer_id(&there).map(|peer| peer.to_string()).unwrap_or_default();
    let message = format!(
        "device {} answers at {address}, and is a member of no workspace that is here: to dial it all the same, for a join, say, write \
         {address}/p2p/{name}",
        there.short()
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
