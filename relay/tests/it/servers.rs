//! PostgreSQL and Redis for tests: real ones. Most tests have a database on the pair that all share; tests that break servers start their own.
#![allow(dead_code, reason = "tests and benchmarks each use a part")]

use std::sync::OnceLock;

use nodespace_relay::config::{Config, DatabaseConfig, Secret};
use nodespace_relay::store::{Database, MIGRATIONS};
use nodespace_servers::{Place, Postgres, Redis};
use tempfile::TempDir;

/// A PostgreSQL of one's own, with the relay's tables.
pub(crate) async fn own_postgres() -> Postgres {
    let postgres = Postgres::create(&Place::temporary().unwrap()).await.unwrap();
    migrate(postgres.url()).await;
    postgres
}

/// A Redis of one's own.
pub(crate) async fn own_redis() -> Redis {
    Redis::create(&Place::temporary().unwrap()).await.unwrap()
}

/// A PostgreSQL of one's own, and a relay's configuration for it, with the folder of the relay's data.
pub(crate) async fn own_postgres_and_config(redis: Option<&str>) -> (Postgres, Config, TempDir) {
    let (postgres, data) = (own_postgres().await, tempfile::tempdir().unwrap());
    let config = crate::world::config(&postgres.url(), redis, data.path().to_owned());
    (postgres, config, data)
}

/// The pair that all tests share.
#[derive(Debug)]
pub(crate) struct Shared(nodespace_servers::Shared);

impl Shared {
    /// The pair, started if it is not there.
    pub(crate) fn get() -> &'static Self {
        static SHARED: OnceLock<Shared> = OnceLock::new();
        // In a thread of its own: the caller may be in a runtime already.
        SHARED.get_or_init(|| std::thread::spawn(Self::join).join().unwrap())
    }

    fn join() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let joined = runtime.block_on(nodespace_servers::Shared::join(async |postgres: &str| {
            make_template(postgres).await;
            anyhow::Ok(())
        }));
        Self(joined.unwrap())
    }

    /// A new database, with the relay's tables in it. It is left to the cluster's end.
    pub(crate) async fn database(&self) -> String {
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let name = format!("test_{}", nodespace_protocol::ids::hex(&random));
        create_database(self.0.postgres(), &format!("{name} TEMPLATE {}", template_name())).await;
        replace_database(self.0.postgres(), &name)
    }

    /// A copy of a database, as a dump restored elsewhere would be. The relay on it is stopped first, its data folder kept.
    pub(crate) async fn copy_of(&self, url: &str, relay: crate::world::TestRelay) -> (String, Option<TempDir>) {
        let folder = relay.stop_keeping_data().await;
        let from = url.split('?').next().and_then(|server| server.rsplit('/').next()).unwrap();
        let name = format!("{from}_moved");
        create_database(self.0.postgres(), &format!("{name} TEMPLATE {from}")).await;
        (replace_database(self.0.postgres(), &name), folder)
    }

    pub(crate) fn redis(&self) -> &str {
        self.0.redis()
    }
}

/// The same server's URL for another database.
fn replace_database(url: &str, name: &str) -> String {
    let (server, query) = url.split_once('?').unwrap_or((url, ""));
    let server = server.rsplit_once('/').map_or(server, |(server, _)| server);
    format!("{server}/{name}?{query}")
}

/// The name of a database with the present migrations in it, which tests' databases are copies of.
fn template_name() -> String {
    let mut hasher = blake3::Hasher::new();
    MIGRATIONS.iter().for_each(|migration| {
        hasher.update(&migration.checksum);
    });
    format!("relay_{}", nodespace_protocol::ids::hex(&hasher.finalize().as_bytes()[..6]))
}

/// Makes it, unless it is there. Nobody else does at the same time.
async fn make_template(server: &str) {
    use sqlx::Connection as _;
    let name = template_name();
    let mut connection = sqlx::PgConnection::connect(server).await.unwrap();
    let exists = "SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)";
    let exists: bool = sqlx::query_scalar(exists).bind(&name).fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    if exists {
        return;
    }
    // One that was interrupted has left what it began.
    run_sql(server, "DROP DATABASE IF EXISTS making_template".to_owned()).await;
    create_database(server, "making_template").await;
    migrate(replace_database(server, "making_template")).await;
    run_sql(server, format!("ALTER DATABASE making_template RENAME TO {name}")).await;
}

async fn migrate(url: String) {
    Database::migrate(&DatabaseConfig { url: Secret::new(url), ..DatabaseConfig::default() }).await.unwrap();
}

pub(crate) async fn run_sql(server: &str, sql: String) {
    use sqlx::{Connection as _, Executor as _};
    let mut connection = sqlx::PgConnection::connect(server).await.unwrap();
    connection.execute(sqlx::AssertSqlSafe(sql)).await.unwrap();
    connection.close().await.unwrap();
}

pub(crate) async fn create_database(server: &str, name: &str) {
    run_sql(server, format!("CREATE DATABASE {name}")).await;
}
