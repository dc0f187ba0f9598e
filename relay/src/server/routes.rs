//! The routes, a file each.

mod addresses;
mod attachments;
mod health;
mod login;
mod nodes;
mod packets;
mod workspaces;

use axum::Router;
use axum::routing::{get, post, put};

pub use attachments::{AttachmentBatch, AttachmentEntry, AttachmentWish};
pub use packets::SyncQuery;

use super::App;
use super::socket;

/// Every path with its name in metrics.
pub(super) const PATHS: [(&str, &str); 14] = [
    ("/health", "health"),
    ("/v1/relay", "relay"),
    ("/v1/challenge", "challenge"),
    ("/v1/token", "token"),
    ("/v1/sync", "sync"),
    ("/v1/workspaces/{workspace}", "workspace"),
    ("/v1/workspaces/{workspace}/events", "events"),
    ("/v1/workspaces/{workspace}/addresses", "addresses"),
    ("/v1/workspaces/{workspace}/nodes/{node}", "node"),
    ("/v1/workspaces/{workspace}/attachments", "attachments"),
    ("/v1/workspaces/{workspace}/attachments/fetch", "attachments_fetch"),
    ("/v1/workspaces/{workspace}/attachments/missing", "attachments_missing"),
    ("/v1/workspaces/{workspace}/attachments/{hash}", "attachment"),
    ("/v1/workspaces/{workspace}/checkpoint", "checkpoint"),
];

/// What devices ask.
pub(super) fn for_devices() -> Router<App> {
    Router::new()
        .route("/health", get(health::health))
        .route("/v1/relay", get(health::relay))
        .route("/v1/challenge", post(login::challenge))
        .route("/v1/token", post(login::token))
        .route("/v1/sync", post(packets::sync))
        .route("/v1/workspaces/{workspace}", get(workspaces::status))
        .route("/v1/workspaces/{workspace}/checkpoint", get(workspaces::checkpoint))
        .route("/v1/workspaces/{workspace}/events", get(socket::events))
        .route("/v1/workspaces/{workspace}/addresses", get(addresses::list).put(addresses::announce))
        .route("/v1/workspaces/{workspace}/nodes/{node}", get(nodes::canonical))
        .route("/v1/workspaces/{workspace}/attachments", post(attachments::upload))
        .route("/v1/workspaces/{workspace}/attachments/fetch", post(attachments::fetch))
        .route("/v1/workspaces/{workspace}/attachments/missing", post(attachments::missing))
        .route("/v1/workspaces/{workspace}/attachments/{hash}", put(attachments::put_one).get(attachments::get_one))
}

/// What whoever runs the relay asks.
pub(super) fn for_operators() -> Router<App> {
    Router::new().route("/metrics", get(health::metrics)).route("/health", get(health::details))
}
