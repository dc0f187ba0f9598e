//! The conformance histories: 1,000 small random graphs with their one right text.

use super::super::trace::History;
use super::super::{GapBuffer, TextMerge};
use super::{data, events, merged};

type Key = (String, u32);

fn histories() -> Vec<History> {
    data("conformance.json.gz").map_or_else(Vec::new, |json| History::parse_all(&json).expect("the data is well formed"))
}

fn push(merge: &mut TextMerge<Key>, history: &History, number: usize) {
    let transaction = &history.transactions[number];
    let key = (transaction.agent.clone(), transaction.sequence);
    merge.push(&events(&transaction.parents), key, &transaction.patches).expect("parents come first");
}

#[test]
fn all_histories_in_one_batch() {
    for (number, history) in histories().iter().enumerate() {
        let mut merge = TextMerge::new(0);
        (0..history.transactions.len()).for_each(|at| push(&mut merge, history, at));
        assert_eq!(merged(&mut merge, ""), history.end_content, "history {number}");
        assert!((0..merge.event_count()).all(|event| !merge.is_void(super::EventIndex(event))), "history {number}");
    }
}

#[test]
fn all_histories_event_by_event() {
    for (number, history) in histories().iter().enumerate() {
        let mut merge = TextMerge::new(0);
        let mut text = GapBuffer::new();
        for at in 0..history.transactions.len() {
            push(&mut merge, history, at);
            merge.merge(&mut text);
        }
        assert_eq!(text.to_string(), history.end_content, "history {number}");
    }
}

#[test]
fn all_histories_checked_out_at_their_heads() {
    for (number, history) in histories().iter().enumerate() {
        let mut merge = TextMerge::new(0);
        (0..history.transactions.len()).for_each(|at| push(&mut merge, history, at));
        let heads: Vec<_> = merge.heads().collect();
        assert_eq!(merge.checkout("", &heads).as_ref(), Ok(&history.end_content), "history {number}");
    }
}
