//! What is written reaches the table without anybody asking for it.

use std::time::Duration;

use nodespace_protocol::conflict::Policy;
use nodespace_protocol::ids::NodeId;
use nodespace_protocol::replica::NewNode;

use super::Phase;
use crate::engine::{CreateOptions, Device, OpenOptions};

/// How long anything may take before a test fails. Far more than it needs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A change is gathered for longer than it takes until the table is to be made durable: so that comes up meanwhile, each time.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_up_while_changes_are_gathered_forgets_none_of_them() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("home");
    let new = CreateOptions { home: folder.clone(), workspace_name: "notes".into(), policy: Policy::default() };
    Device::create(&new).unwrap();
    let mut options = OpenOptions { projection_interval: Duration::from_millis(300), ..OpenOptions::new(&folder) };
    options.projection_settings.rhythm.checkpoint_after = Duration::from_millis(100);
    let device = Device::open(options).await.unwrap();
    let workspace = device.workspace(None).unwrap();
    let mut state = workspace.projector().await.unwrap().state.clone();
    for number in 0..4 {
        let new = NewNode::text(NodeId::parse(&format!("node-{number}")).unwrap(), None, "a row of its own");
        workspace.write(None, move |replica, now| Ok(replica.create(now, new)?)).await.unwrap();
        let ops = workspace.feed().end().position.ops;
        let written = state.wait_for(|state| state.ops >= ops && state.phase == Phase::Current);
        let written = tokio::time::timeout(PATIENCE, written).await.expect("the table never shows it").unwrap().rows;
        assert_eq!(written, number + 1);
    }
    device.close().await.unwrap();
}
