//! The overlap verdict in words: what counts as touching and what does not.

use super::super::{EventIndex, TextMerge, TextPatch};

const ROOT: &[EventIndex] = &[];

/// The verdict on two concurrent edits of a text of ten characters.
fn touch(a: (u32, u32, &str), b: (u32, u32, &str)) -> bool {
    let mut merge = TextMerge::new(10);
    let heads = [a, b].map(|(position, delete, insert)| {
        merge.push(ROOT, (position, insert.to_owned(), delete), &[TextPatch::new(position, delete, insert)]).unwrap()
    });
    merge.overlaps(&heads)
}

#[test]
fn edits_apart_do_not_touch() {
    assert!(!touch((0, 0, "a"), (10, 0, "b")));
    assert!(!touch((2, 2, ""), (5, 2, "b")));
    assert!(!touch((4, 0, "a"), (5, 0, "b")), "one character between");
}

#[test]
fn edits_of_one_place_touch() {
    assert!(touch((4, 0, "a"), (4, 0, "b")), "two inserts in one gap");
    assert!(touch((2, 4, ""), (3, 1, "")), "one deletes within the other's deletion");
    assert!(touch((2, 4, ""), (4, 0, "b")), "one deletes around the other's insert");
    assert!(touch((2, 4, ""), (6, 0, "b")), "one inserts at the end of the other's deletion");
    assert!(touch((2, 2, ""), (4, 2, "")), "deletions side by side");
}

#[test]
fn void_events_and_single_heads_do_not_touch() {
    assert!(!touch((2, 9, "a"), (2, 0, "b")), "the first does not fit");
    let mut merge = TextMerge::new(0);
    let head = merge.push(ROOT, 0, &[TextPatch::new(0, 0, "a")]).unwrap();
    assert!(!merge.overlaps(&[head]));
    assert!(!merge.overlaps(&[]));
}

#[test]
fn what_both_sides_had_deleted_separates_nothing() {
    let mut merge = TextMerge::new(3);
    let common = merge.push(ROOT, 0, &[TextPatch::new(1, 1, "")]).unwrap();
    let a = merge.push(&[common], 1, &[TextPatch::new(0, 1, "")]).unwrap();
    let b = merge.push(&[common], 2, &[TextPatch::new(1, 1, "")]).unwrap();
    assert!(merge.overlaps(&[a, b]));
    // A stranger moves the boundary back; the verdict on these two stays.
    merge.push(ROOT, 3, &[]).unwrap();
    assert!(merge.overlaps(&[a, b]));
}

#[test]
fn too_many_or_unknown_heads_touch() {
    let mut merge = TextMerge::new(200);
    let heads: Vec<EventIndex> = (0..65).map(|at| merge.push(ROOT, at, &[TextPatch::new(at * 3, 0, "x")]).unwrap()).collect();
    assert!(!merge.overlaps(&heads[..64]));
    assert!(merge.overlaps(&heads));
    assert!(merge.overlaps(&[heads[0], EventIndex(99)]));
}
