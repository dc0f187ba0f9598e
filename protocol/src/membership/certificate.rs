//! Device certificates: a user's word that a device is theirs.

use super::action;
use crate::crypto::{BadSignature, KeyPair, Purpose, Signature, verify};
use crate::ids::{DeviceId, UserId};
use crate::wire::{self, DecodeError, EncodeResult, Encoder};

/// A user's signature over a device key. Valid in every workspace; it grants nothing by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
    /// By the user over (user, device).
    pub signature: Signature,
}

impl Certificate {
    /// Certifies `device` as the user's.
    pub fn issue(user: &KeyPair, device: DeviceId) -> Self {
        let id = user.user();
        Self { user: id, device, signature: user.sign(Purpose::Device, &[&id.0, &device.0]) }
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// When it is not the user's.
    pub fn verify(&self) -> Result<(), BadSignature> {
        verify(&self.user.0, Purpose::Device, &[&self.user.0, &self.device.0], &self.signature)
    }

    pub(crate) fn encode(&self, e: &mut Encoder<'_>) -> EncodeResult {
        e.array(3)?.bytes(&self.user.0)?.bytes(&self.device.0)?.bytes(&self.signature.0).map(drop)
    }

    pub(crate) fn decode(d: &mut minicbor::Decoder<'_>) -> Result<Self, DecodeError> {
        wire::expect_array(d, 3, "a device certificate")?;
        Ok(Self {
            user: UserId(wire::decode_array(d, "a user key")?),
            device: DeviceId(wire::decode_array(d, "a device key")?),
            signature: Signature(wire::decode_array(d, "a certificate's signature")?),
        })
    }
}

/// The signature that turns an invite into a join.
pub fn join_proof(invite: &KeyPair, workspace: &crate::ids::WorkspaceId, certificate: &Certificate) -> Signature {
    invite.sign(Purpose::Join, &[&workspace.0, &certificate.user.0, &certificate.device.0])
}

/// Checks a join's proof against the invite's public key.
///
/// # Errors
/// When the proof was not made with the invite's secret for this workspace, user and device.
pub fn verify_join(
    invite_key: &[u8; 32],
    workspace: &crate::ids::WorkspaceId,
    certificate: &Certificate,
    proof: &Signature,
) -> Result<(), BadSignature> {
    certificate.verify()?;
    verify(invite_key, Purpose::Join, &[&workspace.0, &certificate.user.0, &certificate.device.0], proof)
}

/// Reads a role's code; shared with tickets.
pub(crate) use action::decode_role;
