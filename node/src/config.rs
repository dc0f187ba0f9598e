//! The configuration: a TOML file, environment variables over it, and the defaults below both.
//!
//! Every setting stands once in [`KEYS`]: its name, how it is read and what it is now. From that table come the reading of the file, the
//! names of the environment variables (`NODESPACE_<SECTION>_<KEY>`), the suggestions for misspelt names and the listing of what is in
//! force and why. A file with a mistake is refused whole, with every mistake named by its line: half a configuration is one that nobody
//! wrote. `docs/config.toml` documents each key; it is the default configuration itself, which a test holds it to.

mod file;
mod key;
mod multiaddress;
mod nearest;
mod value;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

pub use key::{KEYS, Key};
pub use multiaddress::{check_dial_address, read_dial_address};
pub use value::Value;

/// The default configuration with every key explained: the text of `docs/config.toml`.
pub const DEFAULT_FILE: &str = include_str!("../../docs/config.toml");

/// The name of the configuration file in the home folder.
pub const FILE_NAME: &str = "config.toml";

/// The largest configuration file that is read, in bytes; a larger one is refused.
pub const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// The local HTTP API.
    pub api: ApiConfig,
    /// The durable store.
    pub store: StoreConfig,
    /// The LanceDB table.
    pub projection: ProjectionConfig,
    /// The log.
    pub log: LogConfig,
    /// What a search uses when it does not say.
    pub search: SearchConfig,
    /// The network.
    pub network: NetworkConfig,
    /// Syncing.
    pub sync: SyncConfig,
    /// Relays.
    pub relay: RelayConfig,
}

/// Settings of the local HTTP API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiConfig {
    /// Where it listens.
    pub address: IpAddr,
    /// On which port; 0 = any free one.
    pub port: u16,
    /// Whether an address that other machines can reach is allowed.
    pub allow_remote: bool,
    /// Values of the `Host` header that are accepted besides the loopback's.
    pub allowed_hosts: Vec<String>,
    /// Values of the `Origin` header that are accepted; none by default, so that no web page can talk to the device.
    pub allowed_origins: Vec<String>,
    /// The largest request body, in MiB.
    pub body_limit_mib: u64,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            allow_remote: false,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            body_limit_mib: 16,
        }
    }
}

/// Settings of the durable store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Memory for nodes to work with, in MiB. Others are packed, or read from the index.
    pub node_cache_mib: u64,
    /// Memory for operations that were read, in MiB.
    pub op_cache_mib: u64,
    /// A checkpoint is written when the journal has grown by this many MiB since the last one.
    pub checkpoint_mib: u64,
    /// A checkpoint is also written when the nodes that changed since the last one take this many MiB of memory.
    pub changed_nodes_mib: u64,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { node_cache_mib: 16, op_cache_mib: 8, checkpoint_mib: 96, changed_nodes_mib: 96 }
    }
}

/// Settings of the LanceDB table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectionConfig {
    /// Whether the table is kept.
    pub enabled: bool,
    /// How long changes are gathered before they are written, in milliseconds.
    pub interval_ms: u64,
    /// What was written is made durable after so many seconds at the latest.
    pub checkpoint_seconds: u64,
    /// How long old versions are kept for those who still read them, in minutes.
    pub keep_versions_minutes: u64,
    /// Memory for the table's indexes, in MiB.
    pub index_cache_mib: u64,
}

impl Default for ProjectionConfig {
    fn default() -> Self {
        Self { enabled: true, interval_ms: 200, checkpoint_seconds: 30, keep_versions_minutes: 10, index_cache_mib: 64 }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Settings of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// What is logged: `error`, `warn`, `info`, `debug`, `trace`, or directives such as `info,nodespace_store=debug`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
    /// A file to append to instead of standard error; relative to the home folder.
    pub file: Option<PathBuf>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Human, file: None }
    }
}

/// What a search uses when it does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchConfig {
    /// How many hits.
    pub limit: u64,
    /// Which model a vector is of; empty = the only one there is.
    pub model: Option<String>,
}

impl Default for SearchConfig {
    fn default() -> Self {
        Self { limit: 20, model: None }
    }
}

/// Settings of the network. Addresses are multiaddresses, and were parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkConfig {
    /// Whether a daemon connects with others.
    pub enabled: bool,
    /// Where it listens.
    pub listen: Vec<String>,
    /// Addresses to tell others beside those it finds out by itself: in tickets, and to peers.
    pub announce: Vec<String>,
    /// Whether it looks for peers in the local network.
    pub mdns: bool,
    /// Peers that are always dialled; of those that do not say who is there, members are.
    pub peers: Vec<String>,
    /// Whether only `peers` and addresses of tickets are dialled: nobody who was found in the local network, told of by others, or remembered.
    pub explicit_only: bool,
    /// How many connections there are at once.
    pub connections_max: u64,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        let listen = ["/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1", "/ip6/::/tcp/0", "/ip6/::/udp/0/quic-v1"];
        Self {
            enabled: true,
            listen: listen.map(str::to_owned).into(),
            announce: Vec::new(),
            mdns: true,
            peers: Vec::new(),
            explicit_only: false,
            connections_max: 256,
        }
    }
}

/// Settings of syncing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncConfig {
    /// How often what is held is compared with each peer although nothing happened, in seconds.
    pub interval_s: u64,
    /// How far this device's clock is ahead of the system's, in milliseconds; behind when negative.
    pub clock_offset_ms: i64,
}

impl Default for SyncConfig {
    fn default() -> Self {
        Self { interval_s: 30, clock_offset_ms: 0 }
    }
}

/// Settings of relays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayConfig {
    /// Their URLs, the preferred one first.
    pub urls: Vec<String>,
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// The configuration file, at this line.
    File(usize),
    /// This environment variable.
    Environment(String),
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File(line) => write!(formatter, "file, line {line}"),
            Self::Environment(variable) => write!(formatter, "{variable}"),
        }
    }
}

/// Something wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// In which file, or which environment variable.
    pub place: String,
    /// At which line of the file.
    pub line: Option<usize>,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(formatter, "{}:{line}: {}", self.place, self.message),
            None => write!(formatter, "{}: {}", self.place, self.message),
        }
    }
}

/// A configuration that cannot be used, with everything that is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the configuration has {} {}:{}", .0.len(), if .0.len() == 1 { "mistake" } else { "mistakes" }, listed(.0))]
pub struct ConfigError(pub Vec<Problem>);

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("\n  {problem}")).collect()
}

/// A configuration and where each of its settings comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// What is in force.
    pub config: Config,
    /// Where from, in the order of [`KEYS`].
    pub sources: Vec<Source>,
    /// The file that was read, if there was one.
    pub file: Option<PathBuf>,
}

impl Loaded {
    /// Reads the configuration of a home folder: `explicit` if given, else the folder's own file if there is one, then the environment.
    ///
    /// # Errors
    /// When a file cannot be read or anything in it or in the environment is wrong: all of it at once.
    pub fn read(
        home: &Path,
        explicit: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let path = explicit.map_or_else(|| home.join(FILE_NAME), Path::to_path_buf);
        let mut loaded = Self { sources: vec![Source::Default; KEYS.len()], ..Self::default() };
        let mut problems = Vec::new();
        match file::text(&path) {
            Ok(Some(text)) => {
                problems.extend(file::apply(&mut loaded, &text, &path.display().to_string()));
                loaded.file = Some(path);
            }
            Ok(None) if explicit.is_some() => problems.push(file::missing(&path)),
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
        problems.extend(key::apply_environment(&mut loaded, environment));
        problems.extend(loaded.contradictions());
        if problems.is_empty() { Ok(loaded) } else { Err(ConfigError(problems)) }
    }

    /// Settings that are right alone and wrong together.
    fn contradictions(&self) -> Option<Problem> {
        let api = &self.config.api;
        let message = "this address can be reached by other machines, and whoever has the token reads and writes everything over an \
                       unencrypted connection; set `api.allow_remote = true` if that is meant";
        let refused = !api.address.is_loopback() && !api.allow_remote;
        let place = || format!("api.address = {}", api.address);
        refused.then(|| Problem { place: place(), line: None, message: message.into() })
    }
}

#[cfg(test)]
mod tests;
