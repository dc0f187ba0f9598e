//! Who may read a home: its owner and nobody else.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::finding;
use crate::model::{Finding, Severity};

const AREA: &str = "permissions";

/// What nobody but the owner may have.
const OTHERS: u32 = 0o077;

/// Checks a home's files and folders; with `repair` takes from others what they must not have. Folders of the name `table`, where a LanceDB
/// table is, are passed over: other programs write there as they see fit, and the folders around it keep strangers out.
#[must_use]
pub fn check(home: &Path, table: &str, repair: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut waiting = vec![home.to_path_buf()];
    while let Some(path) = waiting.pop() {
        match look(&path, table, &mut waiting) {
            Ok(mode) if mode & OTHERS == 0 => {}
            Ok(mode) => findings.push(exposed(&path, mode, repair)),
            // Gone meanwhile: a segment that was renamed, say.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => findings.push(finding(
                Severity::Warning,
                AREA,
                format!("{}: {error}", path.display()),
                "give the folder and all in it to the user that runs this program",
            )),
        }
    }
    findings
}

/// The permissions of a path; what is in a folder is looked at later.
fn look(path: &Path, table: &str, waiting: &mut Vec<std::path::PathBuf>) -> io::Result<u32> {
    let metadata = path.symlink_metadata()?;
    if metadata.is_symlink() {
        return Ok(0);
    }
    if metadata.is_dir() && path.file_name().is_none_or(|name| name != table) {
        for entry in fs::read_dir(path)? {
            waiting.push(entry?.path());
        }
    } else if metadata.is_dir() {
        return Ok(0);
    }
    Ok(metadata.permissions().mode() & 0o777)
}

fn exposed(path: &Path, mode: u32, repair: bool) -> Finding {
    let right = if path.is_dir() { 0o700 } else { 0o600 };
    let is_key = path.components().any(|part| part.as_os_str() == "identity") || path.file_name().is_some_and(|name| name == "api-token");
    let severity = if is_key { Severity::Error } else { Severity::Warning };
    let message = format!("others may use {} (mode {mode:o})", path.display());
    let mut advice = format!("run `chmod {right:o} {}`", path.display());
    if is_key {
        advice
            .push_str("; if others use this machine, take the secret for known: remove this device from the workspace and make a new home");
    }
    let repaired = repair && fs::set_permissions(path, fs::Permissions::from_mode(right)).is_ok();
    Finding { repaired, ..finding(severity, AREA, message, advice) }
}
