//! Which node of a changed file is which node of the file as it was.
//!
//! Pure and without any knowledge of nodes: two lists in outline order, of which only equality is asked. Three steps, each for what the
//! one before it left over:
//!
//! 1. **In sequence.** The longest common run of equal elements (Myers, by [`similar`]): what did not change at all.
//! 2. **Elsewhere.** Equal elements out of sequence: what was moved.
//! 3. **In between.** What is left between two elements of the first step, old and new, is paired by likeness: what was edited.
//!
//! What is then left of the new list was inserted, what is left of the old one has vanished.
//!
//! Cost is bounded by construction. Before the first step everything that occurs on one side only is left out, and past
//! [`SEQUENCE_MAX`] elements equal ones are matched in the order of occurrence instead; the third looks at all pairs only in gaps of at
//! most [`PAIRS_MAX`].
//!
//! Source of the sequence comparison: Myers, *An O(ND) Difference Algorithm and Its Variations*, Algorithmica 1986. Of the pairing:
//! Needleman and Wunsch, *A general method applicable to the search for similarities*, 1970.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::ops::Range;

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// Lists longer than this, after what cannot match has been left out, are matched in the order of occurrence: Myers takes the product of
/// length and difference, which at this length is some tenths of a second at worst.
pub(super) const SEQUENCE_MAX: usize = 8_000;

/// The most pairs of a gap that are compared with each other. In a larger gap only the nth element left of the old list is compared with
/// the nth of the new.
pub(super) const PAIRS_MAX: usize = 10_000;

/// How alike two elements are; none when one cannot have become the other, else from 0 up.
pub(super) type Likeness<'a> = dyn FnMut(usize, usize) -> Option<f32> + 'a;

/// For each element of the new list the element of the old list it is, each at most once.
pub(super) fn align<T: Hash + Eq + Ord + Clone>(old: &[T], new: &[T], likeness: &mut Likeness<'_>) -> Vec<Option<usize>> {
    let mut matched = vec![None; new.len()];
    let mut taken = vec![false; old.len()];
    let anchors = in_sequence(old, new);
    for &(from, to) in &anchors {
        matched[to] = Some(from);
        taken[from] = true;
    }
    for (from, to) in by_occurrence(old, new, |from| !taken[from], |to| matched[to].is_none()) {
        matched[to] = Some(from);
        taken[from] = true;
    }
    for gap in gaps(&anchors, old.len(), new.len()) {
        let olds: Vec<usize> = gap.old.filter(|from| !taken[*from]).collect();
        let news: Vec<usize> = gap.new.filter(|to| matched[*to].is_none()).collect();
        for (from, to) in pair(&olds, &news, likeness) {
            matched[to] = Some(from);
            taken[from] = true;
        }
    }
    matched
}

/// Marks the longest run of ascending numbers: what need not move when the others do.
pub(super) fn longest_ascending(numbers: &[usize]) -> Vec<bool> {
    // Patience sorting: `ends[length]` is where the run of that length with the smallest last number ends.
    let mut ends: Vec<usize> = Vec::new();
    let mut before = vec![None; numbers.len()];
    for (at, number) in numbers.iter().enumerate() {
        let length = ends.partition_point(|end| numbers[*end] < *number);
        before[at] = length.checked_sub(1).map(|shorter| ends[shorter]);
        if length == ends.len() { ends.push(at) } else { ends[length] = at }
    }
    let mut marked = vec![false; numbers.len()];
    let mut at = ends.last().copied();
    while let Some(index) = at {
        marked[index] = true;
        at = before[index];
    }
    marked
}

/// Equal elements in the same order on both sides, ascending.
fn in_sequence<T: Hash + Eq + Ord + Clone>(old: &[T], new: &[T]) -> Vec<(usize, usize)> {
    let ahead = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let behind = old[ahead..].iter().rev().zip(new[ahead..].iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_end, new_end) = (old.len() - behind, new.len() - behind);
    let mut anchors: Vec<(usize, usize)> = (0..ahead).map(|at| (at, at)).collect();
    anchors.extend(middle(old, ahead..old_end, new, ahead..new_end));
    anchors.extend((0..behind).map(|at| (old_end + at, new_end + at)));
    anchors
}

/// As [`in_sequence`], for the part between the equal ends.
fn middle<T: Hash + Eq + Ord + Clone>(old: &[T], olds: Range<usize>, new: &[T], news: Range<usize>) -> Vec<(usize, usize)> {
    let on_both: HashSet<&T> = {
        let old: HashSet<&T> = old[olds.clone()].iter().collect();
        new[news.clone()].iter().filter(|element| old.contains(element)).collect()
    };
    let olds: Vec<usize> = olds.filter(|at| on_both.contains(&old[*at])).collect();
    let news: Vec<usize> = news.filter(|at| on_both.contains(&new[*at])).collect();
    if olds.len().max(news.len()) > SEQUENCE_MAX {
        let mut pairs = by_occurrence(old, new, |at| olds.binary_search(&at).is_ok(), |at| news.binary_search(&at).is_ok());
        pairs.sort_unstable_by_key(|(_, to)| *to);
        let stays = longest_ascending(&pairs.iter().map(|(from, _)| *from).collect::<Vec<_>>());
        return pairs.into_iter().zip(stays).filter_map(|(pair, stays)| stays.then_some(pair)).collect();
    }
    let old: Vec<&T> = olds.iter().map(|at| &old[*at]).collect();
    let new: Vec<&T> = news.iter().map(|at| &new[*at]).collect();
    let mut pairs = Vec::new();
    for op in capture_diff_slices(Algorithm::Myers, &old, &new) {
        if let DiffOp::Equal { old_index, new_index, len } = op {
            pairs.extend((0..len).map(|at| (olds[old_index + at], news[new_index + at])));
        }
    }
    pairs
}

/// The nth free occurrence on one side with the nth on the other.
fn by_occurrence<T: Hash + Eq>(
    old: &[T],
    new: &[T],
    old_free: impl Fn(usize) -> bool,
    new_free: impl Fn(usize) -> bool,
) -> Vec<(usize, usize)> {
    let mut places: HashMap<&T, VecDeque<usize>> = HashMap::new();
    for (from, element) in old.iter().enumerate().filter(|(from, _)| old_free(*from)) {
        places.entry(element).or_default().push_back(from);
    }
    let mut pairs = Vec::new();
    for (to, element) in new.iter().enumerate().filter(|(to, _)| new_free(*to)) {
        if let Some(from) = places.get_mut(element).and_then(VecDeque::pop_front) {
            pairs.push((from, to));
        }
    }
    pairs
}

/// What lies between two neighbouring anchors.
struct Gap {
    old: Range<usize>,
    new: Range<usize>,
}

fn gaps(anchors: &[(usize, usize)], old_len: usize, new_len: usize) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let (mut old_at, mut new_at) = (0, 0);
    for &(old_end, new_end) in anchors.iter().chain(std::iter::once(&(old_len, new_len))) {
        if old_at < old_end && new_at < new_end {
            gaps.push(Gap { old: old_at..old_end, new: new_at..new_end });
        }
        (old_at, new_at) = (old_end + 1, new_end + 1);
    }
    gaps
}

/// Pairs, in order, so that the sum of likeness is greatest. A pair is better than none, however little alike.
fn pair(olds: &[usize], news: &[usize], likeness: &mut Likeness<'_>) -> Vec<(usize, usize)> {
    if olds.len() * news.len() > PAIRS_MAX {
        return olds.iter().zip(news).filter(|(from, to)| likeness(**from, **to).is_some()).map(|(from, to)| (*from, *to)).collect();
    }
    /// What a pair is worth beyond its likeness.
    const PAIR: f32 = 0.1;
    let width = news.len() + 1;
    let mut best = vec![0.0_f32; (olds.len() + 1) * width];
    let mut paired = vec![false; best.len()];
    for (row, from) in olds.iter().enumerate().rev() {
        for (column, to) in news.iter().enumerate().rev() {
            let at = row * width + column;
            best[at] = best[at + width].max(best[at + 1]);
            let with = likeness(*from, *to).map(|likeness| best[at + width + 1] + PAIR + likeness);
            if let Some(with) = with.filter(|with| *with > best[at]) {
                best[at] = with;
                paired[at] = true;
            }
        }
    }
    let mut pairs = Vec::new();
    let (mut row, mut column) = (0, 0);
    while row < olds.len() && column < news.len() {
        let at = row * width + column;
        if paired[at] {
            pairs.push((olds[row], news[column]));
            (row, column) = (row + 1, column + 1);
        } else if best[at + width] >= best[at + 1] {
            row += 1;
        } else {
            column += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Letters are kinds, digits tell texts apart; "a1" may have become "a2", and is the more like it the nearer the digits are.
    fn aligned(old: &str, new: &str) -> String {
        let old: Vec<&str> = old.split_whitespace().collect();
        let new: Vec<&str> = new.split_whitespace().collect();
        let digit = |text: &str| text[1..].parse::<f32>().unwrap();
        let mut likeness = |from: usize, to: usize| {
            let (old, new): (&str, &str) = (old[from], new[to]);
            (old[..1] == new[..1]).then(|| 1.0 / (1.0 + (digit(old) - digit(new)).abs()))
        };
        let matched = align(&old, &new, &mut likeness);
        let shown = |from: &Option<usize>| from.map_or("-".to_owned(), |from| old[from].to_owned());
        matched.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn insertions_deletions_edits_and_moves_are_told_apart() {
        assert_eq!(aligned("a1 a2 a3", "a1 a2 a3"), "a1 a2 a3");
        assert_eq!(aligned("a1 a2", "a1 b9 a2"), "a1 - a2");
        assert_eq!(aligned("a1 a2 a3", "a1 a3"), "a1 a3");
        assert_eq!(aligned("a1 a2 a3", "a1 a9 a3"), "a1 a2 a3");
        assert_eq!(aligned("a1 a2 a3 b4", "b4 a1 a2 a3"), "b4 a1 a2 a3");
        // Of two that could have become the one, the one more like it.
        assert_eq!(aligned("c0 a1 a5 c9", "c0 a6 c9"), "c0 a5 c9");
        assert_eq!(aligned("c0 a5 c9", "c0 a1 a6 c9"), "c0 - a5 c9");
        // Another kind is another node.
        assert_eq!(aligned("c0 a5 c9", "c0 b5 c9"), "c0 - c9");
        assert_eq!(aligned("", "a1"), "-");
        assert_eq!(aligned("a1", ""), "");
    }

    #[test]
    fn large_lists_that_have_little_in_common_end_soon() {
        let old: Vec<usize> = (0..100_000).collect();
        let new: Vec<usize> = (0..100_000).rev().collect();
        let matched = align(&old, &new, &mut |_, _| None);
        assert!(matched.iter().zip(&new).all(|(from, element)| *from == Some(*element)));
        let other: Vec<usize> = (200_000..300_000).collect();
        let matched = align(&old, &other, &mut |_, _| Some(0.0));
        assert!(matched.iter().enumerate().all(|(to, from)| *from == Some(to)));
    }

    /// The quadratic textbook form.
    fn ascending_length(numbers: &[usize]) -> usize {
        let mut lengths = vec![1; numbers.len()];
        for at in 0..numbers.len() {
            lengths[at] = 1 + (0..at).filter(|before| numbers[*before] < numbers[at]).map(|before| lengths[before]).max().unwrap_or(0);
        }
        lengths.into_iter().max().unwrap_or(0)
    }

    proptest! {
        #[test]
        fn every_old_element_is_used_once_and_equal_ones_are_found(old in proptest::collection::vec(0_u8..12, 0..40), new in proptest::collection::vec(0_u8..12, 0..40)) {
            let matched = align(&old, &new, &mut |from, to| (old[from] % 3 == new[to] % 3).then_some(0.5));
            let mut used: Vec<usize> = matched.iter().flatten().copied().collect();
            let count = used.len();
            used.sort_unstable();
            used.dedup();
            prop_assert_eq!(used.len(), count);
            for element in 0..12 {
                let equal = matched.iter().enumerate().filter(|(to, from)| new[*to] == element && from.is_some_and(|from| old[from] == element));
                let on_each = [&old, &new].map(|side| side.iter().filter(|found| **found == element).count());
                prop_assert_eq!(equal.count(), on_each[0].min(on_each[1]));
            }
            for (from, to) in matched.iter().enumerate().filter_map(|(to, from)| from.map(|from| (from, to))) {
                prop_assert!(old[from] % 3 == new[to] % 3);
            }
        }

        #[test]
        fn the_longest_ascending_run_is_found(numbers in proptest::collection::vec(0_usize..50, 0..40)) {
            let marked = longest_ascending(&numbers);
            let run: Vec<usize> = numbers.iter().zip(&marked).filter(|(_, marked)| **marked).map(|(number, _)| *number).collect();
            prop_assert!(run.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert_eq!(run.len(), ascending_length(&numbers));
        }
    }
}
