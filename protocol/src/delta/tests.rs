//! Properties of deltas:
//!
//! 1. Applying the change between two texts to the first gives the second, for any texts.
//! 2. There is no change exactly when the texts are equal.
//! 3. Edits ascend, keep at least [`KEPT_RUN_MIN`] scalar values apart, and each does something.
//! 4. Every documented view of a change (edits, lines, replacement) applies to the same text, survives JSON, and converts back.
//! 5. Nothing panics: any delta on any text gives a text or an error.
//! 6. Too little kept means a replacement; writing more or cutting away does not.

use proptest::prelude::*;

use super::*;

/// A text and an edited copy of it: realistic pairs, where plain `any` would make unrelated ones.
fn edited() -> impl Strategy<Value = (String, String)> {
    let line = prop_oneof!["[a-c ]{0,12}", "\\PC{0,6}", Just("same line".to_owned())];
    let text = prop::collection::vec(line, 0..12).prop_map(|lines| lines.join("\n"));
    let splices = prop::collection::vec((any::<prop::sample::Index>(), 0usize..20, "[a-cé\u{1F600}\n]{0,8}"), 0..4);
    (text, splices).prop_map(|(old, splices)| {
        let mut new: Vec<char> = old.chars().collect();
        for (index, delete, insert) in splices {
            let start = index.index(new.len() + 1);
            let end = (start + delete).min(new.len());
            new.splice(start..end, insert.chars());
        }
        (old, new.into_iter().collect())
    })
}

fn check_round_trip(old: &str, new: &str) {
    for kept_ratio_min in [0.0, KEPT_RATIO_MIN, 2.0] {
        let compressor = DeltaCompressor { kept_ratio_min };
        let Some(change) = compressor.change(old, new) else {
            assert_eq!(old, new);
            continue;
        };
        assert_ne!(old, new);
        assert_eq!(change.apply(old).unwrap(), new);
        check_shape(&change);
        let view = ContentDelta::from(&change);
        assert_eq!(view.apply(old).unwrap(), new);
        assert_eq!(view.to_change(old, &compressor).unwrap(), Some(change));
        assert_eq!(ContentDelta::parse(&view.to_json_text()).unwrap(), view);
    }
    let compressor = DeltaCompressor::default();
    for view in [ContentDelta::lines(old, new), compressor.compute_content_delta(old, new)] {
        assert_eq!(view.apply(old).unwrap(), new);
        assert_eq!(ContentDelta::parse(&view.to_json_text()).unwrap(), view);
        let change = view.to_change(old, &compressor).unwrap();
        assert_eq!(change.map_or_else(|| old.to_owned(), |change| change.apply(old).unwrap()), new);
    }
}

fn check_shape(change: &TextChange) {
    let TextChange::Edits(patches) = change else { return };
    let mut end = None;
    for patch in patches {
        assert!(patch.delete > 0 || !patch.insert.is_empty(), "an edit that does nothing: {patches:?}");
        if let Some(end) = end {
            assert!(patch.position as usize >= end + KEPT_RUN_MIN, "edits too close: {patches:?}");
        }
        end = Some(patch.position as usize + patch.insert.chars().count());
    }
}

proptest! {
    #[test]
    fn edited_texts_round_trip((old, new) in edited()) {
        check_round_trip(&old, &new);
    }

    #[test]
    fn unrelated_texts_round_trip(old in ".{0,60}", new in "(.|\n){0,60}") {
        check_round_trip(&old, &new);
    }

    #[test]
    fn any_delta_on_any_text_is_judged(
        old in "[ab\n]{0,12}",
        format in prop_oneof![Just(DeltaFormat::LineDiff), Just(DeltaFormat::FullReplace), Just(DeltaFormat::TextEdits)],
        patches in prop::collection::vec(any_patch(), 0..4),
    ) {
        let delta = ContentDelta { format, patches };
        if let Ok(new) = delta.apply(&old) {
            let change = delta.to_change(&old, &DeltaCompressor::default()).unwrap();
            prop_assert_eq!(change.map_or_else(|| old.clone(), |change| change.apply(&old).unwrap()), new);
        }
    }

    #[test]
    fn any_json_text_is_judged(text in ".{0,80}") {
        if let Ok(delta) = ContentDelta::parse(&text) {
            prop_assert_eq!(ContentDelta::parse(&delta.to_json_text()).unwrap(), delta);
        }
    }
}

fn any_patch() -> impl Strategy<Value = DeltaPatch> {
    let position = prop_oneof![0u32..6, Just(u32::MAX)];
    let edit = (position.clone(), position, "[ab\n]{0,3}");
    prop_oneof![
        "[ab]{0,2}\n?".prop_map(DeltaPatch::Keep),
        "[ab]{0,2}\n?".prop_map(DeltaPatch::Delete),
        "[ab]{0,2}\n?".prop_map(DeltaPatch::Insert),
        "[ab]{0,2}\n?".prop_map(DeltaPatch::Replace),
        edit.prop_map(|(position, delete, insert)| DeltaPatch::Edit { position, delete, insert }),
    ]
}

fn change(old: &str, new: &str) -> TextChange {
    DeltaCompressor::default().change(old, new).unwrap()
}

#[test]
fn a_word_in_a_hundred_lines_costs_a_few_bytes() {
    let old: String = (0..100).map(|n| format!("line {n} has a few words in it\n")).collect();
    let new = old.replace("line 57 has a few", "line 57 has many");
    let change = change(&old, &new);
    let view = ContentDelta::from(&change).to_json_text();
    assert!(view.len() < 110, "{} bytes: {view}", view.len());
    assert_eq!(change.apply(&old).unwrap(), new);
}

#[test]
fn distant_edits_stay_apart() {
    let old = "first line here\nsecond line here\nthird line here\n";
    let new = "first line there\nsecond line here\nthird row here\n";
    let patch = |position, delete, insert: &str| TextPatch { position, delete, insert: insert.into() };
    assert_eq!(change(old, new), TextChange::Edits(vec![patch(11, 0, "t"), patch(40, 4, "row")]));
}

#[test]
fn moved_blocks_keep_what_stays() {
    let paragraph = |n: usize| format!("paragraph {n}: {}\n", "words ".repeat(20));
    let old: String = (0..40).map(paragraph).collect();
    let new: String = (1..40).map(paragraph).chain([paragraph(0)]).collect();
    let TextChange::Edits(patches) = change(&old, &new) else { panic!("a moved paragraph keeps 39 of 40") };
    let inserted: usize = patches.iter().map(|patch| patch.insert.len()).sum();
    assert!(inserted <= 2 * paragraph(0).len(), "{inserted}");
}

#[test]
fn too_little_kept_is_a_replacement() {
    let old = "The meeting is on Monday at nine, bring the figures of last year.";
    let new = "Nobody knew why lanterns hung over both bridges.";
    assert_eq!(change(old, new), TextChange::Replace(new.to_owned()));
    let delta = DeltaCompressor::default().compute_content_delta(old, new);
    assert_eq!(delta, ContentDelta::replace(new));
}

#[test]
fn growing_and_cutting_are_edits() {
    let short = "One sentence.";
    let long = format!("{short} {}", "And many more that were written later. ".repeat(50));
    assert!(matches!(change(short, &long), TextChange::Edits(patches) if patches.len() == 1));
    assert!(matches!(change(&long, short), TextChange::Edits(patches) if patches.len() == 1));
    assert!(matches!(change("", "new"), TextChange::Edits(_)));
}

#[test]
fn a_delta_for_another_text_names_the_line() {
    let delta = ContentDelta::lines("one\ntwo\nthree\n", "one\n2\nthree\n");
    assert!(matches!(delta.apply("one\nzwei\nthree\n"), Err(DeltaError::LineDiffers { line: 2 })));
    assert!(matches!(delta.apply("one\ntwo\nthree"), Err(DeltaError::LineDiffers { line: 3 })));
    assert!(matches!(delta.apply("one\ntwo\n"), Err(DeltaError::LineDiffers { line: 3 })));
    assert!(matches!(delta.apply("one\ntwo\nthree\nfour\n"), Err(DeltaError::LinesLeft { line: 4 })));
}

#[test]
fn patches_of_another_format_are_refused() {
    let keep = || vec![DeltaPatch::Keep("a".into())];
    let of = |format, patches| ContentDelta { format, patches }.apply("a");
    assert!(matches!(of(DeltaFormat::FullReplace, keep()), Err(DeltaError::PatchOfOtherFormat { index: 0, .. })));
    assert!(matches!(of(DeltaFormat::TextEdits, keep()), Err(DeltaError::PatchOfOtherFormat { index: 0, .. })));
    assert!(matches!(of(DeltaFormat::FullReplace, vec![]), Err(DeltaError::ReplacementCount(0))));
    let past = vec![DeltaPatch::Edit { position: 1, delete: 1, insert: String::new() }];
    assert!(matches!(of(DeltaFormat::TextEdits, past), Err(DeltaError::EditDoesNotFit(_))));
}

#[test]
fn the_json_text_is_the_documents() {
    let delta = ContentDelta::lines("a\nb", "a\nc");
    assert_eq!(delta.to_json_text(), r#"{"format":"LineDiff","patches":[{"Keep":"a\n"},{"Delete":"b"},{"Insert":"c"}]}"#);
    let edit = ContentDelta::from(&change("a b c d", "a b x c d"));
    assert_eq!(edit.to_json_text(), r#"{"format":"TextEdits","patches":[{"Edit":{"position":4,"delete":0,"insert":"x "}}]}"#);
    assert!(matches!(ContentDelta::parse("plain text"), Err(DeltaError::Json(_))));
}

#[test]
fn large_texts_are_bounded_and_exact() {
    let old: String = (0..60_000u64).map(|n| format!("{}\n", n % 7)).collect();
    let new: String = (0..60_000u64).map(|n| format!("{}\n", (n * n) % 5)).collect();
    let line = "word ".repeat(20_000);
    let other = line.replacen("word", "name", 3);
    for (old, new) in [(old, new), (line, other)] {
        let change = DeltaCompressor { kept_ratio_min: 0.0 }.change(&old, &new).unwrap();
        assert_eq!(change.apply(&old).unwrap(), new);
    }
}
