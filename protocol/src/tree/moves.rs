//! Parents: placements take effect in stamp order, whatever order they arrive in.
//!
//! The log holds every placement by stamp. One that comes in at the end takes its turn at once. For one that comes late the log
//! is undone down to its turn and redone from there: undoing restores the node's previous winner, redoing asks the cycle
//! question again. Only placements whose verdict differs from before are noted as changes, so that a late operation is not
//! reported as a change of everything after it.

use super::Tree;
use super::Verdict;
use super::arena::{NONE, State, TOP};
use crate::mutant::{self, Mutant};

impl Tree {
    /// Gives turns to placements that were just admitted, sorted by stamp.
    pub(super) fn replay(&mut self, fresh: &[u32]) {
        let Some(&earliest) = fresh.first() else { return };
        let kept = self.rewind(earliest);
        if let [only] = fresh {
            self.log.insert(kept, *only);
        } else {
            let late = kept < self.log.len();
            self.log.extend_from_slice(fresh);
            if late {
                // Two sorted runs: the standard sort finds them and merges.
                let operations = &self.operations;
                self.log[kept..].sort_by(|&a, &b| operations.stamp(a).cmp(operations.stamp(b)));
            }
        }
        for turn in kept..self.log.len() {
            self.take_turn(self.log[turn]);
        }
    }

    /// Takes placements, sorted by stamp, out of the log. Their places stay for the caller to unlink.
    pub(super) fn replay_without(&mut self, gone: &[u32]) {
        let Some(&earliest) = gone.first() else { return };
        let kept = self.rewind(earliest);
        let mut remaining = gone.iter().copied().peekable();
        let mut standing = kept;
        for turn in kept..self.log.len() {
            let place = self.log[turn];
            if remaining.next_if_eq(&place).is_some() {
                self.note(place, State::Absent);
            } else {
                self.take_turn(place);
                self.log[standing] = place;
                standing += 1;
            }
        }
        self.log.truncate(standing);
    }

    /// Undoes everything from `earliest` on, and says how much of the log is left standing.
    fn rewind(&mut self, earliest: u32) -> usize {
        let stamp = *self.operations.stamp(earliest);
        let mut kept = self.log.len();
        while kept > 0 && *self.operations.stamp(self.log[kept - 1]) >= stamp {
            kept -= 1;
            self.undo(self.log[kept]);
        }
        kept
    }

    /// Restores what was before a placement took effect. Its verdict stays, to be compared with the next one.
    fn undo(&mut self, number: u32) {
        let place = &self.operations.places[number as usize];
        if place.state != State::Applied {
            return;
        }
        let parent = self.operations.places.get(place.previous as usize).map_or(NONE, |previous| previous.parent);
        self.nodes.states[place.node as usize].winner = place.previous;
        self.nodes.set_parent(place.node, parent);
    }

    /// The placement's turn: it takes effect, or would close a cycle.
    fn take_turn(&mut self, number: u32) {
        let place = self.operations.places[number as usize];
        let state = if self.closes_cycle(place.node, place.parent) { State::Skipped } else { State::Applied };
        if state != place.state {
            self.note(number, state);
        }
        self.operations.places[number as usize].state = state;
        if state == State::Applied {
            let winner = &mut self.nodes.states[place.node as usize].winner;
            self.operations.places[number as usize].previous = std::mem::replace(winner, number);
            self.nodes.set_parent(place.node, place.parent);
        }
    }

    /// Whether `parent` is `node` or lies below it.
    pub(super) fn closes_cycle(&self, node: u32, parent: u32) -> bool {
        if mutant::is(Mutant::NoCycleCheck) {
            return false;
        }
        if node == parent {
            return true;
        }
        if !self.nodes.may_have_children(node) {
            return false;
        }
        let mut up = parent;
        while up != TOP && up != NONE {
            if up == node {
                return true;
            }
            up = self.nodes.parent(up);
        }
        false
    }

    /// Notes that a placement is now in another state than before, at its turn and before it takes effect.
    ///
    /// A node's winner changes only by such a change of one of its placements. The old winner and its parent are noted as well: either
    /// the old winner changed state itself, or it was the winner just before the turn of one that did.
    fn note(&mut self, number: u32, state: State) {
        let place = &self.operations.places[number as usize];
        let parent = self.nodes.parent(place.node);
        let winner = self.nodes.states[place.node as usize].winner;
        self.pending.nodes.push(place.node);
        self.pending.parents.push(place.parent);
        self.pending.spots.push(number);
        if parent != NONE {
            self.pending.parents.push(parent);
        }
        if winner != NONE {
            self.pending.spots.push(winner);
        }
        if state == State::Skipped || place.state == State::Skipped {
            self.pending.verdicts.push(number);
        }
    }

    /// What became of an operation here, by number.
    pub(super) fn verdict_of(&self, number: u32) -> Option<Verdict> {
        match self.operations.places[number as usize].state {
            State::Absent | State::Fresh => None,
            State::Applied => Some(Verdict::Applied),
            State::Skipped => Some(Verdict::WouldCycle),
        }
    }
}
