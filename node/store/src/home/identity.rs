//! The two keys of a home and its certificate, each a file that only its owner may read.
//!
//! A home always has a user's key of its own. On a user's second device the certificate says that the device is of another user: the one
//! whose key lies on the first. The own user's key is of no use then, and of no harm.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nodespace_protocol::crypto::{KeyPair, Signature};
use nodespace_protocol::ids::{DeviceId, UserId, hex, unhex};
use nodespace_protocol::membership::Certificate;

use super::{HomeError, files};

pub(super) const FOLDER: &str = "identity";
pub(super) const DEVICE: &str = "device.key";
pub(super) const USER: &str = "user.key";
const CERTIFICATE: &str = "certificate";
/// User, device, signature.
const CERTIFICATE_BYTES: usize = 32 + 32 + 64;
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

/// Reads the certificate by the user's other device, if there is one.
pub(super) fn read_certificate(home: &Path, device: &KeyPair) -> Result<Option<Certificate>, HomeError> {
    let path = home.join(FOLDER).join(CERTIFICATE);
    let Some(text) = files::read(&path)? else { return Ok(None) };
    check_mode(&path)?;
    let damaged =
        |what: &str| HomeError::Damaged { path: path.clone(), what: format!("{what}; ask for a new device ticket and join again") };
    let certificate = unhex(text.trim()).as_deref().and_then(certificate_in);
    let certificate = certificate.ok_or_else(|| damaged("a certificate is 256 hex digits"))?;
    check_certificate(&certificate, device).map_err(damaged)?;
    Ok(Some(certificate))
}

/// Keeps a certificate for this device.
pub(super) fn write_certificate(home: &Path, device: &KeyPair, certificate: &Certificate) -> Result<(), HomeError> {
    check_certificate(certificate, device).map_err(|what| HomeError::Certificate { what })?;
    let bytes = [&certificate.user.0[..], &certificate.device.0, &certificate.signature.0].concat();
    files::replace(&home.join(FOLDER).join(CERTIFICATE), format!("{}\n", hex(&bytes)).as_bytes())
}

fn certificate_in(bytes: &[u8]) -> Option<Certificate> {
    let bytes: &[u8; CERTIFICATE_BYTES] = bytes.try_into().ok()?;
    let (user, rest) = bytes.split_first_chunk::<32>()?;
    let (device, signature) = rest.split_first_chunk::<32>()?;
    let signature = Signature(signature.try_into().ok()?);
    Some(Certificate { user: UserId(*user), device: DeviceId(*device), signature })
}

fn check_certificate(certificate: &Certificate, device: &KeyPair) -> Result<(), &'static str> {
    if certificate.device != device.device() {
        return Err("it names another device");
    }
    certificate.verify().map_err(|_| "its signature is not the user's")
}

fn check_mode(path: &Path) -> Result<(), HomeError> {
    let metadata = path.metadata().map_err(files::failed(path))?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & OTHERS == 0 {
        return Ok(());
    }
    Err(HomeError::Exposed { path: path.to_owned(), mode, is_folder: metadata.is_dir() })
}
