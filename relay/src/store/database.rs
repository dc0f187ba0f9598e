//! Connections: two pools, the bounds every statement has, migrations.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use nodespace_protocol::ids::RelayId;
use sqlx::PgPool;
use sqlx::migrate::{Migrate as _, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use super::{EpochKeeper, StoreError};
use crate::config::DatabaseConfig;

/// The migrations this program was built with.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// How long a transaction waits for a lock before it gives up, so that a stuck one does not pile up others behind it.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// The relay's database.
#[derive(Clone, Debug)]
pub struct Database {
    write: PgPool,
    read: PgPool,
    epoch: Arc<EpochKeeper>,
}

/// How the database's tables stand to the migrations of this program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Migrations that were applied.
    pub applied: Vec<i64>,
    /// Migrations that were not.
    pub missing: Vec<i64>,
    /// Migrations of a newer program.
    pub unknown: Vec<i64>,
}

impl Database {
    /// Opens the pools. No connection is made yet; every one that is made looks whether the database is still the one that is
    /// remembered ([`EpochKeeper::observe`]).
    ///
    /// # Errors
    /// When the URL is none.
    pub fn open(config: &DatabaseConfig, epoch: Arc<EpochKeeper>) -> Result<Self, StoreError> {
        let options = connect_options(config)?;
        let pool = |connections: u32| {
            let keeper = Arc::clone(&epoch);
            PgPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(Duration::from_secs(config.acquire_seconds))
                .idle_timeout(Duration::from_secs(600))
                .after_connect(move |connection, _| {
                    let keeper = Arc::clone(&keeper);
                    Box::pin(async move { keeper.observe(connection).await })
                })
                .connect_lazy_with(options.clone())
        };
        let (write, read) = (pool(config.connections), pool(config.read_connections));
        Ok(Self { write, read, epoch })
    }

    /// Applies the migrations that are missing. Several instances may do so at once: they wait for each other.
    ///
    /// # Errors
    /// When the database cannot be reached, or was migrated by a newer program.
    pub async fn migrate(config: &DatabaseConfig) -> Result<(), StoreError> {
        let mut options = connect_options(config)?;
        // A migration of much data takes longer than a statement of the service may.
        options = options.options([("statement_timeout", "0"), ("lock_timeout", "0"), ("idle_in_transaction_session_timeout", "0")]);
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
        let migrated = MIGRATIONS.run(&pool).await.map_err(|error| StoreError::NotMigrated(super::chain(&error)));
        pool.close().await;
        migrated
    }

    /// Which migrations were applied.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn migration_status(config: &DatabaseConfig) -> Result<MigrationStatus, StoreError> {
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(connect_options(config)?);
        let mut connection = pool.acquire().await.map_err(StoreError::doing("connecting"))?;
        let known: Vec<i64> = MIGRATIONS.iter().map(|migration| migration.version).collect();
        // A database without the table has none applied.
        let listed = connection.list_applied_migrations(&MIGRATIONS.table_name).await.unwrap_or_default();
        drop(connection);
        pool.close().await;
        let applied: Vec<i64> = listed.into_iter().map(|migration| migration.version).collect();
        let missing = known.iter().filter(|version| !applied.contains(version)).copied().collect();
        let unknown = applied.iter().filter(|version| !known.contains(version)).copied().collect();
        Ok(MigrationStatus { applied, missing, unknown })
    }

    /// Makes sure that the tables are there and the database is this relay's; a fresh one becomes so.
    ///
    /// # Errors
    /// When it needs migrating, belongs to another relay, or cannot be reached.
    pub async fn claim(&self, config: &DatabaseConfig, relay: RelayId) -> Result<(), StoreError> {
        let status = Self::migration_status(config).await?;
        if !status.missing.is_empty() {
            return Err(StoreError::NotMigrated(format!("migrations {:?} are missing", status.missing)));
        }
        self.epoch.claim(&self.write, relay).await
    }

    /// For what writes.
    #[must_use]
    pub const fn write(&self) -> &PgPool {
        &self.write
    }

    /// For what only reads.
    #[must_use]
    pub const fn read(&self) -> &PgPool {
        &self.read
    }

    /// Which incarnation of the logs this is.
    #[must_use]
    pub const fn epoch(&self) -> &Arc<EpochKeeper> {
        &self.epoch
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.read).await.map(drop).map_err(StoreError::doing("asking whether it is there"))
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.write.close().await;
        self.read.close().await;
    }
}

fn connect_options(config: &DatabaseConfig) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(config.url.reveal()).map_err(StoreError::doing("reading database.url"))?;
    let ms = |seconds: u64| seconds.saturating_mul(1_000).to_string();
    Ok(options.application_name("nodespace-relay").statement_cache_capacity(64).options([
        ("statement_timeout", ms(config.statement_seconds)),
        ("idle_in_transaction_session_timeout", ms(config.idle_seconds)),
        ("lock_timeout", ms(LOCK_WAIT.as_secs())),
    ]))
}
