//! Connections: two pools, the bounds every statement has, migrations.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use nodespace_protocol::ids::RelayId;
use reqwest::Url;
use sqlx::migrate::{Migrate as _, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};
use tokio::time::timeout;

use super::lanes::Lanes;
use super::roles::Roles;
use super::spares::Spares;
use super::{EpochKeeper, StoreError};
use crate::config::DatabaseConfig;

/// The migrations this program was built with.
pub static MIGRATIONS: Migrator = sqlx::migrate!("../migrations");

/// The parameters of `database.url`: those that sqlx knows, and `options[..]`. It passes over any other and logs its value.
const URL_PARAMETERS: &[&str] = &[
    "application_name",
    "dbname",
    "host",
    "hostaddr",
    "options",
    "password",
    "port",
    "ssl-ca",
    "ssl-cert",
    "ssl-key",
    "ssl-mode",
    "ssl-root-cert",
    "sslcert",
    "sslkey",
    "sslmode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
];

/// How long a transaction waits for a lock before it gives up, so that a stuck one does not pile up others behind it.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// How long after its last use a connection is taken to be there still. After a restart of the server a request at most finds one that is not, and
/// is told to come back.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

/// How much longer than a statement may take its answer is waited for: a server that is there has said by then that it ended it.
const PATIENCE_BEYOND: Duration = Duration::from_secs(5);

/// The server is taken to be there for so long after it was heard: the beat asks it every two seconds.
const HEARD_WITHIN: Duration = Duration::from_secs(6);
/// Else a connection that comes back to its pool has to show within this time that it is alive, or is closed.
const RETURN_WAIT: Duration = Duration::from_secs(2);

/// The relay's database.
#[derive(Clone, Debug)]
pub struct Database {
    write: PgPool,
    read: PgPool,
    writers: Spares,
    readers: Spares,
    lanes: Lanes,
    roles: Arc<Roles>,
    epoch: Arc<EpochKeeper>,
    patience: Duration,
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

/// What a server says of itself to the relay's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its version, as `server_version_num` tells it: 150004 is 15.4.
    pub version: u32,
    /// What has become of a transaction when its COMMIT is answered: `synchronous_commit`.
    pub synchronous_commit: String,
    /// Whose the database is; `None` while it is nobody's, or has no tables.
    pub owner: Option<RelayId>,
}

impl ServerFacts {
    /// The oldest version that the relay is for.
    pub const VERSION_MIN: u32 = 150_000;

    /// Whether what was committed is on disk: that is what the relay acknowledges.
    ///
    /// # Errors
    /// When it is not.
    pub fn check_durable(&self) -> Result<(), StoreError> {
        if self.synchronous_commit == "off" { Err(StoreError::NotDurable) } else { Ok(()) }
    }
}

impl Database {
    /// Opens the pools. No connection is made yet; once the database is claimed, every one that is made looks whether it is still the one
    /// that is remembered (see [`EpochKeeper`]).
    ///
    /// # Errors
    /// When the URL is none.
    pub fn open(config: &DatabaseConfig, epoch: Arc<EpochKeeper>) -> Result<Self, StoreError> {
        let options = connect_options(config)?;
        let pool = |connections: u32| {
            let (keeper, watcher) = (Arc::clone(&epoch), Arc::clone(&epoch));
            PgPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(Duration::from_secs(config.acquire_seconds))
                .idle_timeout(Duration::from_secs(600))
                // One that was used a moment ago is not asked whether it is still there: that would be a round trip for each statement.
                .test_before_acquire(false)
                .before_acquire(|connection, meta| {
                    Box::pin(async move {
                        if meta.idle_for > TRUSTED_FOR {
                            connection.ping().await?;
                        }
                        Ok(true)
                    })
                })
                .after_connect(move |connection, _| {
                    let keeper = Arc::clone(&keeper);
                    Box::pin(async move { keeper.observe(connection).await })
                })
                // A connection that was let go of while it waited for an answer is waited for by sqlx, without end, and its place with it.
                .after_release(move |connection, _| {
                    let is_there = watcher.has_heard_within(HEARD_WITHIN);
                    Box::pin(async move {
                        if !is_there {
                            timeout(RETURN_WAIT, connection.ping()).await.map_err(|_| silent())??;
                        }
                        Ok(true)
                    })
                })
                .connect_lazy_with(options.clone())
        };
        let (write, read) = (pool(config.connections), pool(config.read_connections));
        let patience = match config.statement_seconds {
            0 => Duration::MAX,
            seconds => Duration::from_secs(seconds).saturating_add(PATIENCE_BEYOND),
        };
        let (writers, readers) = (Spares::of(write.clone(), config.connections), Spares::of(read.clone(), config.read_connections));
        Ok(Self { write, read, writers, readers, lanes: Lanes::new(), roles: Arc::default(), epoch, patience })
    }

    /// Applies the migrations that are missing. Several instances may do so at once: they wait for each other. Those of a newer program are
    /// left alone: they leave this one working.
    ///
    /// # Errors
    /// When the database cannot be reached, or a migration that was applied is another one here.
    pub async fn migrate(config: &DatabaseConfig) -> Result<(), StoreError> {
        let mut options = connect_options(config)?;
        // A migration of much data takes longer than a statement of the service may.
        options = options.options([("statement_timeout", "0"), ("lock_timeout", "0"), ("idle_in_transaction_session_timeout", "0")]);
        // That a migration takes its time is no news.
        options = options.disable_statement_logging();
        let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options);
        let mut migrator = Migrator::with_migrations(MIGRATIONS.iter().cloned().collect());
        migrator.set_ignore_missing(true);
        let migrated = migrator.run(&pool).await.map_err(|error| StoreError::NotMigrated(super::chain(&error)));
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
        let failed = || StoreError::doing("reading which migrations were applied");
        let has_table = sqlx::query_scalar!(r#"SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS "has_table!""#);
        let listed = if has_table.fetch_one(&mut *connection).await.map_err(failed())? {
            connection.list_applied_migrations(&MIGRATIONS.table_name).await.map_err(|error| failed()(error.into()))?
        } else {
            Vec::new()
        };
        drop(connection);
        pool.close().await;
        let applied: Vec<i64> = listed.into_iter().map(|migration| migration.version).collect();
        let missing = known.iter().filter(|version| !applied.contains(version)).copied().collect();
        let unknown = applied.iter().filter(|version| !known.contains(version)).copied().collect();
        Ok(MigrationStatus { applied, missing, unknown })
    }

    /// What the server says of itself, and whose the database is. Changes nothing.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn facts(&self) -> Result<ServerFacts, StoreError> {
        let asked = sqlx::query!(
            r#"SELECT current_setting('server_version_num')::integer AS "version!",
                      current_setting('synchronous_commit') AS "synchronous_commit!",
                      to_regclass('relay') IS NOT NULL AS "has_tables!""#
        );
        let told = asked.fetch_one(&self.read).await.map_err(StoreError::doing("asking how the server is set up"))?;
        let owner = if told.has_tables { EpochKeeper::owner(&self.read).await? } else { None };
        Ok(ServerFacts { version: told.version.unsigned_abs(), synchronous_commit: told.synchronous_commit, owner })
    }

    /// Makes sure that the tables are there, commits are durable and the database is this relay's; a fresh one becomes so.
    ///
    /// # Errors
    /// When it needs migrating, would acknowledge what a crash takes back, belongs to another relay, or cannot be reached.
    pub async fn claim(&self, config: &DatabaseConfig, relay: RelayId) -> Result<(), StoreError> {
        let status = Self::migration_status(config).await?;
        if !status.missing.is_empty() {
            return Err(StoreError::NotMigrated(format!("migrations {:?} are missing", status.missing)));
        }
        let facts = self.facts().await?;
        facts.check_durable()?;
        if facts.version < ServerFacts::VERSION_MIN {
            tracing::warn!(version = facts.version, "PostgreSQL is older than 15: that a standby took over may be noticed late");
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

    /// Connections of the writing pool that are at hand: for what one statement writes.
    pub(super) const fn writers(&self) -> &Spares {
        &self.writers
    }

    /// Where turns wait until they are written.
    pub(super) const fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    /// Connections of the reading pool that are at hand: for what is asked with every packet, in one statement.
    pub(crate) const fn readers(&self) -> &Spares {
        &self.readers
    }

    /// What devices may do, as far as it is remembered.
    pub(crate) fn roles(&self) -> &Roles {
        &self.roles
    }

    /// Gives back to the pools what nobody asked for lately.
    pub(crate) fn give_back_stale(&self) {
        self.writers.give_back_stale();
        self.readers.give_back_stale();
    }

    /// Which incarnation of the logs this is.
    #[must_use]
    pub const fn epoch(&self) -> &Arc<EpochKeeper> {
        &self.epoch
    }

    /// Waits for an answer for as long as a server that is there may take. One that is silent for longer is taken to be gone: TCP would
    /// wait for a quarter of an hour, and who waits may hold what others want.
    pub(crate) fn within<'a, T: 'a>(
        &'a self,
        question: impl Future<Output = Result<T, StoreError>> + Send + 'a,
    ) -> impl Future<Output = Result<T, StoreError>> + Send + 'a {
        // What a question keeps while it waits is tens of kilobytes. Whoever asks would hold them, and all of a request's layers move what
        // they hold: in a box it moves once.
        let mut question = Box::pin(question);
        async move {
            if let Ok(answer) = timeout(self.patience, question.as_mut()).await {
                return answer;
            }
            // Known before the question's connection comes back to its pool.
            self.epoch.doubt();
            Err(StoreError::Silent(self.patience))
        }
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let ping = sqlx::query_scalar!(r#"SELECT 1 AS "one!""#).fetch_one(&self.read);
        self.within(async { ping.await.map(drop).map_err(StoreError::doing("asking whether it is there")) }).await
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.writers.close();
        self.readers.close();
        self.write.close().await;
        self.read.close().await;
    }
}

fn silent() -> sqlx::Error {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

fn connect_options(config: &DatabaseConfig) -> Result<PgConnectOptions, StoreError> {
    let url = config.url.reveal();
    let options = check_parameters(url).and_then(|()| PgConnectOptions::from_str(url));
    let options = options.map_err(StoreError::doing("reading database.url"))?;
    let ms = |seconds: u64| seconds.saturating_mul(1_000).to_string();
    Ok(options.application_name("nodespace-relay").statement_cache_capacity(64).options([
        ("statement_timeout", ms(config.statement_seconds)),
        ("idle_in_transaction_session_timeout", ms(config.idle_seconds)),
        ("lock_timeout", ms(LOCK_WAIT.as_secs())),
    ]))
}

/// Refuses parameters that are none. They are not shown: one may be a misspelt password, or the rest of one with a `&` in it.
fn check_parameters(url: &str) -> Result<(), sqlx::Error> {
    // What is no URL is refused by whoever reads it.
    let Ok(url) = Url::parse(url) else { return Ok(()) };
    if url.query_pairs().all(|(name, _)| URL_PARAMETERS.contains(&&*name) || name.starts_with("options[")) {
        return Ok(());
    }
    let known = URL_PARAMETERS.join(", ");
    Err(sqlx::Error::InvalidArgument(format!("it has a parameter that is none of {known}; a `&` within a value is written %26")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn options(query: &str) -> Result<PgConnectOptions, StoreError> {
        let url = Secret::new(format!("postgres://relay:p4ss@localhost/relay{query}"));
        connect_options(&DatabaseConfig { url, ..DatabaseConfig::default() })
    }

    #[test]
    fn a_parameter_that_is_none_is_refused_and_not_shown() {
        for known in ["", "?host=/run/postgresql", "?sslmode=verify-full&sslrootcert=ca.pem", "?options[work_mem]=8MB&user=relay"] {
            assert!(options(known).is_ok(), "{known}");
        }
        for wrong in ["?pasword=7355608", "?password=first&7355608", "?host=/run/postgresql&7355608=x"] {
            let error = options(wrong).unwrap_err();
            let text = format!("{} {error:?}", crate::store::chain(&error));
            assert!(text.contains("reading database.url") && text.contains("sslmode") && !text.contains("7355608"), "{text}");
        }
    }
}
