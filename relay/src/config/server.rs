//! The service and what it connects to.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Secret;

/// The HTTP service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Where it listens.
    pub address: SocketAddr,
    /// What devices are told to use; from the address when it is not set.
    pub public_url: Option<String>,
    /// Where metrics are served, apart from devices; nowhere when it is not set.
    pub metrics_address: Option<SocketAddr>,
    /// The folder for the relay's key and its memory of the database.
    pub data: PathBuf,
    /// A certificate chain in PEM; with `tls_key` the service speaks TLS itself.
    pub tls_certificate: Option<PathBuf>,
    /// The certificate's private key in PEM.
    pub tls_key: Option<PathBuf>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Connections at once, WebSockets among them; the next waits in the system's queue.
    pub connections: u32,
    /// Connections at once from one network address (IPv6: one /64), trusted proxies excepted; the next is closed. 0 = as many as in all.
    pub connections_per_address: u32,
    /// How long a request's head may take, in seconds.
    pub head_seconds: u64,
    /// How long a request's body may take, in seconds.
    pub body_seconds: u64,
    /// How long a request may take in all, in seconds; then it is refused.
    pub request_seconds: u64,
    /// How long the other end may read nothing of what is written to it, in seconds; then the connection is cut off, WebSockets too.
    pub write_seconds: u64,
    /// How long requests under way may take when the service is stopped, and then again the last checkpoints, in seconds.
    pub stop_seconds: u64,
    /// Memory for what is sent and not dealt with yet, and for large answers until they are written, of all connections together, in MiB;
    /// who wants more is told to come back. What takes more than 64 KiB leaves a quarter of it to what takes less, and as an answer half of
    /// it to what is sent. At least 64.
    pub bodies_mib: u64,
    /// Memory for the workspaces that are being written to, in MiB; the least used leave it first.
    pub workspaces_in_memory_mib: u64,
    /// A workspace that nobody writes to leaves memory after so many seconds.
    pub workspace_idle_seconds: u64,
    /// Disk space in the data folder for checkpoints of this instance's workspaces, in MiB; those not used for longest leave first. 0 = none
    /// are kept, and each workspace is opened from its whole log.
    pub checkpoints_mib: u64,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8470),
            public_url: None,
            metrics_address: None,
            data: PathBuf::from("nodespace-relay"),
            tls_certificate: None,
            tls_key: None,
            trusted_proxies: Vec::new(),
            connections: 4_096,
            connections_per_address: 256,
            head_seconds: 10,
            body_seconds: 30,
            request_seconds: 60,
            write_seconds: 30,
            stop_seconds: 10,
            bodies_mib: 128,
            workspaces_in_memory_mib: 96,
            workspace_idle_seconds: 300,
            checkpoints_mib: 2_048,
        }
    }
}

/// PostgreSQL 15 or newer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DatabaseConfig {
    /// `postgres://user:password@host:port/database`, or with `?host=/folder` of a socket. A parameter that is none is refused.
    pub url: Secret,
    /// Connections for what writes.
    pub connections: u32,
    /// Connections for what only reads; apart, so that a write in progress can always look something up.
    pub read_connections: u32,
    /// How long a request waits for a free connection, in seconds.
    pub acquire_seconds: u64,
    /// How long one statement may take, in seconds; the database ends it then.
    pub statement_seconds: u64,
    /// How long a transaction may lie idle, in seconds; the database ends it then.
    pub idle_seconds: u64,
}

impl Default for DatabaseConfig {
    fn default() -> Self {
        Self {
            url: Secret::new("postgres://localhost/nodespace_relay"),
            connections: 16,
            read_connections: 8,
            acquire_seconds: 5,
            statement_seconds: 15,
            idle_seconds: 15,
        }
    }
}

/// Redis 6 or newer, or a server that speaks its protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisConfig {
    /// `redis://user:password@host:port/number`. Without it the relay is a single instance: limits and notifications are its own.
    pub url: Option<Secret>,
}

/// The libp2p circuit relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CircuitConfig {
    /// Multiaddresses it listens on; it does not run when there is none.
    pub listen: Vec<String>,
    /// Multiaddresses under which devices reach it from outside.
    pub external: Vec<String>,
    /// Devices that can be reached through it at once.
    pub reservations: u32,
    /// Circuits at once.
    pub circuits: u32,
    /// Circuits of one device at once.
    pub circuits_per_device: u32,
    /// How long a circuit may be open, in seconds.
    pub circuit_seconds: u64,
    /// How many MiB may pass a circuit in each direction; 0 = any.
    pub circuit_mib: u64,
}

impl Default for CircuitConfig {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            external: Vec::new(),
            reservations: 1_024,
            circuits: 256,
            circuits_per_device: 8,
            circuit_seconds: 3_600,
            circuit_mib: 1_024,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// The log, on standard error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,nodespace_relay=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Human }
    }
}
