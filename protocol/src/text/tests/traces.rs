//! The editing traces must end in their exact end text, whichever way they are cut into events.

use super::super::trace::Trace;
use super::super::{GapBuffer, TextMerge};
use super::{data, events, merged};

fn pushed(trace: &Trace) -> TextMerge<(u32, u32)> {
    let mut merge = TextMerge::new(u32::try_from(trace.start_content.chars().count()).unwrap());
    for (number, transaction) in (0..).zip(&trace.transactions) {
        merge.push(&events(&transaction.parents), (transaction.agent, number), &transaction.patches).unwrap();
    }
    merge
}

fn check(name: &str) {
    let Some(json) = data(name) else { return };
    let given = Trace::parse(&json).expect("the data is well formed");
    for (form, trace) in [("given", given.clone()), ("single", given.single_edits()), ("bursts", given.bursts(20))] {
        let text = merged(&mut pushed(&trace), &trace.start_content);
        assert!(text == trace.end_content, "{name}, {form}: another text");
    }
    one_by_one(&given);
}

fn one_by_one(trace: &Trace) {
    let mut merge = TextMerge::new(u32::try_from(trace.start_content.chars().count()).unwrap());
    let mut text = GapBuffer::from(trace.start_content.as_str());
    for (number, transaction) in (0_u32..).zip(&trace.transactions) {
        merge.push(&events(&transaction.parents), (transaction.agent, number), &transaction.patches).unwrap();
        merge.merge(&mut text);
    }
    assert!(text.to_string() == trace.end_content, "one by one: another text");
}

#[test]
fn friendsforever() {
    check("friendsforever.json.gz");
}

#[test]
fn sveltecomponent() {
    check("sveltecomponent.json.gz");
}

#[test]
fn automerge_paper() {
    check("automerge-paper.json.gz");
}

#[test]
fn a_trace_checks_out_at_its_end() {
    let Some(json) = data("friendsforever.json.gz") else { return };
    let trace = Trace::parse(&json).expect("the data is well formed");
    let merge = pushed(&trace);
    let heads: Vec<_> = merge.heads().collect();
    assert!(merge.checkout("", &heads).unwrap() == trace.end_content);
}
