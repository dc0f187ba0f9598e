//! The workspaces of a device: founded, listed, named.

use nodespace_protocol::conflict::Policy;
use nodespace_protocol::membership::WorkspaceAction;

use super::parse;
use super::status::sync_line;
use crate::engine::{Device, Workspace};
use crate::model::{CreateWorkspace, ErrorCode, ServiceError, UpdateWorkspace, WorkspaceList, WorkspaceState, WorkspaceSummary};

impl Device {
    /// All workspaces of this device. One that cannot be read is shown as failed, and hides no other.
    pub async fn list_workspaces(&self) -> WorkspaceList {
        let mut list = WorkspaceList::default();
        for workspace in self.workspaces() {
            let summary = self.summary(&workspace).await;
            list.workspaces.push(summary.unwrap_or_else(|error| self.failed(&workspace, &error)));
        }
        list
    }

    /// Founds a workspace; this device's user becomes its owner.
    ///
    /// # Errors
    /// When the name is not allowed, or the home folder cannot be written.
    pub async fn create_workspace(&self, request: CreateWorkspace) -> Result<WorkspaceSummary, ServiceError> {
        let workspace = self.found_workspace(&request.name, Policy::default()).await?;
        if request.default {
            self.set_default_workspace(workspace.id()).await?;
        }
        self.summary(&workspace).await
    }

    /// Renames a workspace, for all members, or makes it this device's default.
    ///
    /// # Errors
    /// When there is no such workspace, nothing is asked for, the name is not allowed, or this device's user is no owner.
    pub async fn update_workspace(
        &self,
        id: &str,
        client: Option<String>,
        request: UpdateWorkspace,
    ) -> Result<WorkspaceSummary, ServiceError> {
        let workspace = self.workspace(Some(id))?;
        match (&request.name, request.default) {
            (None, None) => return Err(ServiceError::new(ErrorCode::InvalidRequest, "nothing is to change: give `name` or `default`")),
            (_, Some(false)) => {
                let message = "a workspace stops being the default when another becomes it: set `default` to true there";
                return Err(ServiceError::new(ErrorCode::InvalidValue, message));
            }
            _ => {}
        }
        if let Some(name) = request.name {
            workspace.write(client, move |replica, now| Ok(replica.change_workspace(now, WorkspaceAction::SetName { name })?)).await?;
        }
        if request.default.is_some() {
            self.set_default_workspace(workspace.id()).await?;
        }
        self.summary(&workspace).await
    }

    /// Lets go of a workspace whose join is not done.
    ///
    /// # Errors
    /// When there is no such workspace, or this device is in it: leaving is [`Workspace::remove_member`] of the own user.
    pub async fn cancel_join(&self, id: &str) -> Result<WorkspaceSummary, ServiceError> {
        let workspace = self.workspace(Some(id))?;
        let summary = self.summary(&workspace).await?;
        if summary.state != WorkspaceState::Joining {
            let message =
                "only a join that is under way can be cancelled; to leave a workspace run `nodespace member remove` with your own user";
            return Err(ServiceError::new(ErrorCode::InvalidValue, message));
        }
        let _turn = self.join_turn(workspace.id())?;
        workspace.forget_ticket().await?;
        self.forget_workspace(workspace.id()).await?;
        Ok(summary)
    }

    /// What there is to say of a workspace that cannot be read.
    fn failed(&self, workspace: &Workspace, error: &ServiceError) -> WorkspaceSummary {
        WorkspaceSummary {
            workspace: workspace.id().to_string(),
            name: String::new(),
            default: self.default_workspace() == Some(workspace.id()),
            state: WorkspaceState::Failed,
            role: None,
            members: 0,
            ops: 0,
            sync: format!("cannot be read: {error}; start the daemon again, its log says more"),
        }
    }

    async fn summary(&self, workspace: &Workspace) -> Result<WorkspaceSummary, ServiceError> {
        let (device, default) = (self.id(), self.default_workspace() == Some(workspace.id()));
        let is_joining = workspace.pending_ticket().await?.is_some();
        let sync = workspace.watch_sync_status().borrow().clone();
        workspace
            .read(move |replica| {
                let membership = replica.membership();
                let role = membership.role(&device).map(parse::role_name);
                let state = match role {
                    Some(_) => WorkspaceState::Member,
                    None if is_joining || membership.is_empty() => WorkspaceState::Joining,
                    None => WorkspaceState::Reader,
                };
                WorkspaceSummary {
                    workspace: replica.workspace().to_string(),
                    name: membership.name().to_owned(),
                    default,
                    state,
                    role: role.map(str::to_owned),
                    members: membership.members().len(),
                    ops: u64::from(replica.durable_ops()),
                    sync: sync_line(sync, replica),
                }
            })
            .await
    }
}
