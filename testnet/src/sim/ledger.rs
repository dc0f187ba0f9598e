//! What the world knows and no device does: who promised what, who signed what, and what must never have an effect. The checkers
//! compare the devices with it.

use std::collections::{BTreeMap, BTreeSet};

use nodespace_protocol::ids::{DeviceId, LogId, OpHash};

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Failure {
    /// The invariant.
    pub check: &'static str,
    /// What was found.
    pub what: String,
    /// When, in virtual milliseconds.
    pub at_ms: u64,
}

/// The world's own records.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// What stands at each position of honest devices' logs, once it was durable.
    pub(crate) signed: BTreeMap<(LogId, u64), OpHash>,
    /// Operations that an honest device acknowledged to its user, by device.
    pub(crate) acknowledged: BTreeMap<OpHash, usize>,
    /// Of these, ones that a disk of old lost: nobody can keep that promise.
    pub(crate) excused: BTreeSet<OpHash>,
    /// Devices that were removed at some time: what they wrote may be void.
    pub(crate) removed: BTreeSet<DeviceId>,
    /// Operations that nobody may hold, with the reason.
    pub(crate) forged: BTreeMap<OpHash, &'static str>,
    /// Metadata keys that operations without effect would set, with the removal that voids them; `None` when they are forged.
    pub(crate) marks: BTreeMap<String, Option<OpHash>>,
    /// From whom something was changed by the wire on its way to whom.
    pub(crate) garbled: BTreeSet<(DeviceId, usize)>,
    /// Notes for hostile devices: how many marks there are.
    marked: u64,
}

impl Ledger {
    /// A metadata key that nobody else uses, by which an operation's effect can be seen.
    pub(crate) fn mark(&mut self, voided_by: Option<OpHash>) -> String {
        self.marked += 1;
        let key = format!("mark-{}", self.marked);
        self.marks.insert(key.clone(), voided_by);
        key
    }
}
