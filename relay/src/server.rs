//! The HTTP service.
//!
//! ```text
//!   connection ─▶ a place, in all and of its address, for as long as it lasts; what is written to it is read, or it is cut off
//!              ─▶ TLS, if configured; a request's head within its time
//!              ─▶ observe   (route, status, duration; a panic becomes a 500)
//!              ─▶ address   (whose request it is, behind a proxy too; its rate at this instance, before anything of it is read)
//!              ─▶ route     (token, device's rate, membership now; body within its size, its time and the memory for all; one method of a
//!                            part of the relay)
//! ```
//!
//! `docs/RELAY-API.md` is the contract: routes, forms, codes.

mod body;
mod caller;
mod listen;
mod observe;
mod paced;
mod places;
mod routes;
mod socket;
mod tls;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use nodespace_protocol::ids::DeviceId;
use tokio_util::sync::CancellationToken;

use crate::attachments::Attachments;
use crate::auth::Access;
use crate::checkpoints::Checkpoints;
use crate::config::{LimitConfig, ServerConfig};
use crate::directory::Directory;
use crate::key::RelayKey;
use crate::limits::Limits;
use crate::memory::Memory;
use crate::metrics::{Metrics, Observed};
use crate::notify::Bus;
use crate::redis::Redis;
use crate::refusal::Refusal;
use crate::store::Database;
use crate::sync::CloudSyncService;
use crate::workspace::Hub;

pub use caller::PeerAddress;
pub use listen::{Listening, ServeError, bind, serve};
pub use routes::{AttachmentBatch, AttachmentEntry, AttachmentWish, SyncQuery};
pub use tls::{TlsError, acceptor};

/// What requests are served with.
#[derive(Clone, Debug)]
pub struct App {
    pub(crate) shared: Arc<AppParts>,
}

/// The parts of the relay that requests meet.
#[derive(Debug)]
pub struct AppParts {
    /// The relay's key.
    pub key: RelayKey,
    /// PostgreSQL.
    pub database: Database,
    /// Redis.
    pub redis: Redis,
    /// Who may.
    pub access: Access,
    /// Packets.
    pub sync: CloudSyncService,
    /// Workspaces in memory.
    pub hub: Hub,
    /// Notifications.
    pub bus: Bus,
    /// Object storage.
    pub attachments: Attachments,
    /// Members' addresses.
    pub directory: Directory,
    /// Rates.
    pub limits: Limits,
    /// What bodies may hold together.
    pub memory: Memory,
    /// What is kept of workspaces on this instance's disk.
    pub checkpoints: Checkpoints,
    /// What is measured.
    pub metrics: Metrics,
    /// Settings of the service.
    pub config: ServerConfig,
    /// Settings of the limits.
    pub limit_config: LimitConfig,
    /// Under which multiaddresses the circuit relay is reached.
    pub circuit: tokio::sync::watch::Receiver<Vec<String>>,
    /// Open WebSockets by device.
    pub sockets: Mutex<HashMap<DeviceId, u32>>,
    /// Ends what goes on for long.
    pub stop: CancellationToken,
}

impl App {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: AppParts) -> Self {
        Self { shared: Arc::new(parts) }
    }

    /// The parts.
    #[must_use]
    pub fn parts(&self) -> &AppParts {
        &self.shared
    }

    /// The service for devices.
    pub fn router(&self) -> Router {
        routes::for_devices()
            .fallback(no_such_path)
            .method_not_allowed_fallback(no_such_method)
            .layer(from_fn_with_state(self.clone(), caller::limit_address))
            .layer(from_fn_with_state(self.clone(), observe::keep))
            .with_state(self.clone())
    }

    /// The service for whoever runs the relay: metrics and health.
    pub fn operator_router(&self) -> Router {
        routes::for_operators().fallback(no_such_path).layer(from_fn(observe::plain)).with_state(self.clone())
    }

    /// What metrics show beside what was counted.
    #[must_use]
    pub fn observed(&self) -> Observed {
        let parts = &self.shared;
        let status = parts.hub.status();
        let sockets = parts.sockets.lock().unwrap_or_else(std::sync::PoisonError::into_inner).values().sum::<u32>();
        Observed {
            workspaces: status.workspaces,
            workspace_bytes: status.bytes,
            database_connections: parts.database.write().size() + parts.database.read().size(),
            redis: parts.redis.is_up(),
            sockets: sockets as usize,
        }
    }

    fn trusts(&self, proxy: IpAddr) -> bool {
        self.shared.config.trusted_proxies.contains(&proxy.to_canonical())
    }

    fn body_wait(&self) -> Duration {
        Duration::from_secs(self.shared.config.body_seconds)
    }
}

async fn no_such_path() -> Refusal {
    Refusal::not_found("no_such_path", "there is no such path; docs/RELAY-API.md lists all there are")
}

async fn no_such_method() -> Refusal {
    Refusal::new(axum::http::StatusCode::METHOD_NOT_ALLOWED, "no_such_method", "the header `Allow` lists what this path has")
}
