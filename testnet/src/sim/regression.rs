//! Seeds that once found something, kept as files: `seed`, `devices` and the story, in TOML's simplest form.

use std::path::Path;

/// A seed that once failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Regression {
    /// The seed.
    pub seed: u64,
    /// Honest devices, least and most.
    pub devices: (usize, usize),
    /// What was seen, and what holds now.
    pub story: String,
}

/// Why a file is no regression.
#[derive(Debug)]
pub enum RegressionError {
    /// It cannot be read.
    Io(std::io::Error),
    /// A line is not `key = value`, or the value does not fit.
    Line(String),
    /// A key is missing.
    Missing(&'static str),
}

impl std::fmt::Display for RegressionError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(_) => write!(f, "the file cannot be read"),
            Self::Line(line) => write!(f, "the line `{line}` is not `key = value` with a value that fits"),
            Self::Missing(key) => write!(f, "`{key}` is missing"),
        }
    }
}

impl std::error::Error for RegressionError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(source) => Some(source),
            _ => None,
        }
    }
}

impl Regression {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read, or is no regression.
    pub fn read(path: &Path) -> Result<Self, RegressionError> {
        Self::parse(&std::fs::read_to_string(path).map_err(RegressionError::Io)?)
    }

    /// Reads lines `seed = 7`, `devices = [3, 8]`, `story = "..."`; comments start with `#`.
    ///
    /// # Errors
    /// When a line does not fit, or a key is missing.
    pub fn parse(text: &str) -> Result<Self, RegressionError> {
        let (mut seed, mut devices, mut story) = (None, None, None);
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let wrong = || RegressionError::Line(line.to_owned());
            let (key, value) = line.split_once('=').ok_or_else(wrong)?;
            match key.trim() {
                "seed" => seed = Some(value.trim().parse().map_err(|_| wrong())?),
                "devices" => {
                    let inner = value.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).ok_or_else(wrong)?;
                    let (low, high) = inner.split_once(',').ok_or_else(wrong)?;
                    devices = Some((low.trim().parse().map_err(|_| wrong())?, high.trim().parse().map_err(|_| wrong())?));
                }
                "story" => {
                    let inner = value.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(wrong)?;
                    story = Some(inner.to_owned());
                }
                _ => return Err(wrong()),
            }
        }
        Ok(Self {
            seed: seed.ok_or(RegressionError::Missing("seed"))?,
            devices: devices.ok_or(RegressionError::Missing("devices"))?,
            story: story.ok_or(RegressionError::Missing("story"))?,
        })
    }
}
