//! The relay put together: its parts, its sockets, its work in the background, its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::attachments::Attachments;
use crate::auth::Access;
use crate::checkpoints::Checkpoints;
use crate::circuit::{Circuit, CircuitError};
use crate::config::Config;
use crate::directory::Directory;
use crate::key::{KeyError, RelayKey};
use crate::limits::Limits;
use crate::memory::Memory;
use crate::metrics::Metrics;
use crate::notify::{Bus, BusDriver};
use crate::objects::StorageError;
use crate::redis::{Redis, RedisUrlError};
use crate::server::{self, App, AppParts, Listening, ServeError, TlsError};
use crate::store::{Database, EpochKeeper, StoreError, WorkspaceRow, addresses, chain};
use crate::sync::{CloudSyncService, intakes};
use crate::workspace::{Hub, HubParts};

/// The relay's key, in the data folder.
pub const KEY_FILE: &str = "relay.key";
/// What it remembers of its database, in the data folder.
pub const MARKER_FILE: &str = "database.json";
/// How often the database is compared with what is remembered of it.
const BEAT: Duration = Duration::from_secs(2);
/// How often what has expired is forgotten.
const SWEEP: Duration = Duration::from_secs(60);

/// Why the relay does not run.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// Its key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Redis' URL.
    #[error(transparent)]
    Redis(#[from] RedisUrlError),
    /// Object storage.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The circuit relay.
    #[error(transparent)]
    Circuit(#[from] CircuitError),
    /// A socket.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// A relay that listens and is not served yet.
pub struct Relay {
    config: Config,
    app: App,
    tls: Option<TlsAcceptor>,
    devices: Listening,
    operators: Option<Listening>,
    bus: BusDriver,
    circuit: Option<Circuit>,
    stop: CancellationToken,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Relay").field("address", &self.address()).finish_non_exhaustive()
    }
}

impl Relay {
    /// Opens everything and listens. The database must have been migrated.
    ///
    /// # Errors
    /// When a part cannot be used. Redis may be away.
    pub async fn start(config: Config) -> Result<Self, RelayError> {
        let tls = match (&config.server.tls_certificate, &config.server.tls_key) {
            (Some(certificate), Some(key)) => Some(server::acceptor(certificate, key)?),
            _ => None,
        };
        let key = RelayKey::load_or_create(&config.server.data.join(KEY_FILE))?;
        let redis = Redis::open(&config.redis)?;
        let elsewhere = redis.marker(key.id()).await;
        let keeper = Arc::new(EpochKeeper::open(Some(config.server.data.join(MARKER_FILE)), elsewhere)?);
        let database = Database::open(&config.database, keeper)?;
        database.claim(&config.database, key.id()).await?;
        let metrics = Metrics::new();
        let (bus, driver) = Bus::new(redis.clone());
        let checkpoints = Checkpoints::open(&config.server.data, config.server.checkpoints_mib << 20);
        let parts = HubParts { database: database.clone(), bus: bus.clone(), metrics: metrics.clone(), checkpoints: checkpoints.clone() };
        let hub = Hub::new(parts, &config.server, config.quota);
        let limits = Limits::new(config.limits, redis.clone());
        let attachments = Attachments::open(&config, database.clone(), metrics.clone())?;
        let (reached, circuit_addresses) = watch::channel(Vec::new());
        let circuit = Circuit::listen(&config.circuit, &key, metrics.clone(), reached)?;
        let devices = server::bind(config.server.address)?;
        let operators = match config.server.metrics_address {
            Some(address) => Some(server::bind(address)?),
            None => None,
        };
        let stop = CancellationToken::new();
        let sync = CloudSyncService {
            database: database.clone(),
            hub: hub.clone(),
            limits: limits.clone(),
            attachments: attachments.clone(),
            metrics: metrics.clone(),
            key: key.clone(),
            quota: config.quota,
            intakes: intakes(),
        };
        let app = App::new(AppParts {
            access: Access::new(&key, database.clone(), redis.clone(), hub.clone(), config.quota),
            directory: Directory::new(database.clone(), config.server.address.ip()),
            key,
            database,
            redis,
            sync,
            hub,
            bus,
            attachments,
            limits,
            memory: Memory::new(&config.server),
            checkpoints,
            metrics,
            config: config.server.clone(),
            limit_config: config.limits,
            circuit: circuit_addresses,
            sockets: std::sync::Mutex::default(),
            stop: stop.clone(),
        });
        Ok(Self { config, app, tls, devices, operators, bus: driver, circuit, stop })
    }

    /// Where devices reach it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.devices.address()
    }

    /// Where whoever runs it finds metrics.
    #[must_use]
    pub fn operator_address(&self) -> Option<SocketAddr> {
        self.operators.as_ref().map(Listening::address)
    }

    /// The URL to give to devices.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.config.server.tls_certificate.is_some() { "https" } else { "http" };
        self.config.server.public_url.clone().unwrap_or_else(|| format!("{scheme}://{}", self.address()))
    }

    /// The parts, for tests and for commands.
    #[must_use]
    pub const fn app(&self) -> &App {
        &self.app
    }

    /// Ends it when cancelled.
    #[must_use]
    pub fn stopper(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Serves until it is stopped; requests under way finish. Whatever may be wrong was found by [`Self::start`], before anybody is told
    /// the URL.
    pub async fn serve(self) {
        let Self { config, app, tls, devices, operators, bus, circuit, stop } = self;
        let database = app.parts().database.clone();
        let mut background = JoinSet::new();
        background.spawn(bus.run(database.clone(), stop.clone()));
        background.spawn(beat(app.clone(), stop.clone()));
        background.spawn(sweep(app.clone(), stop.clone()));
        if let Some(circuit) = circuit {
            background.spawn(circuit.run(database.clone(), stop.clone()));
        }
        if let Some(operators) = operators {
            let (router, server, metrics, stop) = (app.operator_router(), config.server.clone(), app.parts().metrics.clone(), stop.clone());
            background.spawn(async move { server::serve(operators, router, None, &server, &metrics, stop).await });
        }
        server::serve(devices, app.router(), tls, &config.server, &app.parts().metrics, stop.clone()).await;
        stop.cancel();
        while let Some(ended) = background.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "a part of the relay ended in a panic");
            }
        }
        let stop_wait = Duration::from_secs(config.server.stop_seconds);
        match tokio::time::timeout(stop_wait, app.parts().hub.close()).await {
            Ok(()) => app.parts().checkpoints.close(),
            Err(_) => tracing::info!("some workspaces left no checkpoint: more of their logs is read at the next start"),
        }
        // What was committed last belongs to what is remembered: a backup that is older will be recognised.
        remember(&app).await;
        database.close().await;
    }
}

/// Compares the database with what is remembered of it, and remembers.
async fn remember(app: &App) {
    let parts = app.parts();
    match parts.database.within(parts.database.epoch().beat(parts.database.write())).await {
        Ok(()) => parts.redis.keep_marker(parts.key.id(), &parts.database.epoch().marker()).await,
        Err(error) => tracing::warn!(error = %chain(&error), "the database was not compared with what is remembered of it"),
    }
}

async fn beat(app: App, stop: CancellationToken) {
    let mut ticks = interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        // First: what follows waits for a connection.
        app.parts().database.give_back_stale();
        remember(&app).await;
    }
}

async fn sweep(app: App, stop: CancellationToken) {
    let mut ticks = interval(SWEEP);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        app.parts().limits.sweep();
        let database = &app.parts().database;
        if let Err(error) = database.within(addresses::sweep(database.write())).await {
            tracing::debug!(error = %chain(&error), "old addresses were not swept");
        }
        sweep_checkpoints(&app).await;
    }
}

/// Removes checkpoints that are old, too many, or of workspaces that were deleted.
async fn sweep_checkpoints(app: &App) {
    let (checkpoints, database) = (&app.parts().checkpoints, &app.parts().database);
    let mut kept = checkpoints.workspaces();
    match database.within(WorkspaceRow::versions(database.read(), &kept)).await {
        Ok(here) => kept.retain(|kept| !here.iter().any(|(id, _)| id == kept)),
        Err(_) => kept.clear(),
    }
    let checkpoints = checkpoints.clone();
    if let Ok(bytes) = tokio::task::spawn_blocking(move || checkpoints.sweep(&kept)).await {
        app.parts().metrics.checkpoint_bytes(bytes);
    }
}
