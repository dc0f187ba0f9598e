//! The relays of a workspace: list, add, remove, look at.

use axum::Json;
use axum::extract::State;

use super::super::body::{JsonBody, NoBody};
use super::super::call::Call;
use super::super::parameters::{FromParameters, Parameters};
use super::super::refusal::invalid;
use super::super::state::ApiState;
use crate::model::{AddRelay, RelayCheckList, RelayList, ServiceError};

/// Which relay.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct RelayParameters {
    /// Its URL.
    url: String,
}

impl FromParameters for RelayParameters {
    fn take(from: &mut Parameters) -> Result<Self, ServiceError> {
        Ok(Self { url: from.text("url")?.ok_or_else(|| invalid("give `url`: the relay's URL"))? })
    }
}

/// Which relays.
#[derive(Debug, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(in super::super) struct CheckParameters {
    /// Only this one; all of the workspace when absent.
    url: Option<String>,
}

impl FromParameters for CheckParameters {
    fn take(from: &mut Parameters) -> Result<Self, ServiceError> {
        Ok(Self { url: from.text("url")? })
    }
}

/// The relays of the workspace, the preferred one first.
#[utoipa::path(get, operation_id = "listRelays", path = "/v1/relays", tag = "relays", responses(
    (status = 200, description = "Its own, then those of the configuration", body = RelayList),
))]
pub(in super::super) async fn list(State(state): State<ApiState>, call: Call) -> Result<Json<RelayList>, ServiceError> {
    state.device.relays(&call.workspace).await.map(Json)
}

/// Sync the workspace by way of a relay, from now on. A relay can read what it is given.
#[utoipa::path(post, operation_id = "addRelay", path = "/v1/relays", tag = "relays", request_body = AddRelay, responses(
    (status = 200, description = "Added, and durable; nothing was said to it yet", body = RelayList),
    (status = 400, description = "`invalid_value`: no relay's URL", body = crate::model::ErrorBody),
    (status = 409, description = "`already_exists`: it is used already", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn add(
    State(state): State<ApiState>,
    call: Call,
    JsonBody(request): JsonBody<AddRelay>,
) -> Result<Json<RelayList>, ServiceError> {
    state.device.add_relay(&call.workspace, &request.url).await.map(Json)
}

/// Do not use a relay any more, and forget what is known of it. What it holds stays there.
#[utoipa::path(delete, operation_id = "removeRelay", path = "/v1/relays", tag = "relays", params(RelayParameters), responses(
    (status = 200, description = "Removed, and durable", body = RelayList),
    (status = 404, description = "`not_found`: it is no relay of the workspace", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn remove(
    State(state): State<ApiState>,
    call: Call<RelayParameters>,
    _body: NoBody,
) -> Result<Json<RelayList>, ServiceError> {
    state.device.remove_relay(&call.workspace, &call.query.url).await.map(Json)
}

/// Look at relays: whether they answer, know this device, and stand by what they signed.
///
/// One that contradicted itself, and stands by its word again, is trusted again; one that does not any more is used no longer.
#[utoipa::path(post, operation_id = "checkRelays", path = "/v1/relays/check", tag = "relays", params(CheckParameters), responses(
    (status = 200, description = "What was found, for each", body = RelayCheckList),
    (status = 404, description = "`not_found`: there is no such relay", body = crate::model::ErrorBody),
))]
pub(in super::super) async fn check(
    State(state): State<ApiState>,
    call: Call<CheckParameters>,
    _body: NoBody,
) -> Result<Json<RelayCheckList>, ServiceError> {
    let _permit = state.stream()?;
    state.device.check_relays(&call.workspace, call.query.url.as_deref()).await.map(Json)
}
