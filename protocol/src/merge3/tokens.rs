//! Cutting texts into tokens, and numbering equal tokens alike.
//!
//! Words are cut by fixed code point ranges, not by Unicode's tables, because those change with every release of the standard
//! library and a merge must not. A word is a longest run of ASCII letters, digits, `_`, and of characters from U+00C0 up to
//! U+1FFF (Latin with accents, Greek, Cyrillic, Hebrew, Arabic, the Indic scripts with their marks). Blanks are runs of spaces
//! and tabs. Everything else stands alone: line breaks, punctuation, symbols, and the scripts that write without spaces between
//! words.

use std::collections::BTreeMap;
use std::ops::Range;

use super::Granularity;

/// A text, cut.
#[derive(Debug)]
pub(super) struct Tokens<'a> {
    text: &'a str,
    /// Where each token starts in the text, and the text's end: one more than there are tokens.
    starts: Vec<usize>,
    /// What each token is. Equal ids mean equal tokens among the texts cut together.
    pub(super) ids: Vec<u32>,
}

impl<'a> Tokens<'a> {
    /// Cuts the texts of one merge.
    pub(super) fn of<const N: usize>(texts: [&'a str; N], granularity: Granularity) -> [Self; N] {
        let mut known = BTreeMap::new();
        texts.map(|text| match granularity {
            Granularity::Line => Self::cut(text, text.split_inclusive('\n'), &mut known),
            Granularity::Word => Self::cut(text, Words(text), &mut known),
            Granularity::Char => Self::chars(text),
        })
    }

    fn cut(text: &'a str, pieces: impl Iterator<Item = &'a str>, known: &mut BTreeMap<&'a str, u32>) -> Self {
        let mut tokens = Self { text, starts: vec![0], ids: Vec::new() };
        let mut end = 0;
        for piece in pieces {
            end += piece.len();
            let next = u32::try_from(known.len()).expect("four billion different tokens do not fit into memory");
            tokens.ids.push(*known.entry(piece).or_insert(next));
            tokens.starts.push(end);
        }
        tokens
    }

    fn chars(text: &'a str) -> Self {
        let starts = text.char_indices().map(|(start, _)| start).chain([text.len()]).collect();
        Self { text, starts, ids: text.chars().map(u32::from).collect() }
    }

    /// How many tokens there are.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The text of a range of tokens.
    pub(super) fn text(&self, range: Range<usize>) -> &'a str {
        &self.text[self.starts[range.start]..self.starts[range.end]]
    }
}

/// The words of a text and what stands between them.
struct Words<'a>(&'a str);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Word,
    Blank,
    Alone,
}

fn class(character: char) -> Class {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '\u{C0}'..='\u{1FFF}' => Class::Word,
        ' ' | '\t' => Class::Blank,
        _ => Class::Alone,
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let mut characters = self.0.char_indices();
        let first = class(characters.next()?.1);
        let end = characters.find(|&(_, character)| first == Class::Alone || class(character) != first).map_or(self.0.len(), |(at, _)| at);
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_cut_by_fixed_ranges() {
        let words: Vec<&str> = Words("Grüße, 東京  my_name\t \r\n\u{301}x").collect();
        assert_eq!(words, ["Grüße", ",", " ", "東", "京", "  ", "my_name", "\t ", "\r", "\n", "\u{301}x"]);
    }

    #[test]
    fn tokens_tile_the_text() {
        for granularity in [Granularity::Line, Granularity::Word, Granularity::Char] {
            for text in ["", "a", "a\n", "é b\n\n c", "\n"] {
                let [tokens] = Tokens::of([text], granularity);
                assert_eq!(tokens.text(0..tokens.len()), text);
                let joined: String = (0..tokens.len()).map(|n| tokens.text(n..n + 1)).collect();
                assert_eq!(joined, text);
            }
        }
    }
}
