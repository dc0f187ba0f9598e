//! Backups written, damaged, forged and restored.

use std::fs;
use std::path::{Path, PathBuf};

use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::conflict::Policy;
use nodespace_protocol::crypto::{KeyPair, Signature};
use nodespace_protocol::ids::{NodeId, WorkspaceId};
use nodespace_protocol::membership::Certificate;
use nodespace_protocol::replica::{Author, Founding, NewNode, Replica, WriteError};
use nodespace_protocol::store::Record;
use nodespace_store::{DiskStore, Home, StoreOptions};

use super::{BackupError, BackupReader, BackupWriter, Part, restore, source};
use crate::model::{ErrorCode, RestoreReport, ServiceError};

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ms(1_000_000 + ms)
}

fn id(text: &str) -> NodeId {
    NodeId::parse(text).unwrap()
}

/// A home with a workspace that has some nodes and a vector.
fn home(path: &Path) -> (WorkspaceId, [u8; 32]) {
    let home = Home::create(path).unwrap();
    let author = Author { key: home.device_key().clone(), epoch: home.incarnation() };
    let certificate = Certificate::issue(home.user_key(), home.device_key().device());
    let founding = Founding { name: "notes".into(), policy: Policy::default(), secret: [9; 32] };
    let workspace = founding.workspace_id(&author, certificate, at(0));
    let store = DiskStore::open(&home.create_workspace(workspace).unwrap(), workspace, &StoreOptions::default()).unwrap();
    let mut replica = Replica::found(store, author, certificate, founding, at(0)).unwrap();
    replica.create(at(1), NewNode::text(id("top"), None, "top")).unwrap();
    for number in 0..40 {
        replica.create(at(2), NewNode::text(id(&format!("n{number}")), Some(id("top")), format!("node {number}"))).unwrap();
    }
    replica.set_text(at(3), &id("n7"), "node seven").unwrap();
    replica.delete(at(4), &id("n8"), true).unwrap();
    replica.store().put_vector(&id("n7"), "small", &[3; 32], &[0.5, -0.25]).unwrap();
    replica.commit().unwrap();
    home.set_default_workspace(workspace).unwrap();
    (workspace, replica.state_digest())
}

fn open(home: &Home, workspace: WorkspaceId) -> Replica<DiskStore> {
    let store = DiskStore::open(&home.workspace_folder(workspace), workspace, &StoreOptions::default()).unwrap();
    let author = Author { key: home.device_key().clone(), epoch: home.incarnation() };
    Replica::open(workspace, store, Some(author), at(10)).unwrap()
}

fn back_up(path: &Path, workspace: WorkspaceId, file: &Path) -> Result<u64, BackupError> {
    let home = Home::open(path).unwrap();
    let mut replica = open(&home, workspace);
    let (manifest, seals) = source::begin(&mut replica, at(20)).unwrap();
    let mut writer = BackupWriter::create(file, &manifest)?;
    let mut from = 0;
    while from < manifest.records {
        let page = source::page(replica.store(), from, manifest.records, 7).unwrap();
        from += page.len() as u64;
        writer.records(&page)?;
    }
    writer.records(&seals)?;
    let vectors = replica.store().vectors(None, 100).unwrap();
    let vectors: Vec<_> = vectors.iter().map(|entry| (&entry.node, entry.model.as_str(), &entry.source, entry.vector.as_slice())).collect();
    writer.vectors(&vectors)?;
    Ok(writer.finish()?.1)
}

struct Scene {
    folder: tempfile::TempDir,
    workspace: WorkspaceId,
    digest: [u8; 32],
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (workspace, digest) = home(&folder.path().join("home"));
        let scene = Self { folder, workspace, digest };
        back_up(&scene.path("home"), workspace, &scene.path("backup")).unwrap();
        scene
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn restore(&self, file: &str, home: &str) -> Result<RestoreReport, ServiceError> {
        restore(&self.path(file), &self.path(home), at(30), &mut |_| {})
    }

    /// What lies in the folder, hidden things too.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_new_home_holds_what_was_backed_up_and_cannot_write_under_other_keys() {
    let scene = Scene::new();
    fs::create_dir(scene.path("empty")).unwrap();
    for name in ["new", "empty"] {
        let report = scene.restore("backup", name).unwrap();
        assert_eq!((report.name.as_str(), report.new_identity, &report.role, report.nodes, report.vectors), ("notes", true, &None, 41, 1));
        let restored = Home::open(&scene.path(name)).unwrap();
        assert_eq!(restored.default_workspace(), Some(scene.workspace));
        let mut replica = open(&restored, scene.workspace);
        assert_eq!(replica.state_digest(), scene.digest);
        assert_eq!(replica.store().vector(&id("n7"), "small", &[3; 32]).unwrap(), Some(vec![0.5, -0.25]));
        assert!(matches!(replica.set_text(at(40), &id("n1"), "x"), Err(WriteError::NotMember)));
        // What was written here can be proved to others, though the key that signed it is elsewhere.
        let log = replica.frontier()[0].log;
        let (ranges, _) = replica.lacking(log, &[]).unwrap();
        assert_eq!(ranges[0].through, replica.frontier()[0].last_seq());
    }
    assert_eq!(scene.names(), ["backup", "empty", "home", "new"]);
}

#[test]
fn a_home_that_lost_its_workspace_gets_it_back_and_goes_on_in_a_new_log() {
    let scene = Scene::new();
    let before = Home::open(&scene.path("home")).unwrap().incarnation();
    let refused = scene.restore("backup", "home").unwrap_err();
    assert_eq!(refused.code(), ErrorCode::AlreadyExists, "{refused}");
    let folder = Home::open(&scene.path("home")).unwrap().workspace_folder(scene.workspace);
    fs::remove_dir_all(&folder).unwrap();
    let report = scene.restore("backup", "home").unwrap();
    assert_eq!((report.new_identity, report.role.as_deref()), (false, Some("owner")));
    let home = Home::open(&scene.path("home")).unwrap();
    assert!(home.incarnation() != before && home.incarnation() == report.epoch);
    let mut replica = open(&home, scene.workspace);
    assert_eq!(replica.state_digest(), scene.digest);
    replica.set_text(at(40), &id("n1"), "written after").unwrap();
    assert_eq!(replica.frontier().len(), 2);
}

#[test]
fn a_backup_does_not_replace_a_file_and_holds_no_key() {
    let scene = Scene::new();
    let error = back_up(&scene.path("home"), scene.workspace, &scene.path("backup")).unwrap_err();
    assert!(matches!(error, BackupError::Exists { .. }));
    assert_eq!(scene.names(), ["backup", "home"]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(scene.path("backup")).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let home = Home::open(&scene.path("home")).unwrap();
    let bytes = fs::read(scene.path("backup")).unwrap();
    for key in [home.device_key(), home.user_key()] {
        assert!(!bytes.windows(32).any(|window| window == key.seed()));
    }
}

#[test]
fn a_backup_that_is_cut_off_anywhere_is_refused_and_leaves_nothing_behind() {
    let scene = Scene::new();
    let bytes = fs::read(scene.path("backup")).unwrap();
    for end in (0..bytes.len()).step_by(13).chain([bytes.len() - 1]) {
        fs::write(scene.path("cut"), &bytes[..end]).unwrap();
        let error = scene.restore("cut", "new").unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidValue, "cut to {end}: {error}");
        assert_eq!(scene.names(), ["backup", "cut", "home"]);
    }
}

#[test]
fn an_altered_backup_is_refused() {
    let scene = Scene::new();
    let bytes = fs::read(scene.path("backup")).unwrap();
    for place in (0..bytes.len()).step_by(11) {
        let mut altered = bytes.clone();
        altered[place] ^= 0x10;
        fs::write(scene.path("altered"), &altered).unwrap();
        let error = scene.restore("altered", "new").unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidValue, "at {place}: {error}");
    }
    let mut longer = bytes.clone();
    longer.push(0);
    fs::write(scene.path("altered"), &longer).unwrap();
    assert!(scene.restore("altered", "new").is_err());
    let mut future = bytes;
    future[16] = 2;
    fs::write(scene.path("altered"), &future).unwrap();
    let error = scene.restore("altered", "new").unwrap_err();
    assert!(error.to_string().contains("format 2") && error.to_string().contains("newer program"), "{error}");
    assert_eq!(scene.names(), ["altered", "backup", "home"]);
}

/// Writes the backup again with other records, all checksums right.
fn forge(scene: &Scene, change: impl Fn(&mut Vec<Record>)) -> ServiceError {
    let mut reader = BackupReader::open(&scene.path("backup")).unwrap();
    let manifest = reader.manifest().clone();
    let mut records = Vec::new();
    while let Part::Records(part) = reader.next_part().unwrap() {
        records.extend(part);
    }
    change(&mut records);
    fs::remove_file(scene.path("forged")).ok();
    let mut writer = BackupWriter::create(&scene.path("forged"), &manifest).unwrap();
    writer.records(&records).unwrap();
    writer.finish().unwrap();
    scene.restore("forged", "new").unwrap_err()
}

#[test]
fn a_forged_backup_is_refused_though_its_checksums_fit() {
    let scene = Scene::new();
    let unsigned = forge(&scene, |records| records.retain(|record| matches!(record, Record::Op(_))));
    assert!(unsigned.to_string().contains("nobody signed"), "{unsigned}");
    let false_signature = forge(&scene, |records| {
        if let Some(Record::Signature { signature, .. }) = records.last_mut() {
            *signature = Signature([7; 64]);
        }
    });
    assert!(false_signature.to_string().contains("false"), "{false_signature}");
    // An operation of somebody who signs with a key of their own, in the name of the device.
    let foreign = forge(&scene, |records| {
        let stranger = KeyPair::from_seed(&[5; 32]);
        for record in records.iter_mut() {
            if let Record::Op(op) = record {
                let mut header = op.header.clone();
                header.log.device = stranger.device();
                *record = Record::Op(std::sync::Arc::new(nodespace_protocol::op::Op::new(
                    &scene.workspace,
                    header,
                    op.payload.clone(),
                    op.attachment.clone(),
                )));
            }
        }
    });
    assert_eq!(foreign.code(), ErrorCode::InvalidValue, "{foreign}");
    let shorter = forge(&scene, |records| drop(records.remove(5)));
    assert_eq!(shorter.code(), ErrorCode::InvalidValue, "{shorter}");
    assert_eq!(scene.names(), ["backup", "forged", "home"]);
}

#[test]
fn what_is_no_backup_is_said_to_be_none() {
    let scene = Scene::new();
    fs::write(scene.path("text"), "not a backup, but long enough to be looked at").unwrap();
    assert!(scene.restore("text", "new").unwrap_err().to_string().contains("not a NodeSpace backup"));
    assert_eq!(scene.restore("missing", "new").unwrap_err().code(), ErrorCode::NotFound);
    fs::create_dir(scene.path("other")).unwrap();
    fs::write(scene.path("other/thing"), "somebody's").unwrap();
    assert_eq!(scene.restore("backup", "other").unwrap_err().code(), ErrorCode::NotFound);
    assert_eq!(fs::read_dir(scene.path("other")).unwrap().count(), 1);
}
