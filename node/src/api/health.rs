//! Whether the device is well, in words for those who watch it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::state::ApiState;

/// Whether the device is well. It says nothing of what is stored, as anybody on this machine may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`, `degraded` (it works, see `problems`) or `stopping`.
    pub status: String,
    /// The program's version.
    pub program: String,
    /// What is not as it should be.
    pub problems: Vec<String>,
}

impl Health {
    /// Asks every workspace whether it answers. Whoever can reach the port may ask, so nothing is counted or read for it.
    pub(super) async fn of(state: &ApiState) -> Self {
        let stopping = state.options.stop.is_cancelled();
        let mut problems = Vec::new();
        for workspace in state.device.workspaces().into_iter().filter(|_| !stopping) {
            if workspace.read(|_| ()).await.is_err() {
                problems.push("a workspace does not answer: see the log, then restart the device".to_owned());
            }
            if workspace.projection_status().state == "failed" {
                problems.push("search is behind: the LanceDB table cannot be written, see the status".to_owned());
            }
        }
        let status = match (stopping, problems.is_empty()) {
            (true, _) => "stopping",
            (false, true) => "ok",
            (false, false) => "degraded",
        };
        Self { status: status.to_owned(), program: env!("CARGO_PKG_VERSION").to_owned(), problems }
    }
}
