//! Founding, joining and changing a workspace.

use super::write::{Draft, WriteError};
use super::{Author, Replica};
use crate::clock::Timestamp;
use crate::conflict::Policy;
use crate::crypto::KeyPair;
use crate::ids::{DeviceId, OpHash, UserId, WorkspaceId};
use crate::membership::action::check_name;
use crate::membership::certificate::join_proof;
use crate::membership::{Certificate, Role, Ticket, WorkspaceAction};
use crate::op::{BlobRef, Header, Op, OpType, Payload, payload_hash};
use crate::store::Store;

/// What a workspace starts with.
#[derive(Clone, Debug)]
pub struct Founding {
    /// A name for people.
    pub name: String,
    /// How conflicts are met.
    pub policy: Policy,
    /// 32 random bytes.
    pub secret: [u8; 32],
}

impl Founding {
    /// The id that the workspace will have when [`Replica::found`] is called with the same arguments: a driver that keeps each workspace
    /// in a folder of its own needs the name first.
    pub fn workspace_id(&self, author: &Author, certificate: Certificate, now: Timestamp) -> WorkspaceId {
        WorkspaceId(genesis_hash(author, &self.payload(certificate), now).0)
    }

    fn payload(&self, certificate: Certificate) -> Payload {
        let Self { name, policy, secret } = self.clone();
        Payload { action: Some(Box::new(WorkspaceAction::Genesis { name, certificate, policy, secret })), ..Payload::default() }
    }
}

impl<S: Store> Replica<S> {
    /// Founds a workspace: the author's user, certified by `certificate`, becomes its owner.
    ///
    /// # Errors
    /// When the certificate is not for this device, the name is not allowed, or storage fails.
    pub fn found(store: S, author: Author, certificate: Certificate, founding: Founding, now: Timestamp) -> Result<Self, WriteError> {
        check_name(&founding.name).map_err(WriteError::Invalid)?;
        let payload = founding.payload(certificate);
        let workspace = genesis_hash(&author, &payload, now);
        let mut replica = Self::open(WorkspaceId(workspace.0), store, Some(author), now)?;
        replica.write(now, Draft { kind: OpType::Workspace, node: None, payload, attachment: None })?;
        Ok(replica)
    }

    /// Makes a change of the workspace.
    ///
    /// # Errors
    /// When this device's user may not make it, or a new name is not allowed.
    pub fn change_workspace(&mut self, now: Timestamp, action: WorkspaceAction) -> Result<OpHash, WriteError> {
        if let WorkspaceAction::SetName { name } = &action {
            check_name(name).map_err(WriteError::Invalid)?;
        }
        let payload = Payload { action: Some(Box::new(action)), ..Payload::default() };
        self.write(now, Draft { kind: OpType::Workspace, node: None, payload, attachment: None })
    }

    /// Invites: answers a ticket to hand over. `key` is a fresh one-time key pair.
    ///
    /// # Errors
    /// When this device's user is no owner.
    pub fn invite(&mut self, now: Timestamp, key: &KeyPair, role: Role, expires: Timestamp, uses: u32) -> Result<Ticket, WriteError> {
        if uses == 0 || uses > crate::membership::action::INVITE_USES_MAX {
            return Err(WriteError::Invalid("an invite is for 1 to 100,000 joins"));
        }
        let secret = self.membership.secret().ok_or(WriteError::NotMember)?;
        let invite = self.change_workspace(now, WorkspaceAction::Invite { key: key.public(), role, expires, uses })?;
        Ok(Ticket { workspace: self.workspace, invite, key: key.clone(), secret, role, expires, addresses: Vec::new(), relay: None })
    }

    /// Joins by a ticket, once the workspace's operations have been received from the member that admitted this device.
    ///
    /// # Errors
    /// When the invite ended, was used up, or is not known here yet.
    pub fn join(&mut self, now: Timestamp, ticket: &Ticket, certificate: Certificate) -> Result<OpHash, WriteError> {
        let proof = join_proof(&ticket.key, &self.workspace, &certificate);
        self.change_workspace(now, WorkspaceAction::Join { invite: ticket.invite, certificate, proof })
    }

    /// Removes a member with all devices; what they do beyond what is seen here is void.
    ///
    /// # Errors
    /// When this device's user is no owner (members may remove themselves).
    pub fn remove_member(&mut self, now: Timestamp, user: UserId) -> Result<OpHash, WriteError> {
        let devices: Vec<DeviceId> =
            self.membership.members().into_iter().filter(|member| member.user == user).flat_map(|member| member.devices).collect();
        let seen = self.seen_of(&devices);
        self.change_workspace(now, WorkspaceAction::RemoveMember { user, seen })
    }

    /// Removes one device; what it does beyond what is seen here is void.
    ///
    /// # Errors
    /// When this device's user is neither an owner nor the device's user.
    pub fn remove_device(&mut self, now: Timestamp, device: DeviceId) -> Result<OpHash, WriteError> {
        let seen = self.seen_of(&[device]);
        self.change_workspace(now, WorkspaceAction::RemoveDevice { device, seen })
    }
}

/// The hash the genesis will have: written first into a fresh log, with fresh clocks.
fn genesis_hash(author: &Author, payload: &Payload, now: Timestamp) -> OpHash {
    let bytes = payload.encode();
    let (timestamp, version) = crate::clock::Clocks::default().tick(now, (Timestamp::ZERO, 0));
    let header = Header {
        log: author.log(),
        seq: 1,
        previous: None,
        node: None,
        kind: OpType::Workspace,
        timestamp,
        version,
        parent_version: None,
        parents: smallvec::SmallVec::new(),
        cut: None,
        payload: BlobRef { hash: payload_hash(&bytes), len: bytes.len() as u32, encryption: 0 },
        attachment: None,
    };
    Op::new(&WorkspaceId([0; 32]), header, bytes.into(), None).hash
}
