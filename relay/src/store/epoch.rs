//! The epoch: which incarnation of the logs this is, and how a database that was set back is noticed.
//!
//! A cursor (epoch, version) says "I have seen everything up to here". When a backup is restored, versions that were given out are given
//! out again, to other operations: a device with a cursor beyond the backup would skip them. So the epoch must change, and everybody
//! starts again from 0 (operations they hold are recognised and cost nothing but bytes).
//!
//! The database cannot know that it was set back; whoever remembers more than it does can. The relay keeps a *marker* outside the
//! database, in its data folder and in Redis: the epoch, a counter that is raised every two seconds, the position of the write-ahead log,
//! and which cluster, timeline, database and table it was. On every new connection (a restored server has broken all old ones) and with
//! every beat the database is compared with it:
//!
//! | The database | Then |
//! |---|---|
//! | has a greater epoch | another instance has noticed: take it over |
//! | has a lesser epoch or beat, a lesser log position, or is another cluster, timeline, database or table | it was set back: a new epoch |
//! | else | it is the same |
//!
//! **Invariant:** nothing is compared before the database is known to be this relay's, and with every comparison it is asked whose it is:
//! in one that is another relay's, to which a wrong URL leads, no epoch begins.
//!
//! A backup that is less than a beat older than the last commit goes unnoticed here; `nodespace-relay admin new-epoch` is for whoever
//! restores one, and devices notice by the running hash. A timeline also changes when a standby takes over, which may lack the last commits
//! and be ahead of what is remembered all the same: it has written of its own by then. Nothing need have been lost, and a new epoch costs
//! devices a comparison. The timeline is the one that the server *writes* on, which is another from the promotion on; the control file
//! names that of the last checkpoint, and would say so minutes later.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nodespace_protocol::ids::{RelayId, hex};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;

use super::{StoreError, bytes32, signed};
use crate::clock::now_ms;

/// The epoch in force; 0 before the database was first seen.
pub type Epoch = u64;

/// What is remembered of the database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// The epoch; 0 = nothing is remembered.
    pub epoch: Epoch,
    /// The counter in the database.
    pub beat: i64,
    /// The position in the write-ahead log, in bytes; 0 where the server has none.
    pub log_position: i64,
    /// Cluster, timeline, database and table; empty where the server does not say.
    pub identity: String,
}

impl Marker {
    /// Whether a database like this can be the one that is remembered, with time having passed.
    fn continues(&self, before: &Self) -> bool {
        let same_place = before.identity.is_empty() || self.identity.is_empty() || before.identity == self.identity;
        self.epoch == before.epoch && same_place && self.beat >= before.beat && self.log_position >= before.log_position
    }

    /// The one that remembers more.
    #[must_use]
    pub fn latest(self, other: Self) -> Self {
        if (other.epoch, other.beat) > (self.epoch, self.beat) { other } else { self }
    }
}

/// Watches over the epoch.
#[derive(Debug)]
pub struct EpochKeeper {
    /// Whose the database has to be: who has claimed it.
    relay: OnceLock<RelayId>,
    file: Option<PathBuf>,
    marker: Arc<Mutex<Marker>>,
    current: watch::Sender<Epoch>,
    /// When the database was last compared; `None` once it was silent for too long.
    heard: Mutex<Option<Instant>>,
}

impl EpochKeeper {
    /// A keeper with what the file remembers; `elsewhere` is what Redis does.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn open(file: Option<PathBuf>, elsewhere: Option<Marker>) -> Result<Self, StoreError> {
        let remembered = file.as_deref().map_or_else(|| Ok(Marker::default()), read)?;
        let marker = remembered.latest(elsewhere.unwrap_or_default());
        let (marker, current) = (Arc::new(Mutex::new(marker)), watch::Sender::new(0));
        Ok(Self { relay: OnceLock::new(), file, marker, current, heard: Mutex::new(None) })
    }

    /// The epoch in force.
    #[must_use]
    pub fn current(&self) -> Epoch {
        *self.current.borrow()
    }

    /// Checks that an epoch is in force still. Whoever signs for versions does this last, after everything was read: connections to a
    /// database that was set back are new, and none answers before the epoch has changed.
    pub(crate) fn check(&self, epoch: Epoch) -> Result<(), StoreError> {
        if self.current() == epoch { Ok(()) } else { Err(StoreError::SetBack) }
    }

    /// Whether the database has answered lately.
    pub(crate) fn has_heard_within(&self, time: Duration) -> bool {
        self.heard().is_some_and(|heard| heard.elapsed() <= time)
    }

    /// It did not answer.
    pub(crate) fn doubt(&self) {
        *self.heard() = None;
    }

    fn heard(&self) -> MutexGuard<'_, Option<Instant>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells when it changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Epoch> {
        self.current.subscribe()
    }

    /// What is remembered now, to be kept elsewhere too.
    #[must_use]
    pub fn marker(&self) -> Marker {
        copy(&self.marker)
    }

    /// Compares the database with what is remembered, over a connection that was just made. One without tables is let pass, and any
    /// before it is claimed; later, one that is another relay's is refused.
    pub(crate) async fn observe(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let Some(own) = self.relay.get() else { return Ok(()) };
        let ready = sqlx::query_scalar!("SELECT to_regclass('relay') IS NOT NULL").fetch_one(&mut *connection).await?;
        if ready != Some(true) {
            return Ok(());
        }
        let row = sqlx::query!("SELECT public_key, epoch, beat FROM relay").fetch_optional(&mut *connection).await?;
        let Some(row) = row else { return Ok(()) };
        if row.public_key != own.0 {
            return Err(sqlx::Error::Protocol(another(&row.public_key, *own).to_string()));
        }
        let (log_position, identity) = place(connection).await;
        self.compare(connection, Marker { epoch: row.epoch.unsigned_abs(), beat: row.beat, log_position, identity }).await
    }

    /// The epoch as the database has it now, whatever was known of it.
    pub(crate) async fn look(&self, pool: &PgPool) -> Result<Epoch, StoreError> {
        let looked = async { self.observe(&mut *pool.acquire().await?).await };
        looked.await.map_err(StoreError::doing("looking at the epoch"))?;
        Ok(self.current())
    }

    /// Raises the counter, and compares: done every two seconds by the service.
    ///
    /// # Errors
    /// When the database cannot be reached, or the file not be written.
    pub async fn beat(&self, pool: &PgPool) -> Result<(), StoreError> {
        let failed = StoreError::doing("raising the beat");
        let observed = async {
            let mut connection = pool.acquire().await?;
            // Compared before it is raised: a set-back counter must not catch up unseen.
            self.observe(&mut connection).await?;
            let row = sqlx::query!("UPDATE relay SET beat = beat + 1 RETURNING epoch, beat").fetch_one(&mut *connection).await?;
            let (log_position, identity) = place(&mut connection).await;
            self.compare(&mut connection, Marker { epoch: row.epoch.unsigned_abs(), beat: row.beat, log_position, identity }).await
        };
        observed.await.map_err(failed)?;
        self.save().await
    }

    /// Makes the database this relay's, or checks that it is.
    pub(super) async fn claim(&self, pool: &PgPool, relay: RelayId) -> Result<(), StoreError> {
        let epoch = signed(now_ms().max(self.marker().epoch + 1));
        let key = relay.0.as_slice();
        let claim = sqlx::query!("INSERT INTO relay (public_key, epoch) VALUES ($1, $2) ON CONFLICT DO NOTHING", key, epoch);
        claim.execute(pool).await.map_err(StoreError::doing("claiming it"))?;
        if let Some(found) = Self::owner(pool).await?.filter(|found| *found != relay) {
            return Err(another(&found.0, relay));
        }
        self.relay.get_or_init(|| relay);
        self.beat(pool).await
    }

    /// Whose a database with tables is; `None` while it is nobody's.
    pub(super) async fn owner(pool: &PgPool) -> Result<Option<RelayId>, StoreError> {
        let found = sqlx::query_scalar!("SELECT public_key FROM relay").fetch_optional(pool).await;
        let found = found.map_err(StoreError::doing("reading whose it is"))?;
        found.map(|key| bytes32(&key, "relay.public_key").map(RelayId)).transpose()
    }

    /// Starts a new epoch, because whoever runs the relay knows that operations are gone.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn renew(&self, pool: &PgPool) -> Result<Epoch, StoreError> {
        let next = signed(now_ms().max(self.marker().epoch + 1));
        let renewed = sqlx::query!("UPDATE relay SET epoch = greatest(epoch + 1, $1), epoch_since = now()", next).execute(pool).await;
        renewed.map_err(StoreError::doing("starting a new epoch"))?;
        self.beat(pool).await?;
        Ok(self.current())
    }

    async fn compare(&self, connection: &mut PgConnection, mut seen: Marker) -> Result<(), sqlx::Error> {
        let before = self.marker();
        if before.epoch != 0 && seen.epoch <= before.epoch && !seen.continues(&before) {
            // A beat of another connection may have come between reading and comparing: what is remembered then is younger than what was
            // seen. Only a database that is behind when it is asked again was set back.
            let row = sqlx::query!("SELECT epoch, beat FROM relay").fetch_one(&mut *connection).await?;
            let (log_position, identity) = place(connection).await;
            seen = Marker { epoch: row.epoch.unsigned_abs(), beat: row.beat, log_position, identity };
            if seen.epoch <= before.epoch && !seen.continues(&before) {
                seen = Self::start_over(connection, seen, &before).await?;
            }
        }
        self.remember(seen);
        Ok(())
    }

    /// The database was set back: everything that was said of versions is void.
    async fn start_over(connection: &mut PgConnection, seen: Marker, before: &Marker) -> Result<Marker, sqlx::Error> {
        let next = signed(now_ms().max(before.epoch + 1));
        let beat = seen.beat.max(before.beat) + 1;
        // Only the first instance that notices changes it; the others find a greater one.
        let renewal =
            sqlx::query!("UPDATE relay SET epoch = $1, beat = $2, epoch_since = now() WHERE epoch = $3", next, beat, signed(seen.epoch));
        renewal.execute(&mut *connection).await?;
        let row = sqlx::query!("SELECT epoch, beat FROM relay").fetch_one(&mut *connection).await?;
        let (log_position, identity) = place(connection).await;
        tracing::error!(
            epoch.before = before.epoch,
            epoch.now = row.epoch,
            beat.remembered = before.beat,
            beat.found = seen.beat,
            "the database is older than what this relay remembers of it: it was restored. A new epoch begins, devices start again from 0"
        );
        Ok(Marker { epoch: row.epoch.unsigned_abs(), beat: row.beat, log_position, identity })
    }

    fn remember(&self, seen: Marker) {
        *self.heard() = Some(Instant::now());
        let epoch = seen.epoch;
        {
            let mut marker = self.marker.lock().unwrap_or_else(PoisonError::into_inner);
            // Observations of several connections may end in another order than they began.
            if seen.epoch > marker.epoch || (seen.epoch == marker.epoch && seen.beat >= marker.beat) {
                let log_position = if seen.epoch == marker.epoch { seen.log_position.max(marker.log_position) } else { seen.log_position };
                *marker = Marker { log_position, ..seen };
            }
        }
        self.current.send_if_modified(|current| std::mem::replace(current, epoch.max(*current)) < epoch);
    }

    /// Writes what is remembered into the file, where waiting for the disk and for other instances holds up nobody else.
    async fn save(&self) -> Result<(), StoreError> {
        let Some(path) = self.file.clone() else { return Ok(()) };
        let (marker, name) = (Arc::clone(&self.marker), path.display().to_string());
        let saved = tokio::task::spawn_blocking(move || write(&path, &marker)).await;
        saved.unwrap_or_else(|error| Err(io::Error::other(error))).map_err(|source| StoreError::Marker { path: name, source })
    }
}

fn another(found: &[u8], own: RelayId) -> StoreError {
    StoreError::AnotherRelay { found: hex(found), own: own.to_string() }
}

fn copy(marker: &Mutex<Marker>) -> Marker {
    marker.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Writes a marker beside the old file and puts it in its place.
fn write(path: &Path, marker: &Mutex<Marker>) -> io::Result<()> {
    let beside = path.with_extension("new");
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Instances may share the folder: two that wrote the new file at once would put a mixture in place.
    let alone = fs::File::create(path.with_extension("lock"))?;
    alone.lock()?;
    let text = serde_json::to_vec(&copy(marker))?;
    let mut file = fs::File::create(&beside)?;
    file.write_all(&text)?;
    file.sync_data()?;
    fs::rename(&beside, path)
}

fn read(path: &Path) -> Result<Marker, StoreError> {
    let failed = |source| StoreError::Marker { path: path.display().to_string(), source };
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Marker::default()),
        Err(error) => Err(failed(error)),
    }
}

/// Where the server's log stands, and which database this is. A server that speaks PostgreSQL's protocol without being it may not
/// know: then the epoch and the beat alone are compared.
///
/// The name of a file of the log begins with the timeline, in eight hexadecimal digits: of the one that is written to now (from PostgreSQL
/// 15 on `pg_walfile_name` asks for just that).
async fn place(connection: &mut PgConnection) -> (i64, String) {
    let found = sqlx::query!(
        r#"SELECT (pg_current_wal_flush_lsn() - '0/0'::pg_lsn)::bigint AS "log_position!",
                  system.system_identifier || '/' || ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::bigint
                  || '/' || database.oid || '/' || 'relay'::regclass::oid::text AS "identity!"
           FROM pg_control_system() AS system, pg_database AS database
           WHERE database.datname = current_database()"#
    );
    found.fetch_one(connection).await.map(|row| (row.log_position, row.identity)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_knows_less_was_set_back() {
        let before = Marker { epoch: 5, beat: 10, log_position: 1_000, identity: "1/1/1/1".into() };
        let same = Marker { beat: 11, log_position: 1_500, ..before.clone() };
        assert!(same.continues(&before) && before.continues(&before));
        let odd: [fn(&mut Marker); 4] =
            [|seen| seen.beat = 9, |seen| seen.log_position = 999, |seen| seen.identity = "1/2/1/1".into(), |seen| seen.epoch = 4];
        for change in odd {
            let mut seen = same.clone();
            change(&mut seen);
            assert!(!seen.continues(&before), "{seen:?}");
        }
        let unknown = Marker { identity: String::new(), log_position: 0, ..same };
        assert!(unknown.continues(&Marker { identity: String::new(), log_position: 0, ..before.clone() }));
        assert_eq!(before.clone().latest(Marker { epoch: 6, ..Marker::default() }).epoch, 6);
    }
}
