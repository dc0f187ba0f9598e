//! What membership does to operations that are stored: which of them have no effect, and what to fold again when that changes.

use std::collections::BTreeSet;

use super::Replica;
use crate::conflict::ResolutionStrategy;
use crate::ids::{LogId, NodeId, OpHash};
use crate::log::{Head, Log, LogTable, VoidRange};
use crate::membership::Membership;
use crate::mutant::{self, Mutant};
use crate::store::{Store, StoreError};

/// Whether `(log, seq, hash)` lies on the way to `head`. While `head` itself is not held, positions up to it are taken to.
pub(crate) fn on_path<S: Store>(store: &S, logs: &LogTable, log: LogId, seq: u64, hash: &OpHash, head: &Head) -> bool {
    let Some(entry) = logs.get(&log).filter(|log| log.is_forked()) else { return seq <= head.seq };
    let hash_of = |index| store.op(index).map(|op| op.hash);
    let Ok(Some(branch)) = entry.find(head.seq, &head.hash, hash_of) else { return seq <= head.seq };
    entry.on_path(branch, seq).is_some_and(|index| hash_of(index).is_ok_and(|found| found == *hash))
}

/// Borrows the test that membership needs of the logs.
macro_rules! on_path_of {
    ($replica:expr) => {
        &|log, seq, hash: &$crate::ids::OpHash, head: &$crate::log::Head| {
            $crate::replica::standing::on_path(&$replica.store, &$replica.logs, log, seq, hash, head)
        }
    };
}
pub(crate) use on_path_of;

impl<S: Store> Replica<S> {
    /// Judges all stored operations again after the membership graph or a log's branches changed.
    pub(crate) fn restand(&mut self) -> Result<(), StoreError> {
        self.membership.reevaluate(on_path_of!(self));
        let mut flipped: BTreeSet<NodeId> = BTreeSet::new();
        let ids: Vec<LogId> = self.logs.iter().map(|(id, _)| *id).collect();
        for id in ids {
            self.restand_log(id, &mut flipped)?;
        }
        let slots: BTreeSet<u32> = flipped.iter().filter_map(|node| self.nodes.find(node)).collect();
        for slot in slots {
            self.refold(slot)?;
        }
        self.follow_policy()
    }

    fn restand_log(&mut self, id: LogId, flipped: &mut BTreeSet<NodeId>) -> Result<(), StoreError> {
        let Some(log) = self.logs.get(&id) else { return Ok(()) };
        let judged: Vec<Vec<VoidRange>> =
            (0..log.branches().len()).map(|branch| void_ranges(&self.store, &self.membership, id, log, branch)).collect();
        for (branch, ranges) in judged.into_iter().enumerate() {
            let Some(entry) = self.logs.get(&id).and_then(|log| log.branches().get(branch)) else { continue };
            if entry.void == ranges {
                continue;
            }
            for seq in entry.first_seq..=entry.last_seq() {
                let was = entry.is_void(seq);
                let is = ranges.iter().any(|range| (range.from..=range.through).contains(&seq));
                if was != is
                    && let Some(index) = entry.get(seq)
                    && !self.unfolded.contains(&index)
                {
                    flipped.extend(self.store.op(index)?.header.node.clone());
                }
            }
            if let Some(log) = self.logs.get_mut(&id) {
                log.branches_mut()[branch].void = ranges;
            }
        }
        Ok(())
    }

    /// Keeps the void ranges of one branch after operations were appended under a new cut.
    pub(crate) fn judge_branch(&mut self, id: LogId, branch: usize) {
        let Some(log) = self.logs.get(&id) else { return };
        let ranges = void_ranges(&self.store, &self.membership, id, log, branch);
        if let Some(log) = self.logs.get_mut(&id) {
            log.branches_mut()[branch].void = ranges;
        }
    }

    /// Notices a change of how text is merged, and merges what is apart by the new rule.
    fn follow_policy(&mut self) -> Result<(), StoreError> {
        let strategy = self.membership.only_text_strategy();
        let live = strategy.unwrap_or_else(|| self.membership.policy().concurrent_edit);
        let was = self.text_strategy;
        self.text_strategy = strategy;
        if was == strategy && strategy == Some(ResolutionStrategy::OperationalTransform) {
            return Ok(());
        }
        if self.live_text_strategy == live && was == strategy {
            return Ok(());
        }
        self.live_text_strategy = live;
        let apart: Vec<u32> = self.nodes.iter().filter(|(_, _, facts)| facts.is_apart()).map(|(slot, ..)| slot).collect();
        for slot in apart {
            self.open_texts.insert(slot, Box::new(crate::fold::text::OpenText::Whole));
            self.texts_pending.insert(slot);
        }
        self.settle()
    }
}

/// What of a branch has no effect.
fn void_ranges<S: Store>(store: &S, membership: &Membership, id: LogId, log: &Log, branch: usize) -> Vec<VoidRange> {
    let entry = &log.branches()[branch];
    if entry.ops.is_empty() || mutant::is(Mutant::NoStrongRemoval) {
        return Vec::new();
    }
    let mut runs: Vec<(u64, crate::membership::CutId)> = entry.cuts.clone();
    if runs.first().is_none_or(|(from, _)| *from > entry.first_seq)
        && let Some(cut) = log.cut_at(branch, entry.first_seq)
    {
        runs.insert(0, (entry.first_seq, cut));
    }
    let mut ranges = Vec::new();
    for (at, (from, cut)) in runs.iter().enumerate() {
        let through = runs.get(at + 1).map_or(u64::MAX, |(next, _)| next - 1);
        let standing = membership.standing(*cut, id);
        let covered = standing.removals.iter().map(|head| head.map_or(0, |head| covered_through(store, log, branch, &head))).min();
        if let Some(covered) = covered
            && covered < through
        {
            ranges.push(VoidRange { from: covered.saturating_add(1).max(*from), through });
        }
        if !standing.can_write {
            ranges.push(VoidRange { from: *from, through });
        }
    }
    ranges
}

/// How far along the path to `branch` a removal's head reaches.
fn covered_through<S: Store>(store: &S, log: &Log, branch: usize, head: &Head) -> u64 {
    if !log.is_forked() {
        return head.seq;
    }
    let Ok(Some(named)) = log.find(head.seq, &head.hash, |index| store.op(index).map(|op| op.hash)) else { return head.seq };
    let path = log.path(branch);
    if path.contains(&named) {
        return head.seq;
    }
    // Another branch: what both share counts.
    let shared = log.path(named).into_iter().rfind(|other| path.contains(other));
    shared.map_or(0, |shared| log.branches()[shared].last_seq())
}
