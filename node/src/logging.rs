//! The log: `tracing` to standard error or a file, for people or as JSON.
//!
//! What is logged is chosen by `NODESPACE_LOG`, else by the configuration. The daemon logs what it does; every other command only warns,
//! since its output is the answer. Log lines hold no note's text and no token.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::config::{LogConfig, LogFormat};

/// The environment variable that chooses what is logged, before the configuration does.
pub const VARIABLE: &str = "NODESPACE_LOG";

/// What commands other than the daemon log.
/// What the names of crates begin with that tell more at `info` than anybody wants to know.
const VERBOSE: &str = "lance";
const COMMAND_LEVEL: &str = "warn";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file cannot be opened.
    #[error("cannot write the log to {}; choose another `log.file`", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// `NODESPACE_LOG` is not understood.
    #[error("{VARIABLE}: {0}")]
    Level(String),
}

/// Whether directives for what is logged are understood.
///
/// # Errors
/// When they are not, with what is.
pub fn check_level(text: &str) -> Result<(), String> {
    let words = text.split(',').map(str::trim);
    // A bare word that is no level would be taken for a crate's name, and log nothing of ours.
    let is_level = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word.to_ascii_lowercase().as_str());
    if let Some(wrong) = words.clone().find(|word| !word.contains('=') && !is_level(word)) {
        return Err(format!("`{wrong}` is no log level; there are off, error, warn, info, debug and trace, alone or as `crate=level`"));
    }
    EnvFilter::try_new(text).map(drop).map_err(|error| format!("`{text}` is not understood: {error}"))
}

/// Starts the daemon's log.
///
/// # Errors
/// When the file cannot be opened, or `NODESPACE_LOG` is not understood.
pub fn start_daemon(config: &LogConfig, home: &Path) -> Result<(), LogError> {
    let file = config.file.as_ref().map(|path| open(&home.join(path))).transpose()?;
    start(&config.level, config.format, file)
}

/// Starts the log of a command that answers and ends: warnings to standard error.
///
/// # Errors
/// When `NODESPACE_LOG` is not understood.
pub fn start_command(config: &LogConfig) -> Result<(), LogError> {
    start(COMMAND_LEVEL, config.format, None)
}

/// The directives for a level and what was said of single crates. LanceDB tells each of its steps at `info`, several lines for each write of
/// ours: it warns only, unless it was named.
fn directives(level: &str) -> String {
    let mut words = level.split(',').map(str::trim);
    let is_named = words.clone().any(|word| word.starts_with(VERBOSE));
    // The others are no more than a warning already.
    let is_verbose = words.any(|word| ["info", "debug", "trace"].contains(&word.to_ascii_lowercase().as_str()));
    if is_verbose && !is_named { format!("{level},{VERBOSE}=warn") } else { level.to_owned() }
}

fn start(level: &str, format: LogFormat, file: Option<File>) -> Result<(), LogError> {
    let level = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => check_level(&text).map(|()| text).map_err(LogError::Level)?,
        _ => level.to_owned(),
    };
    let level = directives(&level);
    let colours = file.is_none() && io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let writer = file.map_or_else(|| BoxMakeWriter::new(io::stderr), |file| BoxMakeWriter::new(Mutex::new(file)));
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(level)).with_ansi(colours).with_writer(writer);
    // A second start changes nothing: whoever embeds the library may have a log of their own already.
    match format {
        LogFormat::Human => builder.try_init().ok(),
        LogFormat::Json => builder.json().try_init().ok(),
    };
    Ok(())
}

/// Opens the log for appending, readable by its owner alone. Appending lets other programs rotate it by copying and truncating.
fn open(path: &Path) -> Result<File, LogError> {
    let mut options = OpenOptions::new();
    options.create(true).append(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|source| LogError::File { path: path.to_path_buf(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_understood_and_other_words_are_not() {
        for good in ["info", "WARN", "off", "info,nodespace_store=debug", "nodespace_node[span]=trace"] {
            assert!(check_level(good).is_ok(), "{good}");
        }
        for bad in ["", "loud", "info,verbose", "nodespace_store=loud"] {
            assert!(check_level(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn lancedb_only_warns_unless_it_is_named() {
        for (given, meant) in [
            ("info", "info,lance=warn"),
            ("DEBUG,nodespace_store=trace", "DEBUG,nodespace_store=trace,lance=warn"),
            ("info, lance_io=debug", "info, lance_io=debug"),
            ("warn", "warn"),
            ("off,nodespace_node=info", "off,nodespace_node=info"),
        ] {
            assert_eq!(directives(given), meant);
        }
    }

    #[test]
    fn a_log_file_that_cannot_be_made_is_named() {
        let error = open(Path::new("/no/such/folder/log")).unwrap_err();
        assert!(error.to_string().contains("/no/such/folder/log"), "{error}");
    }
}
