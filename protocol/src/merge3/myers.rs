//! The shortest edit script between two sequences of numbered tokens.
//!
//! Myers, *An O(ND) Difference Algorithm and Its Variations*, Algorithmica 1986, section 4b: search from both ends at once for
//! the middle of a shortest script, then do the same on either side of it. Linear space; the search from either end keeps, for
//! every diagonal, how far it came. No heuristic: the script is always a shortest one, and ties are broken the same way
//! everywhere.
//!
//! Tokens that only one side has are set aside first. They are in every script, so this changes no length, and makes unlike texts
//! cheap.

use std::collections::BTreeSet;
use std::ops::Range;

/// For both sequences, which tokens a shortest script deletes or inserts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) old: Vec<bool>,
    pub(super) new: Vec<bool>,
}

/// Compares two sequences. When that costs more than `cost_max` (see [`super::EDIT_COST_MAX`]) everything between the equal ends is
/// marked.
pub(super) fn marks(old: &[u32], new: &[u32], cost_max: u64) -> Marks {
    let (old_middle, new_middle) = trimmed(old, 0..old.len(), new, 0..new.len());
    let mut marks = Marks { old: vec![false; old.len()], new: vec![false; new.len()] };
    marks.old[old_middle.clone()].fill(true);
    marks.new[new_middle.clone()].fill(true);

    let old_shared = Shared::of(&old[old_middle.clone()], &new[new_middle.clone()]);
    let new_shared = Shared::of(&new[new_middle.clone()], &old[old_middle.clone()]);
    let mut search = Search::new(&old_shared.ids, &new_shared.ids);
    if search.run(cost_max) {
        old_shared.unmark(&search.marks.old, &mut marks.old[old_middle]);
        new_shared.unmark(&search.marks.new, &mut marks.new[new_middle]);
    }
    marks
}

/// The tokens of one side that the other has as well.
struct Shared {
    ids: Vec<u32>,
    /// Where each stands.
    places: Vec<usize>,
}

impl Shared {
    fn of(side: &[u32], other: &[u32]) -> Self {
        let other: BTreeSet<u32> = other.iter().copied().collect();
        let (places, ids) = side.iter().copied().enumerate().filter(|(_, id)| other.contains(id)).unzip();
        Self { ids, places }
    }

    fn unmark(&self, changed: &[bool], marks: &mut [bool]) {
        for (&place, &changed) in self.places.iter().zip(changed) {
            marks[place] = changed;
        }
    }
}

/// Two ranges without their equal beginnings and ends.
fn trimmed(old: &[u32], old_range: Range<usize>, new: &[u32], new_range: Range<usize>) -> (Range<usize>, Range<usize>) {
    let (old_part, new_part) = (&old[old_range.clone()], &new[new_range.clone()]);
    let prefix = old_part.iter().zip(new_part).take_while(|(a, b)| a == b).count();
    let (old_part, new_part) = (&old_part[prefix..], &new_part[prefix..]);
    let suffix = old_part.iter().rev().zip(new_part.iter().rev()).take_while(|(a, b)| a == b).count();
    (old_range.start + prefix..old_range.end - suffix, new_range.start + prefix..new_range.end - suffix)
}

struct Search<'a> {
    old: &'a [u32],
    new: &'a [u32],
    marks: Marks,
    forward: Frontier,
    backward: Frontier,
}

impl<'a> Search<'a> {
    fn new(old: &'a [u32], new: &'a [u32]) -> Self {
        let marks = Marks { old: vec![false; old.len()], new: vec![false; new.len()] };
        let diagonals = old.len() + new.len() + 3;
        let frontier = || Frontier { reached: vec![0; diagonals], offset: new.len() as isize + 1, lowest: 0, highest: 0 };
        Self { old, new, marks, forward: frontier(), backward: frontier() }
    }

    /// Whether the script was found at the allowed cost.
    fn run(&mut self, cost_max: u64) -> bool {
        let (old, new) = trimmed(self.old, 0..self.old.len(), self.new, 0..self.new.len());
        let tokens = (old.len() + new.len()) as u64;
        let distance_max = cost_max.checked_div(tokens).unwrap_or(cost_max);
        self.compare(old, new, distance_max)
    }

    /// Marks the script between two trimmed ranges. Halves the distance with each level, so it is no deeper than its logarithm.
    fn compare(&mut self, old: Range<usize>, new: Range<usize>, distance_max: u64) -> bool {
        if old.is_empty() || new.is_empty() {
            if (old.len() + new.len()) as u64 > distance_max {
                return false;
            }
            self.marks.old[old].fill(true);
            self.marks.new[new].fill(true);
            return true;
        }
        let Some((old_at, new_at)) = self.middle(&old, &new, distance_max) else { return false };
        for (old, new) in [(old.start..old_at, new.start..new_at), (old_at..old.end, new_at..new.end)] {
            let (old, new) = trimmed(self.old, old, self.new, new);
            self.compare(old, new, u64::MAX);
        }
        true
    }

    /// A point that a shortest script passes with half of its edits before it and half behind. `None` when there are more than
    /// `distance_max`.
    ///
    /// Diagonals are counted from the corner at which both ranges start: the diagonal of a point is its old index less its new
    /// index.
    fn middle(&mut self, old: &Range<usize>, new: &Range<usize>, distance_max: u64) -> Option<(usize, usize)> {
        let (old_part, new_part) = (&self.old[old.clone()], &self.new[new.clone()]);
        let (width, height) = (old_part.len() as isize, new_part.len() as isize);
        let last = width - height;
        let odd = last % 2 != 0;
        self.forward.begin(0, 0);
        self.backward.begin(last, width);
        let point = |x: isize, diagonal: isize| Some((old.start + x as usize, new.start + (x - diagonal) as usize));
        for round in 1_u64.. {
            // Met now, the script has one edit less than two a round.
            if 2 * round - 1 > distance_max {
                return None;
            }
            for diagonal in self.forward.widen(height, width, -1) {
                let mut x = self.forward.ahead(diagonal);
                while x < width && x - diagonal < height && old_part[x as usize] == new_part[(x - diagonal) as usize] {
                    x += 1;
                }
                self.forward.set(diagonal, x);
                if odd && self.backward.covers(diagonal) && self.backward.at(diagonal) <= x {
                    return point(x, diagonal);
                }
            }
            if !odd && 2 * round > distance_max {
                return None;
            }
            for diagonal in self.backward.widen(height, width, isize::MAX) {
                let mut x = self.backward.behind(diagonal);
                while x > 0 && x - diagonal > 0 && old_part[x as usize - 1] == new_part[(x - diagonal) as usize - 1] {
                    x -= 1;
                }
                self.backward.set(diagonal, x);
                if !odd && self.forward.covers(diagonal) && x <= self.forward.at(diagonal) {
                    return point(x, diagonal);
                }
            }
        }
        None
    }
}

/// How far a search came on each diagonal, as an index into the old range.
struct Frontier {
    reached: Vec<isize>,
    /// Where diagonal 0 is kept.
    offset: isize,
    /// The outermost diagonals in use.
    lowest: isize,
    highest: isize,
}

impl Frontier {
    fn begin(&mut self, diagonal: isize, x: isize) {
        (self.lowest, self.highest) = (diagonal, diagonal);
        self.set(diagonal, x);
    }

    /// One more edit: the diagonals that can now be reached, from the highest down in steps of two. A diagonal beyond the corner
    /// of the ranges (`-height` and `width`) is left out; one just outside of those in use holds `nowhere`, which no search
    /// prefers.
    fn widen(&mut self, height: isize, width: isize, nowhere: isize) -> impl Iterator<Item = isize> + use<> {
        if self.lowest > -height {
            self.lowest -= 1;
            self.set(self.lowest - 1, nowhere);
        } else {
            self.lowest += 1;
        }
        if self.highest < width {
            self.highest += 1;
            self.set(self.highest + 1, nowhere);
        } else {
            self.highest -= 1;
        }
        let (lowest, highest) = (self.lowest, self.highest);
        (0..=(highest - lowest) / 2).map(move |step| highest - 2 * step)
    }

    /// Where a forward search enters a diagonal: by deleting from the one below or inserting from the one above, whichever is
    /// further; by deleting when equal.
    fn ahead(&self, diagonal: isize) -> isize {
        let (below, above) = (self.at(diagonal - 1), self.at(diagonal + 1));
        if below >= above { below + 1 } else { above }
    }

    /// Where a backward search enters a diagonal; the mirror image.
    fn behind(&self, diagonal: isize) -> isize {
        let (below, above) = (self.at(diagonal - 1), self.at(diagonal + 1));
        if below < above { below } else { above - 1 }
    }

    fn covers(&self, diagonal: isize) -> bool {
        (self.lowest..=self.highest).contains(&diagonal)
    }

    fn at(&self, diagonal: isize) -> isize {
        self.reached[(diagonal + self.offset) as usize]
    }

    fn set(&mut self, diagonal: isize, x: isize) {
        self.reached[(diagonal + self.offset) as usize] = x;
    }
}
