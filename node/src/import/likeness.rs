//! How alike two texts are, by the words they share: cheap enough to be asked of every pair in a gap.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

/// The most words of a text that are looked at. Two pages that agree so far are taken for the same page.
const WORDS_MAX: usize = 512;

/// The words of a text, as sorted hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Words(Vec<u64>);

impl Words {
    /// Takes a text apart. A word is a run of letters and digits, without regard to case.
    #[must_use]
    pub(super) fn of(text: &str) -> Self {
        let words = text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty());
        let mut hashes: Vec<u64> = words.take(WORDS_MAX).map(hash).collect();
        hashes.sort_unstable();
        Self(hashes)
    }

    /// The share of words in common, from 0 to 1 (Dice's coefficient over multisets).
    #[must_use]
    pub(super) fn likeness(&self, other: &Self) -> f32 {
        let total = self.0.len() + other.0.len();
        if total == 0 {
            return 1.0;
        }
        let (mut common, mut left, mut right) = (0, 0, 0);
        while let (Some(a), Some(b)) = (self.0.get(left), other.0.get(right)) {
            common += usize::from(a == b);
            left += usize::from(a <= b);
            right += usize::from(b <= a);
        }
        2.0 * common as f32 / total as f32
    }
}

fn hash(word: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    word.chars().flat_map(char::to_lowercase).for_each(|character| character.hash(&mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn likeness(a: &str, b: &str) -> f32 {
        Words::of(a).likeness(&Words::of(b))
    }

    #[test]
    fn shared_words_count() {
        assert_eq!(likeness("[ ] buy milk", "[x] Buy MILK"), 0.8);
        assert_eq!(likeness("one two", "two one"), 1.0);
        assert_eq!(likeness("one one", "one two"), 0.5);
        assert_eq!(likeness("", "***"), 1.0);
        assert_eq!(likeness("one", ""), 0.0);
    }
}
