//! The log: `tracing` to standard error, for people or as JSON.
//!
//! No content is in it, no token, challenge, key or password. An address is in it when connections from there are refused because it has too
//! many: whoever runs the relay has to know whose they are.

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// A crate that warns of each malformed question, which anybody may ask.
const ASKED_BY_ANYBODY: &str = "libp2p_autonat";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
#[error("log.level `{level}` is not understood: {source}")]
pub struct LogError {
    level: String,
    #[source]
    source: tracing_subscriber::filter::ParseError,
}

/// Starts the log. A second start changes nothing: whoever embeds the library may have one already.
///
/// # Errors
/// When the level is not understood.
pub fn start(config: &LogConfig) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(&config.level).map_err(|source| LogError { level: config.level.clone(), source })?;
    let quiet = format!("{ASKED_BY_ANYBODY}=error").parse().map_err(|source| LogError { level: config.level.clone(), source })?;
    let filter = if config.level.contains(ASKED_BY_ANYBODY) { filter } else { filter.add_directive(quiet) };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match config.format {
        LogFormat::Human => builder.with_ansi(false).try_init().ok(),
        LogFormat::Json => builder.json().try_init().ok(),
    };
    Ok(())
}
