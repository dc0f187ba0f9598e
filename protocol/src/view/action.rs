//! Workspace actions as JSON: what happened, without secrets and signatures.

use serde_json::{Value, json};

use crate::ids::LogId;
use crate::log::Head;
use crate::membership::{Certificate, Frontier, WorkspaceAction};

/// One member, named after the action, with what a person may know of it. The workspace secret and proofs are left out: they
/// are in the operation's payload, which a view does not replace.
pub(super) fn describe(action: &WorkspaceAction) -> Value {
    match action {
        WorkspaceAction::Genesis { name, certificate, policy, secret: _ } => {
            json!({ "Genesis": { "name": name, "certificate": certified(certificate), "policy": policy } })
        }
        WorkspaceAction::AddMember { user, role } => json!({ "AddMember": { "user_id": user, "role": role } }),
        WorkspaceAction::RemoveMember { user, seen } => json!({ "RemoveMember": { "user_id": user, "seen": frontier(seen) } }),
        WorkspaceAction::SetRole { user, role } => json!({ "SetRole": { "user_id": user, "role": role } }),
        WorkspaceAction::AddDevice { certificate } => json!({ "AddDevice": { "certificate": certified(certificate) } }),
        WorkspaceAction::RemoveDevice { device, seen } => {
            json!({ "RemoveDevice": { "device_id": device, "seen": frontier(seen) } })
        }
        WorkspaceAction::Invite { key: _, role, expires, uses } => {
            json!({ "Invite": { "role": role, "expires": super::describe::datetime(*expires), "uses": uses } })
        }
        WorkspaceAction::RevokeInvite { invite } => json!({ "RevokeInvite": { "invite": invite } }),
        WorkspaceAction::Join { invite, certificate, proof: _ } => {
            json!({ "Join": { "invite": invite, "certificate": certified(certificate) } })
        }
        WorkspaceAction::SetPolicy { policy } => json!({ "SetPolicy": { "policy": policy } }),
        WorkspaceAction::SetName { name } => json!({ "SetName": { "name": name } }),
    }
}

fn certified(certificate: &Certificate) -> Value {
    json!({ "user_id": certificate.user, "device_id": certificate.device })
}

fn frontier(seen: &Frontier) -> Value {
    seen.iter().map(|(log, head)| end_of(log, head)).collect()
}

fn end_of(log: &LogId, head: &Head) -> Value {
    json!({ "device_id": log.device, "log_epoch": log.epoch, "sequence": head.seq, "checksum": head.hash })
}
