//! The two keys of a home, each a file that only its owner may read.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::{hex, unhex};

use super::{HomeError, files};

pub(super) const FOLDER: &str = "identity";
pub(super) const DEVICE: &str = "device.key";
pub(super) const USER: &str = "user.key";
/// Permissions that let anybody but the owner in.
const OTHERS: u32 = 0o077;

/// Makes the keys that are not there.
pub(super) fn create(home: &Path) -> Result<(), HomeError> {
    let folder = home.join(FOLDER);
    files::make_folder(&folder)?;
    for name in [DEVICE, USER] {
        let path = folder.join(name);
        if !path.exists() {
            files::replace(&path, format!("{}\n", hex(&files::random::<32>()?)).as_bytes())?;
        }
    }
    Ok(())
}

/// Reads the device's and the user's key.
pub(super) fn read(home: &Path) -> Result<(KeyPair, KeyPair), HomeError> {
    let folder = home.join(FOLDER);
    check_mode(&folder)?;
    Ok((read_key(&folder.join(DEVICE))?, read_key(&folder.join(USER))?))
}

fn read_key(path: &Path) -> Result<KeyPair, HomeError> {
    let damaged = |what: &str| HomeError::Damaged { path: path.to_owned(), what: what.to_owned() };
    let text = files::read(path)?
        .ok_or_else(|| damaged("it is missing; put it back from a copy of the home, or make a new home and join the workspace again"))?;
    check_mode(path)?;
    let seed = unhex(text.trim()).and_then(|bytes| bytes.try_into().ok());
    let seed: [u8; 32] = seed.ok_or_else(|| damaged("a key is 64 hex digits"))?;
    Ok(KeyPair::from_seed(&seed))
}

fn check_mode(path: &Path) -> Result<(), HomeError> {
    let metadata = path.metadata().map_err(files::failed(path))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    Err(HomeError::Exposed { path: path.to_owned(), mode, is_folder: metadata.is_dir() })
}
