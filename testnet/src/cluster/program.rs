//! Finding the device program, `nodespace`, and the relay's, `nodespace-relay`: the testnet does not contain them, it runs them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// The variable that names the program.
pub const VARIABLE: &str = "NODESPACE_PROGRAM";
/// What the program is called.
const NAME: &str = "nodespace";
/// The variable that names the relay's program.
pub const RELAY_VARIABLE: &str = "NODESPACE_RELAY_PROGRAM";
/// What the relay's program is called.
const RELAY_NAME: &str = "nodespace-relay";
/// The folders of compiled programs that are looked into beside our own, the fastest program first.
const PROFILES: [&str; 3] = ["release", "device", "debug"];

/// Finds the device program: what was asked for, else what [`VARIABLE`] names, else one that was compiled beside this one.
///
/// # Errors
/// When there is none, saying how to get one; when what was named is no program.
pub fn find(asked: Option<&Path>) -> Result<PathBuf> {
    if let Some(path) = asked {
        return named(path, "--program");
    }
    if let Some(path) = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return named(Path::new(&path), VARIABLE);
    }
    let own = std::env::current_exe().ok();
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let candidates = candidates(NAME, own.as_deref(), target.as_deref());
    match candidates.iter().find(|path| path.is_file()) {
        Some(found) => Ok(found.clone()),
        None => bail!(
            "the device program `{NAME}` was not found (looked for {}): compile it with `cargo build -p nodespace-node --bin {NAME}`, or \
             name it with --program or {VARIABLE}",
            list(&candidates)
        ),
    }
}

/// Finds the relay's program: what [`RELAY_VARIABLE`] names, else the one beside the device program, else one that was compiled beside this
/// one.
///
/// # Errors
/// When there is none, saying how to get one; when what was named is no program.
pub fn find_relay(device: &Path) -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(RELAY_VARIABLE).filter(|path| !path.is_empty()) {
        return named(Path::new(&path), RELAY_VARIABLE);
    }
    let own = std::env::current_exe().ok();
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let mut candidates = candidates(RELAY_NAME, own.as_deref(), target.as_deref());
    candidates.insert(0, device.with_file_name(RELAY_NAME));
    match candidates.iter().find(|path| path.is_file()) {
        Some(found) => Ok(found.clone()),
        None => bail!(
            "the relay's program `{RELAY_NAME}` was not found (looked for {}): compile it with `cargo build --workspace --bins`, or name it \
             with {RELAY_VARIABLE}",
            list(&candidates)
        ),
    }
}

fn named(path: &Path, by: &str) -> Result<PathBuf> {
    match path.canonicalize() {
        Ok(found) if found.is_file() => Ok(found),
        Ok(found) => bail!("{by} names {}, which is not a file", found.display()),
        Err(error) => bail!("{by} names {}, which cannot be used: {error}", path.display()),
    }
}

/// Where it may lie: beside our own program, then in the folders of the other profiles, the same for `deps/`, where tests run from.
fn candidates(name: &str, own: Option<&Path>, target: Option<&OsStr>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let folder = own.and_then(Path::parent).map(|folder| if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder });
    found.extend(folder.map(|folder| folder.join(name)));
    let targets = [folder.and_then(Path::parent).map(Path::to_path_buf), target.map(PathBuf::from)];
    for target in targets.into_iter().flatten() {
        found.extend(PROFILES.map(|profile| target.join(profile).join(name)));
    }
    let mut seen = std::collections::BTreeSet::new();
    found.retain(|path| seen.insert(path.clone()));
    found
}

fn list(paths: &[PathBuf]) -> String {
    let names: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_beside_ours_comes_before_that_of_another_profile() {
        let found = candidates(NAME, Some(Path::new("/t/sim/nodespace-testnet")), Some(OsStr::new("/t")));
        assert_eq!(found.first(), Some(&PathBuf::from("/t/sim/nodespace")));
        assert!(found.contains(&PathBuf::from("/t/debug/nodespace")));
        assert_eq!(found.len(), 4, "each is looked for once: {found:?}");
    }

    #[test]
    fn tests_look_beside_their_deps_folder() {
        let found = candidates(NAME, Some(Path::new("/t/debug/deps/it-0123")), None);
        assert_eq!(found.first(), Some(&PathBuf::from("/t/debug/nodespace")));
    }

    #[test]
    fn the_relay_beside_the_device_program_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let relay = folder.path().join(RELAY_NAME);
        std::fs::write(&relay, "").unwrap();
        assert_eq!(find_relay(&folder.path().join(NAME)).unwrap(), relay);
    }

    #[test]
    fn a_name_that_is_no_program_is_told_with_who_named_it() {
        let error = find(Some(Path::new("/nowhere/nodespace"))).unwrap_err().to_string();
        assert!(error.contains("--program") && error.contains("/nowhere/nodespace"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let error = find(Some(folder.path())).unwrap_err().to_string();
        assert!(error.contains("not a file"), "{error}");
    }
}
