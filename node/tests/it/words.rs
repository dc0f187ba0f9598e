//! The words of a text, to see that none was lost.

use std::collections::BTreeMap;

/// How often each word occurs. A word is a run of letters and digits: marks, spaces and indentation are layout.
pub(crate) fn counts(text: &str) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for word in text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *counts.entry(word).or_insert(0) += 1;
    }
    counts
}
