//! Looking after a device through its services: import, export, backup, doctor, rebuild, over a real home.

use std::path::Path;
use std::sync::Mutex;

use nodespace_node::backup;
use nodespace_node::engine::{CreateOptions, Device, OpenOptions, Workspace};
use nodespace_node::model::{
    BackupRequest, DoctorRequest, ErrorCode, ExportQuery, ImportDocument, ImportRequest, Node, Progress, Severity,
};
use nodespace_protocol::clock::Timestamp;
use nodespace_protocol::conflict::Policy;

const FILES: [(&str, &str); 2] =
    [("notes/a.md", "# One\n\nfirst\n\n- item\n  - inner\n"), ("notes/b.md", "text of the second file\n\n> quoted\n")];

fn request(files: &[(&str, &str)]) -> ImportRequest {
    let document = |(path, markdown): &(&str, &str)| ImportDocument { path: (*path).into(), markdown: (*markdown).into() };
    ImportRequest { documents: files.iter().map(document).collect(), under: None }
}

async fn device(home: &Path) -> (Device, Workspace) {
    if !home.exists() {
        Device::create(&CreateOptions { home: home.to_owned(), workspace_name: "care".into(), policy: Policy::default() }).unwrap();
    }
    let device = Device::open(OpenOptions::new(home)).await.unwrap();
    let workspace = device.workspace(None).unwrap();
    (device, workspace)
}

async fn exported(workspace: &Workspace) -> Vec<Node> {
    let mut export = workspace.export(ExportQuery::default()).await.unwrap();
    let mut nodes = Vec::new();
    while let Some(page) = export.page().await.unwrap() {
        nodes.extend(page);
    }
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_in_once_and_come_out() {
    let folder = tempfile::tempdir().unwrap();
    let (device, workspace) = device(&folder.path().join("home")).await;
    let seen: Mutex<Vec<Progress>> = Mutex::default();
    let report = workspace.import(None, request(&FILES), |progress| seen.lock().unwrap().push(progress)).await.unwrap();
    assert_eq!((report.counts.created, report.operations, report.failed), (9, 9, 0));
    let last = seen.lock().unwrap().last().cloned().unwrap();
    assert_eq!((last.done, last.total), (8, Some(8)));
    let again = workspace.import(None, request(&FILES), |_| {}).await.unwrap();
    assert_eq!((again.operations, again.counts.unchanged), (0, 9));
    let changed = [(FILES[0].0, "# One\n\nfirst, changed\n\n- item\n"), FILES[1]];
    let changed = workspace.import(None, request(&changed), |_| {}).await.unwrap();
    assert_eq!((changed.counts.updated, changed.counts.deleted, changed.operations), (1, 1, 2));
    let texts: Vec<String> = exported(&workspace).await.into_iter().map(|node| node.content).collect();
    assert_eq!(texts, ["notes", "a", "One", "first, changed", "item", "b", "text of the second file", "> quoted"]);
    let missing = workspace.export(ExportQuery { root: Some("nowhere".into()), deleted: false }).await.unwrap_err();
    assert_eq!(missing.code(), ErrorCode::NotFound);
    device.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_a_device_in_use_is_restored() {
    let folder = tempfile::tempdir().unwrap();
    let (device_one, workspace) = device(&folder.path().join("home")).await;
    workspace.import(None, request(&FILES), |_| {}).await.unwrap();
    let path = folder.path().join("backup");
    let request = BackupRequest { path: path.display().to_string() };
    let report = workspace.backup(request.clone(), |_| {}).await.unwrap();
    assert_eq!((report.operations, report.bytes), (10, std::fs::metadata(&path).unwrap().len()));
    assert_eq!(workspace.backup(request, |_| {}).await.unwrap_err().code(), ErrorCode::AlreadyExists);
    let relative = BackupRequest { path: "backup".into() };
    assert_eq!(workspace.backup(relative, |_| {}).await.unwrap_err().code(), ErrorCode::InvalidRequest);
    let (before, digest) = (exported(&workspace).await, workspace.status().await.unwrap().state_digest);
    device_one.close().await.unwrap();
    let restored = folder.path().join("restored");
    let report = backup::restore(&path, &restored, Timestamp::from_ms(1_800_000_000_000), &mut |_| {}).unwrap();
    assert!(report.role.is_none() && report.advice.contains("invite"), "{report:?}");
    let (device_two, workspace) = device(&restored).await;
    assert_eq!((exported(&workspace).await, workspace.status().await.unwrap().state_digest), (before, digest));
    let refused = workspace.import(None, request_of_one(), |_| {}).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Forbidden, "{refused}");
    device_two.close().await.unwrap();
}

fn request_of_one() -> ImportRequest {
    request(&[("new.md", "new")])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_finds_what_is_wrong_with_the_table_and_rebuild_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let (device, workspace) = device(&folder.path().join("home")).await;
    workspace.import(None, request(&FILES), |_| {}).await.unwrap();
    let healthy = workspace.doctor(DoctorRequest::default(), |_| {}).await.unwrap();
    assert!(healthy.healthy, "{:?}", healthy.findings);
    assert_eq!((healthy.operations, healthy.nodes, healthy.rows), (10, 9, 9));
    // A key that others can read is grave, and closed when asked.
    let key = folder.path().join("home/identity/device.key");
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let exposed = workspace.doctor(DoctorRequest { repair: false }, |_| {}).await.unwrap();
    assert!(!exposed.healthy && exposed.findings[0].severity == Severity::Error && exposed.findings[0].area == "permissions");
    assert!(workspace.doctor(DoctorRequest { repair: true }, |_| {}).await.unwrap().healthy);
    assert!(workspace.doctor(DoctorRequest::default(), |_| {}).await.unwrap().findings.is_empty());
    assert_eq!(workspace.rebuild(|_| {}).await.unwrap().rows, 9);
    device.close().await.unwrap();
}
