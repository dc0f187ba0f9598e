//! How a device shows a relay who it is.
//!
//! The relay draws a challenge, opaque bytes that say when and for whom it was drawn. The device signs it together with the name of the relay
//! *it believes to talk to* and the workspace, so that a relay cannot pass somebody else's challenge on. A device that the workspace
//! does not name yet adds a [`LoginCredential`], as in a session ([`crate::session::Credential`]).

use serde::{Deserialize, Serialize};

use super::base64;
use crate::crypto::{BadSignature, Domain, KeyPair, Purpose, Signature, verify};
use crate::ids::{DeviceId, OpHash, RelayId, UserId, WorkspaceId};
use crate::membership::{Certificate, certificate};
use crate::session::Credential;

/// Signs a relay's challenge. `relay` is the relay as the device knows it, not as the challenge came.
pub fn answer(device: &KeyPair, relay: &RelayId, workspace: &WorkspaceId, challenge: &[u8]) -> Signature {
    device.sign(Purpose::Login, &[&relay.0, &workspace.0, &Domain::Challenge.hash(challenge)])
}

/// Checks the answer to a challenge.
///
/// # Errors
/// When it is not the device's, or for another relay, workspace or challenge.
pub fn verify_answer(
    device: &DeviceId,
    relay: &RelayId,
    workspace: &WorkspaceId,
    challenge: &[u8],
    answer: &Signature,
) -> Result<(), BadSignature> {
    verify(&device.0, Purpose::Login, &[&relay.0, &workspace.0, &Domain::Challenge.hash(challenge)], answer)
}

/// A user's word that a device is theirs, as it travels to a relay. See [`Certificate`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginCertificate {
    /// The user.
    pub user_id: UserId,
    /// The device.
    pub device_id: DeviceId,
    /// By the user.
    #[serde(with = "base64")]
    pub signature: Vec<u8>,
}

/// How a device shows that it belongs when no workspace operation names it yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoginCredential {
    /// By an invite.
    Join {
        /// The invite's operation.
        invite: OpHash,
        /// Whose the device is.
        certificate: LoginCertificate,
        /// By the invite's key.
        #[serde(with = "base64")]
        proof: Vec<u8>,
    },
    /// By the user, who is a member; or, for a workspace that the relay does not hold, who brings it.
    Device {
        /// Whose the device is.
        certificate: LoginCertificate,
    },
}

impl From<&Certificate> for LoginCertificate {
    fn from(certificate: &Certificate) -> Self {
        Self { user_id: certificate.user, device_id: certificate.device, signature: certificate.signature.0.to_vec() }
    }
}

impl From<&Credential> for LoginCredential {
    fn from(credential: &Credential) -> Self {
        match credential {
            Credential::Join { invite, certificate, proof } => {
                Self::Join { invite: *invite, certificate: certificate.into(), proof: proof.0.to_vec() }
            }
            Credential::Device(certificate) => Self::Device { certificate: certificate.into() },
        }
    }
}

impl LoginCertificate {
    /// The certificate, if it holds for this device.
    ///
    /// # Errors
    /// When it is for another device or not the user's.
    pub fn verify_for(&self, device: &DeviceId) -> Result<Certificate, BadSignature> {
        let signature = Signature(self.signature.as_slice().try_into().map_err(|_| BadSignature)?);
        let certificate = Certificate { user: self.user_id, device: self.device_id, signature };
        certificate.verify()?;
        if certificate.device == *device { Ok(certificate) } else { Err(BadSignature) }
    }
}

/// Checks a join's proof; answers the certificate it is for. `invite_key` is the invite's public key.
///
/// # Errors
/// When the certificate is not for this device, or the proof was not made with the invite's secret.
pub fn verify_join_credential(
    certificate: &LoginCertificate,
    proof: &[u8],
    (workspace, device): (&WorkspaceId, &DeviceId),
    invite_key: &[u8; 32],
) -> Result<Certificate, BadSignature> {
    let certificate = certificate.verify_for(device)?;
    let proof = Signature(proof.try_into().map_err(|_| BadSignature)?);
    certificate::verify_join(invite_key, workspace, &certificate, &proof)?;
    Ok(certificate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::certificate::join_proof;

    #[test]
    fn an_answer_holds_for_one_relay_workspace_and_challenge() {
        let device = KeyPair::from_seed(&[1; 32]);
        let (relay, workspace) = (RelayId([2; 32]), WorkspaceId([3; 32]));
        let signature = answer(&device, &relay, &workspace, b"challenge");
        let check = |relay: &RelayId, workspace: &WorkspaceId, challenge: &[u8]| {
            verify_answer(&device.device(), relay, workspace, challenge, &signature)
        };
        assert_eq!(check(&relay, &workspace, b"challenge"), Ok(()));
        assert_eq!(check(&RelayId([9; 32]), &workspace, b"challenge"), Err(BadSignature));
        assert_eq!(check(&relay, &WorkspaceId([9; 32]), b"challenge"), Err(BadSignature));
        assert_eq!(check(&relay, &workspace, b"other"), Err(BadSignature));
    }

    #[test]
    fn a_credential_survives_json_and_holds_for_its_device_only() {
        let (user, device, invite) = (KeyPair::from_seed(&[1; 32]), KeyPair::from_seed(&[2; 32]), KeyPair::from_seed(&[3; 32]));
        let workspace = WorkspaceId([4; 32]);
        let issued = Certificate::issue(&user, device.device());
        let proof = join_proof(&invite, &workspace, &issued);
        let credential = LoginCredential::from(&Credential::Join { invite: OpHash([5; 32]), certificate: issued, proof });
        let read: LoginCredential = serde_json::from_str(&serde_json::to_string(&credential).unwrap()).unwrap();
        assert_eq!(read, credential);
        let LoginCredential::Join { certificate, proof, .. } = read else { panic!("a join stays a join") };
        let verify = |device: DeviceId, key| verify_join_credential(&certificate, &proof, (&workspace, &device), &key);
        assert_eq!(verify(device.device(), invite.public()), Ok(issued));
        assert_eq!(verify(user.device(), invite.public()), Err(BadSignature));
        assert_eq!(verify(device.device(), user.public()), Err(BadSignature));
    }
}
