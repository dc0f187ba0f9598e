//! The network: how it is, and which peers are dialled.

use axum::Json;

use super::super::body::{JsonBody, NoBody};
use super::super::call::DeviceCall;
use super::super::parameters::{FromParameters, Parameters};
use super::super::refusal::invalid;
use crate::model::{AddPeer, NetworkStatus, ServiceError};

/// Which peer.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct PeerParameters {
    /// Its multiaddress, as it was added.
    address: String,
}

impl FromParameters for PeerParameters {
    fn take(from: &mut Parameters) -> Result<Self, ServiceError> {
        let address = from.text("address")?;
        Ok(Self { address: address.ok_or_else(|| invalid("give `address`: the multiaddress as it was added"))? })
    }
}

/// How the network is: where this device listens, and who is connected.
#[utoipa::path(get, operation_id = "getNetwork", path = "/v1/network", tag = "network", responses(
    (status = 200, description = "The network", body = NetworkStatus),
    (status = 503, description = "`unavailable`: it is off", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn now(call: DeviceCall) -> Result<Json<NetworkStatus>, ServiceError> {
    call.device.network_status().await.map(Json)
}

/// Dial a peer now, and whenever it is not connected, until it is removed or the program ends.
#[utoipa::path(post, operation_id = "addPeer", path = "/v1/network/peers", tag = "network", request_body = AddPeer, responses(
    (status = 200, description = "Added; the network right after", body = NetworkStatus),
    (status = 400, description = "`invalid_value`: no multiaddress", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn add(call: DeviceCall, JsonBody(request): JsonBody<AddPeer>) -> Result<Json<NetworkStatus>, ServiceError> {
    call.device.add_peer(&request.address).await.map(Json)
}

/// Do not dial a peer any more, and close the connection to it.
#[utoipa::path(delete, operation_id = "removePeer", path = "/v1/network/peers", tag = "network", params(PeerParameters), responses(
    (status = 200, description = "Removed; the network right after", body = NetworkStatus),
    (status = 404, description = "`not_found`: it was not added", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn remove(call: DeviceCall<PeerParameters>, _body: NoBody) -> Result<Json<NetworkStatus>, ServiceError> {
    call.device.remove_peer(&call.query.address).await.map(Json)
}
