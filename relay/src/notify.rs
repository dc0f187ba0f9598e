//! Who listens to which workspace, and how they learn that it has grown.
//!
//! ```text
//!   commit ─▶ Bus::publish ─▶ listeners of this instance
//!                        └──▶ Redis PUBLISH ─▶ every other instance ─▶ its listeners
//! ```
//!
//! Redis' pub/sub delivers at most once and drops who is slow, so what it says is a hint: the cursor decides what a device has seen. What
//! hints may have missed is found by asking the database for the versions of the workspaces that somebody listens to: every two seconds
//! without Redis, every fifteen with it, and whenever the connection to Redis was made anew, which it is when that ends or falls silent. A
//! listener holds the latest version only, so nobody can fall behind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nodespace_protocol::ids::WorkspaceId;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::redis::Redis;
use crate::store::{Database, WorkspaceRow};

/// How often versions are read without Redis, and with it.
const POLL_WITHOUT_REDIS: Duration = Duration::from_secs(2);
const POLL_WITH_REDIS: Duration = Duration::from_secs(15);
/// How long to wait before listening to Redis again.
const LISTEN_AGAIN: Duration = Duration::from_millis(500);
/// Hints on their way to Redis; more are left to the others' polling.
const HINTS_MAX: usize = 4_096;
/// A hint: the workspace's id and its version, little endian.
const HINT_BYTES: usize = 40;

/// Passes on that workspaces have grown.
#[derive(Clone, Debug)]
pub struct Bus {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    listeners: Mutex<HashMap<WorkspaceId, watch::Sender<u64>>>,
    hints: mpsc::Sender<(WorkspaceId, u64)>,
    /// Hints may have been missed.
    doubt: Notify,
}

/// The other end of a bus: driven by [`BusDriver::run`].
#[derive(Debug)]
pub struct BusDriver {
    bus: Bus,
    redis: Redis,
    hints: mpsc::Receiver<(WorkspaceId, u64)>,
}

impl Bus {
    /// A bus, and what drives it.
    #[must_use]
    pub fn new(redis: Redis) -> (Self, BusDriver) {
        let (sender, hints) = mpsc::channel(HINTS_MAX);
        let shared = Shared { listeners: Mutex::new(HashMap::new()), hints: sender, doubt: Notify::new() };
        let bus = Self { shared: Arc::new(shared) };
        (bus.clone(), BusDriver { bus, redis, hints })
    }

    /// A workspace has grown to a version, and that is committed.
    pub fn publish(&self, workspace: WorkspaceId, version: u64) {
        self.tell(workspace, version);
        // When the queue is full the others find out by polling.
        self.shared.hints.try_send((workspace, version)).ok();
    }

    /// Listens to a workspace. The receiver holds the latest version that was told, 0 before any.
    #[must_use]
    pub fn listen(&self, workspace: WorkspaceId) -> watch::Receiver<u64> {
        let mut listeners = self.lock();
        listeners.retain(|_, sender| sender.receiver_count() > 0);
        listeners.entry(workspace).or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<WorkspaceId, watch::Sender<u64>>> {
        self.shared.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, workspace: WorkspaceId, version: u64) {
        if let Some(sender) = self.lock().get(&workspace) {
            sender.send_if_modified(|latest| std::mem::replace(latest, version.max(*latest)) < version);
        }
    }

    fn listened_to(&self) -> Vec<WorkspaceId> {
        self.lock().iter().filter(|(_, sender)| sender.receiver_count() > 0).map(|(id, _)| *id).collect()
    }
}

impl BusDriver {
    /// Drives the bus until it is stopped.
    pub async fn run(self, database: Database, stop: CancellationToken) {
        let Self { bus, redis, hints } = self;
        let work = async {
            tokio::join!(send(redis.clone(), hints), receive(redis.clone(), bus.clone()), poll(redis, bus, database));
        };
        tokio::select! {
            () = work => {}
            () = stop.cancelled() => {}
        }
    }
}

async fn send(redis: Redis, mut hints: mpsc::Receiver<(WorkspaceId, u64)>) {
    while let Some((workspace, version)) = hints.recv().await {
        let mut hint = [0; HINT_BYTES];
        hint[..32].copy_from_slice(&workspace.0);
        hint[32..].copy_from_slice(&version.to_le_bytes());
        redis.publish(&hint).await;
    }
}

async fn receive(redis: Redis, bus: Bus) {
    loop {
        match redis.listen().await {
            None => return,
            Some(Ok(mut listening)) => {
                // What was told before is not told again.
                bus.shared.doubt.notify_one();
                while let Some(message) = listening.next().await {
                    if let Some((workspace, version)) = parse_hint(message.get_payload_bytes()) {
                        bus.tell(workspace, version);
                    }
                }
            }
            Some(Err(error)) => tracing::debug!(%error, "cannot listen to Redis"),
        }
        bus.shared.doubt.notify_one();
        sleep(LISTEN_AGAIN).await;
    }
}

/// Reads a hint; anything else on the channel is not ours.
#[must_use]
pub fn parse_hint(bytes: &[u8]) -> Option<(WorkspaceId, u64)> {
    let (workspace, version) = bytes.split_first_chunk::<32>()?;
    Some((WorkspaceId(*workspace), u64::from_le_bytes(version.try_into().ok()?)))
}

async fn poll(redis: Redis, bus: Bus, database: Database) {
    loop {
        let pause = if redis.is_up() == Some(true) { POLL_WITH_REDIS } else { POLL_WITHOUT_REDIS };
        let next = Instant::now() + pause;
        tokio::select! {
            () = sleep_until(next) => {}
            () = bus.shared.doubt.notified() => {}
        }
        let listened = bus.listened_to();
        if listened.is_empty() {
            continue;
        }
        match database.within(WorkspaceRow::versions(database.read(), &listened)).await {
            Ok(versions) => versions.into_iter().for_each(|(workspace, version)| bus.tell(workspace, version)),
            Err(error) => tracing::warn!(error = %crate::store::chain(&error), "cannot look for changes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RedisConfig;

    #[test]
    fn hints_have_one_form() {
        let hint = [&[7; 32][..], &9_u64.to_le_bytes()].concat();
        assert_eq!(parse_hint(&hint), Some((WorkspaceId([7; 32]), 9)));
        for bad in [&hint[..39], &[hint.as_slice(), &[0]].concat(), b""] {
            assert_eq!(parse_hint(bad), None);
        }
    }

    #[tokio::test]
    async fn a_listener_sees_the_latest_version_and_never_an_older_one() {
        let (bus, _driver) = Bus::new(Redis::open(&RedisConfig::default()).unwrap());
        let workspace = WorkspaceId([1; 32]);
        let mut listener = bus.listen(workspace);
        bus.publish(WorkspaceId([2; 32]), 9);
        assert!(!listener.has_changed().unwrap());
        bus.publish(workspace, 3);
        bus.publish(workspace, 2);
        listener.changed().await.unwrap();
        assert_eq!(*listener.borrow_and_update(), 3);
        assert!(!listener.has_changed().unwrap());
    }
}
