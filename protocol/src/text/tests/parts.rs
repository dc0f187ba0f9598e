//! The parts on their own: errors, plain strings, the gap buffer, the trace reader.

use super::super::trace::{History, Trace, TraceError};
use super::super::{CHARS_MAX, CheckoutError, EventIndex, GapBuffer, PushError, TextMerge, TextPatch, TextSink, apply_patches};
use super::merged;

#[test]
fn parents_must_be_known() {
    let mut merge: TextMerge<u32> = TextMerge::new(0);
    let unknown = EventIndex(0);
    assert_eq!(merge.push(&[unknown], 1, &[]), Err(PushError::UnknownParent { parent: unknown, events: 0 }));
    assert_eq!(merge.event_count(), 0);
}

#[test]
fn a_text_has_a_greatest_length() {
    let mut merge = TextMerge::new(CHARS_MAX - 3);
    assert!(merge.push(&[], 1, &[TextPatch::new(0, 0, "ab")]).is_ok());
    assert_eq!(merge.push(&[], 2, &[TextPatch::new(0, 0, "é")]), Err(PushError::Full));
    assert_eq!(TextMerge::new(u32::MAX).push(&[], 0, &[]), Err(PushError::Full));
    struct Nothing;
    impl TextSink for Nothing {
        fn patch(&mut self, _: u32, _: u32, _: &str) {}
    }
    merge.merge(&mut Nothing);
    assert_eq!(merge.len(), CHARS_MAX - 1);
}

#[test]
fn edits_that_do_not_fit_make_the_whole_event_void() {
    let mut merge = TextMerge::new(3);
    let far = merge.push(&[], 0, &[TextPatch::new(0, 0, "x"), TextPatch::new(u32::MAX, u32::MAX, "y")]).unwrap();
    let late = merge.push(&[far], 1, &[TextPatch::new(3, 1, "")]).unwrap();
    let good = merge.push(&[late], 2, &[TextPatch::new(3, 0, "!")]).unwrap();
    assert_eq!(merged(&mut merge, "abc"), "abc!");
    assert_eq!([far, late, good].map(|event| merge.is_void(event)), [true, true, false]);
}

#[test]
fn a_checkout_needs_the_right_base_and_known_heads() {
    let mut merge = TextMerge::new(2);
    let event = merge.push(&[], 0, &[TextPatch::new(1, 0, "x")]).unwrap();
    assert_eq!(merge.checkout("é!", &[event]).unwrap(), "éx!");
    assert_eq!(merge.checkout("é!", &[]).unwrap(), "é!");
    assert_eq!(merge.checkout("abc", &[event]), Err(CheckoutError::BaseLength { expected: 2, found: 3 }));
    assert_eq!(merge.checkout("ab", &[EventIndex(7)]), Err(CheckoutError::UnknownHead(EventIndex(7))));
}

#[test]
fn a_script_applies_whole_or_not_at_all() {
    let mut text = String::from("añ雪😀");
    let script = [TextPatch::new(1, 2, "bc"), TextPatch::new(4, 0, "!"), TextPatch::new(0, 1, "")];
    apply_patches(&mut text, &script).unwrap();
    assert_eq!(text, "bc😀!");
    let misfit = apply_patches(&mut text, &[TextPatch::new(0, 4, ""), TextPatch::new(1, 0, "x")]).unwrap_err();
    assert_eq!((misfit.patch, misfit.end, misfit.len), (1, 1, 0));
    assert_eq!(text, "bc😀!");
}

#[test]
fn long_scripts_give_what_short_ones_give() {
    let mut text = "é".repeat(5_000);
    let script: Vec<TextPatch> = (0..100).map(|at| TextPatch::new(at * 37, 2, "xyz")).collect();
    let mut slow = text.clone();
    script.iter().for_each(|patch| apply_patches(&mut slow, std::slice::from_ref(patch)).unwrap());
    apply_patches(&mut text, &script).unwrap();
    assert!(text == slow);
}

#[test]
fn a_gap_buffer_ignores_what_does_not_fit() {
    let mut buffer = GapBuffer::from("abc");
    buffer.patch(2, 2, "x");
    buffer.patch(u32::MAX, u32::MAX, "x");
    assert_eq!(buffer.to_string(), "abc");
    buffer.patch(3, 0, "");
    buffer.patch(2, 1, "é");
    buffer.patch(0, 1, "");
    assert_eq!((buffer.to_string().as_str(), buffer.len(), buffer.is_empty()), ("bé", 2, false));
}

#[test]
fn bad_traces_are_typed_errors() {
    assert!(matches!(Trace::parse(b"{}"), Err(TraceError::Form(_))));
    assert!(matches!(History::parse_all(b"[1]"), Err(TraceError::Form(_))));
    let cycle = br#"{"endContent":"","txns":[{"parents":[0],"patches":[]}]}"#;
    assert!(matches!(Trace::parse(cycle), Err(TraceError::Parent { transaction: 0, parent: 0 })));
    let unknown = br#"[{"endContent":"","txns":[{"span":[0,0],"parents":[5],"agent":"a","seqStart":0,"ops":[]}]}]"#;
    assert!(matches!(History::parse_all(unknown), Err(TraceError::Parent { transaction: 0, parent: 5 })));
}

#[test]
fn bursts_join_runs_of_typing() {
    let typed = br#"{"endContent":"hi!","txns":[
        {"patches":[[0,0,"h"]]},{"patches":[[1,0,"a"]]},{"patches":[[1,1,""]]},{"patches":[[1,0,"i"]]},{"patches":[[2,0,"!"]]}]}"#;
    let bursts = Trace::parse(typed).unwrap().bursts(20);
    assert_eq!(bursts.transactions.len(), 1);
    assert_eq!(bursts.transactions[0].patches, [TextPatch::new(0, 0, "hi!")]);
    assert_eq!(Trace::parse(typed).unwrap().single_edits().transactions.len(), 5);
}

#[test]
fn memory_is_given_back() {
    let mut merge = TextMerge::new(0);
    for key in 0..500 {
        merge.push(&[], key, &[TextPatch::new(0, 0, "some text")]).unwrap();
    }
    let mut buffer = GapBuffer::new();
    merge.merge(&mut buffer);
    let before = merge.memory_bytes();
    merge.evict();
    assert!(merge.memory_bytes() < before);
}
