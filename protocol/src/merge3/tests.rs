//! Properties of the merge:
//!
//! 1. A script is as short as the longest common subsequence allows (checked against the textbook table), and rebuilds either side.
//! 2. Changes ascend with at least one unchanged token between them, and replaying them turns base into side.
//! 3. Identities: merge(b, x, b) = x, merge(b, b, x) = x, merge(b, x, x) = x, all clean.
//! 4. Symmetry: swapping the sides swaps the sides of the conflicts and nothing else.
//! 5. Changes with unchanged unique tokens between them merge, and both are in the result.
//! 6. The shape of the result: no empty or neighbouring clean hunks, no conflict of equal sides.
//! 7. Past the cost bound, which is exactly distance times compared tokens, the answer is a coarser one, never another kind of answer.

mod git;
mod vectors;

use proptest::prelude::*;

use super::compact::changes;
use super::*;

const ALL: [Granularity; 3] = [Granularity::Line, Granularity::Word, Granularity::Char];

/// Sequences over few tokens: repetition is where scripts are ambiguous.
fn sequence() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(0u32..4, 0..24)
}

/// Texts over few lines of few characters, with or without a final line break.
fn text() -> impl Strategy<Value = String> {
    "([ab é]{0,3}\n){0,7}[ab]?"
}

fn granularity() -> impl Strategy<Value = Granularity> {
    prop::sample::select(ALL.to_vec())
}

/// The length of the longest common subsequence, by the textbook table.
fn common(old: &[u32], new: &[u32]) -> usize {
    let mut row = vec![0; new.len() + 1];
    for a in old {
        let mut diagonal = 0;
        for (at, b) in new.iter().enumerate() {
            let above = row[at + 1];
            row[at + 1] = if a == b { diagonal + 1 } else { above.max(row[at]) };
            diagonal = above;
        }
    }
    row[new.len()]
}

/// What a comparison has to look at: without equal ends, without tokens of one side only, and again without equal ends.
fn compared(old: &[u32], new: &[u32]) -> (Vec<u32>, Vec<u32>) {
    let (old, new) = without_equal_ends(old.to_vec(), new.to_vec());
    let in_both = |id: &u32| old.contains(id) && new.contains(id);
    without_equal_ends(old.iter().copied().filter(in_both).collect(), new.iter().copied().filter(in_both).collect())
}

fn without_equal_ends(mut old: Vec<u32>, mut new: Vec<u32>) -> (Vec<u32>, Vec<u32>) {
    while !old.is_empty() && old.first() == new.first() {
        old.remove(0);
        new.remove(0);
    }
    while !old.is_empty() && old.last() == new.last() {
        old.pop();
        new.pop();
    }
    (old, new)
}

fn check_changes(old: &[u32], new: &[u32], cost_max: u64) -> usize {
    let marks = myers::marks(old, new, cost_max);
    let kept = |tokens: &[u32], marks: &[bool]| -> Vec<u32> {
        tokens.iter().zip(marks).filter(|(_, marked)| !**marked).map(|(token, _)| *token).collect()
    };
    assert_eq!(kept(old, &marks.old), kept(new, &marks.new), "what stays is the same on both sides");

    let changes = changes(old, new, &marks);
    let (mut rebuilt, mut at) = (Vec::new(), 0);
    for (index, change) in changes.iter().enumerate() {
        assert!(index == 0 || change.old.start > at, "an unchanged token between changes: {changes:?}");
        assert!(!change.old.is_empty() || !change.new.is_empty());
        rebuilt.extend_from_slice(&old[at..change.old.start]);
        assert_eq!(rebuilt.len(), change.new.start);
        rebuilt.extend_from_slice(&new[change.new.clone()]);
        at = change.old.end;
    }
    rebuilt.extend_from_slice(&old[at..]);
    assert_eq!(rebuilt, new);
    changes.iter().map(|change| change.old.len() + change.new.len()).sum()
}

fn mirrored(merge: Merge3) -> Merge3 {
    let swap = |hunk| match hunk {
        Hunk::Conflict { base, left, right } => Hunk::Conflict { base, left: right, right: left },
        clean => clean,
    };
    Merge3 { hunks: merge.hunks.into_iter().map(swap).collect() }
}

fn check_shape(merge: &Merge3) {
    let mut after_clean = false;
    for hunk in &merge.hunks {
        match hunk {
            Hunk::Clean(text) => assert!(!text.is_empty() && !after_clean, "{merge:?}"),
            Hunk::Conflict { left, right, .. } => assert_ne!(left, right),
        }
        after_clean = matches!(hunk, Hunk::Clean(_));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn scripts_are_shortest(old in sequence(), new in sequence()) {
        let edits = check_changes(&old, &new, EDIT_COST_MAX);
        prop_assert_eq!(edits, old.len() + new.len() - 2 * common(&old, &new));
    }

    #[test]
    fn scripts_over_the_bound_are_still_scripts(old in sequence(), new in sequence(), cost_max in 0u64..200) {
        let edits = check_changes(&old, &new, cost_max);
        prop_assert!(edits >= old.len() + new.len() - 2 * common(&old, &new));
    }

    #[test]
    fn the_bound_is_distance_times_tokens(old in sequence(), new in sequence()) {
        let (old_compared, new_compared) = compared(&old, &new);
        let tokens = old_compared.len() + new_compared.len();
        let distance = tokens - 2 * common(&old_compared, &new_compared);
        let cost = (distance * tokens) as u64;
        let shortest = old.len() + new.len() - 2 * common(&old, &new);
        prop_assert_eq!(check_changes(&old, &new, cost), shortest);
        if let Some(less) = cost.checked_sub(1) {
            prop_assert!(check_changes(&old, &new, less) > shortest);
        }
    }

    #[test]
    fn an_unchanged_side_takes_no_part(base in text(), other in text(), granularity in granularity()) {
        for merge in [
            merge3(&base, &other, &base, granularity),
            merge3(&base, &base, &other, granularity),
            merge3(&base, &other, &other, granularity),
        ] {
            prop_assert_eq!(merge.clean_text(), Some(other.clone()));
        }
    }

    #[test]
    fn the_identities_hold_without_the_short_cut(base in text(), other in text(), granularity in granularity()) {
        let [base_tokens, other_tokens] = Tokens::of([base.as_str(), other.as_str()], granularity);
        for (left, right) in [(&base_tokens, &other_tokens), (&other_tokens, &base_tokens), (&other_tokens, &other_tokens)] {
            let mut merge = Merge3::default();
            weave::weave(&base_tokens, left, right, &mut merge);
            prop_assert_eq!(merge.clean_text(), Some(other.clone()));
        }
    }

    #[test]
    fn swapping_the_sides_swaps_the_sides(base in text(), left in text(), right in text(), granularity in granularity()) {
        let merge = merge3(&base, &left, &right, granularity);
        check_shape(&merge);
        prop_assert_eq!(merge3(&base, &right, &left, granularity), mirrored(merge));
    }

    #[test]
    fn disjoint_changes_merge(paragraphs in prop::collection::vec((text(), text(), any::<bool>()), 0..6)) {
        // No line occurs in two paragraphs, so nothing can be compared across them, and the line between two of them always stays.
        let join = |pick: &dyn Fn(&(String, String, bool)) -> String| -> String {
            let own = |n: usize, text: &str| text.lines().map(|line| format!("{n} {line}\n")).collect::<String>();
            paragraphs.iter().enumerate().map(|(n, paragraph)| format!("{}=== {n} ===\n", own(n, &pick(paragraph)))).collect()
        };
        let base = join(&|(before, _, _)| before.clone());
        let left = join(&|(before, after, is_left)| if *is_left { after.clone() } else { before.clone() });
        let right = join(&|(before, after, is_left)| if *is_left { before.clone() } else { after.clone() });
        let both = join(&|(_, after, _)| after.clone());
        prop_assert_eq!(merge3(&base, &left, &right, Granularity::Line).clean_text(), Some(both));
    }

    #[test]
    fn any_texts_merge_somehow(base in ".{0,40}", left in ".{0,40}", right in ".{0,40}", granularity in granularity()) {
        let merge = merge3(&base, &left, &right, granularity);
        check_shape(&merge);
        prop_assert_eq!(merge.is_clean(), merge.conflicts().next().is_none());
    }
}

fn lines(text: &str) -> String {
    text.split_whitespace().map(|line| format!("{line}\n")).collect()
}

fn merged(base: &str, left: &str, right: &str) -> Merge3 {
    merge3(&lines(base), &lines(left), &lines(right), Granularity::Line)
}

fn conflict(base: &str, left: &str, right: &str) -> Hunk {
    Hunk::Conflict { base: lines(base), left: lines(left), right: lines(right) }
}

#[test]
fn adjacent_changes_conflict() {
    assert_eq!(
        merged("a b c d", "a B c d", "a b C d").hunks,
        [Hunk::Clean(lines("a")), conflict("b c", "B c", "b C"), Hunk::Clean(lines("d"))]
    );
    assert_eq!(merged("a b c d", "A b c d", "a b C d").clean_text(), Some(lines("A b C d")));
}

#[test]
fn two_insertions_at_one_place_conflict() {
    let merge = merged("a b", "a x b", "a y b");
    assert_eq!(merge.hunks, [Hunk::Clean(lines("a")), conflict("", "x", "y"), Hunk::Clean(lines("b"))]);
    assert_eq!(merge.text_preferring(Side::Left), lines("a x b"));
    assert_eq!(merge.text_preferring(Side::Right), lines("a y b"));
    assert_eq!(merge.clean_text(), None);
}

#[test]
fn a_deletion_and_an_edit_inside_it_conflict() {
    assert_eq!(
        merged("a b c d e", "a e", "a b C d e").hunks,
        [Hunk::Clean(lines("a")), conflict("b c d", "", "b C d"), Hunk::Clean(lines("e"))]
    );
}

#[test]
fn words_and_characters_merge_inside_a_line() {
    let (base, left, right) = ("the quick brown fox", "the slow brown fox", "the quick brown dog");
    assert!(!merge3(base, left, right, Granularity::Line).is_clean());
    assert_eq!(merge3(base, left, right, Granularity::Word).clean_text().as_deref(), Some("the slow brown dog"));
    assert_eq!(merge3("colour", "color", "Colour", Granularity::Char).clean_text().as_deref(), Some("Color"));
}

#[test]
fn a_side_too_costly_to_compare_is_one_change() {
    // Two orders of the same tokens: nearly every token moves, so the distance is about their number.
    let shuffled = |factor: u64| -> String { (0..20_011_u64).map(|n| format!("{}\n", n * factor % 20_011)).collect() };
    let base = format!("first\n\n{}\nlast\n", shuffled(1));
    let left = format!("first\n\n{}\nlast\n", shuffled(7_919));
    let outside = base.replace("first", "First").replace("last", "Last");
    let both = left.replace("first", "First").replace("last", "Last");
    assert_eq!(merge3(&base, &left, &outside, Granularity::Line).clean_text(), Some(both));

    let inside = base.replace("\n10000\n", "\nten thousand\n");
    let merge = merge3(&base, &left, &inside, Granularity::Line);
    assert_eq!(merge.conflicts().count(), 1);
    assert_eq!(merge.text_preferring(Side::Left), left);
    assert_eq!(merge.text_preferring(Side::Right), inside);
}
