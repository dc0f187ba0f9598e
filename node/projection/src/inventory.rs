//! The files that make up one version of the table, with their sizes and hashes.
//!
//! LanceDB neither syncs its files nor checks them when it opens a table: with every data file zeroed it still opens and counts its rows.
//! But its files are never changed once written, so we can keep the list ourselves. A checkpoint writes
//! `checkpoint-<start of the list's hash>.json`:
//!
//! ```text
//! {"schema": 1, "version": 17, "models": [{"name", "column", "dimension"}...],
//!  "files": {"_versions/18446744073709551598.manifest": {"size", "blake3"},      the version's manifest
//!            "data/….lance": …, "_deletions/….arrow": …, "_indices/<uuid>/…": …}}
//! ```
//!
//! The list's own hash is in the mark that the caller keeps. So the chain is: mark, list, every byte that the version consists of.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
};

use lance::{Dataset, index::DatasetIndexExt};
use serde::{Deserialize, Serialize};

use crate::{error::TableError, models::Models};

/// What a version consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Inventory {
    /// The version of the table's columns.
    pub(crate) schema: u32,
    /// LanceDB's version of the table.
    pub(crate) version: u64,
    /// The models and their columns.
    pub(crate) models: Models,
    /// Each file's path in the table's folder, and what it holds.
    pub(crate) files: BTreeMap<String, Content>,
}

/// What a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Content {
    /// Its length in bytes.
    pub(crate) size: u64,
    /// The BLAKE3 hash of its bytes, in hexadecimal.
    pub(crate) blake3: String,
}

/// A file is not what the inventory says.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// It is not there, or cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file, within the table's folder.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It is shorter or longer.
    #[error("{path} has {found} bytes instead of {expected}")]
    Size {
        /// The file, within the table's folder.
        path: String,
        /// Its size at the checkpoint.
        expected: u64,
        /// Its size now.
        found: u64,
    },
    /// It has other bytes.
    #[error("{path} does not hold what was written to it")]
    Hash {
        /// The file, within the table's folder.
        path: String,
    },
}

impl Inventory {
    /// The inventory as it is stored, and its hash.
    pub(crate) fn to_bytes(&self) -> (Vec<u8>, [u8; 32]) {
        let bytes = serde_json::to_vec(self).expect("maps with text keys, numbers and text are always JSON");
        let hash = *blake3::hash(&bytes).as_bytes();
        (bytes, hash)
    }

    /// All bytes of all files together.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.values().map(|content| content.size).sum()
    }

    /// Checks that every file is there with its size.
    pub(crate) fn check_sizes(&self, table: &Path) -> Result<(), Damage> {
        for (path, content) in &self.files {
            let found = table.join(path).metadata().map_err(|source| Damage::Unreadable { path: path.clone(), source })?.len();
            if found != content.size {
                return Err(Damage::Size { path: path.clone(), expected: content.size, found });
            }
        }
        Ok(())
    }

    /// Checks every byte of every file.
    pub(crate) fn check_hashes(&self, table: &Path) -> Result<(), Damage> {
        for (path, content) in &self.files {
            let found = Content::of(&table.join(path)).map_err(|source| Damage::Unreadable { path: path.clone(), source })?;
            if found.size != content.size {
                return Err(Damage::Size { path: path.clone(), expected: content.size, found: found.size });
            }
            if found.blake3 != content.blake3 {
                return Err(Damage::Hash { path: path.clone() });
            }
        }
        Ok(())
    }
}

impl Content {
    /// Reads a file from beginning to end.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut hasher = blake3::Hasher::new();
        let mut buffer = vec![0; 1 << 16];
        let mut size = 0;
        loop {
            match io::Read::read(&mut file, &mut buffer) {
                Ok(0) => return Ok(Self { size, blake3: hasher.finalize().to_hex().to_string() }),
                Ok(length) => {
                    hasher.update(&buffer[..length]);
                    size += length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// The name of the file that holds an inventory with this hash.
pub(crate) fn file_name(hash: &[u8; 32]) -> String {
    // Half the hash tells apart the two or three that exist; the whole hash is checked when the file is read.
    format!("checkpoint-{}.json", &blake3::Hash::from_bytes(*hash).to_hex()[..32])
}

/// The name of a version's manifest in `_versions`: LanceDB counts down from the greatest number, so that the latest comes first in a listing.
pub(crate) fn manifest_name(version: u64) -> String {
    format!("{:020}.manifest", u64::MAX - version)
}

/// The version that a manifest's name tells; `None` for other files, and for names that this crate's tables do not have.
pub(crate) fn manifest_version(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".manifest").filter(|number| number.len() == 20)?;
    number.parse::<u64>().ok().map(|number| u64::MAX - number)
}

/// The paths, within the table's folder, of the files that the dataset's version consists of.
pub(crate) async fn paths(dataset: &Dataset) -> Result<Vec<PathBuf>, TableError> {
    let manifest = dataset.manifest();
    let mut paths = vec![PathBuf::from("_versions").join(manifest_name(manifest.version))];
    for fragment in manifest.fragments.iter() {
        paths.extend(fragment.files.iter().map(|file| Path::new("data").join(&file.path)));
        paths.extend(fragment.overlays.iter().map(|overlay| Path::new("data").join(&overlay.data_file.path)));
        if let Some(deletions) = &fragment.deletion_file {
            let suffix = deletions.file_type.suffix();
            paths.push(Path::new("_deletions").join(format!("{}-{}-{}.{suffix}", fragment.id, deletions.read_version, deletions.id)));
        }
    }
    for index in dataset.load_indices().await?.iter() {
        let folder = Path::new("_indices").join(index.uuid.to_string());
        paths.extend(index.files.iter().flatten().map(|file| folder.join(&file.path)));
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manifests_are_named_as_lancedb_names_them() {
        assert_eq!(manifest_name(1), "18446744073709551614.manifest");
        assert_eq!(manifest_version(&manifest_name(12_345)), Some(12_345));
        assert_eq!(manifest_version("1.manifest"), None);
        assert_eq!(manifest_version("latest_version_hint.json"), None);
    }

    #[test]
    fn each_kind_of_damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"some bytes").unwrap();
        let files = BTreeMap::from([("a".to_owned(), Content::of(&path).unwrap())]);
        let inventory = Inventory { files, ..Inventory::default() };
        assert!(inventory.check_sizes(folder.path()).is_ok() && inventory.check_hashes(folder.path()).is_ok());
        std::fs::write(&path, b"some_bytes").unwrap();
        assert!(inventory.check_sizes(folder.path()).is_ok());
        assert!(matches!(inventory.check_hashes(folder.path()), Err(Damage::Hash { .. })));
        std::fs::write(&path, b"some").unwrap();
        assert!(matches!(inventory.check_sizes(folder.path()), Err(Damage::Size { expected: 10, found: 4, .. })));
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(inventory.check_sizes(folder.path()), Err(Damage::Unreadable { .. })));
    }
}
