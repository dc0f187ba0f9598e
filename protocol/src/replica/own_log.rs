//! What others prove of this device's own log.
//!
//! A store that was set back to an earlier state does not know it, and would sign a second operation for a position it has signed before.
//! So peers say how far they hold this device's logs, and what it has lost comes back before it writes again. Their word alone counts for
//! nothing: anybody could stop all writing by it. What counts is the header of an operation, whose hash commits to the log and the
//! position, with a signature over that hash, which nobody but this device can make.

use std::cmp::Reverse;

use super::Replica;
use crate::crypto::{Purpose, Signature, verify};
use crate::ids::{DeviceId, WorkspaceId};
use crate::log::Log;
use crate::mutant::{self, Mutant};
use crate::op::Header;
use crate::store::Store;

/// Says how far a device has written one of its logs, and proves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogClaim {
    /// The workspace that the header names; of no account in a genesis, which names none.
    pub workspace: WorkspaceId,
    /// The header of the last operation over which a signature is held.
    pub header: Header,
    /// Over its hash, by the log's device.
    pub signature: Signature,
}

impl LogClaim {
    /// Whether the log's device has signed this operation, in this workspace.
    fn holds(&self, workspace: &WorkspaceId) -> bool {
        let hash = self.header.hash(workspace, &mut Vec::new());
        // A genesis belongs to the workspace that has its hash for a name.
        let is_of_here = !self.header.is_genesis() || hash.0 == workspace.0;
        is_of_here && verify(&self.header.log.device.0, Purpose::Operation, &[&hash.0], &self.signature).is_ok()
    }
}

/// A claim to hold more of this device's own log than is held here, which its proof does not bear out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FalseClaim {
    /// Up to where.
    pub(crate) seq: u64,
}

impl<S: Store> Replica<S> {
    /// How far the logs of a device are held, provably: of each the last operation that is durable and signed. Of more than `max` logs
    /// those that were written last.
    pub(crate) fn claims_of(&self, device: &DeviceId, max: usize) -> Vec<LogClaim> {
        let logs = self.logs.iter().filter(|(id, _)| id.device == *device);
        let mut claims: Vec<LogClaim> = logs.filter_map(|(_, log)| self.claim(log)).collect();
        claims.sort_by_key(|claim| Reverse(claim.header.timestamp));
        claims.truncate(max);
        claims
    }

    fn claim(&self, log: &Log) -> Option<LogClaim> {
        let ends = log.branches().iter().filter_map(|branch| {
            branch.signatures.iter().rev().find_map(|(seq, signature)| {
                let index = branch.get(*seq).filter(|index| index.0 < self.durable)?;
                Some((*seq, index, *signature))
            })
        });
        let (_, index, signature) = ends.max_by_key(|(seq, ..)| *seq)?;
        // What cannot be read is not claimed.
        let op = self.store.op(index).ok()?;
        Some(LogClaim { workspace: self.workspace, header: op.header.clone(), signature })
    }

    /// Takes note of what a peer proves to hold of this device's own log. Answers whether more turned out to be lost than was known.
    ///
    /// # Errors
    /// When a claim that would matter is false, or is about somebody else's log.
    pub(crate) fn note_own_log(&mut self, claims: &[LogClaim]) -> Result<bool, FalseClaim> {
        let Some(own) = self.own_log() else { return Ok(false) };
        let mut grown = false;
        for claim in claims {
            let (log, seq) = (claim.header.log, claim.header.seq);
            let is_news = log == own && seq > self.own_log_held().max(self.own_log_seen);
            let is_false = is_news && !claim.holds(&self.workspace) && !mutant::is(Mutant::UnprovenClaims);
            if log.device != own.device || is_false {
                return Err(FalseClaim { seq });
            }
            if is_news {
                self.own_log_seen = seq;
                grown = true;
            }
        }
        Ok(grown)
    }

    /// Whether a peer has proved to hold more of this device's own log than is held here; writing is refused until that has come back.
    pub fn is_own_log_behind(&self) -> bool {
        self.own_log_held() < self.own_log_seen
    }

    fn own_log_held(&self) -> u64 {
        self.own_log().and_then(|own| self.logs.get(&own)).map_or(0, Log::last_seq)
    }
}
