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
    /// The file is not there, where one must be.
    #[error("there is no relay's key in {}: server.data names its folder; `nodespace-relay serve` makes the first one", .0.display())]
    NoKey(PathBuf),
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

    /// Reads the key from a file.
    ///
    /// # Errors
    /// When the file is not there, cannot be used or holds something else.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        match fs::read_to_string(path) {
            Ok(text) => Self::parse(text.trim()).ok_or_else(|| KeyError::NotAKey(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(KeyError::NoKey(path.to_owned())),
            Err(source) => Err(KeyError::File { path: path.to_owned(), source }),
        }
    }

    /// Reads the key from a file, or makes one there that only its owner can read. Of several instances that start at once the first one makes
    /// it for all.
    ///
    /// # Errors
    /// When the file cannot be used or holds something else.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match Self::load(path) {
            Err(KeyError::NoKey(_)) => Self::create(path),
            loaded => loaded,
        }
    }

    fn create(path: &Path) -> Result<Self, KeyError> {
        let file = |source| KeyError::File { path: path.to_owned(), source };
        let (mut seed, mut number) = ([0; 32], [0; 8]);
        getrandom::fill(&mut seed).and_then(|()| getrandom::fill(&mut number)).map_err(KeyError::Random)?;
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(file)?;
        }
        // Whole or not there, whoever reads it meanwhile and whenever this ends.
        let beside = path.with_extension(format!("key-{}", hex(&number)));
        let placed = write(&beside, &seed).and_then(|()| fs::hard_link(&beside, path));
        fs::remove_file(&beside).ok();
        match placed.and_then(|()| keep(path)) {
            Ok(()) => Ok(Self::from_seed(&seed)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            Err(source) => Err(file(source)),
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

/// Writes a seed to a new file that only its owner can read, and to the disk.
fn write(path: &Path, seed: &[u8; 32]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut out = options.open(path)?;
    writeln!(out, "{}", hex(seed))?;
    out.sync_all()
}

/// Sees to it that a file's name outlives a loss of power. Elsewhere than on Unix a folder cannot be opened for that.
fn keep(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| cfg!(unix) && !folder.as_os_str().is_empty());
    folder.map_or(Ok(()), |folder| fs::File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::thread;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_garbage_is_refused() {
        let folder = std::env::temp_dir().join(format!("nodespace-relay-key-{}", std::process::id()));
        let path = folder.join("relay.key");
        assert!(matches!(RelayKey::load(&path), Err(KeyError::NoKey(_))));
        assert!(!folder.exists(), "who only reads makes nothing");
        let made = RelayKey::load_or_create(&path).unwrap();
        assert_eq!(RelayKey::load(&path).unwrap().id(), made.id());
        assert_eq!(RelayKey::load_or_create(&path).unwrap().id(), made.id());
        for bad in ["", "00", &"g".repeat(64), &"é".repeat(32)] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(RelayKey::load_or_create(&path), Err(KeyError::NotAKey(_))), "{bad:?}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn instances_that_start_at_once_have_one_key() {
        const INSTANCES: usize = 8;
        for _ in 0..20 {
            let folder = tempfile::tempdir().unwrap();
            let (path, start) = (folder.path().join("data").join("relay.key"), Barrier::new(INSTANCES));
            let instance = || {
                start.wait();
                RelayKey::load_or_create(&path).unwrap().id()
            };
            let ids: Vec<RelayId> = thread::scope(|scope| {
                let instances: Vec<_> = (0..INSTANCES).map(|_| scope.spawn(instance)).collect();
                instances.into_iter().map(|instance| instance.join().unwrap()).collect()
            });
            assert_eq!(ids, vec![RelayKey::load(&path).unwrap().id(); INSTANCES]);
            assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_key_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("relay.key");
        RelayKey::load_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}
