//! What workspace operations say, and their bytes.

use super::certificate::Certificate;
use super::{Frontier, Role};
use crate::clock::Timestamp;
use crate::conflict::{Policy, ResolutionStrategy};
use crate::crypto::Signature;
use crate::ids::{DeviceId, LogId, OpHash, UserId};
use crate::log::Head;
use crate::wire::{self, DecodeError, EncodeResult, Encoder};

/// The most logs a removal may name.
pub const FRONTIER_LOGS_MAX: u64 = 4096;
/// The most users of one invite.
pub const INVITE_USES_MAX: u32 = 100_000;
/// The longest workspace name in bytes.
pub const WORKSPACE_NAME_BYTES_MAX: usize = 256;

/// A change of the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkspaceAction {
    /// Founds the workspace; the author's user becomes its owner.
    Genesis {
        /// A name for people.
        name: String,
        /// The founding user's certificate for the founding device.
        certificate: Certificate,
        /// How conflicts are met.
        policy: Policy,
        /// The seed of the workspace secret. Members hold it; it is how a stranger is told from a member before anything is shown.
        secret: [u8; 32],
    },
    /// Makes a user a member.
    AddMember {
        /// Who.
        user: UserId,
        /// As what.
        role: Role,
    },
    /// Ends a user's membership, with all devices.
    RemoveMember {
        /// Who.
        user: UserId,
        /// What had been seen of the user's devices: whatever they did beyond is void.
        seen: Frontier,
    },
    /// Changes a member's role.
    SetRole {
        /// Who.
        user: UserId,
        /// The new role.
        role: Role,
    },
    /// Adds a device of a member; written by another device of the user or by the new one itself.
    AddDevice {
        /// The user's certificate for it.
        certificate: Certificate,
    },
    /// Removes one device.
    RemoveDevice {
        /// Which.
        device: DeviceId,
        /// What had been seen of it.
        seen: Frontier,
    },
    /// Lets whoever holds the secret half of `key` join.
    Invite {
        /// The public half of a one-time key.
        key: [u8; 32],
        /// What joiners become.
        role: Role,
        /// When it ends.
        expires: Timestamp,
        /// How many may join.
        uses: u32,
    },
    /// Ends an invite.
    RevokeInvite {
        /// The invite's operation.
        invite: OpHash,
    },
    /// Joins by an invite; written by the joiner, so any member can check and admit.
    Join {
        /// The invite's operation.
        invite: OpHash,
        /// The joining user's certificate for the joining device.
        certificate: Certificate,
        /// By the invite's key over (workspace, user, device).
        proof: Signature,
    },
    /// Changes how conflicts are met from here on.
    SetPolicy {
        /// The new policy.
        policy: Policy,
    },
    /// Renames the workspace.
    SetName {
        /// The new name.
        name: String,
    },
}

impl WorkspaceAction {
    /// The device that this makes a member's.
    pub const fn device(&self) -> Option<DeviceId> {
        match self {
            Self::Genesis { certificate, .. } | Self::AddDevice { certificate } | Self::Join { certificate, .. } => {
                Some(certificate.device)
            }
            _ => None,
        }
    }

    /// Whether this ends somebody's membership.
    pub const fn is_removal(&self) -> bool {
        matches!(self, Self::RemoveMember { .. } | Self::RemoveDevice { .. })
    }
}

/// Writes an action: an array of its code and its fields.
pub(crate) fn encode(e: &mut Encoder<'_>, action: &WorkspaceAction) -> EncodeResult {
    match action {
        WorkspaceAction::Genesis { name, certificate, policy, secret } => {
            e.array(5)?.u8(0)?.str(name)?;
            certificate.encode(e)?;
            encode_policy(e, policy)?;
            e.bytes(secret)?;
        }
        WorkspaceAction::AddMember { user, role } => {
            e.array(3)?.u8(1)?.bytes(&user.0)?.u8(*role as u8)?;
        }
        WorkspaceAction::RemoveMember { user, seen } => {
            e.array(3)?.u8(2)?.bytes(&user.0)?;
            encode_frontier(e, seen)?;
        }
        WorkspaceAction::SetRole { user, role } => {
            e.array(3)?.u8(3)?.bytes(&user.0)?.u8(*role as u8)?;
        }
        WorkspaceAction::AddDevice { certificate } => {
            e.array(2)?.u8(4)?;
            certificate.encode(e)?;
        }
        WorkspaceAction::RemoveDevice { device, seen } => {
            e.array(3)?.u8(5)?.bytes(&device.0)?;
            encode_frontier(e, seen)?;
        }
        WorkspaceAction::Invite { key, role, expires, uses } => {
            e.array(5)?.u8(6)?.bytes(key)?.u8(*role as u8)?.u64(expires.0)?.u32(*uses)?;
        }
        WorkspaceAction::RevokeInvite { invite } => {
            e.array(2)?.u8(7)?.bytes(&invite.0)?;
        }
        WorkspaceAction::Join { invite, certificate, proof } => {
            e.array(4)?.u8(8)?.bytes(&invite.0)?;
            certificate.encode(e)?;
            e.bytes(&proof.0)?;
        }
        WorkspaceAction::SetPolicy { policy } => {
            e.array(2)?.u8(9)?;
            encode_policy(e, policy)?;
        }
        WorkspaceAction::SetName { name } => {
            e.array(2)?.u8(10)?.str(name)?;
        }
    }
    Ok(())
}

/// Reads an action.
pub(crate) fn decode(d: &mut minicbor::Decoder<'_>) -> Result<WorkspaceAction, DecodeError> {
    const WHAT: &str = "a workspace action";
    let cbor = DecodeError::cbor(WHAT);
    let len = wire::bounded_array(d, 5, WHAT)?;
    let code = d.u8().map_err(&cbor)?;
    let expected = [5, 3, 3, 3, 2, 3, 5, 2, 4, 2, 2].get(usize::from(code));
    if expected.is_none_or(|expected| *expected != len) {
        return Err(DecodeError::Invalid("unknown workspace action, or a wrong number of fields"));
    }
    Ok(match code {
        0 => WorkspaceAction::Genesis {
            name: decode_name(d)?,
            certificate: Certificate::decode(d)?,
            policy: decode_policy(d)?,
            secret: wire::decode_array(d, "a workspace secret")?,
        },
        1 => WorkspaceAction::AddMember { user: decode_user(d)?, role: decode_role(d)? },
        2 => WorkspaceAction::RemoveMember { user: decode_user(d)?, seen: decode_frontier(d)? },
        3 => WorkspaceAction::SetRole { user: decode_user(d)?, role: decode_role(d)? },
        4 => WorkspaceAction::AddDevice { certificate: Certificate::decode(d)? },
        5 => WorkspaceAction::RemoveDevice { device: DeviceId(wire::decode_array(d, "a device key")?), seen: decode_frontier(d)? },
        6 => decode_invite(d)?,
        7 => WorkspaceAction::RevokeInvite { invite: OpHash(wire::decode_array(d, "an invite")?) },
        8 => WorkspaceAction::Join {
            invite: OpHash(wire::decode_array(d, "an invite")?),
            certificate: Certificate::decode(d)?,
            proof: Signature(wire::decode_array(d, "a join proof")?),
        },
        9 => WorkspaceAction::SetPolicy { policy: decode_policy(d)? },
        _ => WorkspaceAction::SetName { name: decode_name(d)? },
    })
}

fn decode_invite(d: &mut minicbor::Decoder<'_>) -> Result<WorkspaceAction, DecodeError> {
    let cbor = DecodeError::cbor("an invite");
    let key = wire::decode_array(d, "an invite key")?;
    let role = decode_role(d)?;
    let expires = Timestamp(d.u64().map_err(&cbor)?);
    let uses = d.u32().map_err(&cbor)?;
    if uses == 0 || uses > INVITE_USES_MAX {
        return Err(DecodeError::TooLarge { what: "the uses of an invite", found: uses.into(), max: INVITE_USES_MAX.into() });
    }
    Ok(WorkspaceAction::Invite { key, role, expires, uses })
}

/// Whether a workspace may have this name: what a reader of its operation will refuse is not to be written.
///
/// # Errors
/// When the name is empty, too long, or holds a control character; with words for whoever gave it.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    match () {
        () if name.is_empty() => Err("a workspace needs a name"),
        () if name.len() > WORKSPACE_NAME_BYTES_MAX => Err("a workspace name has at most 256 bytes"),
        () if name.chars().any(char::is_control) => Err("a workspace name has no control characters"),
        () => Ok(()),
    }
}

fn decode_name(d: &mut minicbor::Decoder<'_>) -> Result<String, DecodeError> {
    let name = d.str().map_err(DecodeError::cbor("a workspace name"))?;
    if name.len() > WORKSPACE_NAME_BYTES_MAX {
        let found = name.len() as u64;
        return Err(DecodeError::TooLarge { what: "bytes of a workspace name", found, max: WORKSPACE_NAME_BYTES_MAX as u64 });
    }
    if name.chars().any(char::is_control) {
        return Err(DecodeError::Invalid("a workspace name has no control characters"));
    }
    Ok(name.to_owned())
}

fn decode_user(d: &mut minicbor::Decoder<'_>) -> Result<UserId, DecodeError> {
    wire::decode_array(d, "a user key").map(UserId)
}

pub(crate) fn decode_role(d: &mut minicbor::Decoder<'_>) -> Result<Role, DecodeError> {
    let code = d.u8().map_err(DecodeError::cbor("a role"))?;
    Role::ALL.get(usize::from(code)).copied().ok_or(DecodeError::Invalid("unknown role"))
}

fn encode_policy(e: &mut Encoder<'_>, policy: &Policy) -> EncodeResult {
    let strategies = [policy.concurrent_edit, policy.structural, policy.delete, policy.r#move, policy.metadata];
    e.array(strategies.len() as u64)?;
    strategies.iter().try_for_each(|strategy| e.u8(*strategy as u8).map(drop))
}

fn decode_policy(d: &mut minicbor::Decoder<'_>) -> Result<Policy, DecodeError> {
    wire::expect_array(d, 5, "a policy")?;
    let mut next = || {
        let code = d.u8().map_err(DecodeError::cbor("a strategy"))?;
        ResolutionStrategy::ALL.get(usize::from(code)).copied().ok_or(DecodeError::Invalid("unknown resolution strategy"))
    };
    Ok(Policy { concurrent_edit: next()?, structural: next()?, delete: next()?, r#move: next()?, metadata: next()? })
}

fn encode_frontier(e: &mut Encoder<'_>, frontier: &Frontier) -> EncodeResult {
    e.array(frontier.len() as u64)?;
    frontier
        .iter()
        .try_for_each(|(log, head)| e.array(4)?.bytes(&log.device.0)?.u32(log.epoch)?.u64(head.seq)?.bytes(&head.hash.0).map(drop))
}

fn decode_frontier(d: &mut minicbor::Decoder<'_>) -> Result<Frontier, DecodeError> {
    const WHAT: &str = "a removal's frontier";
    let count = wire::bounded_array(d, FRONTIER_LOGS_MAX, "logs in a removal's frontier")?;
    let mut frontier = Frontier::new();
    for _ in 0..count {
        wire::expect_array(d, 4, WHAT)?;
        let device = DeviceId(wire::decode_array(d, WHAT)?);
        let log = LogId { device, epoch: d.u32().map_err(DecodeError::cbor(WHAT))? };
        let seq = d.u64().map_err(DecodeError::cbor(WHAT))?;
        let head = Head { seq, hash: OpHash(wire::decode_array(d, WHAT)?) };
        if frontier.last().is_some_and(|last| *last >= (log, head)) {
            return Err(DecodeError::Invalid("a frontier is strictly ascending"));
        }
        frontier.push((log, head));
    }
    Ok(frontier)
}
