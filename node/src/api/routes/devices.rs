//! Devices: list, add, remove; and who this one is.

use axum::Json;
use axum::http::StatusCode;

use super::super::body::{JsonBody, NoBody};
use super::super::call::{Call, DeviceCall, Segments};
use crate::model::{AddDevice, DeviceIdentity, DeviceInvitation, DeviceList, MembershipChange, ServiceError};

/// The devices of all members.
#[utoipa::path(get, operation_id = "listDevices", path = "/v1/devices", tag = "members", responses(
    (status = 200, description = "The devices: this one first, then the own user's", body = DeviceList),
))]
pub(in super::super) async fn list(call: Call) -> Result<Json<DeviceList>, ServiceError> {
    call.workspace.devices().await.map(Json)
}

/// Add another device of this user, and get the ticket to hand over to it.
#[utoipa::path(post, operation_id = "addDevice", path = "/v1/devices", tag = "members", request_body = AddDevice, responses(
    (status = 201, description = "Added, and durable", body = DeviceInvitation),
    (status = 403, description = "`forbidden`: the user's key is on another device", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn add(
    call: DeviceCall,
    JsonBody(request): JsonBody<AddDevice>,
) -> Result<(StatusCode, Json<DeviceInvitation>), ServiceError> {
    Ok((StatusCode::CREATED, Json(call.device.add_device(call.client, request).await?)))
}

/// Remove a device: of the own user, or as an owner.
#[utoipa::path(delete, operation_id = "removeDevice", path = "/v1/devices/{device}", tag = "members", params(
    ("device" = String, Path, description = "The device, or at least eight digits of its key"),
), responses(
    (status = 200, description = "Removed, and durable", body = MembershipChange),
    (status = 403, description = "`forbidden`", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn remove(
    call: Call,
    Segments(device): Segments<String>,
    _body: NoBody,
) -> Result<Json<MembershipChange>, ServiceError> {
    call.workspace.remove_device(call.client, &device).await.map(Json)
}

/// Who this device is, and whose.
#[utoipa::path(get, operation_id = "getDevice", path = "/v1/device", tag = "device", responses(
    (status = 200, description = "The device", body = DeviceIdentity),
))]
pub(in super::super) async fn identity(call: DeviceCall) -> Json<DeviceIdentity> {
    Json(call.device.identity())
}
