//! Texts, and where a word can be typed into them.

use crate::sim::dice::Dice;

const WORDS: [&str; 16] =
    ["sync", "node", "the", "of", "outline", "a", "device", "is", "writes", "offline", "and", "merges", "later", "with", "other", "people"];

/// How new nodes begin, so that there is always a gap.
pub(super) const BASE: &str = "note ";

pub(super) fn pick(dice: &mut Dice) -> &'static str {
    WORDS[dice.index(WORDS.len())]
}

/// Six to fourteen words.
pub(super) fn sentence(dice: &mut Dice) -> String {
    let count = dice.between(6, 14);
    let mut text = String::new();
    for _ in 0..count {
        text.push_str(pick(dice));
        text.push(' ');
    }
    text
}
