//! References in order, each with the time at which it has waited long enough.

use std::collections::VecDeque;

use super::OpRef;

/// What waits to be sent. Positions ascend.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<(OpRef, u64)>,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// When the first has waited long enough.
    pub(super) fn first_due(&self) -> Option<u64> {
        self.waiting.front().map(|(_, due)| *due)
    }

    /// Adds one that is newer than all.
    pub(super) fn push_back(&mut self, operation: OpRef, due: u64) {
        self.waiting.push_back((operation, due));
    }

    /// Puts some back that are older than all.
    pub(super) fn put_back(&mut self, operations: &[OpRef], due: u64) {
        for operation in operations.iter().rev() {
            self.waiting.push_front((*operation, due));
        }
    }

    /// The oldest, at most so many.
    pub(super) fn take(&mut self, most: usize) -> Vec<OpRef> {
        let count = self.waiting.len().min(most);
        self.waiting.drain(..count).map(|(operation, _)| operation).collect()
    }

    /// Those through a position need not be sent any more.
    pub(super) fn drop_through(&mut self, position: u64) {
        self.waiting.retain(|(operation, _)| operation.position > position);
    }

    /// None waits for company.
    pub(super) fn make_due(&mut self, now: u64) {
        for (_, due) in &mut self.waiting {
            *due = (*due).min(now);
        }
    }
}
