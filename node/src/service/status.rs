//! How a workspace is doing.

use nodespace_protocol::ids::hex;

use super::parse;
use crate::engine::{DeviceReplica, Phase, Workspace};
use crate::model::{ProjectionStatus, ServiceError, StoreStatus, WorkspaceStatus};
use crate::sync::DeviceStatus;

/// How sync stands with a workspace that is being joined.
const JOINING: &str = "joining: waiting for a member to answer";

impl Workspace {
    /// How it is doing now.
    ///
    /// # Errors
    /// When the device is stopping.
    pub async fn status(&self) -> Result<WorkspaceStatus, ServiceError> {
        let projection = self.projection_status();
        let cursor = self.feed().end().to_string();
        let (id, epoch) = (self.id().to_string(), self.epoch());
        let sync = self.watch_sync_status().borrow().clone();
        self.write(None, move |replica, _| {
            let digest = replica.state_digest();
            let device = replica.device();
            Ok(WorkspaceStatus {
                program: env!("CARGO_PKG_VERSION").to_owned(),
                workspace: id,
                name: replica.membership().name().to_owned(),
                device: device.map(|device| device.to_string()).unwrap_or_default(),
                user: device.and_then(|device| replica.membership().user(&device)).map(|user| user.to_string()),
                role: device.and_then(|device| replica.membership().role(&device)).map(|role| parse::role_name(role).to_owned()),
                epoch,
                state_digest: hex(&digest),
                cursor,
                open_conflicts: replica.conflicts()?.iter().filter(|found| found.conflict.is_open()).count(),
                store: store(replica),
                projection,
                sync: sync_line(sync, replica),
            })
        })
        .await
    }

    /// How its LanceDB table is doing.
    pub(crate) fn projection_status(&self) -> ProjectionStatus {
        let folder = self.projection_folder().map(|folder| folder.display().to_string()).unwrap_or_default();
        let Some(projector) = self.started_projector() else {
            let state = if folder.is_empty() { "off" } else { "starting" };
            return ProjectionStatus { state: state.into(), folder, ..ProjectionStatus::default() };
        };
        let state = projector.state();
        let behind = self.feed().dirty_count() as u64;
        let phase = if behind > 0 && state.phase == Phase::Current { Phase::CatchingUp } else { state.phase };
        ProjectionStatus { rows: state.rows, behind, state: phase.name().to_owned(), problem: state.problem, folder }
    }
}

/// How sync stands with what is held by now, in a line.
pub(super) fn sync_line(sync: DeviceStatus, replica: &DeviceReplica) -> String {
    match replica.membership().is_empty() {
        true => JOINING.to_owned(),
        false => sync.as_of(u64::from(replica.durable_ops())).summary.to_string(),
    }
}

fn store(replica: &DeviceReplica) -> StoreStatus {
    let counts = replica.counts();
    let store = replica.store();
    StoreStatus {
        ops: counts.ops,
        waiting: counts.waiting,
        held: counts.held,
        logs: counts.logs,
        nodes: counts.nodes,
        journal_bytes: store.journal().size_bytes(),
        bytes_since_checkpoint: store.bytes_since_checkpoint(),
    }
}
