//! A PostgreSQL and a Redis of one's own, for tests, benchmarks, the testnet and scripts. It knows no other crate of ours.
//!
//! 1. [`process`]: one process of ours, whatever it is;
//! 2. [`Place`]: the folder that servers live in, and whom they run as;
//! 3. [`Postgres`], [`Redis`]: the servers, which can be stopped, killed, frozen and set back;
//! 4. [`Shared`]: a pair that all tests of a run use;
//! 5. [`command`]: the program, which runs another one beside a pair. [`Signals`] are what ends it.
//!
//! However whoever started servers ends, they end too: when their values are dropped, so after a panic, and when the process is killed by
//! what watches over their [`Place`].
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod command;
mod guard;
mod place;
mod postgres;
pub mod process;
mod redis;
mod shared;
mod signals;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};

pub use self::place::Place;
pub use self::postgres::Postgres;
pub use self::redis::Redis;
pub use self::shared::Shared;
pub use self::signals::Signals;

/// How often a server or a command is looked at while something is waited for.
const POLL: Duration = Duration::from_millis(50);
/// How long a server may take until it answers, on a machine that is busy with tests; PostgreSQL replays its log first after a crash.
const START_TIME_MAX: Duration = Duration::from_secs(120);

/// Looks whether both servers are installed.
///
/// # Errors
/// When one is not, with what brings it.
pub fn check_installed() -> Result<()> {
    postgres::programs()?;
    for program in ["redis-server", "redis-cli"] {
        ensure!(folders_of_programs().any(|folder| folder.join(program).exists()), "{program} is missing: run scripts/setup.sh relay");
    }
    Ok(())
}

/// The folders in which programs are looked for.
fn folders_of_programs() -> impl Iterator<Item = PathBuf> {
    std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>())
}

/// The URL of a database of the PostgreSQL in a folder.
fn postgres_url(folder: &Path, database: &str) -> String {
    format!("postgres://relay@localhost:5432/{database}?host={}", folder.display())
}

/// The URL of the Redis in a folder.
fn redis_url(folder: &Path) -> String {
    format!("redis+unix://{}", redis::socket(folder).display())
}
