//! Devices: listed, added, removed; and who this one is.

use nodespace_protocol::ids::{DeviceId, UserId};
use nodespace_protocol::membership::device_ticket::WORKSPACES_MAX;
use nodespace_protocol::membership::{Certificate, DeviceTicket, DeviceWorkspace, WorkspaceAction};

use super::invites::{self, Lead};
use super::{members, parse};
use crate::engine::{Device, Workspace};
use crate::model::{AddDevice, DeviceEntry, DeviceIdentity, DeviceInvitation, DeviceList, ErrorCode, MembershipChange, ServiceError};

/// What is honest to say of a removal.
const REMOVED_NOTE: &str = "removed: what it writes from now on has no effect anywhere, and members send it nothing more. It keeps the copy it \
                            has. A device that is lost may fall into other hands: remove it in every workspace";

impl Workspace {
    /// The devices of all members.
    ///
    /// # Errors
    /// When the device is stopping.
    pub async fn devices(&self) -> Result<DeviceList, ServiceError> {
        self.read(|replica| {
            let (this, own) = (replica.device(), members::own_user(replica));
            let mut devices = Vec::new();
            for member in replica.membership().members() {
                let entry = |device: DeviceId| DeviceEntry {
                    device: device.to_string(),
                    user: member.user.to_string(),
                    role: parse::role_name(member.role).to_owned(),
                    this: Some(device) == this,
                    own: Some(member.user) == own,
                };
                devices.extend(member.devices.iter().copied().map(entry));
            }
            devices.sort_by(|one, other| {
                let key = |entry: &DeviceEntry| (!entry.this, !entry.own, entry.user.clone(), entry.device.clone());
                key(one).cmp(&key(other))
            });
            DeviceList { devices }
        })
        .await
    }

    /// Removes a device, named by its key or an unambiguous beginning of it.
    ///
    /// # Errors
    /// When there is no such device, or this device's user is neither its user nor an owner.
    pub async fn remove_device(&self, client: Option<String>, device: &str) -> Result<MembershipChange, ServiceError> {
        let text = device.to_owned();
        self.write(client, move |replica, now| {
            let devices: Vec<DeviceId> = replica.membership().members().into_iter().flat_map(|member| member.devices).collect();
            let device = parse::by_key("device", &text, devices.into_iter(), |device: DeviceId| device.to_string())?;
            let own = replica.device() == Some(device);
            let op = replica.remove_device(now, device)?;
            let note = if own { "this device has left; what is here stays here to be read and exported" } else { REMOVED_NOTE };
            Ok(MembershipChange { op: op.to_string(), note: note.to_owned() })
        })
        .await
    }

    /// Writes that a device is of a user's, unless it is known here already, and answers with what its ticket says of this workspace.
    async fn take_device(&self, client: Option<String>, certificate: Certificate) -> Result<DeviceWorkspace, ServiceError> {
        self.write(client, move |replica, now| {
            let (workspace, membership) = (replica.workspace(), replica.membership());
            let secret = membership.secret().ok_or_else(|| {
                let message = format!("workspace {} is still being joined; try again when it is", workspace.short());
                ServiceError::new(ErrorCode::Unavailable, message)
            })?;
            match membership.user(&certificate.device) {
                Some(user) if user == certificate.user => {}
                Some(other) => {
                    let message = format!("device {} is of user {} in this workspace", certificate.device.short(), other.short());
                    return Err(ServiceError::new(ErrorCode::AlreadyExists, message));
                }
                None => drop(replica.change_workspace(now, WorkspaceAction::AddDevice { certificate })?),
            }
            Ok(DeviceWorkspace { workspace, secret })
        })
        .await
    }

    /// Whose this device is here.
    async fn own_user(&self) -> Result<Option<UserId>, ServiceError> {
        self.read(members::own_user).await
    }
}

impl Device {
    /// Who this device is, and whose.
    pub fn identity(&self) -> DeviceIdentity {
        let user = self.certificate().user;
        DeviceIdentity { device: self.id().to_string(), user: user.to_string(), holds_user_key: user == self.key_user() }
    }

    /// Certifies another device as the user's, adds it to the user's workspaces (or to those that are named), and answers with the ticket to
    /// hand over. Again for a device that is there already gives its ticket again.
    ///
    /// # Errors
    /// When the key is none or this device's own; when the user's key is not here; when there is no workspace to add it to, or too many.
    pub async fn add_device(&self, client: Option<String>, request: AddDevice) -> Result<DeviceInvitation, ServiceError> {
        let device = DeviceId(parse::key("device", &request.device)?);
        if device == self.id() {
            let message = "this is the device itself; give the id that `nodespace device request` shows on the other one";
            return Err(ServiceError::new(ErrorCode::InvalidValue, message));
        }
        let certificate = self.certify(device);
        let chosen = self.workspaces_of_key_user(request.workspaces.as_deref()).await?;
        let mut workspaces = Vec::new();
        let mut reach = self.ticket_addresses();
        for workspace in chosen {
            // A ticket names one relay: the first of any of the workspaces.
            reach.relays.splice(0..0, workspace.own_relays().await?);
            workspaces.push(workspace.take_device(client.clone(), certificate).await?);
        }
        workspaces.sort_by_key(|entry| entry.workspace);
        let Lead { addresses, dialled, relay } = invites::lead(reach, Some(self.id()));
        let ticket = DeviceTicket { certificate, workspaces, addresses, relay };
        Ok(DeviceInvitation {
            device: device.to_string(),
            user: certificate.user.to_string(),
            workspaces: ticket.workspaces.iter().map(|entry| entry.workspace.to_string()).collect(),
            addresses: dialled,
            ticket: ticket.to_text(),
        })
    }

    /// The workspaces that a device of the user whose key is here can be added to: all where this device is of that user, or those named.
    async fn workspaces_of_key_user(&self, named: Option<&[String]>) -> Result<Vec<Workspace>, ServiceError> {
        let user = self.key_user();
        let mut chosen: Vec<Workspace> = Vec::new();
        let candidates = match named {
            Some(ids) => ids.iter().map(|id| self.workspace(Some(id))).collect::<Result<Vec<_>, _>>()?,
            None => self.workspaces(),
        };
        for workspace in candidates {
            let is_own = workspace.own_user().await? == Some(user);
            if !is_own && named.is_some() {
                let message = format!(
                    "in workspace {} this device is not of the user whose key lies here; add the device from the one that holds the key",
                    workspace.id().short()
                );
                return Err(ServiceError::new(ErrorCode::InvalidValue, message));
            }
            if is_own && chosen.iter().all(|other| other.id() != workspace.id()) {
                chosen.push(workspace);
            }
        }
        match chosen.len() {
            0 if self.certificate().user != user => {
                let message = "the user's key is not on this device: run `nodespace device add` on the one that it was made on";
                Err(ServiceError::new(ErrorCode::Forbidden, message))
            }
            0 => {
                let message = "there is no workspace to add a device to: make or join one first";
                Err(ServiceError::new(ErrorCode::NotFound, message))
            }
            count if count > WORKSPACES_MAX => {
                let message = format!(
                    "a device ticket holds at most {WORKSPACES_MAX} workspaces, and there are {count}: name some, and add the device again for the others"
                );
                Err(ServiceError::new(ErrorCode::TooLarge, message))
            }
            _ => Ok(chosen),
        }
    }
}
