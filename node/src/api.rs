//! The local HTTP API: everything the command line does, for the applications of this machine.
//!
//! ```text
//!   request ─▶ observe  (id, span, counters, a panic becomes a 500, headers that tell browsers to keep out)
//!           ─▶ guard    (Host, Origin, Sec-Fetch-Site, token: before anything of the request is believed)
//!           ─▶ deadline (an answer within two minutes, if only a refusal)
//!           ─▶ route    (extractors: path, parameters, JSON; one method of `engine::Workspace`; its answer as JSON)
//! ```
//!
//! The API listens on loopback, which keeps other machines out and lets every web page of this one in: a page may send requests to
//! `http://127.0.0.1`, and by rebinding a name of its own to 127.0.0.1 it may even read the answers. So each request must name a host
//! from a list, must not come from a page unless its origin was configured, and must carry a secret that only the user's own programs
//! can read (`<home>/api-token`). GETs have no side effects. The checks are those RFC 9110 section 7.2 (Host), RFC 6454 (Origin), W3C
//! Fetch Metadata and RFC 6750 (bearer tokens) provide for; the threats are those of docs/API.md, "What it defends against".
//!
//! The same router serves a socket ([`serve`]) and a process that opened the store itself (tower's `oneshot`): one code path, one JSON.

mod address;
mod body;
mod call;
mod deadline;
mod guard;
mod health;
mod metrics;
mod observe;
mod openapi;
mod options;
mod parameters;
mod refusal;
mod routes;
mod server;
mod state;
mod stream;
mod task;
mod token;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};

use crate::engine::Device;
use state::ApiState;

pub use address::{ADDRESS_FILE, ApiAddress};
pub use call::{CLIENT_HEADER, CLIENT_NAME_BYTES_MAX};
pub use health::Health;
pub use openapi::document;
pub use options::{ApiOptions, OptionsError};
pub use routes::changes::{PAGE_CHANGES_DEFAULT, WAIT_MS_MAX};
pub use routes::nodes::History;
pub use server::{ServeError, bind, serve};
pub use token::{TOKEN_FILE, Token, TokenError};

/// The API of a device.
pub fn router(device: Device, options: ApiOptions) -> Router {
    let (routes, document) = openapi::routes();
    let document = openapi::to_text(&document);
    guarded(routes, ApiState::new(device, options, document))
}

/// Puts the layers around routes: every route and every answer that there is no such route, none left out.
fn guarded(routes: Router<ApiState>, state: ApiState) -> Router {
    routes
        .fallback(refusal::no_such_path)
        .method_not_allowed_fallback(refusal::no_such_method)
        .layer(from_fn(deadline::keep))
        .layer(from_fn_with_state(state.clone(), guard::keep))
        .layer(from_fn_with_state(state.clone(), observe::keep))
        .with_state(state)
}

#[cfg(test)]
mod tests;
