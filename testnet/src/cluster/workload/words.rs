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

/// A position at which a word and a space can be typed without cutting another word in two: the beginning, or behind a space.
pub(super) fn gap(text: &str, dice: &mut Dice) -> usize {
    let behind_spaces = text.chars().enumerate().filter(|(_, letter)| *letter == ' ').map(|(at, _)| at + 1);
    let gaps: Vec<usize> = std::iter::once(0).chain(behind_spaces).collect();
    gaps[dice.index(gaps.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_never_typed_into_another() {
        let mut dice = Dice::new(3, 0);
        let text = "äö w1x2x3 end";
        for _ in 0..100 {
            let at = gap(text, &mut dice);
            let mut letters: Vec<char> = text.chars().collect();
            letters.splice(at..at, "new ".chars());
            let typed: String = letters.into_iter().collect();
            assert!(typed.split(' ').any(|word| word == "w1x2x3") && typed.split(' ').any(|word| word == "new"), "{typed}");
        }
    }
}
