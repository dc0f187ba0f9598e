//! The relay's own key: what its checkpoints are signed with and its tokens are derived from.
//!
//! It lies in a file of its own, outside the database and its backups. All instances of one relay have the same file; a database remembers
//! whose it is, and an instance with another key does not start on it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::{RelayId, hex};

use crate::hex::unhex_array;

/// What the key of tokens and challenges is derived for.
const TOKEN_CONTEXT: &str = "nodespace-relay 1 tokens and challenges";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error("cannot use the relay's key in {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} does not hold a relay's key: 64 hexadecimal digits; restore it from a copy, or move it away to get a new identity", .0.display())]
    NotAKey(PathBuf),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes: {0}")]
    Random(getrandom::Error),
}

/// The key. Its `Debug` shows the public half only.
#[derive(Clone, Debug)]
pub struct RelayKey {
    pair: KeyPair,
}

impl RelayKey {
    /// The key of a seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { pair: KeyPair::from_seed(seed) }
    }

    /// Reads the key from a file, or makes one there that only its owner can read.
    ///
    /// # Errors
    /// When the file cannot be used or holds something else.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        let file = |source| KeyError::File { path: path.to_owned(), source };
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(text.trim()).ok_or_else(|| KeyError::NotAKey(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut seed = [0; 32];
                getrandom::fill(&mut seed).map_err(KeyError::Random)?;
                if let Some(folder) = path.parent() {
                    fs::create_dir_all(folder).map_err(file)?;
                }
                let mut options = OpenOptions::new();
                options.write(true).create_new(true);
                #[cfg(unix)]
                std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
                let mut out = options.open(path).map_err(file)?;
                writeln!(out, "{}", hex(&seed)).and_then(|()| out.sync_all()).map_err(file)?;
                Ok(Self::from_seed(&seed))
            }
            Err(error) => Err(file(error)),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        unhex_array(text).map(|seed| Self::from_seed(&seed))
    }

    /// The pair, to sign with.
    pub(crate) const fn pair(&self) -> &KeyPair {
        &self.pair
    }

    /// The relay's name.
    #[must_use]
    pub fn id(&self) -> RelayId {
        self.pair.relay()
    }

    /// The secret that tokens and challenges are authenticated with.
    pub(crate) fn token_key(&self) -> [u8; 32] {
        blake3::derive_key(TOKEN_CONTEXT, &self.pair.seed())
    }

    /// The secret seed, for the circuit relay's identity.
    pub(crate) fn seed(&self) -> [u8; 32] {
        self.pair.seed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_and_garbage_is_refused() {
        let folder = std::env::temp_dir().join(format!("nodespace-relay-key-{}", std::process::id()));
        let path = folder.join("relay.key");
        let made = RelayKey::load_or_create(&path).unwrap();
        assert_eq!(RelayKey::load_or_create(&path).unwrap().id(), made.id());
        for bad in ["", "00", &"g".repeat(64), &"é".repeat(32)] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(RelayKey::load_or_create(&path), Err(KeyError::NotAKey(_))), "{bad:?}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }
}
