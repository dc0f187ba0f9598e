//! `nodespace-relay check`: whether everything the relay needs is there and fits together, before it is started.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;
use nodespace_protocol::ids::RelayId;
use nodespace_relay::config::{CircuitConfig, Config};
use nodespace_relay::key::{KeyError, RelayKey};
use nodespace_relay::objects;
use nodespace_relay::redis::Redis;
use nodespace_relay::relay::{KEY_FILE, MARKER_FILE};
use nodespace_relay::server;
use nodespace_relay::store::{Database, EpochKeeper, ServerFacts, StoreError};

/// Looks at each part and says how it is. Changes nothing but that an object is written to storage and removed, in a folder that is made for
/// it where the folder around it is there.
pub(crate) fn run(config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    super::runtime()?.block_on(async {
        let mut report = Report { out, wrong: 0 };
        let key = key(config);
        let own = key.as_ref().ok().and_then(Option::as_ref).map(RelayKey::id);
        report.line("key", key.map(|key| said_of_key(key.as_ref(), config)))?;
        report.line("database", database(config, own).await)?;
        report.line("storage", storage(config).await)?;
        report.line("redis", redis(config).await)?;
        report.line("circuit", circuit(&config.circuit))?;
        report.line("tls", tls(config))?;
        Ok(if report.wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(super::EXIT_REFUSED) })
    })
}

struct Report<'a, W> {
    out: &'a mut W,
    wrong: usize,
}

impl<W: Write> Report<'_, W> {
    fn line<E: Into<anyhow::Error>>(&mut self, part: &str, found: Result<String, E>) -> std::io::Result<()> {
        match found {
            Ok(text) => writeln!(self.out, "{part:<9}{text}"),
            Err(error) => {
                self.wrong += 1;
                writeln!(self.out, "{part:<9}WRONG: {:#}", error.into())
            }
        }
    }
}

/// The key, if there is one.
fn key(config: &Config) -> Result<Option<RelayKey>, KeyError> {
    match RelayKey::load(&config.server.data.join(KEY_FILE)) {
        Ok(key) => Ok(Some(key)),
        Err(KeyError::NoKey(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A folder that was misspelt is to be seen.
fn said_of_key(key: Option<&RelayKey>, config: &Config) -> String {
    match key {
        Some(key) => format!("relay {}", key.id()),
        None => format!("none yet in {}: `nodespace-relay serve` makes it", config.server.data.display()),
    }
}

async fn database(config: &Config, own: Option<RelayId>) -> anyhow::Result<String> {
    // Without a memory of its own it compares nothing, and so never begins an epoch.
    let database = Database::open(&config.database, Arc::new(EpochKeeper::open(None, None)?))?;
    let facts = database.facts().await?;
    let server = server_of(&facts)?;
    let status = Database::migration_status(&config.database).await?;
    anyhow::ensure!(status.missing.is_empty(), "migrations {:?} are missing: run `nodespace-relay migrate`", status.missing);
    let newer = if status.unknown.is_empty() { "" } else { "; it was migrated by a newer program too" };
    Ok(format!("{} migrations applied{newer}; {server}; {}", status.applied.len(), whose(facts.owner, own)?))
}

/// What the server is, if the relay can rely on it.
fn server_of(facts: &ServerFacts) -> anyhow::Result<String> {
    let version = format!("PostgreSQL {}.{}", facts.version / 10_000, facts.version % 10_000);
    anyhow::ensure!(facts.version >= ServerFacts::VERSION_MIN, "{version} is too old: the relay needs 15 or newer");
    facts.check_durable()?;
    Ok(version)
}

/// Whose the database is, if it can be this relay's.
fn whose(owner: Option<RelayId>, own: Option<RelayId>) -> anyhow::Result<String> {
    match (owner, own) {
        (None, _) => Ok("nobody's yet".into()),
        (Some(owner), None) => {
            anyhow::bail!("the database belongs to relay {owner}, and its key is not here: server.data names the key's folder")
        }
        (Some(owner), Some(own)) if owner == own => Ok("this relay's".into()),
        (Some(owner), Some(own)) => Err(StoreError::AnotherRelay { found: owner.to_string(), own: own.to_string() }.into()),
    }
}

async fn storage(config: &Config) -> anyhow::Result<String> {
    let (bucket, folder) = (&config.storage.bucket, config.attachment_folder());
    let place = if bucket.is_empty() { format!("folder {}", folder.display()) } else { format!("bucket {bucket}") };
    if bucket.is_empty() && !folder.parent().is_none_or(is_folder) {
        return Ok(format!("{place}, none yet: `nodespace-relay serve` makes it"));
    }
    let left = objects::try_out(&objects::open(config)?).await?;
    let left = left.map_or_else(String::new, |name| format!("; the object {name} could not be removed and is left there"));
    Ok(format!("{place}, can be written and read{left}"))
}

/// Whether a folder is there. An empty path is where the program was started.
fn is_folder(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.is_dir()
}

async fn redis(config: &Config) -> anyhow::Result<String> {
    let redis = Redis::open(&config.redis)?;
    if redis.is_up().is_none() {
        return Ok("none: a single instance".into());
    }
    anyhow::ensure!(redis.ping().await, "it does not answer; the relay would run without it, slower and each instance for itself");
    Ok("answers".into())
}

/// Whether the circuit relay's addresses are such. Nothing is listened on, since the relay may be running.
fn circuit(config: &CircuitConfig) -> anyhow::Result<String> {
    let parse = |text: &str| text.parse::<Multiaddr>().ok().with_context(|| format!("`{text}` is no multiaddress"));
    for text in &config.listen {
        let listens = can_listen(&parse(text)?);
        anyhow::ensure!(listens, "circuit.listen: `{text}` is neither /ip4/ADDRESS/tcp/PORT nor /ip4/ADDRESS/udp/PORT/quic-v1 (or /ip6)");
    }
    config.external.iter().try_for_each(|text| parse(text).map(drop))?;
    let (listen, external) = (config.listen.len(), config.external.len());
    anyhow::ensure!(listen > 0 || external == 0, "circuit.external is set and circuit.listen is not: there is nothing to be reached");
    Ok(match (listen, external) {
        (0, _) => "none: devices that do not reach each other exchange everything by HTTP".into(),
        (_, 0) => "devices are told the addresses that it listens on, since circuit.external names none".into(),
        _ => format!("reached at {}", config.external.join(", ")),
    })
}

/// Whether the circuit relay has a transport for an address.
fn can_listen(address: &Multiaddr) -> bool {
    let parts: Vec<Protocol<'_>> = address.iter().collect();
    matches!(
        parts.as_slice(),
        [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Tcp(_)] | [Protocol::Ip4(_) | Protocol::Ip6(_), Protocol::Udp(_), Protocol::QuicV1]
    )
}

fn tls(config: &Config) -> anyhow::Result<String> {
    let marker = config.server.data.join(MARKER_FILE);
    let memory = if marker.exists() { "" } else { "; it has not run here yet" };
    match (&config.server.tls_certificate, &config.server.tls_key) {
        (Some(certificate), Some(key)) => {
            server::acceptor(certificate, key)?;
            Ok(format!("spoken by the relay itself{memory}"))
        }
        _ => Ok(format!("none: put the relay behind a proxy that speaks it{memory}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_too_old_or_not_durable_is_wrong() {
        let facts = |version, synchronous_commit: &str| ServerFacts { version, synchronous_commit: synchronous_commit.into(), owner: None };
        assert_eq!(server_of(&facts(150_010, "on")).unwrap(), "PostgreSQL 15.10");
        assert_eq!(server_of(&facts(170_002, "remote_apply")).unwrap(), "PostgreSQL 17.2");
        assert!(server_of(&facts(140_020, "on")).unwrap_err().to_string().contains("14.20 is too old"));
        assert!(server_of(&facts(150_010, "off")).unwrap_err().to_string().contains("synchronous_commit"));
    }

    #[test]
    fn a_database_is_this_relays_or_nobodys() {
        let (own, other) = (RelayId([1; 32]), RelayId([2; 32]));
        assert_eq!(whose(None, Some(own)).unwrap(), "nobody's yet");
        assert_eq!(whose(Some(own), Some(own)).unwrap(), "this relay's");
        for own in [Some(own), None] {
            assert!(whose(Some(other), own).unwrap_err().to_string().contains("belongs to relay"));
        }
    }

    #[test]
    fn addresses_of_the_circuit_relay_are_looked_at() {
        let circuit = |listen: &[&str], external: &[&str]| {
            let all = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
            circuit(&CircuitConfig { listen: all(listen), external: all(external), ..CircuitConfig::default() })
        };
        let listen = ["/ip4/0.0.0.0/tcp/8471", "/ip6/::/udp/8471/quic-v1"];
        assert!(circuit(&[], &[]).unwrap().starts_with("none"));
        assert!(circuit(&listen, &[]).unwrap().contains("circuit.external names none"));
        assert_eq!(circuit(&listen, &["/dns4/relay.example.org/tcp/8471"]).unwrap(), "reached at /dns4/relay.example.org/tcp/8471");
        for wrong in ["0.0.0.0:8471", "/ip4/0.0.0.0", "/ip4/0.0.0.0/udp/8471", "/dns4/relay.example.org/tcp/8471"] {
            assert!(circuit(&[wrong], &[]).unwrap_err().to_string().contains(wrong), "{wrong}");
        }
        assert!(circuit(&listen, &["relay.example.org"]).is_err());
        assert!(circuit(&[], &["/dns4/relay.example.org/tcp/8471"]).is_err());
    }
}
