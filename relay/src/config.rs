//! The configuration: a TOML file, environment variables over it, and the defaults below both.
//!
//! Every setting is a field here with its unit and default; `docs/relay.toml` is the default configuration with every key explained, which a
//! test holds it to. `NODESPACE_RELAY_<SECTION>_<KEY>` sets `section.key` (`NODESPACE_RELAY_DATABASE_URL`). Unknown keys are refused: a
//! misspelt limit is no limit.
//!
//! What is said of a mistake does not show what was written there: it may be a password.

mod limits;
mod secret;
mod server;
mod storage;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use limits::{LimitConfig, QuotaConfig, Rate};
pub use secret::Secret;
pub use server::{CircuitConfig, DatabaseConfig, LogConfig, LogFormat, RedisConfig, ServerConfig};
pub use storage::StorageConfig;

/// What the names of environment variables begin with.
pub const ENVIRONMENT_PREFIX: &str = "NODESPACE_RELAY_";

/// All settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The HTTP service.
    pub server: ServerConfig,
    /// PostgreSQL.
    pub database: DatabaseConfig,
    /// Redis.
    pub redis: RedisConfig,
    /// Where attachments are kept.
    pub storage: StorageConfig,
    /// How fast each may ask.
    pub limits: LimitConfig,
    /// How much each may keep.
    pub quota: QuotaConfig,
    /// The libp2p circuit relay.
    pub circuit: CircuitConfig,
    /// The log.
    pub log: LogConfig,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML. Its line is not shown, since it may be one with a password.
    #[error("the configuration {} is not TOML in line {line}: {what}", path.display())]
    Toml {
        /// Which.
        path: PathBuf,
        /// Where it is wrong.
        line: usize,
        /// How.
        what: String,
    },
    /// A key that is none, or a value that does not fit it.
    #[error("the configuration is wrong: {0}")]
    Value(#[source] toml::de::Error),
    /// A variable that names no setting.
    #[error(
        "{0} names no setting: variables are {ENVIRONMENT_PREFIX}<SECTION>_<KEY>, sections are server, database, redis, storage, limits, quota, circuit, log"
    )]
    Variable(String),
    /// Settings that contradict each other or cannot be.
    #[error("{0}")]
    Contradiction(&'static str),
}

impl Config {
    /// Reads the file, if one is named, then the environment.
    ///
    /// # Errors
    /// When anything in either is wrong.
    pub fn read(file: Option<&Path>, environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        let mut table = match file {
            Some(path) => read_file(path)?,
            None => toml::Table::new(),
        };
        let defaults = toml::Table::try_from(Self::default()).unwrap_or_default();
        for (name, value) in environment {
            if let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX).filter(|_| !value.is_empty()) {
                set(&mut table, &defaults, rest, &value).ok_or_else(|| ConfigError::Variable(name.clone()))?;
            }
        }
        let config: Self = toml::Value::Table(table).try_into().map_err(ConfigError::Value)?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let rules = [
            (
                self.server.tls_certificate.is_some() == self.server.tls_key.is_some(),
                "server.tls_certificate and server.tls_key go together",
            ),
            (self.database.connections >= 2, "database.connections must be at least 2"),
            (self.database.read_connections >= 1, "database.read_connections must be at least 1"),
            (self.server.connections >= 1, "server.connections must be at least 1"),
            (self.server.write_seconds >= 1, "server.write_seconds must be at least 1"),
            (self.server.workspaces_in_memory_mib >= 16, "server.workspaces_in_memory_mib must be at least 16"),
            (!self.server.data.as_os_str().is_empty(), "server.data names the folder for the relay's key and marker"),
            (!self.storage.bucket.is_empty() || self.storage.endpoint.is_none(), "storage.endpoint is for storage.bucket"),
        ];
        match rules.iter().find(|(kept, _)| !kept) {
            Some((_, rule)) => Err(ConfigError::Contradiction(rule)),
            None => Ok(()),
        }
    }

    /// The folder attachments are kept in when no bucket is named.
    #[must_use]
    pub fn attachment_folder(&self) -> PathBuf {
        self.storage.folder.clone().unwrap_or_else(|| self.server.data.join("attachments"))
    }
}

fn read_file(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
    text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.as_bytes().get(..span.start)).unwrap_or_default();
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        ConfigError::Toml { path: path.to_owned(), line, what: error.message().to_owned() }
    })
}

/// Sets `SECTION_KEY`. Text is taken as it stands, whatever it looks like; the value of another setting is read as TOML.
fn set(table: &mut toml::Table, defaults: &toml::Table, name: &str, value: &str) -> Option<()> {
    let (section, key) = name.split_once('_')?;
    let (section, key) = (section.to_ascii_lowercase(), key.to_ascii_lowercase());
    let sections = ["server", "database", "redis", "storage", "limits", "quota", "circuit", "log"];
    if !sections.contains(&section.as_str()) {
        return None;
    }
    let is_text = defaults.get(&section).and_then(|section| section.get(&key)).is_none_or(toml::Value::is_str);
    let read = || format!("v = {value}").parse::<toml::Table>().ok()?.remove("v");
    let value = (!is_text).then(read).flatten().unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let entry = table.entry(section).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    entry.as_table_mut()?.insert(key, value);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_documented_file_is_the_default() {
        let documented = include_str!("../../docs/relay.toml").parse::<toml::Table>().unwrap();
        let config: Config = toml::Value::Table(documented.clone()).try_into().unwrap();
        assert_eq!(config, Config::default());
        // Every key is in the file, commented out when it has no default.
        let text = include_str!("../../docs/relay.toml");
        let toml::Value::Table(all) = toml::Value::try_from(Config::default()).unwrap() else { panic!("a configuration is a table") };
        for (section, keys) in all {
            for key in keys.as_table().unwrap().keys() {
                let shown = text.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = ")));
                assert!(shown, "docs/relay.toml does not show {section}.{key}");
            }
        }
    }

    /// A setting of another type has a default, which tells how what the environment says of it is read.
    #[test]
    fn what_has_no_default_is_text() {
        let text = include_str!("../../docs/relay.toml");
        let is_key = |name: &str| name.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_');
        let examples: Vec<(&str, &str)> =
            text.lines().filter_map(|line| line.strip_prefix("# ")?.split_once(" = ")).filter(|(key, _)| is_key(key)).collect();
        assert!(examples.iter().any(|(key, _)| *key == "access_key_id"), "{examples:?}");
        for (key, example) in examples {
            assert!(example.starts_with('"'), "{key} = {example}");
        }
    }

    #[test]
    fn the_environment_goes_over_the_file_and_misspellings_are_refused() {
        let read = |pairs: &[(&str, &str)]| Config::read(None, environment(pairs));
        let config = read(&[
            ("NODESPACE_RELAY_DATABASE_URL", "postgres://relay:p4ss@db/relay"),
            ("NODESPACE_RELAY_DATABASE_CONNECTIONS", "7"),
            ("NODESPACE_RELAY_SERVER_ADDRESS", "0.0.0.0:80"),
            ("NODESPACE_RELAY_QUOTA_NEW_WORKSPACES", "false"),
            ("NODESPACE_RELAY_LIMITS_USER_OPERATIONS", "{ per_second = 5.0, burst = 9 }"),
            ("HOME", "/"),
        ])
        .unwrap();
        assert_eq!((config.database.connections, config.quota.new_workspaces), (7, false));
        assert_eq!(config.limits.user_operations, Rate { per_second: 5.0, burst: 9 });
        assert!(!format!("{config:?}").contains("p4ss"), "secrets are not shown");
        assert!(matches!(read(&[("NODESPACE_RELAY_DATABSE_URL", "x")]), Err(ConfigError::Variable(_))));
        assert!(matches!(read(&[("NODESPACE_RELAY_DATABASE_ULR", "x")]), Err(ConfigError::Value(_))));
        assert!(matches!(read(&[("NODESPACE_RELAY_DATABASE_CONNECTIONS", "1")]), Err(ConfigError::Contradiction(_))));
        assert!(matches!(read(&[("NODESPACE_RELAY_SERVER_TLS_KEY", "k.pem")]), Err(ConfigError::Contradiction(_))));
    }

    #[test]
    fn text_is_taken_as_it_stands_and_a_secret_is_never_shown() {
        let read = |pairs: &[(&str, &str)]| Config::read(None, environment(pairs));
        let config = read(&[
            ("NODESPACE_RELAY_STORAGE_BUCKET", "2024"),
            ("NODESPACE_RELAY_STORAGE_ACCESS_KEY_ID", "0017"),
            ("NODESPACE_RELAY_STORAGE_SECRET_ACCESS_KEY", "123456"),
            ("NODESPACE_RELAY_REDIS_URL", "[true]"),
            ("NODESPACE_RELAY_SERVER_TRUSTED_PROXIES", "[\"192.0.2.1\"]"),
        ])
        .unwrap();
        let storage = &config.storage;
        assert_eq!((storage.bucket.as_str(), storage.access_key_id.as_deref()), ("2024", Some("0017")));
        assert_eq!((storage.secret_access_key.reveal(), config.redis.url.unwrap().reveal()), ("123456", "[true]"));
        assert_eq!(config.server.trusted_proxies, ["192.0.2.1".parse::<std::net::IpAddr>().unwrap()]);
        // A file has quotes for text. Where they are missing, what is said of it does not show the rest of the line.
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("relay.toml");
        for (wrong, said) in [("7355608", "quotes"), ("7355608 x", "line 2")] {
            std::fs::write(&file, format!("[storage]\nsecret_access_key = {wrong}\n")).unwrap();
            let error = Config::read(Some(&file), []).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(said) && !text.contains("7355608"), "{text}");
        }
    }
}
