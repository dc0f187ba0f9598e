//! A relay's signed word on its log, and the hash that runs over it.
//!
//! ```text
//! running(0)     = 32 zero bytes
//! running(v + 1) = H.relay log (running(v) | hash of the operation with version v + 1)
//! checkpoint     = (workspace, epoch, version, running(version)), signed by the relay's key
//! ```
//!
//! Whoever follows the log computes the same hash from the operations it was given. A relay that shows two devices different logs, or takes
//! back what it said, signs a checkpoint that does not fit the one before; the two together prove it.

use serde::{Deserialize, Serialize};

use super::base64;
use super::packet::Cursor;
use crate::crypto::{BadSignature, Domain, KeyPair, Purpose, Signature, verify};
use crate::ids::{OpHash, RelayId, WorkspaceId};

/// The hash over all operations of a relay's log up to a version, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunningHash(pub [u8; 32]);

impl RunningHash {
    /// The hash with one operation more.
    #[must_use]
    pub fn then(&self, op: &OpHash) -> Self {
        Self(*Domain::RelayLog.hasher().update(&self.0).update(&op.0).finalize().as_bytes())
    }

    /// The hash with some operations more, in this order.
    #[must_use]
    pub fn after<'a>(self, ops: impl IntoIterator<Item = &'a OpHash>) -> Self {
        ops.into_iter().fold(self, |running, op| running.then(op))
    }
}

/// A relay's signed word on its log: two that differ for one version of one epoch prove that it told two stories.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The workspace.
    pub workspace_id: WorkspaceId,
    /// The incarnation of the log.
    pub epoch: u64,
    /// How far it reaches.
    pub version: u64,
    /// The hash over all operations up to there, in order: a [`RunningHash`], 32 bytes.
    #[serde(with = "base64")]
    pub running_hash: Vec<u8>,
    /// The relay's signature.
    #[serde(with = "base64")]
    pub signature: Vec<u8>,
}

impl Checkpoint {
    /// Signs what a log is as of a version.
    pub fn sign(relay: &KeyPair, workspace: WorkspaceId, at: Cursor, running: RunningHash) -> Self {
        let statement = statement(&workspace, at.epoch, at.version, &running.0);
        let signature = relay.sign(Purpose::Checkpoint, &[&workspace.0, &statement]);
        Self {
            workspace_id: workspace,
            epoch: at.epoch,
            version: at.version,
            running_hash: running.0.to_vec(),
            signature: signature.0.to_vec(),
        }
    }

    /// Checks the signature.
    ///
    /// # Errors
    /// When it is not this relay's.
    pub fn verify(&self, relay: &RelayId) -> Result<(), BadSignature> {
        let signature = Signature(self.signature.as_slice().try_into().map_err(|_| BadSignature)?);
        let statement = statement(&self.workspace_id, self.epoch, self.version, &self.running_hash);
        verify(&relay.0, Purpose::Checkpoint, &[&self.workspace_id.0, &statement], &signature)
    }

    /// Where in the log it stands.
    pub const fn cursor(&self) -> Cursor {
        Cursor { epoch: self.epoch, version: self.version }
    }
}

fn statement(workspace: &WorkspaceId, epoch: u64, version: u64, running: &[u8]) -> [u8; 32] {
    Domain::Checkpoint.hash_parts(&[&workspace.0, &epoch.to_le_bytes(), &version.to_le_bytes(), running])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_holds_for_what_was_signed_only() {
        let relay = KeyPair::from_seed(&[1; 32]);
        let running = RunningHash::default().after(&[OpHash([2; 32]), OpHash([3; 32])]);
        assert_eq!(running, RunningHash::default().then(&OpHash([2; 32])).then(&OpHash([3; 32])));
        let signed = Checkpoint::sign(&relay, WorkspaceId([4; 32]), Cursor { epoch: 5, version: 2 }, running);
        assert_eq!(signed.verify(&relay.relay()), Ok(()));
        assert_eq!(signed.verify(&KeyPair::from_seed(&[9; 32]).relay()), Err(BadSignature));
        let lies: [fn(&mut Checkpoint); 5] = [
            |lie| lie.workspace_id.0[0] ^= 1,
            |lie| lie.epoch += 1,
            |lie| lie.version += 1,
            |lie| lie.running_hash[31] ^= 1,
            |lie| lie.signature.truncate(63),
        ];
        for lie in lies {
            let mut lied = signed.clone();
            lie(&mut lied);
            assert_eq!(lied.verify(&relay.relay()), Err(BadSignature));
        }
    }
}
