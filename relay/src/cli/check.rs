//! `nodespace-relay check`: whether everything the relay needs is there and fits together, before it is started.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;

use nodespace_relay::attachments::Attachments;
use nodespace_relay::config::Config;
use nodespace_relay::key::RelayKey;
use nodespace_relay::metrics::Metrics;
use nodespace_relay::redis::Redis;
use nodespace_relay::relay::{KEY_FILE, MARKER_FILE};
use nodespace_relay::server;
use nodespace_relay::store::{Database, EpochKeeper};

/// Looks at each part and says how it is. Changes nothing but that a first key is made.
pub(crate) fn run(config: &Config, out: &mut impl Write) -> anyhow::Result<ExitCode> {
    super::runtime()?.block_on(async {
        let mut report = Report { out, wrong: 0 };
        let key = RelayKey::load_or_create(&config.server.data.join(KEY_FILE));
        report.line("key", key.map(|key| format!("relay {}", key.id())))?;
        report.line("database", database(config).await)?;
        report.line("storage", storage(config).await)?;
        report.line("redis", redis(config).await)?;
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

async fn database(config: &Config) -> anyhow::Result<String> {
    let status = Database::migration_status(&config.database).await?;
    anyhow::ensure!(status.missing.is_empty(), "migrations {:?} are missing: run `nodespace-relay migrate`", status.missing);
    let newer = if status.unknown.is_empty() { "" } else { "; it was migrated by a newer program too" };
    Ok(format!("{} migrations applied{newer}", status.applied.len()))
}

async fn storage(config: &Config) -> anyhow::Result<String> {
    let keeper = Arc::new(EpochKeeper::open(None, None)?);
    let database = Database::open(&config.database, keeper)?;
    Attachments::open(config, database, Metrics::new())?.ping().await?;
    let bucket = &config.storage.bucket;
    Ok(if bucket.is_empty() { format!("folder {}", config.attachment_folder().display()) } else { format!("bucket {bucket}") })
}

async fn redis(config: &Config) -> anyhow::Result<String> {
    let redis = Redis::open(&config.redis)?;
    if redis.is_up().is_none() {
        return Ok("none: a single instance".into());
    }
    anyhow::ensure!(redis.ping().await, "it does not answer; the relay would run without it, slower and each instance for itself");
    Ok("answers".into())
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
