//! Members: list, add, change, remove.

use axum::Json;
use axum::http::StatusCode;

use super::super::body::{JsonBody, NoBody};
use super::super::call::{Call, Segments};
use crate::model::{AddMember, MemberList, MembershipChange, ServiceError, SetRole};

/// The members of the workspace.
#[utoipa::path(get, operation_id = "listMembers", path = "/v1/members", tag = "members", responses(
    (status = 200, description = "The members, the own user first", body = MemberList),
))]
pub(in super::super) async fn list(call: Call) -> Result<Json<MemberList>, ServiceError> {
    call.workspace.members().await.map(Json)
}

/// Make a user a member without a ticket.
#[utoipa::path(post, operation_id = "addMember", path = "/v1/members", tag = "members", request_body = AddMember, responses(
    (status = 201, description = "Added, and durable", body = MembershipChange),
    (status = 403, description = "`forbidden`: only owners add members", body = crate::model::ErrorBody),
    (status = 409, description = "`already_exists`", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn add(
    call: Call,
    JsonBody(request): JsonBody<AddMember>,
) -> Result<(StatusCode, Json<MembershipChange>), ServiceError> {
    Ok((StatusCode::CREATED, Json(call.workspace.add_member(call.client, request).await?)))
}

/// Give a member another role.
#[utoipa::path(patch, operation_id = "changeRole", path = "/v1/members/{user}", tag = "members", params(
    ("user" = String, Path, description = "The user, or at least eight digits of the key"),
), request_body = SetRole, responses(
    (status = 200, description = "Changed, and durable", body = MembershipChange),
    (status = 403, description = "`forbidden`: only owners change roles", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn change(
    call: Call,
    Segments(user): Segments<String>,
    JsonBody(request): JsonBody<SetRole>,
) -> Result<Json<MembershipChange>, ServiceError> {
    call.workspace.set_role(call.client, &user, request).await.map(Json)
}

/// Remove a member with all devices, or leave.
///
/// What they write from then on has no effect. They keep the copy they have.
#[utoipa::path(delete, operation_id = "removeMember", path = "/v1/members/{user}", tag = "members", params(
    ("user" = String, Path, description = "The user, or at least eight digits of the key"),
), responses(
    (status = 200, description = "Removed, and durable", body = MembershipChange),
    (status = 403, description = "`forbidden`: only owners remove others", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn remove(
    call: Call,
    Segments(user): Segments<String>,
    _body: NoBody,
) -> Result<Json<MembershipChange>, ServiceError> {
    call.workspace.remove_member(call.client, &user).await.map(Json)
}
