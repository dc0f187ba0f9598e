//! Challenge and token.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use nodespace_protocol::crypto::Signature;
use nodespace_protocol::ids::{DeviceId, WorkspaceId, hex};
use nodespace_protocol::view::LoginCredential;
use serde::Deserialize;
use serde_json::json;

use super::super::caller::PeerAddress;
use super::super::{App, body};
use crate::auth::{CHALLENGE_LIFE_MS, Claim};
use crate::clock::now_ms;
use crate::hex::{unhex, unhex_array};
use crate::limits::{Charge, Limit};
use crate::refusal::Refusal;

/// A request for a challenge.
#[derive(Debug, Deserialize)]
pub(crate) struct ChallengeRequest {
    /// The device that will sign it.
    pub(crate) device_id: DeviceId,
    /// The workspace it wants to reach.
    pub(crate) workspace_id: WorkspaceId,
}

/// The answer to a challenge.
#[derive(Debug, Deserialize)]
pub(crate) struct TokenRequest {
    /// The challenge, as it was given.
    pub(crate) challenge: String,
    /// The device's signature, 128 hexadecimal digits.
    pub(crate) signature: String,
    /// How the device belongs, when no workspace operation names it.
    #[serde(default)]
    pub(crate) credential: Option<LoginCredential>,
}

pub(crate) async fn challenge(
    State(app): State<App>,
    Extension(PeerAddress(address)): Extension<PeerAddress>,
    request: Body,
) -> Result<Response, Refusal> {
    app.shared.limits.charge(&[Charge::address(Limit::AddressChallenges, address)]).await?;
    let ChallengeRequest { device_id, workspace_id } = body::small(&app, request).await?;
    let sealed = app.shared.access.challenge(device_id, workspace_id)?;
    Ok(Json(json!({
        "challenge": hex(&sealed),
        "relay_id": app.shared.key.id(),
        "expires_at_ms": now_ms() + CHALLENGE_LIFE_MS,
    }))
    .into_response())
}

pub(crate) async fn token(State(app): State<App>, request: Body) -> Result<Response, Refusal> {
    let request: TokenRequest = body::small(&app, request).await?;
    let bad = |what| Refusal::bad_request("bad_login", what);
    let sealed = unhex(&request.challenge).ok_or_else(|| bad("`challenge` is hexadecimal, as it was given"))?;
    let signature = unhex_array(&request.signature).map(Signature).ok_or_else(|| bad("`signature` is 128 hexadecimal digits"))?;
    let login = app.shared.access.login(&sealed, &signature, request.credential.as_ref()).await;
    app.shared.metrics.login(if login.is_ok() { "granted" } else { "refused" });
    let claims = login?;
    let role = match claims.claim {
        Claim::Member => "member",
        Claim::Join(_) => "joiner",
        Claim::Device => "newcomer",
    };
    Ok(Json(json!({
        "token": app.shared.access.seal(&claims),
        "expires_at_ms": claims.expires_at_ms(),
        "user_id": claims.user,
        "as": role,
        "epoch": app.shared.database.epoch().current(),
    }))
    .into_response())
}
