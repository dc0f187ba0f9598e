//! Fork proofs: that a device signed two operations for one position, shown to anybody.

use crate::crypto::{Purpose, Signature, verify};
use crate::ids::{LogId, OpHash, WorkspaceId};
use crate::op::Header;

/// The most headers one branch of a proof may have.
pub const CHAIN_MAX: usize = 4096;

/// One branch of a fork: the headers from the first divergent operation to one that was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedChain {
    /// In log order; never empty.
    pub headers: Vec<Header>,
    /// Over the last header's hash.
    pub signature: Signature,
}

/// Two signed chains from one predecessor that differ in their first operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForkProof {
    /// The log.
    pub log: LogId,
    /// The two branches, the lesser first hash first.
    pub branches: [SignedChain; 2],
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForkProofError {
    /// Empty, too long, or of different logs or positions.
    #[error("the branches of a fork proof start at one position of one log")]
    Shape,
    /// A header does not follow from the one before it.
    #[error("the headers of a fork proof do not form a chain")]
    Chain,
    /// Both branches are the same.
    #[error("the branches of a fork proof do not differ")]
    Same,
    /// A branch is not signed by the log's device.
    #[error("a branch of a fork proof is not signed by its device")]
    Signature,
}

impl SignedChain {
    fn check(&self, workspace: &WorkspaceId, log: LogId) -> Result<OpHash, ForkProofError> {
        if self.headers.is_empty() || self.headers.len() > CHAIN_MAX || self.headers.iter().any(|header| header.log != log) {
            return Err(ForkProofError::Shape);
        }
        let mut scratch = Vec::new();
        let hashes: Vec<OpHash> = self.headers.iter().map(|header| header.hash(workspace, &mut scratch)).collect();
        for (before, (header, hash)) in self.headers.windows(2).zip(&hashes).map(|(pair, hash)| (&pair[0], (&pair[1], hash))) {
            if header.previous != Some(*hash) || header.seq != before.seq + 1 {
                return Err(ForkProofError::Chain);
            }
        }
        let last = hashes.last().ok_or(ForkProofError::Shape)?;
        verify(&log.device.0, Purpose::Operation, &[&last.0], &self.signature).map_err(|_| ForkProofError::Signature)?;
        Ok(hashes[0])
    }
}

impl ForkProof {
    /// Checks the proof; it needs nothing but itself.
    ///
    /// # Errors
    /// When it does not show two operations signed for one position.
    pub fn verify(&self, workspace: &WorkspaceId) -> Result<(), ForkProofError> {
        let [a, b] = &self.branches;
        let (first_a, first_b) = (a.headers.first().ok_or(ForkProofError::Shape)?, b.headers.first().ok_or(ForkProofError::Shape)?);
        if first_a.seq != first_b.seq || first_a.previous != first_b.previous {
            return Err(ForkProofError::Shape);
        }
        if a.check(workspace, self.log)? == b.check(workspace, self.log)? {
            return Err(ForkProofError::Same);
        }
        Ok(())
    }
}
