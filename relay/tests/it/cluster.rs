//! Relays as processes of their own, behind a proxy that gives each connection to the next of them, with servers that can be broken.
#![allow(dead_code, reason = "tests and benchmarks each use a part")]

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nodespace_protocol::ids::RelayId;
use nodespace_relay::key::RelayKey;
use nodespace_relay::relay::KEY_FILE;
use nodespace_servers::{Postgres, Redis};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

use crate::servers::{own_postgres, own_redis};
use crate::world::eventually;

/// Some relays, their servers and a proxy.
pub(crate) struct Cluster {
    pub(crate) url: String,
    pub(crate) relay_id: RelayId,
    pub(crate) postgres: Postgres,
    pub(crate) redis: Redis,
    program: String,
    relays: Vec<Child>,
    backends: Arc<Mutex<Vec<Option<SocketAddr>>>>,
    data: TempDir,
}

impl Cluster {
    /// Starts everything, with so many relays.
    pub(crate) async fn start(program: &str, relays: usize) -> Self {
        let (postgres, redis) = (own_postgres().await, own_redis().await);
        let data = tempfile::tempdir().unwrap();
        let relay_id = RelayKey::load_or_create(&data.path().join(KEY_FILE)).unwrap().id();
        let backends = Arc::new(Mutex::new(vec![None; relays]));
        let url = proxy(Arc::clone(&backends)).await;
        let mut cluster = Self { url, relay_id, postgres, redis, program: program.to_owned(), relays: Vec::new(), backends, data };
        for number in 0..relays {
            let child = cluster.spawn(number).await;
            cluster.relays.push(child);
        }
        cluster
    }

    async fn spawn(&self, number: usize) -> Child {
        // A relay that cannot reach its database when it starts ends, and is started again by whoever keeps it running.
        eventually("a relay's start", async || self.try_spawn(number)).await
    }

    fn try_spawn(&self, number: usize) -> Option<Child> {
        let mut relay = Command::new(&self.program);
        relay.arg("serve").stdin(Stdio::null()).stdout(Stdio::piped());
        let quiet = std::env::var_os("NODESPACE_TEST_LOG").is_none();
        relay.stderr(if quiet { Stdio::null() } else { Stdio::inherit() });
        let settings = [
            ("SERVER_ADDRESS", "127.0.0.1:0".to_owned()),
            ("SERVER_DATA", self.data.path().display().to_string()),
            ("DATABASE_URL", self.postgres.url()),
            ("REDIS_URL", self.redis.url()),
            ("LIMITS_ADDRESS_REQUESTS", "{ per_second = 1e6, burst = 1000000 }".into()),
            ("LIMITS_ADDRESS_CHALLENGES", "{ per_second = 1e6, burst = 1000000 }".into()),
            ("LIMITS_DEVICE_REQUESTS", "{ per_second = 1e6, burst = 1000000 }".into()),
            ("LIMITS_DEVICE_OPERATIONS", "{ per_second = 1e7, burst = 10000000 }".into()),
            ("LIMITS_USER_OPERATIONS", "{ per_second = 1e7, burst = 10000000 }".into()),
        ];
        relay.envs(settings.map(|(name, value)| (format!("NODESPACE_RELAY_{name}"), value)));
        let mut child = relay.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.trim().rsplit('/').next().and_then(|address| address.parse().ok()) else {
            child.wait().unwrap();
            return None;
        };
        self.backends.lock().unwrap()[number] = Some(address);
        Some(child)
    }

    /// Kills a relay as a crash would, and starts it again.
    pub(crate) async fn kill_relay(&mut self, number: usize) {
        self.backends.lock().unwrap()[number] = None;
        self.relays[number].kill().unwrap();
        self.relays[number].wait().unwrap();
        self.relays[number] = self.spawn(number).await;
    }

    /// Stops PostgreSQL in order, and starts it again.
    pub(crate) async fn restart_postgres(&mut self) {
        self.postgres.stop().await.unwrap();
        self.postgres.start().await.unwrap();
    }

    /// Kills PostgreSQL as a crash would, and starts it again.
    pub(crate) async fn crash_postgres(&mut self) {
        self.postgres.kill().unwrap();
        self.postgres.start().await.unwrap();
    }

    /// Kills Redis, and starts it again, empty.
    pub(crate) async fn crash_redis(&mut self) {
        self.redis.kill().unwrap();
        self.redis.start().await.unwrap();
    }

    /// The memory that relays hold at present, in bytes, each.
    pub(crate) fn resident_bytes(&self) -> Vec<u64> {
        let of = |child: &Child| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1_024
        };
        self.relays.iter().map(of).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for relay in &mut self.relays {
            relay.kill().ok();
            relay.wait().ok();
        }
    }
}

/// Gives each connection to the next backend that is there; ends it when none is.
async fn proxy(backends: Arc<Mutex<Vec<Option<SocketAddr>>>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let turn = AtomicUsize::new(0);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let backend = {
                let backends = backends.lock().unwrap();
                let first = turn.fetch_add(1, Ordering::Relaxed);
                (first..first + backends.len()).find_map(|at| backends[at % backends.len()])
            };
            let Some(backend) = backend else { continue };
            tokio::spawn(async move {
                if let Ok(mut server) = TcpStream::connect(backend).await {
                    copy_bidirectional(&mut client, &mut server).await.ok();
                }
            });
        }
    });
    format!("http://{address}")
}
