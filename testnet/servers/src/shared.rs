//! A PostgreSQL and a Redis that all tests of a run share, started when the first test needs them.
//!
//! A runner may give every test a process of its own. Whoever uses the pair holds a shared lock on a file beside it; what watches over the
//! servers ends them when nobody has held that lock for some seconds.
//!
//! `NODESPACE_TEST_POSTGRES_URL` and `NODESPACE_TEST_REDIS_URL` name running servers to be used instead: both, or neither.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::place::{give, lock_file, unprivileged};
use crate::process::User;
use crate::{Place, Postgres, Redis, postgres, postgres_url, redis, redis_url};

/// The database that the URL of the shared PostgreSQL names: one that is always there.
const DATABASE: &str = "postgres";
/// The variables that name running servers.
const POSTGRES_VARIABLE: &str = "NODESPACE_TEST_POSTGRES_URL";
const REDIS_VARIABLE: &str = "NODESPACE_TEST_REDIS_URL";

/// The pair.
#[derive(Debug)]
pub struct Shared {
    postgres: String,
    redis: String,
    /// Held for as long as this process uses the pair.
    _use: File,
}

impl Shared {
    /// The pair, started if it is not there. What is to be prepared in PostgreSQL, whose URL is given, is so by one process at a time. Blocks
    /// this thread while another does.
    ///
    /// # Errors
    /// When servers are missing or do not start, when they cannot be prepared, and when the environment names one of them only.
    pub async fn join(prepare: impl AsyncFnOnce(&str) -> Result<()>) -> Result<Self> {
        let named = named(|variable| std::env::var(variable).ok())?;
        let state = std::env::temp_dir().join(format!("nodespace-shared-servers-{}", rustix::process::geteuid().as_raw()));
        fs::create_dir_all(&state).with_context(|| format!("cannot make {}", state.display()))?;
        check_own(&state, unprivileged()?)?;
        let (using, starting) = (lock_file(&state, "use.lock")?, lock_file(&state, "start.lock")?);
        using.lock_shared().context("the shared servers cannot be locked")?;
        starting.lock().context("the shared servers cannot be locked")?;
        let (postgres, redis) = match named {
            Some(urls) => urls,
            None => {
                let folder = running(&state).await?;
                (postgres_url(&folder, DATABASE), redis_url(&folder))
            }
        };
        prepare(&postgres).await?;
        starting.unlock().context("the shared servers cannot be unlocked")?;
        Ok(Self { postgres, redis, _use: using })
    }

    /// The URL of a database of PostgreSQL's that is always there.
    #[must_use]
    pub fn postgres(&self) -> &str {
        &self.postgres
    }

    /// The URL of Redis.
    #[must_use]
    pub fn redis(&self) -> &str {
        &self.redis
    }
}

/// The URLs of PostgreSQL and Redis that the environment names, if it does. An empty one counts as none.
fn named(variable: impl Fn(&str) -> Option<String>) -> Result<Option<(String, String)>> {
    let url = |name: &str| variable(name).filter(|url| !url.is_empty());
    let (set, missing) = match (url(POSTGRES_VARIABLE), url(REDIS_VARIABLE)) {
        (Some(postgres), Some(redis)) => return Ok(Some((postgres, redis))),
        (None, None) => return Ok(None),
        (Some(_), None) => (POSTGRES_VARIABLE, REDIS_VARIABLE),
        (None, Some(_)) => (REDIS_VARIABLE, POSTGRES_VARIABLE),
    };
    bail!("{set} is set and {missing} is not: set both to use servers that run already, or neither")
}

/// Everybody may write where the folder lies, and its name is known: one that somebody else made first could lead us anywhere.
fn check_own(state: &Path, user: Option<User>) -> Result<()> {
    let found = fs::symlink_metadata(state)?;
    let is_own = found.uid() == rustix::process::geteuid().as_raw() || user.is_some_and(|user| found.uid() == user.uid);
    ensure!(found.is_dir() && is_own, "{} is not ours", state.display());
    Ok(())
}

/// The folder of servers that run: those that others have started, or new ones.
async fn running(state: &Path) -> Result<PathBuf> {
    let ready = state.join("ready");
    if let Ok(folder) = fs::read_to_string(&ready)
        && Path::new(&folder).exists()
    {
        let place = Place::of_others(Path::new(&folder))?;
        if postgres::answers(&place).await? && redis::answers(&place).await {
            return Ok(folder.into());
        }
    }
    // Whoever watches over the servers has to come at the lock.
    let user = unprivileged()?;
    give(state, user)?;
    give(&state.join("use.lock"), user)?;
    let place = Place::shared(state)?;
    let servers = (Postgres::create(&place).await?, Redis::create(&place).await?);
    fs::write(&ready, place.path().display().to_string()).with_context(|| format!("cannot write {}", ready.display()))?;
    // They outlive this process.
    std::mem::forget(servers);
    Ok(place.path().to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn running_servers_are_named_both_or_not_at_all() {
        let of = |set: &'static [&'static str]| named(|variable| set.contains(&variable).then(|| format!("url of {variable}")));
        assert_eq!(of(&[]).unwrap(), None);
        let (postgres, redis) = of(&[POSTGRES_VARIABLE, REDIS_VARIABLE]).unwrap().unwrap();
        assert!(postgres.ends_with(POSTGRES_VARIABLE) && redis.ends_with(REDIS_VARIABLE));
        for (set, missing) in [(&[POSTGRES_VARIABLE], REDIS_VARIABLE), (&[REDIS_VARIABLE], POSTGRES_VARIABLE)] {
            let told = of(set).unwrap_err().to_string();
            assert!(told.contains(&format!("{missing} is not")) && told.starts_with(set[0]), "{told}");
        }
        assert_eq!(named(|_| Some(String::new())).unwrap(), None, "what is empty is not set");
    }

    #[test]
    fn a_folder_that_leads_elsewhere_is_not_ours() {
        let folder = tempfile::tempdir().unwrap();
        check_own(folder.path(), None).unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path(), &link).unwrap();
        assert!(check_own(&link, None).is_err());
    }
}
