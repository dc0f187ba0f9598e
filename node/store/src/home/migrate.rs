//! The version of the home's layout, and the steps from older ones.
//!
//! A step brings one version to the next. It may be interrupted at any place and run again; the version is written after it. A program
//! that does not know a version refuses it: it could only do harm.

use std::fs;
use std::path::Path;

use super::{HomeError, files, identity};
use crate::disk::sync_folder;

/// The version this program writes.
pub const FORMAT: u32 = 1;
pub(super) const FORMAT_FILE: &str = "format";
const FIRST_LINE: &str = "NodeSpace home";

/// One step: from the version of its place in the table to the next.
type Step = fn(&Path) -> Result<(), HomeError>;

/// All steps ever made; the first is from version 0.
const STEPS: [Step; FORMAT as usize] = [keys_get_a_folder];

/// Whether there is a home that this program knows.
pub(super) fn check(home: &Path) -> Result<u32, HomeError> {
    let path = home.join(FORMAT_FILE);
    let text = files::read(&path)?.ok_or_else(|| HomeError::NotAHome { path: home.to_owned() })?;
    let found = text.strip_prefix(FIRST_LINE).and_then(|rest| rest.trim().strip_prefix("format ")?.parse().ok());
    let damaged = || HomeError::Damaged { path: path.clone(), what: format!("expected `{FIRST_LINE}` and a line `format <number>`") };
    let found: u32 = found.ok_or_else(damaged)?;
    if found > FORMAT { Err(HomeError::Future { path: home.to_owned(), found, known: FORMAT }) } else { Ok(found) }
}

/// Brings the home up to date. The lock must be held.
pub(super) fn run(home: &Path) -> Result<(), HomeError> {
    for (from, step) in (0..).zip(STEPS).skip(check(home)? as usize) {
        tracing::info!(home = %home.display(), from, to = from + 1, "the home's layout is brought up to date");
        step(home)?;
        write_format(home, from + 1)?;
    }
    Ok(())
}

pub(super) fn write_format(home: &Path, version: u32) -> Result<(), HomeError> {
    files::replace(&home.join(FORMAT_FILE), format!("{FIRST_LINE}\nformat {version}\n").as_bytes())
}

/// Version 0, of the first trials, had the keys in the home itself and let its umask decide who may read them.
fn keys_get_a_folder(home: &Path) -> Result<(), HomeError> {
    let folder = home.join(identity::FOLDER);
    files::make_folder(&folder)?;
    for name in [identity::DEVICE, identity::USER] {
        let (old, new) = (home.join(name), folder.join(name));
        if let Some(text) = files::read(&old)? {
            files::replace(&new, text.as_bytes())?;
            fs::remove_file(&old).map_err(files::failed(&old))?;
        }
    }
    sync_folder(home).map_err(files::failed(home))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::Home;
    use super::*;

    /// A home as version 0 wrote it.
    fn version_0() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, digit) in [(identity::DEVICE, "1"), (identity::USER, "2")] {
            fs::write(folder.path().join(name), format!("{}\n", digit.repeat(64))).unwrap();
            fs::set_permissions(folder.path().join(name), fs::Permissions::from_mode(0o644)).unwrap();
        }
        write_format(folder.path(), 0).unwrap();
        folder
    }

    #[test]
    fn a_home_of_version_0_opens_with_its_keys() {
        let folder = version_0();
        let home = Home::open(folder.path()).unwrap();
        assert_eq!(home.device_key().seed(), [0x11; 32]);
        assert_eq!(home.user_key().seed(), [0x22; 32]);
        assert_eq!(check(folder.path()).unwrap(), FORMAT);
        assert!(!folder.path().join(identity::DEVICE).exists(), "the exposed copies are gone");
    }

    #[test]
    fn an_interrupted_step_is_finished() {
        let folder = version_0();
        keys_get_a_folder(folder.path()).unwrap();
        assert_eq!(check(folder.path()).unwrap(), 0, "stopped before the version was written");
        let home = Home::open(folder.path()).unwrap();
        assert_eq!(home.device_key().seed(), [0x11; 32]);
        let folder = version_0();
        files::make_folder(&folder.path().join(identity::FOLDER)).unwrap();
        let (old, new) = (folder.path().join(identity::DEVICE), folder.path().join(identity::FOLDER).join(identity::DEVICE));
        files::replace(&new, &fs::read(&old).unwrap()).unwrap();
        assert_eq!(Home::open(folder.path()).unwrap().user_key().seed(), [0x22; 32], "stopped between a copy and its removal");
    }

    #[test]
    fn every_version_has_a_step() {
        assert_eq!(STEPS.len(), FORMAT as usize);
    }
}
