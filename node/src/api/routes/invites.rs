//! Invites: list, write, revoke.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::super::body::{JsonBody, NoBody};
use super::super::call::{Call, Segments};
use super::super::state::ApiState;
use crate::model::{CreateInvite, Invitation, InviteList, MembershipChange, ServiceError};

/// The invites that can still be used; their tickets are kept nowhere.
#[utoipa::path(get, operation_id = "listInvites", path = "/v1/invites", tag = "members", responses(
    (status = 200, description = "The open invites", body = InviteList),
))]
pub(in super::super) async fn list(call: Call) -> Result<Json<InviteList>, ServiceError> {
    call.workspace.invites().await.map(Json)
}

/// Invite: write an invite, and get the ticket to hand over.
///
/// Whoever has the ticket can join, so it is to be handed over in private.
#[utoipa::path(post, operation_id = "createInvite", path = "/v1/invites", tag = "members", request_body = CreateInvite, responses(
    (status = 201, description = "Written, and durable", body = Invitation),
    (status = 403, description = "`forbidden`: only owners invite", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn create(
    State(state): State<ApiState>,
    call: Call,
    JsonBody(request): JsonBody<CreateInvite>,
) -> Result<(StatusCode, Json<Invitation>), ServiceError> {
    let mut reach = state.device.ticket_addresses();
    reach.relays.splice(0..0, call.workspace.own_relays().await?);
    Ok((StatusCode::CREATED, Json(call.workspace.invite(call.client, request, reach).await?)))
}

/// Revoke an invite: nobody is admitted by it any more.
#[utoipa::path(delete, operation_id = "revokeInvite", path = "/v1/invites/{invite}", tag = "members", params(
    ("invite" = String, Path, description = "The invite's operation, or an unambiguous beginning of its hash"),
), responses(
    (status = 200, description = "Revoked, and durable", body = MembershipChange),
    (status = 404, description = "`not_found`: no such invite is open", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn revoke(
    call: Call,
    Segments(invite): Segments<String>,
    _body: NoBody,
) -> Result<Json<MembershipChange>, ServiceError> {
    call.workspace.revoke_invite(call.client, &invite).await.map(Json)
}
