//! The data folder: made once, locked, refused when it should be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nodespace_protocol::crypto::KeyPair;
use nodespace_protocol::ids::WorkspaceId;
use nodespace_protocol::membership::Certificate;
use nodespace_store::{Home, HomeError};

const WORKSPACE: WorkspaceId = WorkspaceId([0xab; 32]);

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_home_is_made_once_and_opens_with_the_same_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("home");
    let home = Home::create(&path).unwrap();
    let (device, user, epoch) = (home.device_key().seed(), home.user_key().seed(), home.incarnation());
    assert_ne!(device, user);
    let workspace = home.create_workspace(WORKSPACE).unwrap();
    assert_eq!(home.default_workspace(), Some(WORKSPACE), "the only one");
    home.create_workspace(WorkspaceId([1; 32])).unwrap();
    assert_eq!(home.default_workspace(), None, "one of two");
    home.set_default_workspace(WORKSPACE).unwrap();
    drop(home);
    assert!(matches!(Home::create(&path), Err(HomeError::Exists { .. })));
    let home = Home::open(&path).unwrap();
    assert_eq!((home.device_key().seed(), home.user_key().seed(), home.incarnation()), (device, user, epoch));
    assert_eq!(home.workspaces().unwrap(), [WorkspaceId([1; 32]), WORKSPACE]);
    assert_eq!(home.default_workspace(), Some(WORKSPACE));
    for folder in [path.clone(), path.join("identity"), path.join("workspaces"), workspace] {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
    }
    for file in ["format", "identity/device.key", "identity/user.key", "incarnation", "lock", "default-workspace"] {
        assert_eq!(mode(&path.join(file)), 0o600, "{file}");
    }
}

#[test]
fn a_second_process_is_told_who_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::create(folder.path()).unwrap();
    let refused = Home::open(folder.path()).unwrap_err();
    assert!(matches!(refused, HomeError::Locked { pid: Some(pid), .. } if pid == std::process::id()), "{refused}");
    assert!(refused.to_string().contains(&std::process::id().to_string()));
    drop(home);
    Home::open(folder.path()).unwrap();
}

#[test]
fn what_is_no_home_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Home::open(folder.path()), Err(HomeError::NotAHome { .. })));
    assert!(matches!(Home::open(&folder.path().join("nowhere")), Err(HomeError::NotAHome { .. })));
    fs::write(folder.path().join("thesis.txt"), "words").unwrap();
    let refused = Home::create(folder.path());
    assert!(matches!(&refused, Err(HomeError::NotEmpty { found, .. }) if found == "thesis.txt"), "{refused:?}");
}

#[test]
fn a_home_from_the_future_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(Home::create(folder.path()).unwrap());
    let format = folder.path().join("format");
    fs::write(&format, "NodeSpace home\nformat 999\n").unwrap();
    assert!(matches!(Home::open(folder.path()), Err(HomeError::Future { found: 999, .. })));
    assert_eq!(fs::read_to_string(&format).unwrap(), "NodeSpace home\nformat 999\n");
    fs::write(&format, "something else").unwrap();
    assert!(matches!(Home::open(folder.path()), Err(HomeError::Damaged { .. })));
}

#[test]
fn keys_that_others_can_read_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(Home::create(folder.path()).unwrap());
    for (path, exposed, right) in [("identity/device.key", 0o640, 0o600), ("identity", 0o755, 0o700)] {
        let path = folder.path().join(path);
        fs::set_permissions(&path, fs::Permissions::from_mode(exposed)).unwrap();
        let refused = Home::open(folder.path()).unwrap_err();
        assert!(matches!(refused, HomeError::Exposed { mode, .. } if mode == exposed), "{refused}");
        assert!(refused.to_string().contains("chmod"), "{refused}");
        fs::set_permissions(&path, fs::Permissions::from_mode(right)).unwrap();
    }
    Home::open(folder.path()).unwrap();
}

#[test]
fn a_copied_home_begins_a_new_log() {
    let folder = tempfile::tempdir().unwrap();
    let (original, copy) = (folder.path().join("original"), folder.path().join("copy"));
    let home = Home::create(&original).unwrap();
    let (key, epoch) = (home.device_key().seed(), home.incarnation());
    drop(home);
    copy_folder(&original, &copy);
    let home = Home::open(&copy).unwrap();
    assert_eq!(home.device_key().seed(), key);
    assert_ne!(home.incarnation(), epoch);
    assert_eq!(Home::open(&original).unwrap().incarnation(), epoch);
    drop(home);
    let moved = folder.path().join("moved");
    fs::rename(&original, &moved).unwrap();
    let mut home = Home::open(&moved).unwrap();
    assert_eq!(home.incarnation(), epoch, "a folder that was moved is still itself");
    let renewed = home.renew_incarnation().unwrap();
    assert_ne!(renewed, epoch);
    assert_eq!(home.incarnation(), renewed);
}

#[test]
fn an_interrupted_creation_is_finished() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::create(folder.path()).unwrap();
    let key = home.device_key().seed();
    drop(home);
    fs::remove_file(folder.path().join("format")).unwrap();
    assert!(matches!(Home::open(folder.path()), Err(HomeError::NotAHome { .. })));
    assert_eq!(Home::create(folder.path()).unwrap().device_key().seed(), key);
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn a_certificate_is_kept_checked_and_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::create(folder.path()).unwrap();
    let own = home.device_key().device();
    assert_eq!(home.certificate(), Certificate::issue(home.user_key(), own), "without one, by the home's own user");
    let other = KeyPair::from_seed(&[9; 32]);
    let wrong =
        [Certificate::issue(&other, other.device()), Certificate { user: home.user_key().user(), ..Certificate::issue(&other, own) }];
    for certificate in wrong {
        assert!(matches!(home.keep_certificate(&certificate), Err(HomeError::Certificate { .. })), "{certificate:?}");
    }
    let certificate = Certificate::issue(&other, own);
    home.keep_certificate(&certificate).unwrap();
    let path = folder.path().join("identity/certificate");
    assert_eq!(mode(&path), 0o600);
    drop(home);
    let home = Home::open(folder.path()).unwrap();
    assert_eq!(home.certificate(), certificate);
    assert_ne!(home.user_key().user(), certificate.user, "the home's own key stays");
    drop(home);
    let text = fs::read_to_string(&path).unwrap();
    for damaged in ["", "12", &text.replacen(&text[..2], "zz", 1), &text[..text.len() - 3], &text.replace(&text[250..254], "0000")] {
        fs::write(&path, damaged).unwrap();
        let refused = Home::open(folder.path()).unwrap_err();
        assert!(matches!(&refused, HomeError::Damaged { what, .. } if what.contains("device ticket")), "{damaged:?}: {refused}");
    }
    fs::write(&path, &text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(Home::open(folder.path()), Err(HomeError::Exposed { mode: 0o644, .. })));
}

#[test]
fn a_workspace_can_be_taken_out_of_a_home() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::create(folder.path()).unwrap();
    let other = WorkspaceId([1; 32]);
    for id in [WORKSPACE, other] {
        home.create_workspace(id).unwrap();
        home.set_default_workspace(id).unwrap();
    }
    assert_eq!(home.chosen_workspace(), Some(other));
    home.clear_default_workspace().unwrap();
    home.clear_default_workspace().unwrap();
    assert_eq!(home.chosen_workspace(), None);
    home.remove_empty_workspace(other).unwrap();
    assert_eq!(home.workspaces().unwrap(), [WORKSPACE]);
    for number in 1..=2 {
        fs::write(home.create_workspace(WORKSPACE).unwrap().join("journal"), number.to_string()).unwrap();
        let aside = home.set_workspace_aside(WORKSPACE).unwrap();
        assert_eq!(fs::read_to_string(aside.join("journal")).unwrap(), number.to_string());
        assert!(home.workspaces().unwrap().is_empty(), "what is aside is no workspace of the home");
    }
}
