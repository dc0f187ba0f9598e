//! Whose request it is.

use std::net::IpAddr;

use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use nodespace_protocol::ids::WorkspaceId;

use super::App;
use crate::auth::{Caller, TokenClaims};
use crate::hex::unhex_array;
use crate::limits::{Charge, Limit};
use crate::refusal::Refusal;

/// The address at the other end of the connection: an extension of every request.
#[derive(Clone, Copy, Debug)]
pub struct PeerAddress(pub IpAddr);

/// The header in which proxies say for whom they ask.
const FORWARDED_FOR: &str = "x-forwarded-for";
/// Addresses in that header that are looked at, from the last one back.
const PROXIES_MAX: usize = 8;

/// Charges a request to its address, at this instance alone, and tells the routes which that is.
pub(super) async fn limit_address(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<PeerAddress>().map_or_else(|| IpAddr::from([0, 0, 0, 0]), |peer| peer.0);
    let address = client_address(&app, peer, request.headers());
    if let Err(exceeded) = app.shared.limits.charge_here(&Charge::address(Limit::AddressRequests, address)) {
        return Refusal::from(exceeded).into_response();
    }
    request.extensions_mut().insert(PeerAddress(address));
    next.run(request).await
}

/// The last address in the header that is not a trusted proxy's, when the connection is one's. What stands before it anybody may have
/// written.
fn client_address(app: &App, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if !app.trusts(peer) {
        return peer;
    }
    let lines = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<&str> = lines.flat_map(|line| line.split(',')).map(str::trim).collect();
    let mut client = peer;
    for text in named.iter().rev().take(PROXIES_MAX) {
        let Ok(address) = text.parse::<IpAddr>() else { break };
        client = address.to_canonical();
        if !app.trusts(client) {
            break;
        }
    }
    client
}

/// What a request's token says, if it holds.
pub(super) fn claims(app: &App, headers: &HeaderMap) -> Result<TokenClaims, Refusal> {
    let header = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    app.shared.access.claims(token.map(|(_, token)| token.trim()))
}

/// Who asks by a request's token: their rate is charged, their membership looked up.
pub(super) async fn identify(app: &App, headers: &HeaderMap) -> Result<Caller, Refusal> {
    let claims = claims(app, headers)?;
    app.shared.limits.charge(&[Charge::device(Limit::DeviceRequests, &claims.device, 1)]).await?;
    app.shared.access.caller(&claims).await
}

/// The same, for a path that names the workspace: it must be the token's.
pub(super) async fn identify_in(app: &App, headers: &HeaderMap, workspace: &str) -> Result<Caller, Refusal> {
    let named = unhex_array(workspace).map(WorkspaceId);
    let named = named.ok_or_else(|| Refusal::bad_request("bad_workspace_id", "a workspace id is 64 hexadecimal digits"))?;
    let caller = identify(app, headers).await?;
    if caller.workspace == named { Ok(caller) } else { Err(Refusal::forbidden("wrong_workspace", "the token is for another workspace")) }
}

/// A path's parts.
pub(super) type Part = Path<String>;
