//! Frontiers: how far each log is held. The vector clock of a workspace.

use crate::crypto::Domain;
use crate::ids::LogId;
use crate::log::Head;

/// The ends of one log's branches, ascending; one unless the log is forked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FrontierEntry {
    /// Which log.
    pub log: LogId,
    /// The last operation of every branch.
    pub heads: Vec<Head>,
}

impl FrontierEntry {
    /// The greatest sequence number.
    pub fn last_seq(&self) -> u64 {
        self.heads.iter().map(|head| head.seq).max().unwrap_or(0)
    }

    /// A short hash of this entry, for range fingerprints.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut hasher = Domain::Fingerprint.hasher();
        hash_entry(&mut hasher, self);
        *hasher.finalize().as_bytes()
    }
}

fn hash_entry(hasher: &mut blake3::Hasher, entry: &FrontierEntry) {
    hasher.update(&entry.log.device.0).update(&entry.log.epoch.to_le_bytes());
    hasher.update(&(entry.heads.len() as u64).to_le_bytes());
    for head in &entry.heads {
        hasher.update(&head.seq.to_le_bytes()).update(&head.hash.0);
    }
}

/// The 32 bytes by which two devices learn whether they hold the same operations. Entries ascend by log.
pub fn digest(entries: &[FrontierEntry]) -> [u8; 32] {
    let mut hasher = Domain::Frontier.hasher();
    entries.iter().for_each(|entry| hash_entry(&mut hasher, entry));
    *hasher.finalize().as_bytes()
}

/// Operations that `theirs` lacks of a log whose end is `ours`, when neither is forked.
pub fn missing(ours: &FrontierEntry, theirs: Option<&FrontierEntry>) -> u64 {
    ours.last_seq().saturating_sub(theirs.map_or(0, FrontierEntry::last_seq))
}
